"""A data set in a folder: `images/`, `fixations.csv` and, if wanted, `images.csv`.

`fixations.csv` has the columns image, subject, fixation_index, x, y and perhaps
duration_ms; `images.csv` has image and perhaps width and height, pixels_per_dva. Other
columns are ignored. Tables are UTF-8 with commas and decimal points.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from deepgaze_jax.datasets.picture_sources import (
    FilePictures,
    PicturePart,
    PictureSource,
)
from deepgaze_jax.datasets.pictures import picture_names, picture_size
from deepgaze_jax.datasets.tables import numbers, read_table, refuse_first
from deepgaze_jax.datasets.wording import contents
from deepgaze_jax.errors import DataError
from deepgaze_jax.fixations import Fixations
from deepgaze_jax.images import load_image

__all__ = ["FixationDataset", "read_folder", "read_images_table"]

_FIXATION_COLUMNS = ("image", "subject", "fixation_index", "x", "y")


@dataclass(frozen=True, eq=False)
class FixationDataset:
    """Images with the fixations on them.

    Attributes:
        name: what the data set is called in results.
        root: the folder, or where the records of a TFDS data set are.
        image_names: file names below `images/`; their order is the image index.
        image_sizes: int64 [n_images, 2], height and width in pixels, EXIF-upright.
        pixels_per_dva: float64 [n_images], pixels per degree of visual angle, or None
            where unknown.
        fixations: all fixations, with image and subject as indices.
        subject_names: what each subject is called in the table.
        pictures: what returns the bytes of a picture's file; all who want a picture
            ask it, since there need not be a file.
        file_sizes: int64 [n_images, 2], sizes of the pictures as they are, where
            `image_sizes` and fixations are of resized ones, see `unified_sizes`.
    """

    name: str
    root: Path
    image_names: tuple[str, ...]
    image_sizes: np.ndarray
    pixels_per_dva: np.ndarray | None
    fixations: Fixations
    subject_names: tuple[str, ...]
    pictures: PictureSource
    file_sizes: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.image_names)

    def select(self, images: Sequence[int]) -> "FixationDataset":
        """Returns some of the images, with the fixations on them.

        Args:
            images: indices, each once; their order is that of the result.

        Returns:
            A data set of the same name, whose images are numbered anew; subjects keep
            their numbers.
        """
        chosen = np.asarray(images, np.int64)
        number = np.full(len(self), -1)
        number[chosen] = np.arange(len(chosen))
        own = self.fixations.of_images(chosen)
        scales, sizes = self.pixels_per_dva, self.file_sizes
        return replace(
            self,
            image_names=tuple(self.image_names[k] for k in chosen),
            image_sizes=self.image_sizes[chosen],
            pixels_per_dva=None if scales is None else scales[chosen],
            fixations=replace(own, image=number[own.image]),
            pictures=PicturePart(self.pictures, tuple(chosen.tolist())),
            file_sizes=None if sizes is None else sizes[chosen],
        )

    def image_path(self, index: int) -> Path:
        """Returns the file of a picture, for data sets that consist of files.

        Raises:
            DataError: the pictures are in records; `pictures` returns their bytes.
        """
        if not isinstance(self.pictures, FilePictures):
            raise DataError(
                f"{self.pictures.where(index)}: is in a record and has no file of its "
                "own; take its bytes: pictures.read_bytes"
            )
        return self.pictures.path(index)

    def image(self, index: int) -> np.ndarray:
        """Returns a picture, float32 [height, width, 3], RGB 0..255.

        Raises:
            InputError: it is not a readable picture.
            DataError: it has another size than the data set states.
        """
        image = load_image(
            self.pictures.read_bytes(index), name=self.pictures.where(index)
        )
        self._check_size(index, image.shape[0], image.shape[1])
        return image

    def check_image_files(self) -> None:
        """Returns nothing if every picture has the stated size, as its header says.

        Of a file only the beginning is read, so that a picture whose rest is cut off
        passes. `validation.validate` decodes every picture once and finds those; an
        import and a build run it, and so does `deepgaze data validate`.

        Raises:
            InputError: a picture is not there.
            DataError: one is unreadable or has another size.
        """
        for index in range(len(self)):
            with self.pictures.open(index) as file:
                size = picture_size(file, self.pictures.where(index))
            self._check_size(index, *size)

    def _check_size(self, index: int, height: int, width: int) -> None:
        sizes = self.image_sizes if self.file_sizes is None else self.file_sizes
        stated_height, stated_width = sizes[index]
        if (height, width) != (stated_height, stated_width):
            raise DataError(
                f"{self.pictures.where(index)}: is {width} x {height} pixels, but the "
                f"data set states {stated_width} x {stated_height}; correct "
                "images.csv, or restore the picture that the fixations were recorded on"
            )


def read_folder(
    path: str | Path, *, allow_missing_images: bool = False
) -> FixationDataset:
    """Returns the data set in a folder, checked as a whole.

    The order of the images is that of `images.csv`; without it, file names sorted
    bytewise. Subjects are numbered in order of appearance. Pictures are not decoded
    here; sizes are read from their headers only where `images.csv` does not have them.

    Args:
        path: folder with `images/`, `fixations.csv` and perhaps `images.csv`.
        allow_missing_images: accept images that `images.csv` lists with their sizes
            but that are not in `images/`; reading one of them is an error then.

    Raises:
        DataError: one line that names the file, the line in it where that makes sense,
            what was found and what to do.

    Example:
        >>> read_folder("no/such/folder")
        Traceback (most recent call last):
        deepgaze_jax.errors.DataError: no/such/folder: no such folder; expected images/\
 and fixations.csv in it
    """
    root = Path(path)
    if not root.is_dir():
        kind = "is not a folder" if root.exists() else "no such folder"
        raise DataError(f"{root}: {kind}; expected images/ and fixations.csv in it")
    for part in ("images", "fixations.csv"):
        there = root / part
        if not (there.is_dir() if part == "images" else there.is_file()):
            raise DataError(
                f"{root}: has no {part}; found {contents(root)}; expected images/ and "
                "fixations.csv: add it, or import other layouts (deepgaze data import)"
            )
    table = root / "images.csv"
    if table.is_file():
        names, sizes, pixels_per_dva = read_images_table(table, allow_missing_images)
    else:
        names, sizes, pixels_per_dva = _list_pictures(root / "images"), None, None
    if sizes is None:
        sizes = np.array([picture_size(root / "images" / name) for name in names])
    source = table.name if table.is_file() else "images/"
    fixations, subjects = _read_fixations(root / "fixations.csv", names, sizes, source)
    return FixationDataset(
        name=root.resolve().name,
        root=root,
        image_names=names,
        image_sizes=_read_only(sizes.astype(np.int64)),
        pixels_per_dva=pixels_per_dva,
        fixations=fixations,
        subject_names=subjects,
        pictures=FilePictures(root / "images", names),
    )


def _read_only(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)
    return array


# --- images ---------------------------------------------------------------------------


def read_images_table(
    path: Path, allow_missing_images: bool
) -> tuple[tuple[str, ...], np.ndarray | None, np.ndarray | None]:
    """Returns names, sizes (or None) and pixels_per_dva (or None) of images.csv.

    Args:
        path: the table; pictures are in `images/` beside it.
        allow_missing_images: accept images that are not there, if their sizes are.

    Raises:
        DataError: see `read_folder`.
    """
    line_of: dict[str, int] = {}
    pieces: dict[str, list[np.ndarray]] = {}
    for lines, columns in read_table(path, ("image",)):
        for name, line in zip(columns["image"], lines, strict=True):
            _check_image_name(name, f"{path} line {line}")
            if name in line_of:
                raise DataError(
                    f"{path} line {line}: image {name!r} is listed again (first in "
                    f"line {line_of[name]}); list each image once"
                )
            line_of[name] = line
        for column in ("width", "height", "pixels_per_dva"):
            if column in columns:
                values = numbers(path, column, columns[column], lines)
                whole = np.floor(values) == values
                good = (values > 0) & np.isfinite(values)
                if column != "pixels_per_dva":
                    good &= whole & (values < 2**31)
                kind = "number" if column == "pixels_per_dva" else "whole number"
                refuse_first(path, column, columns[column], lines, good, kind)
                pieces.setdefault(column, []).append(values)
    if not line_of:
        raise DataError(f"{path}: has no images below its header; add one row for each")
    if ("width" in pieces) != ("height" in pieces):
        raise DataError(f"{path}: has only one of width and height; add the other")
    if not (allow_missing_images and "width" in pieces):
        _check_files_exist(path, line_of)
    joined = {column: np.concatenate(parts) for column, parts in pieces.items()}
    sizes = None
    if "width" in joined:
        sizes = np.stack([joined["height"], joined["width"]], axis=1).astype(np.int64)
    pixels_per_dva = joined.get("pixels_per_dva")
    if pixels_per_dva is not None:
        _read_only(pixels_per_dva)
    return tuple(line_of), sizes, pixels_per_dva


def _check_image_name(name: str, where: str) -> None:
    """Refuses names that could lead out of images/."""
    parts = name.split("/")
    tricky = "\\" in name or "\0" in name or re.match(r"[A-Za-z]:", name)
    if tricky or any(part in ("", ".", "..") for part in parts):
        raise DataError(
            f"{where}: image {name!r} is not a plain file name below images/; write "
            "it without a leading folder, backslash, drive or '..'"
        )


def _check_files_exist(table: Path, line_of: dict[str, int]) -> None:
    images = table.parent / "images"
    missing = [name for name in line_of if not (images / name).is_file()]
    if not missing:
        return
    first = missing[0]
    there = {name.lower(): name for name in picture_names(images)}
    found = there.get(first.lower().removeprefix("images/"))
    hint = f"there is {found!r}: write that" if found else "add it or remove the row"
    raise DataError(
        f"{table} line {line_of[first]}: image {first!r} is not in images/ "
        f"({len(missing)} of {len(line_of)} are missing); {hint}"
    )


def _list_pictures(images: Path) -> tuple[str, ...]:
    names = tuple(picture_names(images))
    if not names:
        raise DataError(f"{images}: holds no pictures; put them there")
    return names


# --- fixations ------------------------------------------------------------------------


def _read_fixations(
    path: Path, names: tuple[str, ...], sizes: np.ndarray, names_from: str
) -> tuple[Fixations, tuple[str, ...]]:
    image_of = {name: index for index, name in enumerate(names)}
    subject_of: dict[str, int] = {}
    unknown: dict[str, int] = {}
    pieces: dict[str, list] = {}
    for lines, columns in read_table(path, _FIXATION_COLUMNS):
        for name, line in zip(columns["image"], lines, strict=True):
            if name not in image_of:
                unknown.setdefault(name, line)
        named = np.array([subject != "" for subject in columns["subject"]])
        refuse_first(path, "subject", columns["subject"], lines, named, "name")
        for subject in columns["subject"]:
            subject_of.setdefault(subject, len(subject_of))
        index = numbers(path, "fixation_index", columns["fixation_index"], lines)
        whole = (np.floor(index) == index) & (index >= 0) & (index < 2**31)
        texts = columns["fixation_index"]
        refuse_first(path, "fixation_index", texts, lines, whole, "whole number from 0")
        values = {
            "line": np.array(lines),
            "image": [image_of.get(name, -1) for name in columns["image"]],
            "subject": [subject_of[name] for name in columns["subject"]],
            "fixation_index": index,
            "x": numbers(path, "x", columns["x"], lines),
            "y": numbers(path, "y", columns["y"], lines),
        }
        if "duration_ms" in columns:
            durations = [text or "nan" for text in columns["duration_ms"]]
            values["duration_ms"] = numbers(path, "duration_ms", durations, lines)
        for column, piece in values.items():
            pieces.setdefault(column, []).append(np.asarray(piece))
    if not pieces:
        raise DataError(f"{path}: has no fixations below its header; add one per row")
    if unknown:
        name, line = next(iter(unknown.items()))
        raise DataError(
            f"{path} line {line}: image {name!r} is not in {names_from} "
            f"({len(unknown)} unknown names in all); write the file's name as it is "
            "below images/, add the image, or remove its fixations"
        )
    joined = {column: np.concatenate(parts) for column, parts in pieces.items()}
    line = joined.pop("line")
    fixations = Fixations(**joined)
    problems = []
    for problem in fixations.problems(sizes):
        row = problem.first_row
        where = f"in line {line[row]}, {names[fixations.image[row]]}"
        problems.append(fixations.describe(problem, where))
    if problems:
        raise DataError(f"{path}: {'; '.join(problems)}")
    return fixations, tuple(subject_of)
