"""FIGRIM as its authors publish it, in `allImages_{release,fillers}.mat`."""

from pathlib import Path

import numpy as np

from deepgaze_jax.datasets.mat_files import Value, read_mat
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
from deepgaze_jax.datasets.wording import contents
from deepgaze_jax.errors import DataError

__all__ = ["PRESENTATIONS", "read"]

#: Each target was shown up to three times: first, second and third presentation.
PRESENTATIONS = ("enc", "rec", "rec2")

_PARTS = {"allImages_release.mat": "targets", "allImages_fillers.mat": "fillers"}
_SIZE = (1000, 1000)
_CITATION = (
    "Bylinskii, Isola, Bainbridge, Torralba & Oliva (2015). Intrinsic and extrinsic "
    "effects on image memorability. Vision Research 116:165-178"
)


def read(
    source: str | Path,
    *,
    presentations: tuple[str, ...] = PRESENTATIONS,
    images: str | Path | None = None,
) -> Recording:
    """Returns FIGRIM: targets and fillers of a memory task, 1000 x 1000 pixels.

    `allImages(i).userdata(j).fixations` has `enc`, `rec` and `rec2`, each [n, 2], x and
    y. Userdata j is the same person in every image of one file, but another one in the
    other file, so that subjects are told by their `RECORDING_SESSION_LABEL`.

    Args:
        source: folder with one or both `.mat` files, and pictures somewhere below it.
        presentations: which presentations to read; a column `presentation` of the rows
            says which one each is of, and counting goes on from one to the next.
        images: folder of the pictures, where they are elsewhere.

    Raises:
        DataError: another layout, or a damaged file.

    Example:
        >>> read("no/such/folder")
        Traceback (most recent call last):
        deepgaze_jax.errors.DataError: no/such/folder: no such folder; expected one \
with allImages_release.mat
    """
    folder = require_folder(source, "allImages_release.mat")
    unknown = [name for name in presentations if name not in PRESENTATIONS]
    if unknown or not presentations:
        raise DataError(
            f"{unknown} are no presentations of FIGRIM; choose from "
            f"{', '.join(PRESENTATIONS)}"
        )
    files = list_files(folder)
    table, names, splits, found = ScanpathTable(), [], [], {}
    subject_of: dict[str, int] = {}
    for file_name, part in _PARTS.items():
        matching = [f for n, f in files.items() if n.rpartition("/")[2] == file_name]
        if matching:
            where = matching[0].where
            entries = _entries(matching[0])
            first = len(names)
            names += [str(entry["impath"]) for entry in entries]
            splits += [part] * len(entries)
            found[part] = len(entries)
            found[f"rows of {part}"] = sum(
                _add(table, first + i, entry, presentations, subject_of, where)
                for i, entry in enumerate(entries)
            )
    if not names:
        raise DataError(
            f"{folder}: has neither {' nor '.join(_PARTS)}; found {contents(folder)}; "
            "give the folder of FIGRIM that they are below"
        )
    pictures = picture_files((list_files(Path(images)) if images else files).values())
    fixations, extra = table.columns()
    return Recording(
        name="figrim",
        image_names=tuple(names),
        image_sizes=np.tile(_SIZE, (len(names), 1)),
        image_files=find_pictures(names, pictures),
        fixations=fixations,
        subject_names=tuple(subject_of),
        meta=Meta(
            format="figrim",
            edition=" and ".join(sorted({*splits}, reverse=True)),
            citation=_CITATION,
            conventions=(
                "a memory task: targets were shown up to three times "
                f"(presentations read: {', '.join(presentations)})",
                "coordinates are taken as they are, counting from 0",
                "the first fixation of a presentation is on the cross at the middle",
            ),
            found={**found, "images": len(names), "rows": len(fixations)},
        ),
        splits=tuple(splits),
        extra=extra,
    )


def _entries(file: SourceFile) -> list[dict[str, Value]]:
    entries = read_mat(file, ("allImages",))["allImages"]
    if not isinstance(entries, list) or not all(
        isinstance(entry, dict) and {"impath", "userdata"} <= set(entry)
        for entry in entries
    ):
        raise DataError(
            f"{file.where}: allImages has no impath and userdata; fetch it again"
        )
    return entries


def _add(
    table: ScanpathTable,
    image: int,
    entry: dict[str, Value],
    presentations: tuple[str, ...],
    subject_of: dict[str, int],
    where: str,
) -> int:
    """Add the scanpaths of an image; returns the number of rows."""
    n_rows = 0
    for number, user in enumerate(entry["userdata"]):
        shown = user.get("fixations")
        if not isinstance(shown, list) or not shown:
            continue  # This subject did not see this image.
        label = str(user.get("RECORDING_SESSION_LABEL") or f"userdata {number + 1}")
        for name in presentations:
            points = np.asarray(shown[0].get(name, np.zeros((0, 2))), np.float64)
            if not points.size:
                continue
            if points.ndim != 2 or points.shape[1] != 2:
                raise DataError(
                    f"{where}: {name} of subject {label} on {entry['impath']} has "
                    f"the shape {list(points.shape)}; expected [n, 2]: fetch it again"
                )
            subject = subject_of.setdefault(label, len(subject_of))
            table.add(image, subject, points[:, 0], points[:, 1], presentation=name)
            n_rows += len(points)
    return n_rows
