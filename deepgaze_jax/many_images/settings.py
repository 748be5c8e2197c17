"""What the results of a folder were made with, so that nothing else is mixed in."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

import deepgaze_jax
from deepgaze_jax.errors import ConfigError, InputError
from deepgaze_jax.files import write_text
from deepgaze_jax.predictor import FoldRule, Predictor

__all__ = [
    "SETTINGS_FILE",
    "Kinds",
    "Settings",
    "describe",
    "differences",
    "may_keep",
    "write_settings",
]

#: Lies in the folder of the results.
SETTINGS_FILE = "settings.json"

# What changes results, in words; all else in the file is for people.
_WORDS = {
    "model_sha256": "model",
    "features_sha256": "features",
    "center_bias": "center bias",
    "pixels_per_dva": "pixels per degree (--pixels-per-dva)",
    "fold": "fold",
    "float16": "float16",
    "feature_precision": "precision of features",
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """What all pictures share, and what changes their results.

    Attributes:
        center_bias: see `Predictor.predict`; a name or a file.
        pixels_per_dva: see `Predictor.predict`.
        fold: see `Predictor.predict`.
        float16: log densities are stored with half the bytes, rounded to 0.004 where
            they are between -16 and -8 (natural logarithm).
    """

    center_bias: str | None = None
    pixels_per_dva: float | None = None
    fold: FoldRule = "mixture"
    float16: bool = False

    def stored(self, log_density: np.ndarray) -> np.ndarray:
        """Return a log density as it is stored."""
        return log_density.astype(np.float16) if self.float16 else log_density


@dataclasses.dataclass(frozen=True)
class Kinds:
    """Which files are made of a picture.

    Attributes:
        npy: the log density in a file of its own.
        png: the overlay.
        h5: the log density in the one HDF5 file of the folder.
    """

    npy: bool = True
    png: bool = True
    h5: bool = False


def describe(
    predictor: Predictor, settings: Settings, features: Path | None = None
) -> dict[str, Any]:
    """Return what decides over results, with values that JSON keeps.

    Args:
        predictor: the model.
        settings: for all pictures.
        features: file of feature weights in place of the fetched ones.
    """
    center_bias = settings.center_bias
    if center_bias is not None and Path(center_bias).is_file():
        center_bias = f"sha256 {_sha256(Path(center_bias))}"
    return {
        "model": predictor.name,
        "model_sha256": predictor.sha256,
        "features": str(features) if features else None,
        "features_sha256": _sha256(features) if features else None,
        "center_bias": center_bias,
        "pixels_per_dva": settings.pixels_per_dva,
        "fold": settings.fold,
        "float16": settings.float16,
        "feature_precision": predictor.feature_precision,
        "version": deepgaze_jax.__version__,
    }


def _known(output: Path) -> dict[str, Any] | None:
    """Return what made the results in a folder, None where nothing says so.

    Raises:
        InputError: the file that should say it is damaged.
    """
    path = output / SETTINGS_FILE
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read ({' '.join(str(error).split())}); "
            "give another folder, or remove it to begin anew"
        ) from error
    if not isinstance(known, dict):
        raise InputError(
            f"{path} does not hold settings; give another folder, or remove it to "
            "begin anew"
        )
    return known


def differences(known: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Return in words what differs between settings.

    Example:
        >>> differences({"fold": "mixture"}, {"fold": 3})
        ["fold was 'mixture', is 3"]
    """
    found = []
    for key, word in _WORDS.items():
        old, new = known.get(key), wanted.get(key)
        if old == new:
            continue
        if key.endswith("_sha256"):
            note = key.removesuffix("_sha256")
            old, new = known.get(note) or "fetched", wanted.get(note) or "fetched"
            same = " (other contents)" if old == new else ""
            found.append(f"{word} was {old}, is {new}{same}")
        else:
            found.append(f"{word} was {_said(old)}, is {_said(new)}")
    return found


def may_keep(output: Path, wanted: dict[str, Any], *, resume: bool) -> bool:
    """Return whether the results in a folder were made with these settings.

    Args:
        output: folder of the results.
        wanted: from `describe`.
        resume: results of an earlier run are to be kept.

    Raises:
        ConfigError: they are to be kept, and were made with other settings.
        InputError: the settings in the folder are damaged.
    """
    known = _known(output)
    if known is None:
        return False
    found = differences(known, wanted)
    if found and resume:
        raise ConfigError(
            f"the results in {output} were made with other settings: "
            f"{'; '.join(found)}; give those, give another folder, or leave --resume "
            "out to make all again"
        )
    return not found


def write_settings(output: Path, wanted: dict[str, Any]) -> None:
    """Write what the results of a folder are made with; returns nothing."""
    write_text(output / SETTINGS_FILE, json.dumps(wanted, indent=2) + "\n")


def _said(value: Any) -> str:
    return "not given" if value is None else repr(value)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
