"""The project's own layout, read with its defects: `images/` and `fixations.csv`.

`datasets.folder.read_folder` reads the same and stops at the first defect; this reader
lets `validation` list them all.
"""

import json
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from deepgaze_jax.datasets.folder import read_images_table
from deepgaze_jax.datasets.pictures import picture_names
from deepgaze_jax.datasets.readers.table import (
    TableOptions,
    extra_columns,
    read_rows,
    times,
)
from deepgaze_jax.datasets.recording import Meta, Recording, fill_image_sizes
from deepgaze_jax.datasets.source_files import require_folder
from deepgaze_jax.datasets.wording import contents
from deepgaze_jax.errors import DataError
from deepgaze_jax.fixations import Fixations

__all__ = ["read"]

_COLUMNS = ("image", "subject", "fixation_index", "x", "y")


def read(source: str | Path, *, time_unit: Literal["ms", "s"] = "ms") -> Recording:
    """Returns a data folder as a recording, defects included.

    Args:
        source: folder with `images/`, `fixations.csv` and perhaps `images.csv`.
        time_unit: of durations and starts, where it is not the one of the layout.

    Raises:
        DataError: a file or column is missing, or a text that is no number.

    Example:
        >>> read("no/such/folder")
        Traceback (most recent call last):
        deepgaze_jax.errors.DataError: no/such/folder: no such folder; expected one \
with images/ and fixations.csv
    """
    folder = require_folder(source, "images/ and fixations.csv")
    table = folder / "fixations.csv"
    if not table.is_file():
        raise DataError(
            f"{folder}: has no fixations.csv; found {contents(folder)}; a table of "
            "another name is of the format table"
        )
    options = TableOptions(
        columns={name: name for name in _COLUMNS}, time_unit=time_unit
    )
    columns, written, subjects, notes = read_rows([(table, None)], options)
    duration, start = times(columns, options, notes)
    names, sizes, pixels_per_dva = list(picture_names(folder / "images")), None, None
    if (folder / "images.csv").is_file():
        listed, sizes, pixels_per_dva = read_images_table(folder / "images.csv", True)
        names = list(listed)
    known = set(names)
    unknown = [name for name in written if name not in known]
    names += unknown
    paths = [folder / "images" / name for name in names]
    inside = [
        p.is_file() and name in known for p, name in zip(paths, names, strict=True)
    ]
    files = tuple(
        partial(Path.read_bytes, path) if there else None
        for path, there in zip(paths, inside, strict=True)
    )
    stated = {} if sizes is None else dict(zip(names, sizes, strict=False))
    position = {name: index for index, name in enumerate(names)}
    image = np.array([position[name] for name in written], np.int64)[columns["image"]]
    if pixels_per_dva is not None and unknown:
        pixels_per_dva = np.append(pixels_per_dva, np.full(len(unknown), np.nan))
    return Recording(
        name=folder.resolve().name,
        image_names=tuple(names),
        image_sizes=fill_image_sizes(names, files, stated),
        image_files=files,
        fixations=Fixations(
            image,
            columns["subject"],
            columns["fixation_index"],
            columns["x"],
            columns["y"],
            duration,
        ),
        subject_names=tuple(subjects),
        meta=_meta(folder, tuple(notes), {"images": len(names), "rows": len(image)}),
        pixels_per_dva=pixels_per_dva,
        extra=extra_columns(columns, start),
    )


def _meta(folder: Path, notes: tuple[str, ...], found: dict[str, int]) -> Meta:
    """Returns what an import wrote about the data set, if it was one."""
    known = {}
    try:
        written = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        for name in ("edition", "kind", "citation", "licence"):
            if isinstance(written.get(name), str):
                known[name] = written[name]
    except (OSError, ValueError, AttributeError):
        written = None
    return Meta(
        "fixations_folder",
        conventions=notes,
        found=found,
        origin_stated=written is not None,
        **known,
    )
