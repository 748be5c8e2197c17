"""What is wrong with a data set: images, rows, units, axes, scanpaths."""

from collections.abc import Callable, Sequence

import numpy as np

from deepgaze_jax.datasets.axis_evidence import (
    AxisEvidence,
    axis_evidence,
    contrast_map,
    suspect,
)
from deepgaze_jax.datasets.cleaning import (
    duplicates,
    first_rows,
    not_a_number,
    outside,
    unsorted,
)
from deepgaze_jax.datasets.recording import Recording
from deepgaze_jax.datasets.validation_report import Check, Status, ValidationReport
from deepgaze_jax.errors import DeepGazeError
from deepgaze_jax.images import load_image

__all__ = ["validate"]

_MAX_CONTRAST_MAPS = 200
# The first fixation is taken for one on a cross at the middle when this share of them
# is closer to it than this part of the diagonal, and clearly more than of later ones.
_CENTRAL_SHARE, _CENTRAL_RADIUS, _CENTRAL_RATIO = 0.85, 0.1, 2.0
_MIN_FIRST = 5
_MIN_GROUP = 5
_MIN_EDGE = 10

Progress = Callable[[int, int], None]


def validate(
    recording: Recording,
    accept: Sequence[str] = (),
    progress: Progress | None = None,
) -> ValidationReport:
    """Returns the report on a recording. Nothing is changed, and nothing raised.

    Every picture is decoded once; local contrast is taken of up to 200 of them.

    Args:
        recording: from a reader.
        accept: names of checks whose problems are known and accepted.
        progress: called as `progress(done, total)` while pictures are read.

    Example:
        >>> from deepgaze_jax.datasets.recording import Meta
        >>> from deepgaze_jax.fixations import Fixations
        >>> fixations = Fixations([0, 0], [0, 0], [0, 1], [5, 90], [5, 5])
        >>> report = validate(Recording(
        ...     "a", ("a.png",), [[60, 80]], (None,), fixations, ("s",), Meta("table")
        ... ))
        >>> [check.name for check in report.problems]
        ['images_missing', 'out_of_frame']
    """
    checks, maps = _check_images(recording, progress)
    checks.append(_check_rows(recording))
    checks += _check_values(recording)
    checks += _check_units(recording)
    evidence = axis_evidence(recording.fixations, recording.image_sizes, maps)
    checks.append(_check_axes(evidence, len(recording.fixations)))
    checks.append(_check_first(recording))
    checks.append(_check_subjects(recording))
    checks.append(_check_scale(recording))
    return ValidationReport(
        name=recording.name,
        n_images=len(recording.image_names),
        n_subjects=len(np.unique(recording.fixations.subject)),
        n_fixations=len(recording.fixations),
        checks=tuple(
            Check(c.name, "accepted", c.text, c.count, c.remedy)
            if c.status == "problem" and c.name in accept
            else c
            for c in checks
        ),
        axes=evidence,
    )


