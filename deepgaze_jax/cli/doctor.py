"""`deepgaze doctor`: what a bug report needs."""

import importlib.metadata
import os
import platform
from pathlib import Path

import jax

import deepgaze_jax
from deepgaze_jax.model_files import MODELS, available_models
from deepgaze_jax.weights import REGISTRY, cache_dir, cached_path

__all__ = ["doctor"]

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def doctor() -> int:
    """Print versions, devices, the cache folder, and which weights are there."""
    here = available_models()
    rows = {
        "deepgaze-jax": deepgaze_jax.__version__,
        "python": f"{platform.python_version()} on {platform.platform()}",
        **{name: _version(name) for name in _PACKAGES},
        "devices": ", ".join(_describe(device) for device in jax.devices()),
        "cache": f"{cache_dir()} ({_size(cache_dir()) / 1e6:.1f} MB)",
        **{
            f"weights {name}": "there"
            if cached_path(name)
            else f"missing: deepgaze weights fetch {name}"
            for name in REGISTRY
        },
        **{
            f"model {name}": "there" if name in here else "not in this installation"
            for name in MODELS
        },
    }
    width = max(map(len, rows))
    for name, value in rows.items():
        print(f"{name:{width}}  {value}")
    return 0


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def _describe(device: jax.Device) -> str:
    return f"{device.platform}:{device.id} ({device.device_kind})"


def _size(folder: Path) -> int:
    """Return the bytes of all files below a folder."""
    total = 0
    for root, _, files in os.walk(folder):
        for name in files:
            try:
                total += os.stat(Path(root, name)).st_size
            except OSError:  # Removed meanwhile.
                continue
    return total
