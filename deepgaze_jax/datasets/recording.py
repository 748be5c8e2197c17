"""What every reader returns: images, the fixations on them, and what is known of both.

A recording is as its authors published it: it may have defects, and pictures may be
missing. `validation` looks for them, `cleaning` removes those that may be removed, and
`writing` makes a data folder of it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from deepgaze_jax.datasets.pictures import picture_size
from deepgaze_jax.errors import DataError
from deepgaze_jax.fixations import Fixations

__all__ = [
    "ImageFile",
    "Meta",
    "Recording",
    "ScanpathTable",
    "fill_image_sizes",
    "find_pictures",
    "match_images",
    "running_index",
    "subjects_in_order",
    "to_milliseconds",
]

#: Returns the bytes of a picture file; None where the picture is not there.
ImageFile = Callable[[], bytes] | None


@dataclass(frozen=True)
class Meta:
    """Where a recording comes from and how it was read.

    Attributes:
        format: name of the reader.
        edition: which edition or part of the data set, where there are several.
        kind: what a row is: `fixations`, `mouse samples`, or `fixation maps` (pixels
            that somebody looked at: no subjects, no order, repeated looks lost).
        citation: the paper to cite.
        licence: as the authors state it.
        conventions: what was assumed or changed in reading, one sentence each.
        found: counts of what the files hold.
        dropped: counts of rows that were left out, by reason.
        published: what was found and what the authors published, for built data sets.
        origin_stated: the format, or the user, says where coordinates count from.
    """

    format: str
    edition: str = ""
    kind: str = "fixations"
    citation: str = ""
    licence: str = "not stated"
    conventions: tuple[str, ...] = ()
    found: Mapping[str, int] = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=dict)
    published: Mapping[str, Any] = field(default_factory=dict)
    origin_stated: bool = True

    def noting(
        self, *conventions: str, dropped: Mapping[str, int] | None = None
    ) -> "Meta":
        """Returns a copy with more conventions and more dropped rows.

        Example:
            >>> Meta("table").noting("y points up", dropped={"NaN": 2}).dropped
            {'NaN': 2}
        """
        total = dict(self.dropped)
        for reason, count in (dropped or {}).items():
            if count:
                total[reason] = total.get(reason, 0) + count
        return replace(
            self, conventions=(*self.conventions, *conventions), dropped=total
        )


@dataclass(frozen=True, eq=False)
class Recording:
    """Images with the fixations on them, as a reader found them.

    Attributes:
        name: what the data set is called.
        image_names: plain file names with `/` between folders; their order is the
            image index.
        image_sizes: int64 [n_images, 2], height and width in pixels; 0 if unknown.
        image_files: for each image what returns its bytes, or None.
        fixations: all rows; image and subject are indices. Coordinates count from 0,
            in pixels of the image.
        subject_names: what each subject is called.
        meta: provenance and conventions.
        pixels_per_dva: float64 [n_images], or None where unknown.
        splits: the part each image belongs to where the authors define parts.
        extra: further columns of the rows, [n] each: `start_ms`, `presentation`.
    """

    name: str
    image_names: tuple[str, ...]
    image_sizes: np.ndarray
    image_files: tuple[ImageFile, ...]
    fixations: Fixations
    subject_names: tuple[str, ...]
    meta: Meta
    pixels_per_dva: np.ndarray | None = None
    splits: tuple[str, ...] | None = None
    extra: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n_images, n_rows = len(self.image_names), len(self.fixations)
        sizes = np.asarray(self.image_sizes, np.int64).reshape(-1, 2)
        object.__setattr__(self, "image_sizes", sizes)
        per_image = {
            "image_sizes": sizes,
            "image_files": self.image_files,
            "pixels_per_dva": self.pixels_per_dva,
            "splits": self.splits,
        }
        given = {n: v for n, v in per_image.items() if v is not None}
        wrong = [name for name, values in given.items() if len(values) != n_images]
        wrong += [name for name, column in self.extra.items() if len(column) != n_rows]
        if wrong:
            raise DataError(
                f"{self.name}: {', '.join(wrong)} do not have one value for each of "
                f"{n_images} images or {n_rows} fixations"
            )

    def select(
        self, rows: Any, dropped: Mapping[str, int] | None = None
    ) -> "Recording":
        """Returns the chosen rows, in the order given.

        Args:
            rows: boolean mask [n] or row numbers.
            dropped: counts for `meta.dropped`, by reason.
        """
        return replace(
            self,
            fixations=self.fixations.select(rows),
            extra={name: column[rows] for name, column in self.extra.items()},
            meta=self.meta.noting(dropped=dropped),
        )

    def scanpath_ids(self) -> np.ndarray:
        """Returns int64 [n], a number for each subject, image and presentation.

        Example:
            >>> fixations = Fixations([0, 0, 1], [0, 1, 1], [0, 0, 0], [0] * 3, [0] * 3)
            >>> Recording("a", ("a", "b"), [[2, 2]] * 2, (None,) * 2, fixations,
            ...           ("s", "t"), Meta("table")).scanpath_ids().tolist()
            [0, 1, 3]
        """
        n_subjects = max(len(self.subject_names), 1)
        ids = self.fixations.image.astype(np.int64) * n_subjects
        ids += self.fixations.subject
        if "presentation" in self.extra:
            kinds, index = np.unique(self.extra["presentation"], return_inverse=True)
            ids = ids * len(kinds) + index
        return ids


class ScanpathTable:
    """Collects scanpaths while files are read, and returns them as columns."""

    def __init__(self) -> None:
        self._pieces: dict[str, list[np.ndarray]] = {}
        self._lengths: list[int] = []
        self._keys: list[tuple[int, int]] = []
        self._next_index: dict[tuple[int, int], int] = {}
        self._starts: list[int] = []

    def add(self, image: int, subject: int, x: Any, y: Any, **columns: Any) -> None:
        """Adds one scanpath; a second one of a subject and image goes on counting.

        Args:
            image: index of the image.
            subject: index of the subject.
            x: pixels from the left, [k].
            y: pixels from the top, [k].
            **columns: `duration_ms` and further columns; one value or [k].

        Raises:
            DataError: columns of different lengths.
        """
        x = np.asarray(x, np.float64).reshape(-1)
        pieces = {"x": x, "y": np.asarray(y, np.float64).reshape(-1)}
        for name, values in columns.items():
            values = np.asarray(values)
            flat = np.full(len(x), values) if values.ndim == 0 else values.reshape(-1)
            pieces[name] = flat
        lengths = {name: len(piece) for name, piece in pieces.items()}
        if len(set(lengths.values())) > 1:
            found = ", ".join(f"{name} {n}" for name, n in lengths.items())
            raise DataError(f"a scanpath has columns of different lengths: {found}")
        if not len(x):
            return
        for name, piece in pieces.items():
            self._pieces.setdefault(name, []).append(piece)
        key = (image, subject)
        first = self._next_index.get(key, 0)
        self._next_index[key] = first + len(x)
        self._lengths.append(len(x))
        self._keys.append(key)
        self._starts.append(first)

    def columns(self) -> tuple[Fixations, dict[str, np.ndarray]]:
        """Returns the fixations, and the further columns."""
        lengths = np.asarray(self._lengths, np.int64)
        keys = np.asarray(self._keys, np.int64).reshape(-1, 2)
        total = int(lengths.sum())
        within = np.arange(total) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        joined = {name: np.concatenate(parts) for name, parts in self._pieces.items()}
        fixations = Fixations(
            np.repeat(keys[:, 0], lengths),
            np.repeat(keys[:, 1], lengths),
            within + np.repeat(np.asarray(self._starts, np.int64), lengths),
            joined.pop("x", np.zeros(0)),
            joined.pop("y", np.zeros(0)),
            joined.pop("duration_ms", None),
        )
        return fixations, joined


def running_index(image: np.ndarray, subject: np.ndarray) -> np.ndarray:
    """Returns for each row how many of its image and subject come before it, int64 [n].

    Example:
        >>> running_index(np.array([0, 0, 1, 0]), np.array([0, 1, 0, 0])).tolist()
        [0, 0, 0, 1]
    """
    order = np.lexsort((subject, image))
    new = np.ones(len(order), bool)
    new[1:] = (np.diff(image[order]) != 0) | (np.diff(subject[order]) != 0)
    starts = np.flatnonzero(new)
    lengths = np.diff(np.append(starts, len(order)))
    index = np.empty(len(order), np.int64)
    index[order] = np.arange(len(order)) - np.repeat(starts, lengths)
    return index


def to_milliseconds(values: np.ndarray) -> tuple[np.ndarray, bool]:
    """Returns durations in milliseconds, and whether they were seconds.

    Half of all fixations last longer than 10 ms and less than 10 s, so the median tells
    the two apart.

    Args:
        values: [n], NaN where unknown.

    Example:
        >>> to_milliseconds(np.array([0.2, 0.35, np.nan]))
        (array([200., 350.,  nan]), True)
    """
    known = values[np.isfinite(values)]
    in_seconds = len(known) > 0 and 0 < float(np.median(known)) < 10
    # Rounded, so that 0.246 s are 246 ms and not the next number.
    return (np.round(values * 1000, 6) if in_seconds else values), in_seconds


def match_images(
    wanted: Sequence[str], available: Iterable[str]
) -> tuple[dict[str, str], int]:
    """Returns which available file each wanted name means, and how many were guessed.

    Tried in this order: the name as it is, its file name alone, the same without
    regard to case, and without regard to the ending. A name that several files fit
    means none of them.

    Args:
        wanted: names as a table writes them.
        available: names of picture files.

    Example:
        >>> match_images(["i1", "B.JPG", "c.png"], ["x/i1.jpeg", "b.jpg"])
        ({'i1': 'x/i1.jpeg', 'B.JPG': 'b.jpg'}, 2)
    """
    names = list(available)
    exact = set(names)

    def file_name(name: str) -> str:
        return name.replace("\\", "/").rpartition("/")[2]

    keys: tuple[Callable[[str], str], ...] = (
        file_name,
        lambda name: file_name(name).lower(),
        lambda name: file_name(name).lower().rsplit(".", 1)[0],
    )
    tables = []
    for key in keys:
        table: dict[str, str | None] = {}
        for name in names:
            table[key(name)] = None if key(name) in table else name
        tables.append(table)
    matched, n_guessed = {}, 0
    for name in dict.fromkeys(wanted):
        if name in exact:
            matched[name] = name
            continue
        for key, table in zip(keys, tables, strict=True):
            if found := table.get(key(name)):
                matched[name] = found
                n_guessed += key is not keys[0]
                break
    return matched, n_guessed


def find_pictures(
    names: Sequence[str], pictures: Mapping[str, ImageFile]
) -> tuple[ImageFile, ...]:
    """Returns for each name what reads its picture, or None where there is none.

    Args:
        names: of images, matched as in `match_images`.
        pictures: what reads each picture that is there, by name.
    """
    matched, _ = match_images(names, pictures)
    return tuple(pictures[matched[n]] if n in matched else None for n in names)


def fill_image_sizes(
    names: Sequence[str],
    files: Sequence[ImageFile],
    known: Mapping[str, tuple[int, int]] | tuple[int, int] | None = None,
) -> np.ndarray:
    """Returns [n_images, 2], height and width: stated, else of the picture, else 0.

    A picture that cannot be read counts as one without a size; `validation` reports it.

    Args:
        names: of the images.
        files: what returns their bytes, or None.
        known: (height, width) of all images, or of some by name.
    """
    sizes = np.zeros((len(names), 2), np.int64)
    for index, (name, file) in enumerate(zip(names, files, strict=True)):
        stated = known.get(name) if isinstance(known, Mapping) else known
        if stated is not None:
            sizes[index] = stated
        elif file is not None:
            try:
                sizes[index] = picture_size(file(), name)
            except DataError:
                continue
    return sizes


def subjects_in_order(
    subject: np.ndarray, names: Sequence[str]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Returns subjects numbered as they appear, and their names; unused ones go.

    Args:
        subject: int [n], index into `names` of each row.
        names: of all subjects.

    Example:
        >>> subjects_in_order(np.array([2, 0, 2]), ("a", "b", "c"))
        (array([0, 1, 0]), ('c', 'a'))
    """
    used, first, inverse = np.unique(subject, return_index=True, return_inverse=True)
    order = np.argsort(first)
    return np.argsort(order)[inverse], tuple(names[i] for i in used[order])