def _some(names: Sequence[str]) -> str:
    """Returns the first few names."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more}"


# --- images ---------------------------------------------------------------------------


def _check_images(
    recording: Recording, progress: Progress | None
) -> tuple[list[Check], dict[int, np.ndarray]]:
    """Returns checks of the pictures, and contrast maps of some of them."""
    names, files = recording.image_names, recording.image_files
    there = [index for index, file in enumerate(files) if file is not None]
    looked_at = np.bincount(recording.fixations.image, minlength=len(names)) > 0
    used = [index for index in there if looked_at[index]]
    step = max(1, -(-len(used) // _MAX_CONTRAST_MAPS))
    mapped = set(used[::step])
    unreadable, other_size, maps = [], [], {}
    for done, index in enumerate(there, start=1):
        try:
            image = load_image(files[index]())
        except DeepGazeError as error:
            unreadable.append(f"{names[index]} ({str(error).partition(';')[0]})")
        else:
            height, width = recording.image_sizes[index]
            if image.shape[:2] != (height, width) and height > 0:
                other_size.append(
                    f"{names[index]} ({image.shape[1]} x {image.shape[0]}, stated "
                    f"{width} x {height})"
                )
            elif index in mapped:
                maps[index] = contrast_map(image)
        if progress is not None:
            progress(done, len(there))
    missing = [name for name, file in zip(names, files, strict=True) if file is None]
    checks = [
        Check(
            "images_missing",
            "problem" if missing else "ok",
            f"{len(missing)} of {len(names)} images have no picture"
            + (f": {_some(missing)}" if missing else ""),
            len(missing),
            "--images DIR if they are elsewhere, or --allow-missing-images",
        ),
        Check(
            "images_unreadable",
            "problem" if unreadable else "ok",
            f"{len(unreadable)} of {len(there)} pictures cannot be read"
            + (f": {_some(unreadable)}" if unreadable else ""),
            len(unreadable),
            "restore them, or --allow-missing-images",
        ),
    ]
    unknown = [
        name
        for name, size in zip(names, recording.image_sizes, strict=True)
        if (size <= 0).any()
    ]
    if unknown:
        text = f"the sizes of {len(unknown)} images are not known: {_some(unknown)}"
        remedy = "give the pictures, or their size with --image-size WIDTHxHEIGHT"
        checks.append(Check("image_sizes", "problem", text, len(unknown), remedy))
    elif other_size:
        text = f"{len(other_size)} pictures have another size: {_some(other_size)}"
        remedy = "restore the pictures that the data was recorded on"
        checks.append(Check("image_sizes", "problem", text, len(other_size), remedy))
    else:
        sizes = np.unique(recording.image_sizes, axis=0)
        text = "no images"
        if len(sizes):
            shown = [f"{width} x {height}" for height, width in sizes]
            text = f"all known: {_some(shown)}"
        checks.append(Check("image_sizes", "ok", text))
    return checks, maps


# --- rows -----------------------------------------------------------------------------


def _check_rows(recording: Recording) -> Check:
    n = len(recording.fixations)
    dropped = ", ".join(f"{k}: {v}" for k, v in recording.meta.dropped.items())
    text = f"{n} {recording.meta.kind}" + (f"; dropped {dropped}" if dropped else "")
    n_images = len(np.unique(recording.fixations.image))
    if n and n_images < len(recording.image_names):
        text += f"; {len(recording.image_names) - n_images} images have none"
    return Check("fixations", "ok" if n else "problem", text)


def _check_values(recording: Recording) -> list[Check]:
    fixations = recording.fixations

    def place(mask: np.ndarray) -> str:
        row = int(mask.argmax())
        return (
            f"first row {row + 1} ({recording.image_names[fixations.image[row]]}, "
            f"subject {recording.subject_names[fixations.subject[row]]}, "
            f"x {fixations.x[row]:g}, y {fixations.y[row]:g})"
        )

    duration = fixations.duration_ms
    checks = []
    for name, mask, what, remedy in (
        ("nan", not_a_number(recording), "have no x or y", "--drop-nan"),
        (
            "out_of_frame",
            outside(recording),
            "are outside of their image",
            "--drop-out-of-frame, if units, origin and axes are right",
        ),
        (
            "duplicates",
            duplicates(recording),
            "repeat an earlier row",
            "--drop-duplicates",
        ),
        (
            "order",
            unsorted(recording),
            "come too late in their scanpath, or their index restarts",
            "--sort",
        ),
        (
            "durations",
            (duration < 0) | np.isinf(duration),
            "have an impossible duration",
            "leave it empty where unknown, or --accept durations",
        ),
    ):
        count = int(mask.sum())
        text = f"{count} of {len(fixations)} rows {what}"
        if count:
            text += f", {place(mask)}"
        checks.append(Check(name, "problem" if count else "ok", text, count, remedy))
    return checks


def _check_units(recording: Recording) -> list[Check]:
    """Returns whether some are parts of the width, and whether pixels count from 1."""
    fixations = recording.fixations
    known = ~not_a_number(recording)
    small = known & (np.abs(fixations.x) <= 1) & (np.abs(fixations.y) <= 1)
    n_subjects = max(len(recording.subject_names), 1)
    n_rows = np.bincount(fixations.subject[known], minlength=n_subjects)
    n_small = np.bincount(fixations.subject[small], minlength=n_subjects)
    normalised = (n_small == n_rows) & (n_rows >= _MIN_GROUP)
    count = int(n_small[normalised].sum())
    if count and count == known.sum():
        text = "all points are within 1 pixel of 0: are they parts of width and height?"
    elif count:
        names = [recording.subject_names[i] for i in np.flatnonzero(normalised)]
        text = (
            f"units are mixed: all {count} points of subject {_some(names)} are within "
            "1 pixel of 0, those of others are not"
        )
    else:
        text = "pixels"
    checks = [
        Check(
            "units",
            "problem" if count else "ok",
            text,
            count,
            "--units normalised, after separating them if mixed; or --accept units",
        )
    ]
    count, text = _one_based(recording)
    if recording.meta.origin_stated and not count:
        text = "stated"
    status: Status = "ok"
    if count:
        status = "note" if recording.meta.origin_stated else "problem"
    remedy = "--origin 1 subtracts 1; --origin 0 (or --accept origin) keeps it"
    return [*checks, Check("origin", status, text, count, remedy)]


def _one_based(recording: Recording) -> tuple[int, str]:
    """Returns how many rows make it likely that pixels count from 1, and a line."""
    fixations = recording.fixations
    known = ~not_a_number(recording)
    height, width = recording.image_sizes[fixations.image].T
    known &= width > 0
    x, y = fixations.x[known], fixations.y[known]
    width, height = width[known], height[known]
    if not len(x) or x.min() < 1 or y.min() < 1:
        return 0, "counts from 0"
    at_far_edge = (x >= width) | (y >= height)
    beyond = (x > width) | (y > height)
    if at_far_edge.any() and not beyond.any():
        return int(at_far_edge.sum()), (
            f"no coordinate is below 1, and {int(at_far_edge.sum())} are exactly at "
            "width or height: they seem to count from 1"
        )
    whole = (x == np.floor(x)).all() and (y == np.floor(y)).all()
    first = min(int((x == 1).sum()), int((y == 1).sum()))
    if whole and first >= _MIN_EDGE:
        return first, (
            f"all are whole numbers, none is 0, and {first} or more are 1: they seem "
            "to count from 1"
        )
    return 0, "no sign of counting from 1"


def _check_axes(evidence: tuple[AxisEvidence, ...], n_points: int) -> Check:
    given = evidence[0]
    other = suspect(evidence, n_points)
    if other is None:
        text = "too few points to tell"
        if n_points:
            text = f"{given.inside:.0%} in frame, {given.log_likelihood:.2f} bit under "
            text += "a center bias"
        if given.n_images:
            best = max(e.contrast for e in evidence[1:])
            text += (
                f", contrast {given.contrast:.2f} (best of the other readings "
                f"{best:.2f}, {given.n_images} images)"
            )
        else:
            text += "; mirror images cannot be told apart without pictures"
        return Check("axes", "ok", text)
    text = (
        f"x and y look {other.reading}: read that way {other.inside:.0%} of the points "
        f"are in frame (as given {given.inside:.0%}), {other.log_likelihood:.2f} bit "
        f"under a center bias (as given {given.log_likelihood:.2f})"
    )
    if other.n_images:
        text += f", local contrast {other.contrast:.2f} (as given {given.contrast:.2f})"
    remedy = "correct the columns x and y, or --accept axes"
    return Check("axes", "problem", text, n_points, remedy)


# --- scanpaths and scale --------------------------------------------------------------


def _check_first(recording: Recording) -> Check:
    fixations = recording.fixations
    if recording.meta.kind != "fixations":
        return Check("first_fixation", "ok", f"{recording.meta.kind} have none")
    height, width = recording.image_sizes[fixations.image].T.astype(np.float64)
    known = (width > 0) & ~not_a_number(recording)
    first = first_rows(recording)
    n_first = int((first & known).sum())
    if count := recording.meta.dropped.get("first fixation"):
        return Check("first_fixation", "ok", f"dropped ({count})")
    if n_first < _MIN_FIRST:
        text = "too few to tell" if n_first else "not among the rows"
        return Check("first_fixation", "ok", text)
    distance = np.hypot(fixations.x - width / 2, fixations.y - height / 2)
    near = distance < _CENTRAL_RADIUS * np.hypot(height, width)
    share = float(near[first & known].mean())
    later = near[~first & known]
    share_later = float(later.mean()) if len(later) else 0.0
    text = (
        f"{share:.0%} of first fixations are close to the middle, {share_later:.0%} of "
        "later ones"
    )
    if share >= _CENTRAL_SHARE and share > _CENTRAL_RATIO * share_later:
        text += ": they are on the cross before the image"
        remedy = "--first-fixation drop or keep"
        return Check("first_fixation", "problem", text, n_first, remedy)
    return Check("first_fixation", "ok", text)


def _check_subjects(recording: Recording) -> Check:
    fixations = recording.fixations
    n = np.bincount(fixations.subject, minlength=len(recording.subject_names))
    if not len(n) or not n.any():
        return Check("subjects", "note", "nobody")
    if recording.meta.kind == "fixation maps":
        return Check("subjects", "note", "not recorded in fixation maps")
    text = f"{int(n.min())} to {int(n.max())} rows each, median {int(np.median(n))}"
    few = [recording.subject_names[i] for i in np.flatnonzero(n < 0.1 * np.median(n))]
    if few:
        text += f"; less than a tenth of that: {_some(few)}"
    return Check("subjects", "note" if few or len(n) == 1 else "ok", text, len(few))


def _check_scale(recording: Recording) -> Check:
    values = recording.pixels_per_dva
    if values is None or not np.isfinite(values).all():
        text = "not stated; models assume that of their own data"
        remedy = "--pixels-per-dva X"
        return Check("pixels_per_dva", "note", f"{text} ({remedy})", 0, remedy)
    low, high = float(np.min(values)), float(np.max(values))
    text = f"{low:.4g}" if np.isclose(low, high) else f"{low:.4g} to {high:.4g}"
    return Check("pixels_per_dva", "ok", f"stated: {text}")
