"""Any data set by its name or folder, imported or built."""

import json
from pathlib import Path
from typing import Any

from deepgaze_jax.datasets import readers
from deepgaze_jax.datasets.folder import FixationDataset, read_folder
from deepgaze_jax.datasets.home import find_dataset, is_tfds_folder
from deepgaze_jax.datasets.recording import Recording

__all__ = ["accepted_before", "read_dataset", "read_meta", "read_recording"]


def read_dataset(
    name_or_folder: str | Path, *, allow_missing_images: bool = False
) -> FixationDataset:
    """Returns the data set of a name or folder, checked as a whole.

    Args:
        name_or_folder: a data folder, the folder of a TFDS data set, or a registered
            name; `:SPLIT` behind the latter two means a part of it.
        allow_missing_images: accept images of a data folder that are not there; see
            `read_folder`.

    Raises:
        DataError: there is none, or it has a defect.

    Example:
        >>> read_dataset("no/such/folder")
        Traceback (most recent call last):
        deepgaze_jax.errors.DataError: no/such/folder: is neither a folder nor the \
name of a data set ...
    """
    place = find_dataset(name_or_folder)
    if is_tfds_folder(place.path):
        # Imported here: whoever has no such data set need not load TFDS.
        from deepgaze_jax.datasets.tfds_reading import read_tfds_dataset

        return read_tfds_dataset(place.path, place.split)
    return read_folder(place.path, allow_missing_images=allow_missing_images)


def read_recording(name_or_folder: str | Path) -> Recording:
    """Returns the same as a recording, with its defects, for `validation`.

    Args:
        name_or_folder: as in `read_dataset`.

    Raises:
        DataError: there is none, or a file cannot be read.
    """
    place = find_dataset(name_or_folder)
    if is_tfds_folder(place.path):
        from deepgaze_jax.datasets.tfds_reading import read_tfds_recording

        return read_tfds_recording(place.path, place.split)
    return readers.read("fixations_folder", place.path)


def read_meta(name_or_folder: str | Path) -> dict[str, Any]:
    """Returns what was noted when a data set was made; empty where nothing was.

    Args:
        name_or_folder: as in `read_dataset`.

    Raises:
        DataError: there is none.
    """
    folder = find_dataset(name_or_folder).path
    name = "metadata.json" if is_tfds_folder(folder) else "meta.json"
    try:
        meta = json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return meta if isinstance(meta, dict) else {}


def accepted_before(name_or_folder: str | Path) -> tuple[str, ...]:
    """Returns the checks whose problems were accepted when a data set was made.

    Args:
        name_or_folder: as in `read_dataset`.

    Raises:
        DataError: there is none.
    """
    checks = read_meta(name_or_folder).get("validation", {}).get("checks", [])
    return tuple(c["name"] for c in checks if c.get("status") == "accepted")
