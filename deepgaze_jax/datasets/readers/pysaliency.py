"""Data sets as pysaliency keeps them: `stimuli.hdf5` and `fixations.hdf5`."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from PIL import Image

from deepgaze_jax.datasets.hdf5_files import DAMAGED, child, read_dataset, read_text
from deepgaze_jax.datasets.recording import (
    ImageFile,
    Meta,
    Recording,
    find_pictures,
    running_index,
    to_milliseconds,
)
from deepgaze_jax.datasets.source_files import (
    list_files,
    picture_files,
    require_folder,
    without_common_folder,
)
from deepgaze_jax.datasets.wording import contents
from deepgaze_jax.errors import DataError
from deepgaze_jax.fixations import Fixations

__all__ = ["read"]

_MAX_BYTES = 8 * 2**30
_MAX_IMAGE_BYTES = 2**30
_DURATIONS = ("durations", "duration", "train_durations")


def read(
    source: str | Path,
    *,
    stimuli: str = "stimuli.hdf5",
    fixations: str = "fixations.hdf5",
    images: str | Path | None = None,
) -> Recording:
    """Returns a data set of pysaliency, of the versions before and since 0.3.

    Read are stimuli of the types Stimuli and FileStimuli, and fixations of the types
    Fixations, FixationTrains and ScanpathFixations. Coordinates count from 0. Names of
    subjects, numbers of fixations and pixels per degree that `write_pysaliency` kept
    beside pysaliency's own columns are read too.

    Args:
        source: folder with both files.
        stimuli: name of the file of stimuli.
        fixations: name of the file of fixations.
        images: folder of the pictures that FileStimuli names, where they are not below
            `source`.

    Raises:
        DataError: another layout, or a damaged file.

    Example:
        >>> read("no/such/folder")
        Traceback (most recent call last):
        deepgaze_jax.errors.DataError: no/such/folder: no such folder; expected one \
