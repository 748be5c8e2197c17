"""Data sets written as pysaliency reads them: `stimuli.hdf5` and `fixations.hdf5`.

The types are FileStimuli 2.1 and FixationTrains 1.2, which versions 0.2 and 0.3 both
read. What pysaliency has no place for stands beside it under names that it ignores, so
that our own reader gets back what was written.
"""

import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

from deepgaze_jax.datasets.folder import FixationDataset
from deepgaze_jax.datasets.pictures import picture_header
from deepgaze_jax.errors import DataError
from deepgaze_jax.files import make_folder
from deepgaze_jax.fixations import Fixations

__all__ = ["write_pysaliency"]

_TEXT = h5py.string_dtype()


def write_pysaliency(
    dataset: FixationDataset,
    folder: str | Path,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Returns the new folder with a data set as pysaliency keeps it.

    It holds `stimuli.hdf5`, `fixations.hdf5`, and the pictures in `stimuli/`, their
    files as they are. A picture that is stored turned (EXIF) is written upright as PNG,
    for pysaliency does not turn it. Scanpaths are the fixations of a subject on an
    image in their order. As times `train_ts` has the fixations' numbers, since a data
    set keeps no times; durations are in seconds.

    Args:
        dataset: with a picture for each image.
        folder: must not exist; it appears whole or not at all.
        progress: called with images done and images in all.

    Raises:
        DataError: the folder exists, or a picture is missing or damaged.
        InputError: the folder cannot be made.

    Example:
        >>> from deepgaze_jax import read_folder
        >>> write_pysaliency(read_folder("mydata"), "out")  # doctest: +SKIP
        PosixPath('out')
    """
    folder = Path(folder)
    if folder.exists():
        raise DataError(f"{folder}: exists; choose a new folder, or remove it")
    make_folder(folder.parent)
    work = folder.with_name(f".{os.getpid()}.tmp.{folder.name}")
    try:
        (work / "stimuli").mkdir(parents=True)
        _write_stimuli(dataset, work, progress)
        _write_fixations(dataset, work / "fixations.hdf5")
        work.rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return folder


def _write_stimuli(
    dataset: FixationDataset,
    folder: Path,
    progress: Callable[[int, int], None] | None,
) -> None:
    names, shapes = [], []
    for index, name in enumerate(dataset.image_names):
        data = dataset.pictures.read_bytes(index)
        header = picture_header(data, dataset.pictures.where(index))
        n_bands = header.n_bands
        if not header.is_upright:
            data, name, n_bands = _upright(dataset, index), f"{name}.png", 3
        if name in names:
            raise DataError(
                f"{dataset.pictures.where(index)}: would be written as {name}, which "
                "another picture is called; rename one of them"
            )
        path = folder / "stimuli" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        size = (header.height, header.width)
        names.append(name)
        shapes.append(size if n_bands == 1 else (*size, n_bands))
        if progress is not None:
            progress(index + 1, len(dataset))
    with h5py.File(folder / "stimuli.hdf5", "w") as file:
        _head(file, "FileStimuli", "2.1")
        file.attrs["size"] = len(names)
        file.create_dataset(
            "filenames", data=[f"stimuli/{name}" for name in names], dtype=_TEXT
        )
        column = file.create_dataset("shapes", (len(shapes),), h5py.vlen_dtype("int64"))
        for index, shape in enumerate(shapes):
            column[index] = np.array(shape)
        known = []
        if dataset.pixels_per_dva is not None:
            known = ["pixels_per_dva"]
            file["pixels_per_dva"] = np.asarray(dataset.pixels_per_dva, np.float64)
        file.attrs["__attributes__"] = np.bytes_(json.dumps(known))


def _upright(dataset: FixationDataset, index: int) -> bytes:
    """Returns the PNG of a picture as it is to be seen."""
    buffer = io.BytesIO()
    pixels = np.rint(dataset.image(index)).astype(np.uint8)
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def _write_fixations(dataset: FixationDataset, path: Path) -> None:
    fixations = dataset.fixations
    order = np.lexsort((fixations.fixation_index, fixations.subject, fixations.image))
    rows = fixations.select(order)
    starts = _starts(rows)
    with h5py.File(path, "w") as file:
        _head(file, "FixationTrains", "1.2")
        file["train_xs"] = _table(rows.x, starts)
        file["train_ys"] = _table(rows.y, starts)
        file["train_ts"] = _table(rows.fixation_index.astype(np.float64), starts)
        file["train_ns"] = rows.image[starts].astype(np.int64)
        file["train_subjects"] = rows.subject[starts].astype(np.int64)
        file.attrs["__attributes__"] = np.bytes_("[]")
        group = file.create_group("scanpath_attributes")
        group.attrs["__attributes__"] = np.bytes_("[]")
        group = file.create_group("scanpath_fixation_attributes")
        known, mapping = [], {}
        if np.isfinite(rows.duration_ms).any():
            known, mapping = ["durations"], {"durations": "duration"}
            # Through float64, so that 1000 times a value is the float32 it was.
            seconds = rows.duration_ms.astype(np.float64) / 1000
            group["durations"] = _table(seconds, starts)
        group.attrs["__attributes__"] = np.bytes_(json.dumps(known))
        file.attrs["scanpath_attribute_mapping"] = np.bytes_(json.dumps(mapping))
        # Not of pysaliency, whose subjects are numbers and whose times are seconds.
        file.attrs["times_are_numbers_of_fixations"] = True
        file.create_dataset(
            "subject_names", data=list(dataset.subject_names), dtype=_TEXT
        )


def _head(file: h5py.File, kind: str, version: str) -> None:
    file.attrs["type"] = np.bytes_(kind)
    file.attrs["version"] = np.bytes_(version)


def _starts(rows: Fixations) -> np.ndarray:
    """Returns the first row of each scanpath."""
    keys = np.stack([rows.image, rows.subject])
    changes = (keys[:, 1:] != keys[:, :-1]).any(axis=0)
    return np.concatenate([[0], np.flatnonzero(changes) + 1])


def _table(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Returns a row for each scanpath, filled up with NaN."""
    lengths = np.diff([*starts, len(values)])
    table = np.full((len(starts), lengths.max()), np.nan)
    table[np.arange(table.shape[1]) < lengths[:, None]] = values
    return table
