"""Scanpaths of MIT1003 and OSIE as CSV, one table per image.

`scanpath_<DATASET>_<image>.csv` with the columns Participant, perhaps Stimulus,
Fixation_Position_X_px, Fixation_Position_Y_px, Duration and times. Columns called `_ms`
hold seconds. The first fixation of MIT1003, on the cross, is among the rows.
"""

import re
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from deepgaze_jax.datasets.readers.table import TableOptions, read_rows, recording_of
from deepgaze_jax.datasets.recording import Recording
from deepgaze_jax.datasets.source_files import require_folder
from deepgaze_jax.datasets.wording import contents, counted, some
from deepgaze_jax.errors import DataError

__all__ = ["read"]

_PIXELS_PER_DVA = {"MIT1003": 35.0, "OSIE": 24.0}
_SIZES = {"MIT1003": None, "OSIE": (600, 800)}


def read(
    source: str | Path,
    *,
    dataset: Literal["MIT1003", "OSIE"] = "MIT1003",
    images: str | Path | None = None,
) -> Recording:
    """Returns the scanpaths of one data set, with the first fixation.

    Args:
        source: folder with `scanpath_<DATASET>_<image>.csv`, and pictures.
        dataset: which of the files are read.
        images: folder of the pictures, where they are elsewhere.

    Raises:
        DataError: no such files, or a damaged one.

    Example:
        >>> read("no/such/folder")
        Traceback (most recent call last):
        deepgaze_jax.errors.DataError: no/such/folder: no such folder; expected one \
with scanpath_MIT1003_<image>.csv
    """
    expected = f"scanpath_{dataset}_<image>.csv"
    folder = require_folder(source, expected)
    tables, left = [], []
    for path in sorted(folder.iterdir()):
        if match := re.fullmatch(rf"scanpath_{dataset}_(.+)\.csv", path.name):
            tables.append((path, match[1]))
        elif path.suffix == ".csv":
            left.append(path.name)
    if not tables:
        raise DataError(
            f"{folder}: has no {expected}; found {contents(folder)}; give their "
            "folder, or read tables of other names with the format table"
        )
    options = TableOptions(
        origin="0",
        image_size=_SIZES[dataset],
        pixels_per_dva=_PIXELS_PER_DVA[dataset],
    )
    recording = recording_of(
        read_rows(tables, options), options, Path(images or folder)
    )
    # Names without an ending, where there is no picture to take it from.
    names = tuple(n if "." in n else f"{n}.jpg" for n in recording.image_names)
    meta = replace(recording.meta, format="mit1003_csv", edition=dataset)
    if left:
        other = next(name for name in _SIZES if name != dataset)
        were = counted(len(left), "table was", "tables were")
        remedy = f" (--dataset {other} reads those of {other})"
        named_so = any(name.startswith(f"scanpath_{other}_") for name in left)
        meta = meta.noting(f"{were} left out: {some(left)}{remedy if named_so else ''}")
    return replace(
        recording,
        name=f"{dataset.lower()}_csv",
        image_names=names,
        meta=meta,
        pixels_per_dva=np.full(len(names), _PIXELS_PER_DVA[dataset]),
    )
