"""Where data sets live, and how their names are found.

Imported ones are folders in `data_home()`; built ones are below its folder `tfds`, as
TFDS lays them out: `NAME/VERSION` or `NAME/CONFIG/VERSION`.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from deepgaze_jax.errors import DataError, InputError

__all__ = [
    "GENERIC",
    "TFDS_FILES",
    "DatasetPlace",
    "check_dataset_name",
    "data_home",
    "find_dataset",
    "is_tfds_folder",
    "registered_names",
    "resolve_dataset",
    "tfds_home",
]

#: The builder of any data folder; its configs are called like the folders.
GENERIC = "fixations_folder"
#: Without these, TFDS knows nothing of a data set.
TFDS_FILES = ("dataset_info.json", "features.json")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SPLIT = re.compile(r"(.+):([A-Za-z]\w*)")
_TFDS = "tfds"


@dataclass(frozen=True)
class DatasetPlace:
    """Where a data set is.

    Attributes:
        path: its folder.
        split: the part of a TFDS data set that is meant; empty for all of it.
    """

    path: Path
    split: str = ""


def data_home() -> Path:
    """Returns the folder of imported data sets; it need not exist.

    `$DEEPGAZE_DATA` if that is set, else the platform's own place for data of users.
    """
    chosen = os.environ.get("DEEPGAZE_DATA")
    if chosen:
        return Path(chosen).expanduser().absolute()
    return Path(platformdirs.user_data_dir("deepgaze-jax", appauthor=False))


def tfds_home() -> Path:
    """Returns the folder of built data sets; it need not exist."""
    return data_home() / _TFDS


def is_tfds_folder(path: str | Path) -> bool:
    """Returns whether a folder holds one version of a TFDS data set, whole or damaged.

    Example:
        >>> is_tfds_folder("no/such/folder")
        False
    """
    path = Path(path)
    if (path / "fixations.csv").is_file():
        return False
    marks = (path / name for name in TFDS_FILES)
    return any(mark.is_file() for mark in marks) or any(path.glob("*.array_record*"))


def registered_names() -> tuple[str, ...]:
    """Returns the names of all data sets, imported or built, sorted.

    A built one is called `NAME` or `NAME/CONFIG`, with `tfds/` before it where an
    imported one has taken the name.
    """
    home = data_home()
    if not home.is_dir():
        return ()
    imported = {
        entry.name
        for entry in home.iterdir()
        if _NAME.fullmatch(entry.name) and (entry / "fixations.csv").is_file()
    }
    built = {f"{_TFDS}/{n}" if n in imported else n for n in _built()}
    return tuple(sorted(imported | built))


def _built() -> dict[str, Path]:
    """Returns the newest version of each built data set by its full name."""
    home, found = tfds_home(), {}
    patterns = (f"{depth}/{file}" for depth in ("*/*", "*/*/*") for file in TFDS_FILES)
    folders = {file.parent for pattern in patterns for file in home.glob(pattern)}
    for folder in sorted(folders):
        *name, version = folder.relative_to(home).parts
        numbers = tuple(map(int, re.findall(r"\d+", version)))
        hidden = any(part.startswith(".") for part in name)
        if not hidden and re.fullmatch(r"\d+\.\d+\.\d+", version):
            found.setdefault("/".join(name), []).append((numbers, folder))
    return {name: max(versions)[1] for name, versions in found.items()}


def check_dataset_name(name: str) -> str:
    """Returns a name that a data set may have.

    Raises:
        InputError: letters, digits, `.`, `_` and `-` only, beginning with a letter or
            digit, at most 64; `tfds` is taken.

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
    if name.lower() == _TFDS:
        raise InputError(
            f"{name}: is the folder of built data sets; choose another name"
        )
    return name


def resolve_dataset(name_or_folder: str | Path) -> Path:
    """Returns the folder of a data set.

    Args:
        name_or_folder: a folder with `fixations.csv`, or of a TFDS data set, or a
            registered name. A folder that is a data set goes before a name.

    Raises:
        DataError: it is neither; the line lists the names there are.
    """
    return find_dataset(name_or_folder).path


def find_dataset(name_or_folder: str | Path) -> DatasetPlace:
    """Returns where a data set is, and which part of it is meant.

    Args:
        name_or_folder: as in `resolve_dataset`; `:SPLIT` behind the name or folder of
            a TFDS data set means one of its splits. `tfds/` before a name means the
            one that was built, not the one that was imported. `NAME` does for
            `NAME/CONFIG` where one config is there, and `CONFIG` for one that was
            built from a data folder.

    Raises:
        DataError: it is neither; the line lists the names there are.
    """
    path, text = Path(name_or_folder), str(name_or_folder)
    if (path / "fixations.csv").is_file() or is_tfds_folder(path):
        return DatasetPlace(path)
    if _NAME.fullmatch(text) and (data_home() / text / "fixations.csv").is_file():
        return DatasetPlace(data_home() / text)
    base, split = match.groups() if (match := _SPLIT.fullmatch(text)) else (text, "")
    if split and is_tfds_folder(base):
        return DatasetPlace(Path(base), split)
    if built := _find_built(base):
        return DatasetPlace(built, split)
    if path.exists():
        return DatasetPlace(path)  # What is wrong with it is for the reader to say.
    names = ", ".join(registered_names()) or "none yet"
    raise DataError(
        f"{text}: is neither a folder nor the name of a data set (there are: {names}); "
        "`deepgaze data import` or `deepgaze data build` makes one"
    )


def _find_built(text: str) -> Path | None:
    """Returns the folder that a full or short name of a built data set means."""
    built, wanted = _built(), text.removeprefix(f"{_TFDS}/")
    if wanted in built:
        return built[wanted]
    short = [
        name
        for name in built
        if name.partition("/")[0] == wanted or name == f"{GENERIC}/{wanted}"
    ]
    if len(short) > 1:
        raise DataError(
            f"{text}: there are {', '.join(sorted(short))}; say which is meant"
        )
    return built[short[0]] if short else None
