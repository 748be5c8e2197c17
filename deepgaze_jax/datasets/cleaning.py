"""Defects of rows that the user may have removed: found here, and counted when gone."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from deepgaze_jax.datasets.recording import Recording
from deepgaze_jax.fixations import Fixations

__all__ = [
    "CleaningOptions",
    "clean",
    "duplicates",
    "first_rows",
    "not_a_number",
    "outside",
    "unsorted",
    "without_unreadable",
]

_IS_FIRST = "is first"


@dataclass(frozen=True)
class CleaningOptions:
    """What may be done to the rows of a recording; nothing is by default.

    Attributes:
        drop_out_of_frame: drop rows outside of their image.
        drop_nan: drop rows without x or y.
        drop_duplicates: drop rows that repeat an earlier one.
        sort: put rows in the order of their index (and start) and number them anew.
        first_fixation: drop the first fixation of every scanpath, or keep it.
    """

    drop_out_of_frame: bool = False
    drop_nan: bool = False
    drop_duplicates: bool = False
    sort: bool = False
    first_fixation: Literal["drop", "keep"] | None = None


def clean(recording: Recording, options: CleaningOptions) -> Recording:
    """Returns the recording without the rows that may go; `meta.dropped` counts them.

    The first fixation is the one with index 0, or that a presentation begins with:
    where it has gone for another reason, no other takes its place, as is the convention
    for MIT1003.

    Example:
        >>> from deepgaze_jax.datasets.recording import Meta
        >>> fixations = Fixations([0, 0], [0, 0], [0, 1], [5, 90], [5, 5])
        >>> recording = Recording(
        ...     "a", ("a.png",), [[60, 80]], (None,), fixations, ("s",), Meta("table")
        ... )
        >>> recording = clean(recording, CleaningOptions(drop_out_of_frame=True))
        >>> len(recording.fixations), recording.meta.dropped
        (1, {'out of frame': 1})
    """
    drop_first = options.first_fixation == "drop"
    if drop_first and "presentation" in recording.extra:
        # Afterwards nobody could tell whether the first of a presentation has gone.
        extra = {**recording.extra, _IS_FIRST: first_rows(recording)}
        recording = replace(recording, extra=extra)
    for wanted, mask_of, reason in (
        (options.drop_nan, not_a_number, "NaN"),
        (options.drop_duplicates, duplicates, "duplicates"),
        (options.drop_out_of_frame, outside, "out of frame"),
    ):
        if wanted:
            mask = mask_of(recording)
            recording = recording.select(~mask, {reason: int(mask.sum())})
    if options.sort:
        recording = _sorted(recording)
    if drop_first:
        extra = dict(recording.extra)
        mask = extra.pop(_IS_FIRST, None)
        recording = replace(recording, extra=extra)
        mask = first_rows(recording) if mask is None else mask
        recording = recording.select(~mask, {"first fixation": int(mask.sum())})
    return recording


def not_a_number(recording: Recording) -> np.ndarray:
    """Returns bool [n], rows without a finite x and y."""
    x, y = recording.fixations.x, recording.fixations.y
    return ~(np.isfinite(x) & np.isfinite(y))


def outside(recording: Recording) -> np.ndarray:
    """Returns bool [n], rows with numbers outside of an image of known size."""
    height, width = recording.image_sizes[recording.fixations.image].T
    x, y = recording.fixations.x, recording.fixations.y
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return ~inside & (width > 0) & ~not_a_number(recording)


def duplicates(recording: Recording) -> np.ndarray:
    """Returns bool [n], rows that repeat an earlier one.

    That is: the same subject, image, presentation, place, and duration and start as far
    as they are known. The index does not count, since copies are often numbered anew;
    where neither duration nor start is known it does, and of mouse samples and maps,
    which stay in one place for long, it always does.
    """
    fixations = recording.fixations
    columns = [recording.scanpath_ids(), fixations.x, fixations.y]
    columns += [fixations.duration_ms]
    columns += [v for n, v in recording.extra.items() if v.dtype.kind == "f"]
    timed = any(np.isfinite(column).any() for column in columns[3:])
    if recording.meta.kind != "fixations" or not timed:
        columns.append(fixations.fixation_index)
    order = np.lexsort(columns)
    equal = np.ones(max(len(fixations) - 1, 0), bool)
    for column in columns:
        later, earlier = column[order[1:]], column[order[:-1]]
        # NaN equals NaN here.
        equal &= (later == earlier) | ((later != later) & (earlier != earlier))
    repeated = np.zeros(len(fixations), bool)
    repeated[order[1:][equal]] = True
    # Rows without a place are another defect.
    return repeated & ~not_a_number(recording)


def unsorted(recording: Recording) -> np.ndarray:
    """Returns bool [n], rows that come too late in their scanpath.

    The index of a subject on an image has to increase from row to row, and starts of a
    presentation must not decrease. Repeated rows are another defect.
    """
    fixations = recording.fixations
    rows = np.flatnonzero(~duplicates(recording))
    wrong = np.zeros(len(fixations), bool)
    order = rows[np.lexsort((fixations.subject[rows], fixations.image[rows]))]
    later, earlier = order[1:], order[:-1]
    same = fixations.image[later] == fixations.image[earlier]
    same &= fixations.subject[later] == fixations.subject[earlier]
    back = fixations.fixation_index[later] <= fixations.fixation_index[earlier]
    if "start_ms" in recording.extra:
        start, scanpath = recording.extra["start_ms"], recording.scanpath_ids()
        again = scanpath[later] == scanpath[earlier]
        back |= again & (start[later] < start[earlier])
    wrong[later[same & back]] = True
    return wrong


def _sorted(recording: Recording) -> Recording:
    fixations = recording.fixations
    scanpath = recording.scanpath_ids()
    keys = [fixations.fixation_index, scanpath]
    if "start_ms" in recording.extra:
        keys.insert(1, recording.extra["start_ms"])
    order = np.lexsort(keys)
    sorted_rows = recording.select(order)
    rows = sorted_rows.fixations
    pair = rows.image.astype(np.int64) * len(recording.subject_names) + rows.subject
    new = np.ones(len(rows), bool)
    new[1:] = np.diff(pair) != 0
    starts = np.flatnonzero(new)
    lengths = np.diff(np.append(starts, len(rows)))
    # A scanpath whose first fixation was dropped before does not get another one.
    first = np.minimum(rows.fixation_index[starts], 1)
    index = np.arange(len(rows)) - np.repeat(starts - first, lengths)
    moved = int((order != np.arange(len(order))).sum())
    return replace(
        sorted_rows,
        fixations=Fixations(
            rows.image, rows.subject, index, rows.x, rows.y, rows.duration_ms
        ),
        meta=recording.meta.noting(
            f"{moved} rows were put in order, all numbered anew"
        ),
    )


def first_rows(recording: Recording) -> np.ndarray:
    """Returns bool [n], the first fixation of every scanpath, where it has index 0."""
    fixations = recording.fixations
    if "presentation" not in recording.extra:
        return fixations.fixation_index == 0
    scanpath = recording.scanpath_ids()
    order = np.lexsort((fixations.fixation_index, scanpath))
    new = np.ones(len(order), bool)
    new[1:] = np.diff(scanpath[order]) != 0
    # Counting goes on over presentations, so the first of each is where it begins.
    first = np.zeros(len(order), bool)
    first[order[new]] = True
    return first


def without_unreadable(recording: Recording, unreadable: Sequence[int]) -> Recording:
    """Returns the recording with pictures that cannot be read as if not there.

    Args:
        recording: with all pictures.
        unreadable: indices of images, as `validate` reports them.
    """
    files = list(recording.image_files)
    for index in unreadable:
        files[index] = None
    return replace(recording, image_files=tuple(files))
