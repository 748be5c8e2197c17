"""Checks of the units of a recording: pixels, milliseconds, where counting begins."""

from collections.abc import Callable, Iterator

import numpy as np

from deepgaze_jax.datasets.cleaning import not_a_number
from deepgaze_jax.datasets.recording import Recording
from deepgaze_jax.datasets.validation_report import Check
from deepgaze_jax.datasets.wording import counted, some

__all__ = ["check_duration_unit", "check_origin", "check_units"]

# A subject or an image is judged from so many rows on; a scanpath is a small sample.
_MIN_SUBJECT, _MIN_IMAGE, _MIN_SCANPATH = 5, 3, 5
# Elsewhere so many points this close to the corner, and this share of all, are odd.
_MIN_POINTS, _MIN_SHARE = 5, 0.01
_MIN_EDGE = 10
# The median of durations in ms is between these; in seconds it is below.
_MIN_MEDIAN_MS, _MAX_MEDIAN_MS = 10.0, 10_000.0


def check_units(recording: Recording) -> Check:
    """Returns whether points are parts of width and height: all, or those of some."""
    fixations = recording.fixations
    known = ~not_a_number(recording)
    small = known & (np.abs(fixations.x) <= 1) & (np.abs(fixations.y) <= 1)
    count = int(small.sum())
    if count >= _MIN_SUBJECT and count == known.sum():
        return Check(
            "units",
            "problem",
            "all points are within 1 pixel of 0: are they parts of width and height?",
            count,
            "--units normalised; or --accept units",
        )
    remedy = (
        "separate those in pixels from those that are parts of width and height "
        "(--units normalised); or --accept units"
    )
    for kind, ids, n, name_of, least in _groups(recording):
        n_rows = np.bincount(ids[known], minlength=n)
        n_small = np.bincount(ids[small], minlength=n)
        wholly = np.flatnonzero((n_small == n_rows) & (n_rows >= least))
        if len(wholly):
            of_them = int(n_small[wholly].sum())
            text = (
                f"units are mixed: all {of_them} points of {kind} "
                f"{some(list(map(name_of, wholly)))} are within 1 pixel of 0, those of "
                "others are not"
            )
            return Check("units", "problem", text, of_them, remedy)
    # Exactly 0, 0 is where trackers put what they have lost.
    odd = int((small & ((fixations.x != 0) | (fixations.y != 0))).sum())
    if recording.meta.kind == "fixations" and odd >= max(
        _MIN_POINTS, _MIN_SHARE * known.sum()
    ):
        text = f"units are mixed: {odd} points are within 1 pixel of 0"
        return Check("units", "problem", text, odd, remedy)
    return Check("units", "ok", "pixels")


def check_duration_unit(recording: Recording) -> Check | None:
    """Returns what says that durations are no milliseconds, or None if they are."""
    duration = recording.fixations.duration_ms
    known = np.isfinite(duration) & (duration > 0)
    if known.sum() < _MIN_SUBJECT:
        return None
    median = float(np.median(duration[known]))
    if median < _MIN_MEDIAN_MS:
        return Check(
            "durations",
            "problem",
            f"half of all durations are at most {median:.3g} ms, which is no time for "
            "a fixation: they seem to be seconds",
            int(known.sum()),
            "--time-unit s; or --accept durations",
        )
    if median > _MAX_MEDIAN_MS:
        return Check(
            "durations",
            "problem",
            f"half of all durations are at least {median:.6g} ms: they seem to be "
            "microseconds, or milliseconds taken for seconds",
            int(known.sum()),
            "write them in ms, --time-unit ms; or --accept durations",
        )
    for kind, ids, n, name_of, least in _groups(recording):
        medians = _medians(ids[known], duration[known], n, least)
        odd = (medians < _MIN_MEDIAN_MS) | (medians > _MAX_MEDIAN_MS)
        found = np.flatnonzero(odd)
        if len(found):
            n_rows = int(odd[ids[known]].sum())
            text = (
                f"units are mixed: the {counted(n_rows, 'duration')} of {kind} "
                f"{some(list(map(name_of, found)))} are around "
                f"{np.median(medians[found]):.3g} ms, those of others around "
                f"{median:.3g} ms"
            )
            remedy = "write all of them in ms; or --accept durations"
            return Check("durations", "problem", text, n_rows, remedy)
    return None


