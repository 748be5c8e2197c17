"""SALICON in its editions: `.mat` files of 2015 and 2017, and the JSON of 2014."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from deepgaze_jax.datasets.mat_files import read_mat
from deepgaze_jax.datasets.recording import (
    ImageFile,
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
from deepgaze_jax.errors import DataError, InputError

__all__ = ["read"]

_SIZE = (480, 640)
_SPLITS = ("train", "val", "test")
_CITATION = "Jiang, Huang, Duan & Zhao (2015). SALICON: Saliency in Context. CVPR 2015"


def read(
    source: str | Path,
    *,
    edition: Literal["2015", "2017"] | None = None,
    kind: Literal["mouse", "fixations"] = "fixations",
    split: Literal["train", "val"] | None = None,
    axes: Literal["row-column", "x-y"] = "row-column",
    images: str | Path | None = None,
) -> Recording:
    """Returns SALICON: mouse-contingent viewing of COCO images of 640 x 480 pixels.

    The `.mat` files have one struct array `gaze` with an element per subject:
    `location` [n, 2] and `timestamp` (ms) are mouse samples, `fixations` [m, 2] what
    the authors made of them; x and y from 1. The JSON of 2014 has [row, column] from 1,
    mouse samples, and worker numbers.

    Args:
        source: folder with `train/*.mat` and `val/*.mat`, or with JSON files, and
            pictures somewhere below it.
        edition: of `.mat` files; they do not say it themselves.
        kind: of `.mat` files: mouse samples or fixations.
        split: only this part; all that are there if left out.
        axes: how the JSON's pairs are read. They are [row, column]; the other reading
            exists to see what it looks like.
        images: folder of the pictures, where they are elsewhere.

    Raises:
        InputError: `.mat` files, and no edition stated.
        DataError: another layout, or a damaged file.

    Example:
        >>> read("no/such/folder")
        Traceback (most recent call last):
        deepgaze_jax.errors.DataError: no/such/folder: no such folder; expected one \
