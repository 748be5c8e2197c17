"""The files of a data set as its authors publish it: unpacked, or still in zips."""

import itertools
import os
import re
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from deepgaze_jax.conversion.zips import open_zip
from deepgaze_jax.datasets.pictures import is_picture
from deepgaze_jax.datasets.recording import ImageFile
from deepgaze_jax.errors import DataError, WeightsError

__all__ = [
    "SourceFile",
    "list_files",
    "natural_order",
    "picture_files",
    "require_folder",
    "without_common_folder",
]

MAX_FILE_BYTES = 2 * 2**30
_MAX_ZIP_BYTES = 64 * 2**30
_MAX_ZIP_MEMBERS = 500_000
_LITTER = ("__MACOSX", ".svn", ".git", ".DS_Store")


@dataclass(frozen=True)
class SourceFile:
    """A file that can be read, wherever it lies.

    Attributes:
        name: below the source, with `/` between folders.
        where: how messages call it.
        n_bytes: its size, uncompressed.
        reader: returns its bytes.
    """

    name: str
    where: str
    n_bytes: int
    reader: Callable[[], bytes]

    def read(self, max_bytes: int = MAX_FILE_BYTES) -> bytes:
        """Returns the bytes.

        Raises:
            DataError: larger than `max_bytes`, gone, or damaged in its zip archive.
        """
        if self.n_bytes > max_bytes:
            raise DataError(
                f"{self.where}: has {self.n_bytes:,} bytes; at most {max_bytes:,} are "
                "read of a file of this kind: split it, or take it out of the folder"
            )
        try:
            data = self.reader()
        # What zipfile raises depends on where an archive is damaged.
        except (OSError, EOFError, RuntimeError, ValueError, zipfile.BadZipFile) as e:
            line = " ".join(str(e).split())[:120] or type(e).__name__
            raise DataError(
                f"{self.where}: cannot be read ({line}); fetch it again"
            ) from e
        return data


def require_folder(source: str | Path, expected: str) -> Path:
    """Returns the path if it is a folder.

    Raises:
        DataError: it is not; `expected` says what should be in it.

    Example:
        >>> require_folder("no/such", "DATA.zip")
        Traceback (most recent call last):
        deepgaze_jax.errors.DataError: no/such: no such folder; expected one with \
DATA.zip
    """
    path = Path(source)
    if not path.is_dir():
        kind = "is not a folder" if path.exists() else "no such folder"
        raise DataError(f"{path}: {kind}; expected one with {expected}")
    return path


def list_files(source: Path) -> dict[str, SourceFile]:
    """Returns all files below a folder, and those in zips that lie directly in it.

    Members of a zip are listed as if it had been unpacked where it lies; a file that
    has been unpacked goes first. Hidden files and what macOS adds are left out.

    Raises:
        DataError: a zip archive that is damaged or unsafe.
    """
    files: dict[str, SourceFile] = {}
    archives: list[Path] = []
    for folder, subfolders, names in os.walk(source):
        subfolders[:] = sorted(n for n in subfolders if n not in _LITTER)
        for name in sorted(names):
            path = Path(folder, name)
            if name.startswith(".") or not path.is_file():
                continue
            if path.parent == source and path.suffix.lower() == ".zip":
                archives.append(path)
                continue
            key = path.relative_to(source).as_posix()
            size = path.stat().st_size
            files[key] = SourceFile(key, str(path), size, path.read_bytes)
    for archive in archives:
        for member in _members(archive):
            files.setdefault(member.name, member)
    return files


def _members(path: Path) -> list[SourceFile]:
    try:
        with open_zip(path, _MAX_ZIP_BYTES, _MAX_ZIP_MEMBERS) as members:
            sizes = {name: members.size(name) for name in members}
    except (WeightsError, ValueError, OSError) as error:
        raise DataError(str(error)) from error
    # Kept open by the members, so that reading one does not read the index again.
    archive = zipfile.ZipFile(path)
    found = []
    for name, size in sizes.items():
        parts = name.split("/")
        hidden = parts[-1].startswith(".") or any(part in _LITTER for part in parts)
        if parts[-1] and not hidden:
            where = f"{path}: {name}"
            found.append(SourceFile(name, where, size, partial(archive.read, name)))
    return found


def picture_files(files: Iterable[SourceFile]) -> dict[str, ImageFile]:
    """Returns what reads each picture among some files, by name."""
    return {file.name: file.read for file in files if is_picture(file.name)}


def without_common_folder(names: Iterable[str]) -> dict[str, str]:
    """Returns names without the folders that all of them begin with, by full name.

    Example:
        >>> without_common_folder(["Stimuli/Action/001.jpg", "Stimuli/Art/001.jpg"])
        {'Stimuli/Action/001.jpg': 'Action/001.jpg', 'Stimuli/Art/001.jpg': \
'Art/001.jpg'}
    """
    split = {name: name.split("/") for name in names}
    # Level by level, as long as all are the same.
    levels = zip(*(parts[:-1] for parts in split.values()), strict=False)
    n = len(list(itertools.takewhile(lambda level: len(set(level)) == 1, levels)))
    return {name: "/".join(parts[n:]) for name, parts in split.items()}


def natural_order(name: str) -> list[tuple[bool, int, str]]:
    """Returns a key that sorts a2 before a10.

    Example:
        >>> sorted(["a10", "a2", "a"], key=natural_order)
        ['a', 'a2', 'a10']
    """
    # Texts and numbers take turns.
    parts = enumerate(re.split(r"([0-9]+)", name))
    return [(i % 2 == 1, int(p) if i % 2 else 0, p) for i, p in parts if p]
