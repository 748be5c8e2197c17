"""Recordings become data folders, whole or not at all."""

import csv
import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

import deepgaze_jax
from deepgaze_jax.datasets.home import check_dataset_name
from deepgaze_jax.datasets.recording import Recording
from deepgaze_jax.datasets.validation_report import ValidationReport
from deepgaze_jax.errors import DataError
from deepgaze_jax.file_lock import file_lock

__all__ = ["describe", "write_recording"]

_ROWS_AT_ONCE = 100_000


def write_recording(
    recording: Recording,
    home: str | Path,
    name: str,
    report: ValidationReport | None = None,
    replace: bool = False,
) -> Path:
    """Returns the new folder `home/name` with the recording in it.

    It holds `images/`, `images.csv`, `fixations.csv` and `meta.json` (where the data
    comes from, how it was read, what was dropped, the report). It appears when it is
    complete; what a killed process left is removed by the next one.

    Args:
        recording: what to write; pictures that cannot be read should be gone.
        home: folder of data sets; made if needed.
        name: of the data set.
        report: on it, for `meta.json`.
        replace: whether a data set of this name may be replaced.

    Raises:
        DataError: the name is taken, or two images have names that one file system
            takes for the same, or the size of an image is not known.
        InputError: not a name.
    """
    home, target = Path(home), Path(home) / check_dataset_name(name)
    _check(recording)
    home.mkdir(parents=True, exist_ok=True)
    with file_lock(home / f".{name}.lock"):
        work = home / f".{name}.partial"
        old = home / f".{name}.old"
        shutil.rmtree(work, ignore_errors=True)
        if old.exists() and not target.exists():
            old.rename(target)  # A process was killed between the two steps below.
        shutil.rmtree(old, ignore_errors=True)
        if target.exists() and not replace:
            raise DataError(
                f"{target}: exists; choose another name, or replace it: --replace"
            )
        try:
            _write(recording, work, name, report)
            if target.exists():
                target.rename(old)
            work.rename(target)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
    return target


def describe(
    recording: Recording, name: str, report: ValidationReport | None
) -> dict[str, Any]:
    """Returns what is kept of a recording besides its rows and pictures, for JSON.

    Where it comes from, how it was read, what was dropped, counts and the report.
    """
    meta: dict[str, Any] = {
        "name": name,
        "code_version": deepgaze_jax.__version__,
        **asdict(recording.meta),
        "n_images": len(recording.image_names),
        "n_pictures": sum(file is not None for file in recording.image_files),
        "n_subjects": len(recording.subject_names),
        "n_rows": len(recording.fixations),
    }
    if report is not None:
        meta["validation"] = report.to_json()
    return meta


def _check(recording: Recording) -> None:
    lower = [name.lower() for name in recording.image_names]
    if len(set(lower)) < len(lower):
        twice = next(name for name in lower if lower.count(name) > 1)
        raise DataError(
            f"{recording.name}: two images are called {twice} (capitals do not count); "
            "rename one of them, in the tables too"
        )
    if (recording.image_sizes <= 0).any():
        raise DataError(
            f"{recording.name}: the sizes of some images are not known; add their "
            "pictures, or state it: --image-size"
        )


def _write(
    recording: Recording, work: Path, name: str, report: ValidationReport | None
) -> None:
    images = work / "images"
    images.mkdir(parents=True)
    for image, file in zip(recording.image_names, recording.image_files, strict=True):
        parts = image.split("/")
        if any(part in ("", ".", "..") for part in parts) or "\\" in image:
            raise DataError(
                f"{recording.name}: {image!r} is not a plain file name; rename "
                "the image"
            )
        if file is not None:
            path = images.joinpath(*parts)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file())
    _write_csv(work / "images.csv", _image_rows(recording))
    _write_csv(work / "fixations.csv", _fixation_rows(recording))
    meta = describe(recording, name, report)
    text = json.dumps(meta, indent=1, ensure_ascii=False, default=int)
    (work / "meta.json").write_text(text + "\n", encoding="utf-8")


def _write_csv(path: Path, rows: Iterator[list]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def _image_rows(recording: Recording) -> Iterator[list]:
    scale = recording.pixels_per_dva
    known = scale is not None and bool(np.isfinite(scale).all())
    columns = [list(recording.image_names)]
    header = ["image", "width", "height"]
    columns += [
        recording.image_sizes[:, 1].tolist(),
        recording.image_sizes[:, 0].tolist(),
    ]
    if known:
        header.append("pixels_per_dva")
        columns.append(_texts(scale))
    if recording.splits is not None:
        header.append("split")
        columns.append(list(recording.splits))
    yield header
    yield from map(list, zip(*columns, strict=True))


def _fixation_rows(recording: Recording) -> Iterator[list]:
    fixations = recording.fixations
    yield [
        *("image", "subject", "fixation_index", "x", "y", "duration_ms"),
        *recording.extra,
    ]
    images = np.array(recording.image_names, object)
    subjects = np.array(recording.subject_names, object)
    for start in range(0, len(fixations), _ROWS_AT_ONCE):
        some = slice(start, start + _ROWS_AT_ONCE)
        yield from zip(
            images[fixations.image[some]],
            subjects[fixations.subject[some]],
            fixations.fixation_index[some].tolist(),
            _texts(fixations.x[some]),
            _texts(fixations.y[some]),
            _texts(fixations.duration_ms[some]),
            *(_texts(column[some]) for column in recording.extra.values()),
            strict=True,
        )


def _texts(values: np.ndarray) -> list[str]:
    """Returns the shortest texts that read back as the same numbers; NaN is empty."""
    if values.dtype.kind != "f":
        return list(map(str, values.tolist()))
    # str of a float32 is shorter than that of the same number as float64.
    texts = map(str, values.tolist() if values.dtype == np.float64 else values)
    return ["" if t == "nan" else t.removesuffix(".0") for t in texts]
