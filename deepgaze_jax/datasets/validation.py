"""What is wrong with a data set: images, rows, units, axes, scanpaths."""

from collections.abc import Sequence

import numpy as np

from deepgaze_jax.datasets.axis_evidence import (
    AxisEvidence,
    axis_evidence,
    perhaps,
    suspect,
)
from deepgaze_jax.datasets.cleaning import (
    duplicates,
    first_rows,
    not_a_number,
    outside,
    unsorted,
)
from deepgaze_jax.datasets.image_checks import Progress, check_images
from deepgaze_jax.datasets.recording import Recording
from deepgaze_jax.datasets.unit_checks import (
    check_duration_unit,
    check_origin,
    check_units,
)
from deepgaze_jax.datasets.validation_report import Check, ValidationReport
from deepgaze_jax.datasets.wording import counted, part, some

__all__ = ["validate"]

# The first fixation is taken for one on a cross at the middle when this share of them
# is closer to it than this part of the diagonal, and clearly more than of later ones.
_CENTRAL_SHARE, _CENTRAL_RADIUS, _CENTRAL_RATIO = 0.85, 0.1, 2.0
_MIN_FIRST = 5
_MIN_LOST = 3


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
    checks, maps, unreadable = check_images(recording, progress)
    checks.append(_check_rows(recording))
    checks += _check_values(recording)
    units = check_units(recording)
    checks += [units, check_origin(recording)]
    evidence = axis_evidence(recording.fixations, recording.image_sizes, maps)
    # Where all points are in the corner, there is nothing to compare.
    if units.status == "problem" and units.count == len(recording.fixations):
        checks.append(Check("axes", "ok", "unknown, as are the units"))
    else:
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
        unreadable=unreadable,
    )


# --- rows -----------------------------------------------------------------------------


def _check_rows(recording: Recording) -> Check:
    n = len(recording.fixations)
    dropped = ", ".join(f"{k}: {v:,}" for k, v in recording.meta.dropped.items())
    kind = recording.meta.kind
    if kind == "fixation maps":
        text = f"{counted(n, 'point')} of fixation maps"
    else:
        text = counted(n, kind.removesuffix("s"), kind)
    text += f"; dropped {dropped}" if dropped else ""
    n_images = len(np.unique(recording.fixations.image))
    if n and n_images < len(recording.image_names):
        none = len(recording.image_names) - n_images
        text += f"; {counted(none, 'image has none', 'images have none')}"
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
    unsized = (recording.image_sizes <= 0).any(axis=1)[fixations.image]
    n_unsized = int(unsized.sum())
    checks = []
    for name, mask, what, remedy in (
        ("nan", not_a_number(recording), "has|have no x or y", "--drop-nan"),
        (
            "out_of_frame",
            outside(recording),
            "is|are outside of the image",
            "--drop-out-of-frame, if units, origin and axes are right",
        ),
        (
            "duplicates",
            duplicates(recording),
            "repeats|repeat an earlier row",
            "--drop-duplicates",
        ),
        (
            "order",
            unsorted(recording),
            "comes|come too late in the scanpath, or an index restarts",
            "--sort",
        ),
        (
            "durations",
            (duration < 0) | np.isinf(duration),
            "has|have an impossible duration",
            "leave it empty where unknown, or --accept durations",
        ),
    ):
        count = int(mask.sum())
        verbs, _, rest = what.partition(" ")
        text = part(count, len(fixations), "row", verbs, rest)
        if count:
            text += f", {place(mask)}"
        if name == "out_of_frame" and n_unsized:
            text += f"; of {n_unsized} the image has no known size"
        checks.append(Check(name, "problem" if count else "ok", text, count, remedy))
    # A note, since somebody may have looked there.
    lost = int(((fixations.x == 0) & (fixations.y == 0)).sum())
    if lost >= _MIN_LOST and recording.meta.kind == "fixations":
        text = f"{lost} points are exactly at 0, 0, where trackers put what they lose; "
        text += "if they did, leave x and y empty there, and --drop-nan"
        checks.append(Check("nan", "note", text, lost, "--drop-nan"))
    unit = check_duration_unit(recording)
    return checks if unit is None else [*_without_ok(checks, unit.name), unit]


def _without_ok(checks: list[Check], name: str) -> list[Check]:
    """Returns checks without the one of a name that has found nothing."""
    return [c for c in checks if c.name != name or c.status != "ok"]


def _check_axes(evidence: tuple[AxisEvidence, ...], n_points: int) -> Check:
    given = evidence[0]
    remedy = "correct the columns x and y, or --accept axes"
    if other := suspect(evidence, n_points):
        text = (
            f"x and y look {other.reading}: read that way {other.inside:.0%} of the "
            f"points are in frame (as given {given.inside:.0%}), "
            f"{other.log_likelihood:.2f} bit under a center bias (as given "
            f"{given.log_likelihood:.2f})"
        )
        if other.n_images:
            text += f", local contrast {other.contrast:.2f} (as given "
            text += f"{given.contrast:.2f})"
        return Check("axes", "problem", text, n_points, remedy)
    if not n_points:
        return Check("axes", "ok", "too few points to tell")
    if np.isnan(given.inside):
        return Check("axes", "ok", "unknown, as are the sizes of the images")
    if other := perhaps(evidence, n_points):
        text = (
            f"x and y may be {other.reading}: local contrast {other.contrast:.2f} read "
            f"that way, {given.contrast:.2f} as given, on "
            f"{counted(other.n_images, 'image')}, too few to be sure; look at the "
            "contact sheet (deepgaze data info NAME -o SHEET.png)"
        )
        return Check("axes", "note", text, 0, remedy)
    text = f"{given.inside:.0%} in frame, {given.log_likelihood:.2f} bit under a "
    text += "center bias"
    if given.n_images:
        contrasts = [e.contrast for e in evidence[1:] if e.n_images]
        best = f"{max(contrasts):.2f}" if contrasts else "unknown"
        text += (
            f", contrast {given.contrast:.2f} (best of the other readings {best}, "
            f"{counted(given.n_images, 'image')})"
        )
    else:
        text += "; mirror images cannot be told apart without pictures"
    return Check("axes", "ok", text)


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
        return Check("first_fixation", "ok", f"dropped ({count:,})")
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
    names = [recording.subject_names[i] for i in np.flatnonzero(n)]
    n = n[n > 0]
    if not len(n):
        return Check("subjects", "note", "nobody")
    if recording.meta.kind == "fixation maps":
        return Check("subjects", "note", "not recorded in fixation maps")
    text = counted(int(n.max()), "row")
    if n.min() < n.max():
        text = f"{n.min():,} to {n.max():,} rows each, median {int(np.median(n)):,}"
    elif len(n) > 1:
        text += " each"
    few = [names[i] for i in np.flatnonzero(n < 0.1 * np.median(n))]
    if few:
        text += f"; less than a tenth of that: {some(few)}"
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
