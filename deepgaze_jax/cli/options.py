"""Options that several verbs have."""

from pathlib import Path
from typing import Annotated, Any

import tyro

__all__ = ["CenterBiasOption", "Pictures", "output", "unset"]


def output(metavar: str) -> Any:
    """Return how `-o` is written; `metavar` says what it names."""
    return tyro.conf.arg(aliases=["-o"], metavar=metavar)


def unset(metavar: str) -> Any:
    """Return how an option is written whose default is not worth a word."""
    return tyro.conf.arg(metavar=metavar, help_behavior_hint="")


CenterBiasOption = Annotated[str | None, unset("NAME|FILE")]

Pictures = Annotated[
    tuple[Path, ...],
    tyro.conf.Positional,
    tyro.conf.arg(metavar="IMAGE...", help_behavior_hint="(required)"),
]
