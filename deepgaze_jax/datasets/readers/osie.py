"""OSIE as its authors publish it: `fixations.mat`, and mouse tracking `<image>.mat`."""

import re
from pathlib import Path
from typing import Literal

import numpy as np

from deepgaze_jax.datasets.mat_files import Value, read_mat, row_of_numbers
from deepgaze_jax.datasets.recording import (
    Meta,
    Recording,
    ScanpathTable,
    find_pictures,
)
from deepgaze_jax.datasets.source_files import (
    SourceFile,
    list_files,
    picture_files,
    require_folder,
)
from deepgaze_jax.datasets.wording import contents, counted
from deepgaze_jax.errors import DataError

__all__ = ["PIXELS_PER_DVA", "SIZE", "read"]

#: Height and width of all pictures.
SIZE = (600, 800)
PIXELS_PER_DVA = 24.0
_CITATION = (
    "Xu, Jiang, Wang, Kankanhalli & Zhao (2014). Predicting human gaze beyond pixels. "
    "Journal of Vision 14(1):28"
)


def read(
    source: str | Path,
    *,
    kind: Literal["eye", "mouse"] = "eye",
    images: str | Path | None = None,
) -> Recording:
    """Returns OSIE: 700 photographs of 800 x 600 pixels, 15 subjects.

    `fixations.mat` holds a cell of structs `img`, `subjects`, and each subject `fix_x`,
    `fix_y` (pixels) and `fix_duration` (ms). Mouse tracking has one file per image with
    `subj`, `coord` (row and column, from 1) and `order`.

    Args:
        source: folder with `fixations.mat` or the mouse files, and pictures somewhere
            below it.
        kind: eye movements or mouse tracking.
        images: folder of the pictures, where they are elsewhere.

    Raises:
        DataError: another layout, or a damaged file.

    Example:
        >>> read("no/such/folder")
        Traceback (most recent call last):
        deepgaze_jax.errors.DataError: no/such/folder: no such folder; expected one \
with fixations.mat
    """
    folder = require_folder(source, "fixations.mat")
    files = list_files(folder)
    mouse = {
        Path(name).stem: file
        for name, file in files.items()
        if re.fullmatch(r"\d+\.mat", name.rpartition("/")[2])
    }
    table = ScanpathTable()
    if kind == "eye":
        named = [f for n, f in files.items() if n.rpartition("/")[2] == "fixations.mat"]
        if not named:
            raise DataError(
                f"{folder}: has no fixations.mat; found {contents(folder)}; give the "
                "folder eye/ of OSIE, or another format or kind (--kind mouse)"
            )
        names, n_subjects = _add_eye(named[0], table)
        conventions = ("coordinates are taken as they are, counting from 0",)
        if mouse:
            were = counted(len(mouse), "file", "files")
            conventions += (f"{were} of mouse tracking left out (--kind mouse)",)
    else:
        if not mouse:
            raise DataError(
                f"{folder}: has no mouse tracking, <number>.mat; found "
                f"{contents(folder)}; give its folder, or --kind eye"
            )
        names = [f"{stem}.jpg" for stem in sorted(mouse)]
        n_subjects = _add_mouse([mouse[stem] for stem in sorted(mouse)], table)
        conventions = ("mouse points are [row, column] from 1: swapped, 1 subtracted",)
    fixations, extra = table.columns()
    files = list_files(Path(images)) if images else files
    pictures = picture_files(files.values())
    return Recording(
        name="osie",
        image_names=tuple(names),
        image_sizes=np.tile(SIZE, (len(names), 1)),
        image_files=find_pictures(names, pictures),
        fixations=fixations,
        subject_names=tuple(map(str, range(n_subjects))),
        meta=Meta(
            format="osie",
            edition="2014" if kind == "eye" else "2014, mouse tracking",
            kind="fixations" if kind == "eye" else "mouse samples",
            citation=_CITATION,
            licence="MIT",
            conventions=conventions,
            found={"images": len(names), "rows": len(fixations)},
        ),
        pixels_per_dva=np.full(len(names), PIXELS_PER_DVA),
        extra=extra,
    )


def _add_eye(file: SourceFile, table: ScanpathTable) -> tuple[list[str], int]:
    """Add all scanpaths; returns the names of the images, the number of subjects."""
    cell = read_mat(file, ("fixations",))["fixations"]
    names: list[str] = []
    n_subjects = 0
    for index, entry in enumerate(cell if isinstance(cell, list) else []):
        entry = _only(entry)
        if not isinstance(entry, dict) or not {"img", "subjects"} <= set(entry):
            raise DataError(
                f"{file.where}: entry {index} has no img and subjects; expected OSIE's "
                "fixations, a cell of structs: fetch it again"
            )
        names.append(str(entry["img"]))
        n_subjects = max(n_subjects, len(entry["subjects"]))
        for subject, scanpath in enumerate(entry["subjects"]):
            scanpath = _only(scanpath)
            columns = {}
            for key in ("fix_x", "fix_y", "fix_duration"):
                where = f"{file.where}: {key} of subject {subject} on {names[-1]}"
                if not isinstance(scanpath, dict) or key not in scanpath:
                    raise DataError(f"{where} is missing; fetch the file again")
                columns[key] = row_of_numbers(scanpath[key], where)
            table.add(
                index,
                subject,
                columns["fix_x"],
                columns["fix_y"],
                duration_ms=columns["fix_duration"],
            )
    return names, n_subjects


def _add_mouse(files: list[SourceFile], table: ScanpathTable) -> int:
    """Add all mouse traces; returns the number of subjects."""
    n_subjects = 0
    for image, file in enumerate(files):
        entry = _only(read_mat(file, ("fixations",))["fixations"])
        if not isinstance(entry, dict) or not {"subj", "coord", "order"} <= set(entry):
            raise DataError(
                f"{file.where}: has no subj, coord and order; expected the mouse "
                "tracking of OSIE: fetch it again"
            )
        subject = row_of_numbers(entry["subj"], file.where).astype(np.int64)
        order = row_of_numbers(entry["order"], file.where)
        coord = np.asarray(entry["coord"], np.float64)
        if coord.shape != (len(subject), 2) or len(order) != len(subject):
            raise DataError(
                f"{file.where}: subj, coord and order have different lengths; fetch it "
                "again"
            )
        for number in np.unique(subject):
            rows = np.flatnonzero(subject == number)
            rows = rows[np.argsort(order[rows], kind="stable")]
            table.add(image, number - 1, coord[rows, 1] - 1, coord[rows, 0] - 1)
        n_subjects = max(n_subjects, int(subject.max(initial=0)))
    return n_subjects


def _only(value: Value) -> Value:
    """Returns the one element of a list of one."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value
