"""Where the bytes of a data set's pictures come from: files, or records."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from deepgaze_jax.errors import DataError, InputError

__all__ = ["FilePictures", "PicturePart", "PictureSource", "RecordPictures"]


class PictureSource(Protocol):
    """What a data set needs to know of its pictures, by image index."""

    def read_bytes(self, index: int) -> bytes:
        """Returns the bytes of a picture's file."""

    def open(self, index: int) -> BinaryIO:
        """Returns the picture's file, opened: for those who want only its beginning."""

    def has(self, index: int) -> bool:
        """Returns whether the picture is there."""

    def where(self, index: int) -> str:
        """Returns how messages call the picture."""

    def stamp(self, index: int) -> tuple[int, int]:
        """Returns two numbers that change where the picture does, without reading it.

        Raises:
            OSError: it is not there.
        """


@dataclass(frozen=True)
class FilePictures:
    """Pictures in a folder.

    Attributes:
        folder: of the pictures.
        names: of the files below it.
    """

    folder: Path
    names: tuple[str, ...]

    def path(self, index: int) -> Path:
        """Returns the file of a picture."""
        return self.folder / self.names[index]

    def read_bytes(self, index: int) -> bytes:
        """Returns the bytes of a picture's file.

        Raises:
            InputError: it is not there, or may not be read.

        Example:
            >>> FilePictures(Path("images"), ("a.png",)).read_bytes(0)
            Traceback (most recent call last):
            deepgaze_jax.errors.InputError: images/a.png: no such file; restore it, \
or remove it from the tables
        """
        with self.open(index) as file:
            try:
                return file.read()
            except OSError as error:
                raise self._unreadable(index, error) from error

    def open(self, index: int) -> BinaryIO:
        """Returns the picture's file, opened.

        Raises:
            InputError: it is not there, or may not be read.
        """
        path = self.path(index)
        try:
            return path.open("rb")
        except FileNotFoundError:
            raise InputError(
                f"{path}: no such file; restore it, or remove it from the tables"
            ) from None
        except OSError as error:
            raise self._unreadable(index, error) from error

    def _unreadable(self, index: int, error: OSError) -> InputError:
        return InputError(
            f"{self.path(index)}: cannot be read ({error.strerror}); make it readable"
        )

    def has(self, index: int) -> bool:
        """Returns whether the file is there."""
        return self.path(index).is_file()

    def where(self, index: int) -> str:
        """Returns the file's name with its folder."""
        return str(self.path(index))

    def stamp(self, index: int) -> tuple[int, int]:
        """Returns size and time of the file.

        Raises:
            OSError: it is not there.
        """
        status = self.path(index).stat()
        return status.st_size, status.st_mtime_ns


@dataclass(frozen=True)
class RecordPictures:
    """Pictures in the examples of random-access data sources.

    Attributes:
        name: how messages call the data set.
        names: of the pictures.
        sources: each returns by number an example, whose `image` are the bytes.
        places: for each picture, which source and which example in it.
        version: a number that changes when the records do.
    """

    name: str
    names: tuple[str, ...]
    sources: tuple[Sequence[Mapping[str, Any]], ...]
    places: tuple[tuple[int, int], ...]
    version: int

    def read_bytes(self, index: int) -> bytes:
        """Returns the bytes that the picture's file had.

        Raises:
            DataError: the record cannot be read.

        Example:
            >>> RecordPictures("a", ("x",), ([{"image": b"1"}],), ((0, 0),), 0
            ...                ).read_bytes(0)
            b'1'
        """
        source, number = self.places[index]
        try:
            return self.sources[source][number]["image"]
        except Exception as error:  # What it is depends on where a record is damaged.
            line = " ".join(str(error).split())[:120] or type(error).__name__
            raise DataError(
                f"{self.where(index)}: cannot be read ({line}); build the data set "
                "again: deepgaze data build --replace"
            ) from error

    def open(self, index: int) -> BinaryIO:
        """Returns the bytes as a file: of a record, all of them are read.

        Raises:
            DataError: the record cannot be read.
        """
        return io.BytesIO(self.read_bytes(index))

    def has(self, index: int) -> bool:
        """Returns True: every example has its picture."""
        return True

    def where(self, index: int) -> str:
        """Returns the picture's name with that of the data set."""
        return f"{self.name}: {self.names[index]}"

    def stamp(self, index: int) -> tuple[int, int]:
        """Returns the version of the records, and where in them the picture is."""
        return self.version, index


@dataclass(frozen=True)
class PicturePart:
    """Some pictures of another source.

    Attributes:
        source: of all.
        images: their indices there.
    """

    source: PictureSource
    images: tuple[int, ...]

    def read_bytes(self, index: int) -> bytes:
        """Returns the bytes of a picture's file, see the source.

        Example:
            >>> record = RecordPictures(
            ...     "a", ("x", "y"), ([{"image": b"1"}, {"image": b"2"}],),
            ...     ((0, 0), (0, 1)), 0
            ... )
            >>> PicturePart(record, (1,)).read_bytes(0)
            b'2'
        """
        return self.source.read_bytes(self.images[index])

    def open(self, index: int) -> BinaryIO:
        """Returns the picture's file, opened; see the source."""
        return self.source.open(self.images[index])

    def has(self, index: int) -> bool:
        """Returns whether the picture is there."""
        return self.source.has(self.images[index])

    def where(self, index: int) -> str:
        """Returns how messages call the picture."""
        return self.source.where(self.images[index])

    def stamp(self, index: int) -> tuple[int, int]:
        """Returns two numbers that change where the picture does.

        Raises:
            OSError: it is not there.
        """
        return self.source.stamp(self.images[index])