with train/*.mat or annotations/*.json
    """
    folder = require_folder(source, "train/*.mat or annotations/*.json")
    files = list_files(folder)
    pictures = picture_files((list_files(Path(images)) if images else files).values())
    matlab = {n: f for n, f in files.items() if n.lower().endswith(".mat")}
    tables = {n: f for n, f in files.items() if n.lower().endswith(".json")}
    if matlab:
        if edition is None:
            raise InputError(
                f"{folder}: SALICON exists in editions that its .mat files do not tell "
                "apart; state which this is: --edition 2015 or 2017"
            )
        return _read_mat_files(matlab, pictures, edition, kind, split)
    if tables:
        return _read_json_files(tables, pictures, split, axes)
    raise DataError(
        f"{folder}: holds neither .mat nor .json files of SALICON; found "
        f"{contents(folder)}; give the folder that train/ and val/, or annotations/, "
        "are in"
    )


def _read_mat_files(
    files: Mapping[str, SourceFile],
    pictures: Mapping[str, ImageFile],
    edition: str,
    kind: str,
    split: str | None,
) -> Recording:
    names, splits, table = [], [], ScanpathTable()
    field = "location" if kind == "mouse" else "fixations"
    n_subjects = n_clipped = 0
    for name in sorted(files):
        part = _split_of(name)
        if split in (None, part):
            image = len(names)
            names.append(f"{Path(name).stem}.jpg")
            splits.append(part)
            gaze = read_mat(files[name], ("gaze",))["gaze"]
            if not isinstance(gaze, list):
                raise DataError(
                    f"{files[name].where}: gaze is not an array of structs; fetch it "
                    "again"
                )
            for number, person in enumerate(gaze):
                where = f"{files[name].where}: {field} of subject {number + 1}"
                points = _points(person, field, where) - 1
                extra = {}
                if kind == "mouse":
                    times = np.asarray(person.get("timestamp", []), np.float64)
                    extra["start_ms"] = times.reshape(-1)
                if kind == "mouse" and edition == "2017":
                    # Convention: samples of this edition are moved into the image.
                    inside = np.clip(points, 0, (_SIZE[1] - 1, _SIZE[0] - 1))
                    n_clipped += int((inside != points).any(axis=1).sum())
                    points = inside
                table.add(image, number, points[:, 0], points[:, 1], **extra)
            n_subjects = max(n_subjects, len(gaze))
    conventions = ["x, y from 1 in the files: 1 was subtracted"]
    conventions.append("subjects are numbered anew on every image: no identities")
    if kind == "mouse" and edition == "2017":
        conventions.append(f"{n_clipped} samples were moved into the image")
    fixations, extra = table.columns()
    return Recording(
        name="salicon",
        image_names=tuple(names),
        image_sizes=np.tile(_SIZE, (len(names), 1)),
        image_files=find_pictures(names, pictures),
        fixations=fixations,
        subject_names=tuple(map(str, range(n_subjects))),
        meta=Meta(
            format="salicon",
            edition=f"{edition}, {kind}",
            kind="mouse samples" if kind == "mouse" else "fixations",
            citation=_CITATION,
            conventions=tuple(conventions),
            found={"images": len(names), "rows": len(fixations)},
        ),
        splits=tuple(splits) if any(splits) else None,
        extra=extra,
    )


def _points(person: Any, field: str, where: str) -> np.ndarray:
    """Returns [n, 2]; integer types occur, and no points at all."""
    if not isinstance(person, dict) or field not in person:
        keys = ", ".join(person) if isinstance(person, dict) else "no struct"
        raise DataError(
            f"{where} is missing; found {keys}; choose the other --kind, or fetch it "
            "again"
        )
    points = np.asarray(person[field], np.float64)
    if points.size == 0:
        return np.zeros((0, 2))
    if points.ndim != 2 or points.shape[1] != 2:
        raise DataError(
            f"{where} has the shape {list(points.shape)}; expected [n, 2], x and y: "
            "fetch it again"
        )
    return points


def _read_json_files(
    files: Mapping[str, SourceFile],
    pictures: Mapping[str, ImageFile],
    split: str | None,
    axes: str,
) -> Recording:
    names, sizes, splits, table = [], [], [], ScanpathTable()
    subject_of: dict[Any, int] = {}
    editions, n_annotations = [], 0
    for name in sorted(files):
        part = _split_of(name)
        if split not in (None, part):
            continue
        document = _document(files[name])
        info = document.get("info") or {}
        editions.append(
            f"{info.get('year', '2014')} version {info.get('version', '?')}"
        )
        image_of = {}
        for image in document["images"]:
            image_of[image["id"]] = len(names)
            names.append(str(image["file_name"]))
            sizes.append((image["height"], image["width"]))
            splits.append(part)
        # A test part has no annotations.
        for annotation in document.get("annotations", []):
            n_annotations += 1
            subject = subject_of.setdefault(annotation["worker_id"], len(subject_of))
            pairs = np.asarray(annotation["fixations"], np.float64).reshape(-1, 2) - 1
            y, x = pairs.T if axes == "row-column" else pairs.T[::-1]
            table.add(image_of[annotation["image_id"]], subject, x, y)
    fixations, extra = table.columns()
    reading = "[row, column]" if axes == "row-column" else "[x, y] (on demand)"
    return Recording(
        name="salicon",
        image_names=tuple(names),
        image_sizes=np.array(sizes, np.int64).reshape(-1, 2),
        image_files=find_pictures(names, pictures),
        fixations=fixations,
        subject_names=tuple(map(str, subject_of)),
        meta=Meta(
            format="salicon",
            edition=f"JSON of {', '.join(sorted(set(editions)))}, mouse",
            kind="mouse samples",
            citation=_CITATION,
            conventions=(f"pairs are {reading} from 1: 1 was subtracted",),
            found={
                "images": len(names),
                "annotations": n_annotations,
                "rows": len(fixations),
            },
        ),
        splits=tuple(splits) if any(splits) else None,
        extra=extra,
    )


def _document(file: SourceFile) -> dict[str, Any]:
    """Returns the JSON of a file if it has what is needed."""
    try:
        document = json.loads(file.read())
        for image in document["images"]:
            image["id"], image["file_name"], image["height"], image["width"]
        for annotation in document.get("annotations", []):
            if annotation["image_id"] is None or annotation["worker_id"] is None:
                raise ValueError("an annotation has no image or worker")
            pairs = annotation["fixations"]
            if any(len(pair) != 2 for pair in pairs):
                raise ValueError("a fixation is not a pair")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        line = " ".join(str(error).split())[:120]
        raise DataError(
            f"{file.where}: is not SALICON's JSON of images and annotations ({line}); "
            "fetch it again, or take it out of the folder"
        ) from error
    return document


def _split_of(name: str) -> str:
    """Returns the part that a file is of, told from its folder or name."""
    parts = name.lower().split("/")
    for split in _SPLITS:
        if split in parts or f"_{split}2014" in parts[-1]:
            return split
    return ""
