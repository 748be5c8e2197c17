"""A file that changes in steps, each of which happens wholly or not at all."""

import io
import os
import struct
from pathlib import Path

from deepgaze_jax.errors import InputError
from deepgaze_jax.files import replacing

__all__ = ["StepwiseFile"]

_PAGE = 1 << 16
_MAGIC = b"deepgaze-undo-1\n"
_HEADER = struct.Struct("<QQ")  # Bytes of the file, number of pages.


class StepwiseFile(io.RawIOBase):
    """A binary file whose changes are kept in memory until `commit`.

    Libraries such as HDF5 change the middle of a file while they add to its end, so a
    process that is killed in between leaves nothing readable. Here, what a step will
    overwrite is first saved in a second file, which appears in one piece and goes when
    the step is done. Whoever opens the file next undoes a step that was cut off.

    That is against the end of the process; the file is not forced to the disk, so it
    says nothing about the end of the machine.

    Args:
        path: of the file; an empty one is made where there is none.

    Raises:
        InputError: the saved pages are not of this file.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = StepwiseFile(Path(folder, "a"))
        ...     _ = file.write(b"never to be seen")
        ...     file.close()
        ...     os.path.getsize(Path(folder, "a"))
        0
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._undo = path.with_name(f".{path.name}.undo")
        self._file = open(path, "r+b" if path.exists() else "w+b", buffering=0)
        try:
            self._roll_back()
        except BaseException:
            self._file.close()
            raise
        self._size = self._committed = os.fstat(self._file.fileno()).st_size
        self._place = 0
        self._pages: dict[int, bytearray] = {}

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def writable(self) -> bool:
        """Return that it can be written."""
        return True

    def seekable(self) -> bool:
        """Return that it has places."""
        return True

    def tell(self) -> int:
        """Return the place of the next byte."""
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place and return it."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}
        self._place = start[whence] + offset
        return self._place

    def truncate(self, size: int | None = None) -> int:
        """Cut the file off or enlarge it, and return its size."""
        size = self._place if size is None else size
        if size < self._size:
            # Bytes behind the end are zeros when the file grows over them again.
            for index in range(size // _PAGE, -(-self._size // _PAGE)):
                page = self._page(index)
                page[max(0, size - index * _PAGE) :] = bytes(
                    _PAGE - max(0, size - index * _PAGE)
                )
        self._size = size
        return size

    def readinto(self, buffer: memoryview) -> int:
        """Fill a buffer and return how many bytes that were."""
        n_bytes = max(0, min(len(buffer), self._size - self._place))
        done = 0
        while done < n_bytes:
            index, start = divmod(self._place, _PAGE)
            step = min(_PAGE - start, n_bytes - done)
            part = self._pages.get(index)
            if part is not None:
                part = part[start : start + step]
            else:
                part = self._stored(self._place, step)
                part = part.ljust(step, b"\0")  # Where a hole is.
            buffer[done : done + step] = part
            done += step
            self._place += step
        return n_bytes

    def write(self, data: bytes | memoryview) -> int:
        """Change the next bytes, in memory, and return how many these are."""
        view = memoryview(data).cast("B")
        done = 0
        while done < len(view):
            index, start = divmod(self._place, _PAGE)
            step = min(_PAGE - start, len(view) - done)
            self._page(index)[start : start + step] = view[done : done + step]
            done += step
            self._place += step
        if done:
            self._size = max(self._size, self._place)
        return done

    def commit(self) -> None:
        """Make all changes since the last step at once."""
        if not self._pages and self._size == self._committed:
            return
        old = [
            index for index in sorted(self._pages) if index * _PAGE < self._committed
        ]
        with replacing(self._undo) as temporary, temporary.open("wb") as file:
            file.write(_MAGIC + _HEADER.pack(self._committed, len(old)))
            for index in old:
                page = self._stored(index * _PAGE, _PAGE)
                file.write(_HEADER.pack(index, len(page)) + page)
        for index, page in sorted(self._pages.items()):
            used = min(_PAGE, self._size - index * _PAGE)
            if used > 0:
                self._store(index * _PAGE, memoryview(page)[:used])
        self._file.truncate(self._size)
        self._undo.unlink()
        self._committed = self._size
        self._pages = {}

    def close(self) -> None:
        """Close the file; changes since the last step are lost."""
        if not self.closed:
            self._file.close()
        super().close()

    def _page(self, index: int) -> bytearray:
        """Return a page that may be changed."""
        page = self._pages.get(index)
        if page is None:
            known = self._stored(index * _PAGE, _PAGE)
            page = self._pages[index] = bytearray(known.ljust(_PAGE, b"\0"))
        return page

    def _roll_back(self) -> None:
        """Undo a step that was cut off."""
        try:
            saved = self._undo.read_bytes()
        except FileNotFoundError:
            return
        if not saved.startswith(_MAGIC):
            raise InputError(
                f"{self._undo} was not written by this program; remove it, and the "
                "file beside it if that cannot be read"
            )
        place = len(_MAGIC)
        size, n_pages = _HEADER.unpack_from(saved, place)
        for _ in range(n_pages):
            place += _HEADER.size
            index, n_bytes = _HEADER.unpack_from(saved, place)
            start = place + _HEADER.size
            page = memoryview(saved)[start : start + n_bytes]
            self._store(index * _PAGE, page)
            place += n_bytes
        self._file.truncate(size)
        self._undo.unlink()

    def _stored(self, place: int, n_bytes: int) -> bytes:
        """Return bytes as they are on the disk, fewer at the end of the file."""
        self._file.seek(place)
        parts = []
        while n_bytes and (part := self._file.read(n_bytes)):
            parts.append(part)
            n_bytes -= len(part)
        return b"".join(parts)

    def _store(self, place: int, data: memoryview) -> None:
        self._file.seek(place)
        while data:
            data = data[self._file.write(data) :]
