"""VGG-19 up to conv5_4 on a CPU: Winograd's convolutions, plain ones, PyTorch's.

    python experiments/benchmarks/vgg_speed.py

All numbers come from one run on one machine, in turns, so that what else happens there
meets all alike; medians after a first call. PyTorch (where installed) runs in inference
mode, channels last, with as many threads. Errors are largest differences from PyTorch
in float64 (or from the plain convolutions) over the largest value, tap by tap. `--json
FILE` keeps the result.

Layer by layer, the time of all bands with one worker stands beside that of the plain
convolution of the same maps: what is the faster of the two is what a prediction takes.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from deepgaze_jax import vgg, vgg_rows, winograd
from deepgaze_jax.ops import convolution
from deepgaze_jax.weights import load_features
from deepgaze_jax.windows import Buffers

TAPS = ("conv5_1", "relu5_1", "relu5_2", "conv5_3", "relu5_4")


def torch_features(params: Any, dtype: str) -> Callable[[np.ndarray], dict[str, Any]]:
    """Return VGG-19 in PyTorch as a function of an image [height, width, 3]."""
    import torch
    from _torch_vgg19 import torch_layers, torch_taps

    torch.set_num_threads(os.cpu_count() or 1)
    form = {"dtype": getattr(torch, dtype), "memory_format": torch.channels_last}
    layers = {
        name: (kernel.to(**form), bias.to(form["dtype"]))
        for name, (kernel, bias) in torch_layers(params).items()
    }

    @torch.inference_mode()
    def features(image: np.ndarray) -> dict[str, Any]:
        x = torch.from_numpy(image).permute(2, 0, 1)[None].to(**form)
        maps = torch_taps(layers, x, TAPS)
        return {tap: maps[tap][0].permute(1, 2, 0).numpy() for tap in TAPS}

    return features


def by_layer(
    fast: Any, usual: Any, image: np.ndarray, band: int, repeats: int
) -> list[dict[str, Any]]:
    """Return milliseconds of each convolution, in bands and plain."""
    size = image.shape[:2]
    names = {
        id(values["bias"]): name for name, values in fast.items() if "bias" in values
    }
    spent: dict[str, float] = {}

    def timed(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(
            source: Any, kernel: Any, bias: Any, *arguments: Any, **options: Any
        ) -> Any:
            start = time.perf_counter()
            window = function(source, kernel, bias, *arguments, **options)
            if window is not None:
                jax.block_until_ready(window.values)
            name = names[id(bias)]
            spent[name] = spent.get(name, 0) + time.perf_counter() - start
            return window

        return call

    def run() -> dict[str, float]:
        spent.clear()
        vgg_rows.features_by_rows(
            fast,
            lambda first, stop: image[first:stop],
            size,
            TAPS,
            lambda *_: None,
            band,
            buffers=buffers,
        )
        return dict(spent)

    buffers = Buffers()
    with (
        mock.patch.object(winograd, "convolve", timed(winograd.convolve)),
        mock.patch.object(winograd, "convolve_image", timed(winograd.convolve_image)),
    ):
        run()
        runs = [run() for _ in range(repeats)]
    plain = jax.jit(lambda x, values: jnp.maximum(convolution(x, values), 0))
    layers, channels = [], 3
    rng = np.random.default_rng(0)
    for name in runs[0]:
        grid = vgg.tap_grid(name, *size)
        x = jax.device_put(rng.uniform(0, 1, (1, *grid, channels)).astype(np.float32))
        call = lambda: jax.block_until_ready(plain(x, usual[name]))  # noqa: B023, E731
        call()
        direct = statistics.median(seconds(call) for _ in range(repeats))
        layers.append(
            {
                "layer": name,
                "grid": list(grid),
                "channels": [channels, vgg.tap_channels(name)],
                "milliseconds_in_bands": round(
                    1000 * statistics.median(one[name] for one in runs), 1
                ),
                "milliseconds_plain": round(1000 * direct, 1),
            }
        )
        channels = vgg.tap_channels(name)
    return layers


def seconds(call: Callable[[], Any]) -> float:
    """Return the time of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    """Print all times, ratios and errors as one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, nargs=2, default=(560, 747))
    parser.add_argument("--band", type=int, default=192)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    image = rng.uniform(0, 255, (*arguments.size, 3)).astype(np.float32)
    weights = load_features("vgg19")
    usual, fast = jax.device_put(weights), vgg_rows.prepare(weights)
    buffers = Buffers()
    maps = {
        tap: np.empty((*vgg.tap_grid(tap, *arguments.size), 512), np.float32)
        for tap in TAPS
    }

    def take(tap: str, first: int, rows: np.ndarray) -> None:
        maps[tap][first : first + len(rows)] = rows

    def by_rows() -> dict[str, np.ndarray]:
        vgg_rows.features_by_rows(
            fast,
            lambda first, stop: image[first:stop],
            tuple(arguments.size),
            TAPS,
            take,
            arguments.band,
            workers=arguments.workers,
            buffers=buffers,
        )
        return maps

    plain = jax.jit(lambda params, x: vgg.vgg19_features(params, x, TAPS))
    calls = {
        "winograd": by_rows,
        "plain": lambda: jax.block_until_ready(plain(usual, image)),
    }
    try:
        torch = torch_features(weights, "float32")
        reference = torch_features(weights, "float64")(image)
        calls["torch"] = lambda: torch(image)
    except ImportError:
        reference = calls["plain"]()
    first = {name: round(seconds(call), 2) for name, call in calls.items()}
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(arguments.repeats):
        for name, call in calls.items():
            times[name].append(seconds(call))
    medians = {name: statistics.median(values) for name, values in times.items()}
    result = {
        "image": list(arguments.size),
        "seconds": {name: round(value, 3) for name, value in medians.items()},
        "times_as_fast": {
            name: round(value / medians["winograd"], 2)
            for name, value in medians.items()
            if name != "winograd"
        },
        "first_call_seconds": first,
        "errors": {
            name: {
                tap: float(f"{np.abs(maps - reference[tap]).max() / scale:.1e}")
                for tap, maps in found.items()
                for scale in [np.abs(reference[tap]).max()]
            }
            for name, found in ((name, calls[name]()) for name in calls)
        },
        "layers": by_layer(
            fast, usual, image, arguments.band, min(arguments.repeats, 5)
        ),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "jax": jax.__version__,
    }
    text = json.dumps(result, indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
