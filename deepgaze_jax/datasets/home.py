"""Where imported data sets live, and how their names are found."""

import os
import re
from pathlib import Path

import platformdirs

from deepgaze_jax.errors import DataError, InputError

__all__ = ["check_dataset_name", "data_home", "registered_names", "resolve_dataset"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def data_home() -> Path:
    """Returns the folder of imported data sets; it need not exist.

    `$DEEPGAZE_DATA` if that is set, else the platform's own place for data of users.
    """
    chosen = os.environ.get("DEEPGAZE_DATA")
    if chosen:
        return Path(chosen).expanduser().absolute()
    return Path(platformdirs.user_data_dir("deepgaze-jax", appauthor=False))


def registered_names() -> tuple[str, ...]:
    """Returns the names of the data sets in `data_home()`, sorted."""
    home = data_home()
    if not home.is_dir():
        return ()
    return tuple(
        sorted(
            entry.name
            for entry in home.iterdir()
            if _NAME.fullmatch(entry.name) and (entry / "fixations.csv").is_file()
        )
    )


def check_dataset_name(name: str) -> str:
    """Returns a name that a data set may have.

    Raises:
        InputError: letters, digits, `.`, `_` and `-` only, beginning with a letter or
            digit, at most 64.

    Example:
        >>> check_dataset_name("osie-2014")
        'osie-2014'
        >>> check_dataset_name("../osie")
        Traceback (most recent call last):
        deepgaze_jax.errors.InputError: '../osie' is no name for a data set; use \
letters, digits, '.', '_' and '-', beginning with a letter or digit
    """
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{name!r} is no name for a data set; use letters, digits, '.', '_' and "
            "'-', beginning with a letter or digit"
        )
    return name


def resolve_dataset(name_or_folder: str | Path) -> Path:
    """Returns the folder of a data set.

    Args:
        name_or_folder: a folder with `fixations.csv`, or a registered name. A folder
            that is a data set goes before a name.

    Raises:
        DataError: it is neither; the line lists the names there are.
    """
    path = Path(name_or_folder)
    if (path / "fixations.csv").is_file():
        return path
    text = str(name_or_folder)
    if _NAME.fullmatch(text) and (data_home() / text / "fixations.csv").is_file():
        return data_home() / text
    if path.exists():
        return path  # What is wrong with it is for the reader to say.
    names = ", ".join(registered_names()) or "none yet"
    raise DataError(
        f"{text}: is neither a folder nor the name of a data set (there are: {names}); "
        "`deepgaze data import` makes one"
    )