with stimuli.hdf5 and fixations.hdf5
    """
    folder = require_folder(source, f"{stimuli} and {fixations}")
    names, sizes, files, scales = _read_stimuli(folder, folder / stimuli, images)
    with _opened(folder / fixations) as file:
        kind = read_text(file.attrs["type"])
        readers = {
            "Fixations": _fixations,
            "FixationTrains": _trains,
            "ScanpathFixations": _scanpaths,
        }
        if kind not in readers:
            raise ValueError(f"its type is {kind!r}; known are {', '.join(readers)}")
        columns = readers[kind](file)
        subject_names = _subject_names(file)
    image = columns["image"]
    if len(image) and not (0 <= image.min() and image.max() < len(names)):
        raise DataError(
            f"{folder / fixations}: is about images up to {image.max()}, and {stimuli} "
            f"has {len(names)}; the two files do not belong together: give those of "
            "one data set"
        )
    labels, subject = np.unique(columns["subject"], return_inverse=True)
    notes = [f"type {kind}; x, y count from 0"]
    index = columns["fixation_index"]
    if len(index) > 1 and not index.any():
        index = running_index(image, subject)
        notes.append("no histories in the file: rows are numbered as they come")
    unknown = np.full(len(image), np.nan)
    duration, in_seconds = to_milliseconds(columns.get("duration", unknown))
    if in_seconds:
        notes.append("durations are seconds in the file")
    return Recording(
        name="pysaliency",
        image_names=tuple(names),
        image_sizes=sizes,
        image_files=files,
        fixations=Fixations(
            image, subject, index, columns["x"], columns["y"], duration
        ),
        subject_names=tuple(subject_names.get(label, str(label)) for label in labels),
        meta=Meta(
            format="pysaliency",
            conventions=tuple(notes),
            found={"images": len(names), "rows": len(image)},
        ),
        pixels_per_dva=scales,
        extra={"t": columns["t"]} if "t" in columns else {},
    )


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    if not path.is_file():
        raise DataError(
            f"{path}: no such file; found {contents(path.parent)}; call it that"
        )
    try:
        with h5py.File(path, "r") as file:
            yield file
    except DAMAGED as error:
        line = " ".join(str(error).split())[:160]
        raise DataError(
            f"{path}: is not a readable file of pysaliency ({line}); write it again"
        ) from error


def _read_stimuli(
    folder: Path, path: Path, images: str | Path | None
) -> tuple[list[str], np.ndarray, tuple[ImageFile, ...], np.ndarray | None]:
    """Returns names, sizes, what reads the pictures, and pixels per degree."""
    with _opened(path) as file:
        kind = read_text(file.attrs["type"])
        if kind == "Stimuli":
            n = int(file.attrs["size"])
            shapes = [child(file, str(i)).shape for i in range(n)]
            names = [f"{i:0{len(str(n))}}.png" for i in range(n)]
            files = tuple(partial(_picture, path, str(i)) for i in range(n))
        elif kind == "FileStimuli":
            named = read_dataset(child(file, "filenames"), _MAX_BYTES)
            written = [read_text(n).replace("\\", "/") for n in named]
            shapes = [tuple(s) for s in read_dataset(child(file, "shapes"), _MAX_BYTES)]
            names = list(without_common_folder(written).values())
            below = list_files(Path(images) if images else folder)
            # Whatever path is written there, only what lies in the folder is read.
            files = find_pictures(names, picture_files(below.values()))
            names = [n.lstrip("/").replace("../", "") for n in names]
        else:
            raise ValueError(f"its type is {kind!r}; known are Stimuli, FileStimuli")
        sizes = np.array([shape[:2] for shape in shapes], np.int64).reshape(-1, 2)
        scales = None
        if "pixels_per_dva" in file:
            scales = _array(file, "pixels_per_dva").astype(np.float64)
            if scales.shape != (len(names),) or not (scales > 0).all():
                raise ValueError("its pixels_per_dva are not a number above 0 an image")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{path}: names the image {twice} twice; rename one of them")
    return names, sizes, files, scales


def _picture(path: Path, name: str) -> bytes:
    """Returns an image of the file as PNG."""
    with _opened(path) as file:
        array = read_dataset(child(file, name), _MAX_IMAGE_BYTES)
    if array.dtype != np.uint8:
        raise DataError(
            f"{path}: image {name} is {array.dtype}; expected uint8: write it again"
        )
    buffer = io.BytesIO()
    try:
        Image.fromarray(array).save(buffer, format="PNG")
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{path}: image {name} has the shape {list(array.shape)}; expected "
            "[height, width] or [height, width, 3]: write it again"
        ) from error
    return buffer.getvalue()


def _subject_names(file: h5py.File) -> dict[int, str]:
    """Returns what subjects are called, by number; pysaliency itself keeps no names."""
    if "subject_names" not in file:
        return {}
    return dict(enumerate(map(read_text, _array(file, "subject_names"))))


def _array(group: h5py.Group, *names: str) -> np.ndarray:
    """Returns the first array there is; its name changed between versions."""
    for name in names:
        if name in group:
            return read_dataset(child(group, name), _MAX_BYTES)
    raise KeyError(f"{' or '.join(names)} is missing; found {', '.join(group)}")


def _fixations(file: h5py.File) -> dict[str, np.ndarray]:
    """Returns the columns of single fixations, perhaps with their histories."""
    x = _array(file, "x").astype(np.float64)
    columns = {
        "image": _array(file, "n").astype(np.int64),
        "x": x,
        "y": _array(file, "y").astype(np.float64),
        "t": _array(file, "t").astype(np.float64),
    }
    has_subject = "subject" in file or "subjects" in file
    columns["subject"] = (
        _array(file, "subject", "subjects") if has_subject else np.zeros(len(x), int)
    )
    if "scanpath_history_length" in file or "lengths" in file:
        index = _array(file, "scanpath_history_length", "lengths")
    else:
        history = _array(file, "x_hist").reshape(len(x), -1)
        index = (~np.isnan(history)).sum(axis=1)
    columns["fixation_index"] = index.astype(np.int64)
    for name in _DURATIONS:
        if name in file:
            columns["duration"] = _array(file, name).astype(np.float64)
            break
    if len({len(column) for column in columns.values()}) > 1:
        raise ValueError("its columns have different lengths")
    return columns


def _trains(file: h5py.File) -> dict[str, np.ndarray]:
    """Returns the columns of scanpaths as versions before 0.3 wrote them."""
    lengths = _array(file, "train_lengths") if "train_lengths" in file else None
    name = "scanpath_fixation_attributes"
    attributes: Any = child(file, name) if name in file else {}
    columns = _flattened(
        _array(file, "train_xs"),
        _array(file, "train_ys"),
        _array(file, "train_ns"),
        _array(file, "train_subjects"),
        lengths,
        _array(file, "train_ts"),
        attributes,
    )
    if "times_are_numbers_of_fixations" in file.attrs:
        columns["fixation_index"] = columns.pop("t").astype(np.int64)
    return columns


def _scanpaths(file: h5py.File) -> dict[str, np.ndarray]:
    """Returns the columns of scanpaths as version 0.3 writes them."""
    group = child(file, "scanpaths")
    attributes = child(group, "fixation_attributes")
    of_scanpath = child(group, "scanpath_attributes")
    n = _array(group, "n")
    known = "subject" in of_scanpath or "subjects" in of_scanpath
    return _flattened(
        _array(group, "xs"),
        _array(group, "ys"),
        n,
        _array(of_scanpath, "subject", "subjects") if known else np.zeros(len(n), int),
        _array(group, "length", "lengths"),
        _array(attributes, "ts") if "ts" in attributes else None,
        attributes,
    )


def _flattened(
    xs: np.ndarray,
    ys: np.ndarray,
    n: np.ndarray,
    subjects: np.ndarray,
    lengths: np.ndarray | None,
    ts: np.ndarray | None,
    attributes: Any,
) -> dict[str, np.ndarray]:
    """Returns columns out of tables with a row per scanpath, filled up with NaN."""
    xs = xs.astype(np.float64).reshape(len(n), -1)
    if lengths is None:
        known = ~np.isnan(xs)
        # Up to the last number: NaN may also be within a scanpath.
        lengths = np.where(
            known.any(axis=1), xs.shape[1] - known[:, ::-1].argmax(axis=1), 0
        )
    lengths = lengths.astype(np.int64)
    position = np.arange(xs.shape[1])[None]
    used = position < lengths[:, None]

    def flat(values: np.ndarray) -> np.ndarray:
        values = values.astype(np.float64).reshape(len(n), -1)
        if values.shape != xs.shape:
            raise ValueError("its scanpaths have different lengths")
        return values[used]

    columns = {
        "image": np.repeat(n.astype(np.int64), lengths),
        "subject": np.repeat(subjects, lengths),
        "fixation_index": np.broadcast_to(position, xs.shape)[used],
        "x": flat(xs),
        "y": flat(ys),
    }
    if ts is not None:
        columns["t"] = flat(ts)
    for name in _DURATIONS:
        if name in attributes:
            columns["duration"] = flat(_array(attributes, name))
            break
    return columns
