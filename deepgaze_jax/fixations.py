"""Fixations: where people looked, as columns of equal length.

Points are `x, y` in pixels, to the right and down; pixel i covers [i, i + 1), so a
fixation belongs to pixel `[floor(y), floor(x)]`. Nothing here knows about files.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from deepgaze_jax.errors import DataError, InputError

__all__ = ["FixationProblem", "Fixations"]

_INDEX_COLUMNS = ("image", "subject", "fixation_index")


@dataclass(frozen=True)
class FixationProblem:
    """One kind of defect in a table of fixations.

    Attributes:
        count: number of rows that have it.
        first_row: the first of them, counted from 0.
        what: what is wrong, readable after a number of rows ("3 of 90 fixations ...").
        advice: what to do about it.
    """

    count: int
    first_row: int
    what: str
    advice: str


@dataclass(frozen=True, eq=False)
class Fixations:
    """A read-only table of n fixations, one array per column.

    The columns are copied and cannot be written to afterwards. Construction checks
    what every method relies on (one length, whole numbers for indices); `validate`
    checks the content against the images.

    Attributes:
        image: int32 [n], index of the image.
        subject: int32 [n], index of the person.
        fixation_index: int32 [n], position in the scanpath of this subject on this
            image.
        x: float64 [n], pixels from the left edge.
        y: float64 [n], pixels from the upper edge.
        duration_ms: float32 [n], milliseconds, NaN where unknown (all, if left out).

    Raises:
        InputError: columns of different lengths or not one-dimensional.
        DataError: an index that is not a whole number of 32 bits.

    Example:
        >>> fixations = Fixations([0, 0, 1], [0, 0, 0], [0, 1, 0], [3.5, 1, 2], [0] * 3)
        >>> len(fixations)
        3
        >>> fixations.counts(0, height=2, width=4).tolist()
        [[0.0, 1.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0]]
    """

    image: np.ndarray
    subject: np.ndarray
    fixation_index: np.ndarray
    x: np.ndarray
    y: np.ndarray
    duration_ms: np.ndarray | None = None

    def __post_init__(self) -> None:
        columns = {
            name: _whole_numbers(name, getattr(self, name)) for name in _INDEX_COLUMNS
        }
        columns["x"] = np.array(self.x, np.float64)
        columns["y"] = np.array(self.y, np.float64)
        if self.duration_ms is None:
            columns["duration_ms"] = np.full(columns["x"].shape, np.nan, np.float32)
        else:
            columns["duration_ms"] = np.array(self.duration_ms, np.float32)
        shapes = {name: column.shape for name, column in columns.items()}
        if len(set(shapes.values())) > 1 or columns["x"].ndim != 1:
            found = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
            raise InputError(
                f"fixation columns have the shapes {found}; "
                "expected one-dimensional arrays of one length"
            )
        for name, column in columns.items():
            column.setflags(write=False)
            object.__setattr__(self, name, column)

    def __len__(self) -> int:
        return len(self.x)

    def select(self, rows: Any) -> "Fixations":
        """Returns the chosen rows, in the order given.

        Args:
            rows: boolean mask [n], row numbers, or a slice.

        Returns:
            New fixations; image and subject keep their numbers.

        Example:
            >>> fixations = Fixations([0, 0], [0, 0], [0, 1], [5, 6], [7, 8])
            >>> fixations.select(fixations.fixation_index > 0).x.tolist()
            [6.0]
        """
        return Fixations(
            self.image[rows],
            self.subject[rows],
            self.fixation_index[rows],
            self.x[rows],
            self.y[rows],
            self.duration_ms[rows],
        )

    def of_images(self, indices: Any) -> "Fixations":
        """Returns the fixations on some images; image keeps its numbers.

        Args:
            indices: one image index or several.

        Example:
            >>> fixations = Fixations([4, 5], [0, 0], [0, 0], [1, 2], [3, 4])
            >>> fixations.of_images(5).x.tolist()
            [2.0]
        """
        return self.select(np.isin(self.image, np.atleast_1d(indices)))

    def counts(self, image: int, height: int, width: int) -> np.ndarray:
        """Returns how many fixations fell on each pixel of one image.

        Several fixations on one pixel are all counted.

        Args:
            image: index of the image.
            height: rows of the result; the image's height in pixels.
            width: columns of the result.

        Returns:
            float32 [height, width].

        Raises:
            DataError: a fixation of this image is not a number or out of the frame.

        Example:
            >>> Fixations([0, 0], [0, 1], [0, 0], [1.2, 1.9], [0, 0]).counts(0, 1, 2)
            array([[0., 2.]], dtype=float32)
        """
        on_image = self.image == image
        x, y = self.x[on_image], self.y[on_image]
        # Comparisons with NaN are false, so NaN counts as outside.
        outside = ~((x >= 0) & (x < width) & (y >= 0) & (y < height))
        if outside.any():
            first = int(outside.argmax())
            raise DataError(
                f"{int(outside.sum())} of {len(x)} fixations on image {image} are "
                f"outside its {width} x {height} pixels, first x {x[first]}, "
                f"y {y[first]}; drop them, or check units, origin and axes"
            )
        pixel = y.astype(np.int64) * width + x.astype(np.int64)
        counts = np.bincount(pixel, minlength=height * width)
        return counts.reshape(height, width).astype(np.float32)

    def problems(self, image_sizes: Any) -> tuple[FixationProblem, ...]:
        """Returns every kind of defect, with its count and its first row.

        Looked for: NaN coordinates, fixations out of the frame [0, width) x
        [0, height), coordinates that are all shares between 0 and 1, negative indices,
        images that do not exist, negative or infinite durations, rows that repeat an
        earlier one exactly, and scanpaths (rows of one subject on one image) whose
        fixation_index does not increase.

        Args:
            image_sizes: [n_images, 2], height and width in pixels.

        Raises:
            InputError: image_sizes has another shape.

        Example:
            >>> fixations = Fixations([0, 0], [0, 0], [0, 1], [5, 90], [5, 5])
            >>> (problem,) = fixations.problems([[60, 80]])
            >>> problem.count, problem.first_row, problem.what
            (1, 1, 'are outside the image')
        """
        sizes = _checked_sizes(image_sizes)
        found: list[FixationProblem] = []

        def report(wrong: np.ndarray, what: str, advice: str) -> None:
            if wrong.any():
                row = int(wrong.argmax())
                found.append(FixationProblem(int(wrong.sum()), row, what, advice))

        nan = np.isnan(self.x) | np.isnan(self.y)
        report(nan, "have NaN as x or y", "drop these rows")
        for name in _INDEX_COLUMNS:
            negative = getattr(self, name) < 0
            report(negative, f"have a negative {name}", "count from 0")
        unknown = self.image >= len(sizes)
        report(
            unknown,
            f"are on an image beyond the {len(sizes)} known ones",
            "check image",
        )

        known = ~unknown & (self.image >= 0)
        # The row of zeros stands for images that do not exist (index -1).
        height, width = np.vstack([sizes, [[0, 0]]])[np.where(known, self.image, -1)].T
        x_outside = (self.x < 0) | (self.x >= width)
        y_outside = (self.y < 0) | (self.y >= height)
        outside = known & ~nan & (x_outside | y_outside)
        advice = "drop them, or check units and origin"
        swapped_fits = (
            (self.x >= 0) & (self.x < height) & (self.y >= 0) & (self.y < width)
        )
        if outside.any() and swapped_fits[outside].all():
            advice = "x and y may be swapped: they would fit the other way round"
        elif outside.any() and _one_based(self, outside, width, height):
            advice = "coordinates seem to count from 1: subtract 1"
        report(outside, "are outside the image", advice)
        report(
            np.full(len(self), _normalised(self)),
            "have x and y between 0 and 1",
            "they seem to be shares of width and height: multiply by these",
        )

        duration = self.duration_ms
        report(
            (duration < 0) | np.isinf(duration),
            "have an impossible duration",
            "leave it empty if unknown",
        )
        repeated = self._repeated_rows()
        report(repeated, "repeat an earlier row exactly", "remove the copies")
        report(
            self._not_increasing(~repeated),
            "do not increase fixation_index within their scanpath (subject and image)",
            "sort the rows, or number each scanpath once",
        )
        return tuple(found)

    def check_frame(self, image_sizes: Any) -> None:
        """Returns nothing if every fixation lies in its image; all that scores need.

        Args:
            image_sizes: [n_images, 2], height and width in pixels.

        Raises:
            DataError: a fixation out of the frame (NaN included), or on an image that
                does not exist.
            InputError: image_sizes has another shape.

        Example:
            >>> Fixations([0], [0], [0], [5], [5]).check_frame([[60, 80]])
        """
        sizes = _checked_sizes(image_sizes)
        image, x, y = self.image, self.x, self.y
        if len(self) and not (0 <= image.min() and image.max() < len(sizes)):
            raise DataError(
                f"fixations are on images {image.min()} to {image.max()}; expected 0 "
                f"to {len(sizes) - 1}; run Fixations.validate"
            )
        height, width = sizes[image].T
        outside = ~((x >= 0) & (x < width) & (y >= 0) & (y < height))
        if outside.any():
            row = int(outside.argmax())
            raise DataError(
                f"{int(outside.sum())} of {len(self)} fixations are outside their "
                f"image, first on image {image[row]} at x {x[row]}, y {y[row]}; run "
                "Fixations.validate"
            )

    def validate(self, image_sizes: Any) -> None:
        """Returns nothing if the fixations are sound, else raises with all defects.

        Args:
            image_sizes: [n_images, 2], height and width in pixels.

        Raises:
            DataError: one line with every kind of defect that `problems` finds, how
                many rows have it and what the first one is.
            InputError: image_sizes has another shape.

        Example:
            >>> Fixations([0], [0], [0], [5], [5]).validate([[60, 80]])
        """
        problems = self.problems(image_sizes)
        if problems:
            raise DataError("; ".join(map(self.describe, problems)))

    def describe(self, problem: FixationProblem, where: str | None = None) -> str:
        """Returns a defect in words, with the values of its first row.

        Args:
            problem: one of `problems`.
            where: how to call the first row; its number if left out.

        Example:
            >>> fixations = Fixations([0], [0], [0], [float("nan")], [5])
            >>> fixations.describe(fixations.problems([[60, 80]])[0], "line 2")[:50]
            '1 of 1 fixations have NaN as x or y, first line 2 '
        """
        row = problem.first_row
        where = f"row {row}" if where is None else where
        values = ", ".join(
            f"{name} {getattr(self, name)[row]}" for name in (*_INDEX_COLUMNS, "x", "y")
        )
        return (
            f"{problem.count} of {len(self)} fixations {problem.what}, "
            f"first {where} ({values}): {problem.advice}"
        )

    def _repeated_rows(self) -> np.ndarray:
        """Returns a mask of the rows that equal an earlier one in every column."""
        repeated = np.zeros(len(self), bool)
        columns = (
            self.image,
            self.subject,
            self.fixation_index,
            self.x,
            self.y,
            self.duration_ms,
        )
        # lexsort is stable: of equal rows the earliest comes first.
        order = np.lexsort(columns)
        equal = np.ones(max(len(self) - 1, 0), bool)
        for column in columns:
            later, earlier = column[order[1:]], column[order[:-1]]
            equal &= (later == earlier) | ((later != later) & (earlier != earlier))
        repeated[order[1:][equal]] = True
        return repeated

    def _not_increasing(self, considered: np.ndarray) -> np.ndarray:
        """Returns a mask of the rows whose index is not above the one before."""
        wrong = np.zeros(len(self), bool)
        rows = np.flatnonzero(considered)
        order = rows[np.lexsort((self.subject[rows], self.image[rows]))]
        later, earlier = order[1:], order[:-1]
        same_scanpath = (self.image[later] == self.image[earlier]) & (
            self.subject[later] == self.subject[earlier]
        )
        step_back = self.fixation_index[later] <= self.fixation_index[earlier]
        wrong[later[same_scanpath & step_back]] = True
        return wrong


def _checked_sizes(image_sizes: Any) -> np.ndarray:
    sizes = np.asarray(image_sizes)
    if sizes.ndim != 2 or sizes.shape[1] != 2:
        raise InputError(
            f"image_sizes has the shape {list(sizes.shape)}; "
            "expected [n_images, 2] with height and width"
        )
    return sizes


def _whole_numbers(name: str, values: Any) -> np.ndarray:
    """Returns an int32 copy, refusing what would change in the conversion."""
    values = np.asarray(values)
    if values.size == 0:
        return np.zeros(values.shape, np.int32)
    if values.dtype.kind not in "iuf":
        raise DataError(
            f"{name} has the type {values.dtype}; expected whole numbers counted from 0"
        )
    limit = np.iinfo(np.int32)
    # NaN fails the comparisons.
    whole = (values >= limit.min) & (values <= limit.max)
    if values.dtype.kind == "f":
        whole &= np.floor(values) == values
    if not whole.all():
        row = int(np.argmin(whole))
        raise DataError(
            f"{int((~whole).sum())} of {whole.size} values of {name} are not whole "
            f"numbers of 32 bits, first row {row} ({values.flat[row]}); "
            "expected indices counted from 0"
        )
    return values.astype(np.int32)


def _normalised(fixations: Fixations) -> bool:
    """Returns whether all points lie in [0, 1], and not only on its whole numbers."""
    points = np.stack([fixations.x, fixations.y])
    inside = (points >= 0) & (points <= 1)
    return bool(inside.all() and (points % 1 != 0).any())


def _one_based(
    fixations: Fixations, outside: np.ndarray, width: np.ndarray, height: np.ndarray
) -> bool:
    """Returns whether every fixation lies in [1, width] x [1, height]."""
    return bool(
        (fixations.x >= 1).all()
        and (fixations.y >= 1).all()
        and (fixations.x[outside] <= width[outside]).all()
        and (fixations.y[outside] <= height[outside]).all()
    )