def check_origin(recording: Recording) -> Check:
    """Returns whether pixels seem to count from 1, though nobody says so."""
    stated = recording.meta.origin_stated
    count, note, text = _one_based(recording)
    remedy = "--origin 1 subtracts 1; --origin 0 (or --accept origin) keeps it"
    if count:
        status = "note" if stated else "problem"
        return Check("origin", status, text, count, remedy)
    if stated:
        return Check("origin", "ok", "stated")
    return Check("origin", "note" if note else "ok", text, 0, remedy)


def _one_based(recording: Recording) -> tuple[int, bool, str]:
    """Returns how many rows tell of counting from 1, whether it may be, and a line."""
    fixations = recording.fixations
    known = ~not_a_number(recording)
    height, width = recording.image_sizes[fixations.image].T
    sized = known & (width > 0)
    x, y = fixations.x[known], fixations.y[known]
    if not len(x):
        return 0, False, "no points"
    if x.min() < 1 or y.min() < 1:
        return 0, False, "counts from 0"
    at_edge = (fixations.x >= width) | (fixations.y >= height)
    beyond = (fixations.x > width) | (fixations.y > height)
    n_at_edge = int(at_edge[sized].sum())
    if n_at_edge and not beyond[sized].any():
        are = counted(n_at_edge, "is", "are")
        return (
            n_at_edge,
            True,
            f"no coordinate is below 1, and {are} exactly at width or height: they "
            "seem to count from 1",
        )
    whole = bool((x == np.floor(x)).all() and (y == np.floor(y)).all())
    first = min(int((x == 1).sum()), int((y == 1).sum()))
    if whole and first >= _MIN_EDGE:
        return (
            first,
            True,
            f"all are whole numbers, none is 0, and {first} or more are 1: they seem "
            "to count from 1",
        )
    if whole:
        return (
            0,
            True,
            "all are whole numbers and none is 0: they may count from 1; state "
            "--origin 0 or 1",
        )
    return 0, False, "no sign of counting from 1"


def _groups(
    recording: Recording,
) -> Iterator[tuple[str, np.ndarray, int, Callable[[int], str], int]]:
    """Yields how rows belong together: by what, numbers, how many, names, how large.

    What holds for whole subjects is said of them, else of images, else of scanpaths.
    """
    fixations = recording.fixations
    subjects, images = recording.subject_names, recording.image_names
    yield (
        *("subject", fixations.subject, len(subjects), subjects.__getitem__),
        _MIN_SUBJECT,
    )
    yield "image", fixations.image, len(images), images.__getitem__, _MIN_IMAGE
    if recording.meta.kind != "fixations":
        return  # The mouse may rest in a corner.
    ids, first, scanpath = np.unique(
        recording.scanpath_ids(), return_index=True, return_inverse=True
    )

    def name_of(number: int) -> str:
        row = first[number]
        image = images[fixations.image[row]]
        return f"{subjects[fixations.subject[row]]} on {image}"

    yield "subject", scanpath, len(ids), name_of, _MIN_SCANPATH


def _medians(ids: np.ndarray, values: np.ndarray, n: int, least: int) -> np.ndarray:
    """Returns the median of the values with each number, NaN of fewer than `least`."""
    order = np.lexsort((values, ids))
    counts = np.bincount(ids, minlength=n)
    ends = np.cumsum(counts)
    medians = np.full(n, np.nan)
    enough = np.flatnonzero(counts >= least)
    start, count = (ends - counts)[enough], counts[enough]
    low, high = order[start + (count - 1) // 2], order[start + count // 2]
    medians[enough] = (values[low].astype(np.float64) + values[high]) / 2
    return medians
