"""Members of zip archives, checked before any is read; nothing is written to disk."""

import contextlib
import mmap
import re
import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from deepgaze_jax.errors import WeightsError

__all__ = ["MAX_MEMBERS", "Members", "open_zip"]

MAX_MEMBERS = 20_000

# Numbers compress by a few per cent; zeros by a factor of a thousand at most.
_MAX_RATIO = 50
_HARMLESS_BYTES = 16 << 20

_ENTRY = re.compile(rb"PK\x01\x02")


class Members:
    """The members of an open archive, by name."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self._path, self._archive = path, archive
        self._entries = {entry.filename: entry for entry in archive.infolist()}

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def is_compressed(self, name: str) -> bool:
        """Return whether a member is stored in another form than its bytes."""
        return self._entries[name].compress_type != zipfile.ZIP_STORED

    def size(self, name: str) -> int:
        """Return the size of a member in bytes, uncompressed."""
        return self._entries[name].file_size

    def read(self, name: str) -> bytes:
        """Return the bytes of a member; a WeightsError if it is damaged."""
        with _one_line(self._path):
            data = self._archive.read(name)
        if len(data) != self.size(name):
            raise WeightsError(f"{self._path}: {name} is cut off; fetch it again")
        return data


@contextlib.contextmanager
def open_zip(
    path: Path, max_bytes: int, max_members: int | None = None
) -> Iterator[Members]:
    """Yield the members of a zip archive after a check of all that it states.

    Args:
        path: the archive.
        max_bytes: limit for all members together, uncompressed.
        max_members: limit for their number, by default `MAX_MEMBERS`.

    Raises:
        WeightsError: damaged or cut off; too many or too large members, or ones that
            overlap; encrypted, linked or badly named ones.
    """
    _require_few(path, max_members or MAX_MEMBERS)
    with contextlib.ExitStack() as stack:
        with _one_line(path):
            archive = stack.enter_context(zipfile.ZipFile(path))
        _check(path, archive, max_bytes)
        yield Members(path, archive)


@contextlib.contextmanager
def _one_line(path: Path) -> Iterator[None]:
    try:
        yield
    # What zipfile raises depends on where an archive is damaged.
    except (
        *(zipfile.BadZipFile, zlib.error, EOFError, ValueError, OSError),
        *(NotImplementedError, RuntimeError, OverflowError, IndexError),
    ) as error:
        line = " ".join(str(error).split())[:120] or "cut off"
        raise WeightsError(
            f"{path}: is a cut off or damaged zip archive ({line}); fetch it again"
        ) from error


def _require_few(path: Path, max_members: int) -> None:
    """Refuse an index that would take much more memory than the file."""
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
    ):
        for n, _ in enumerate(_ENTRY.finditer(data), start=1):
            if n > max_members:
                raise WeightsError(
                    f"{path}: has more than {max_members:,} members; no file of "
                    "its kind needs so many"
                )


def _check(path: Path, archive: zipfile.ZipFile, max_bytes: int) -> None:
    entries = archive.infolist()
    names: set[str] = set()
    for entry in entries:
        name = entry.filename
        shown = ascii(name[:100])
        # orig_filename still has what zipfile cuts off behind a zero byte.
        parts = re.split(r"[/\\]", entry.orig_filename)
        linked = stat.S_ISLNK(entry.external_attr >> 16)
        if linked or ".." in parts or parts[0] in ("", "~") or ":" in parts[0]:
            raise WeightsError(
                f"{path}: is unsafe: its member {shown} leads out of the archive; "
                "nothing was read from it"
            )
        if name in names or "\0" in entry.orig_filename:
            raise WeightsError(f"{path}: is unsafe: has two members named {shown}")
        names.add(name)
        if entry.flag_bits & 0x41:
            raise WeightsError(f"{path}: its member {shown} is encrypted")
        stored = entry.compress_type == zipfile.ZIP_STORED
        if not stored and entry.compress_type != zipfile.ZIP_DEFLATED:
            raise WeightsError(
                f"{path}: its member {shown} is compressed in an unusual way"
            )
        if stored and entry.compress_size != entry.file_size:
            raise WeightsError(f"{path}: is damaged: {shown} has two different sizes")
    _check_sizes(path, entries, max_bytes)


def _check_sizes(path: Path, entries: list[zipfile.ZipInfo], max_bytes: int) -> None:
    n_bytes = path.stat().st_size
    end = 0
    for entry in sorted(entries, key=lambda entry: entry.header_offset):
        if entry.header_offset < end:
            raise WeightsError(
                f"{path}: is unsafe: two of its members share the same bytes"
            )
        end = entry.header_offset + 30 + entry.compress_size
    total = sum(entry.file_size for entry in entries)
    if end > n_bytes:
        raise WeightsError(
            f"{path}: is cut off or damaged: its members need {end:,} bytes, "
            f"{n_bytes:,} are there"
        )
    if total > max_bytes or total > max(_HARMLESS_BYTES, _MAX_RATIO * n_bytes):
        raise WeightsError(
            f"{path}: unpacks to {total:,} bytes from {n_bytes:,}; at most "
            f"{max_bytes:,} and {_MAX_RATIO} times its own size are read"
        )
