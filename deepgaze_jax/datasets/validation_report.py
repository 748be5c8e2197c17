"""The report on a data set: every check, its result and what to do about it."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from deepgaze_jax.datasets.axis_evidence import AxisEvidence
from deepgaze_jax.datasets.wording import counted
from deepgaze_jax.errors import ConfigError

__all__ = ["CHECKS", "Check", "Status", "ValidationReport", "check_accepted"]

#: The checks, in the order of the report.
CHECKS = (
    "images_missing",
    "images_unreadable",
    "image_sizes",
    "fixations",
    "nan",
    "out_of_frame",
    "duplicates",
    "order",
    "durations",
    "units",
    "origin",
    "axes",
    "first_fixation",
    "subjects",
    "pixels_per_dva",
)

Status = Literal["ok", "note", "accepted", "problem"]


def check_accepted(names: Sequence[str]) -> None:
    """Returns nothing if there are checks of these names.

    Raises:
        ConfigError: there is no such check.

    Example:
        >>> check_accepted(["weather"])
        Traceback (most recent call last):
        deepgaze_jax.errors.ConfigError: there is no check 'weather'; there are: ...
    """
    unknown = [name for name in names if name not in CHECKS]
    if unknown:
        raise ConfigError(
            f"there is no check {unknown[0]!r}; there are: {', '.join(CHECKS)}"
        )


@dataclass(frozen=True)
class Check:
    """The result of one check.

    Attributes:
        name: one of `CHECKS`.
        status: `problem` stops an import unless it is accepted.
        text: what was found, one line.
        count: of rows or images that it is about.
        remedy: what to do about a problem.
    """

    name: str
    status: Status
    text: str
    count: int = 0
    remedy: str = ""


@dataclass(frozen=True)
class ValidationReport:
    """All checks of a recording.

    Attributes:
        name: of the data set.
        n_images: number of images.
        n_subjects: number of subjects with rows.
        n_fixations: number of rows.
        checks: one or more for each of `CHECKS`.
        axes: the evidence for every reading of x and y.
        unreadable: indices of the images whose pictures cannot be read.
    """

    name: str
    n_images: int
    n_subjects: int
    n_fixations: int
    checks: tuple[Check, ...]
    axes: tuple[AxisEvidence, ...]
    unreadable: tuple[int, ...] = ()

    @property
    def problems(self) -> tuple[Check, ...]:
        """The checks that found something that has not been accepted."""
        return tuple(check for check in self.checks if check.status == "problem")

    def text(self) -> str:
        """Returns the report for people, one line for each check."""
        lines = [
            f"{self.name}: {counted(self.n_images, 'image')}, "
            f"{counted(self.n_subjects, 'subject')}, {counted(self.n_fixations, 'row')}"
        ]
        width = max(map(len, CHECKS))
        for check in self.checks:
            line = f"  {check.status.upper():8} {check.name:{width}}  {check.text}"
            if check.status == "problem" and check.remedy:
                line += f" -> {check.remedy}"
            lines.append(line)
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Returns the report as what JSON can hold."""
        # NaN is no JSON.
        values = json.loads(json.dumps(asdict(self)), parse_constant=lambda _: None)
        return {**values, "n_problems": len(self.problems)}
