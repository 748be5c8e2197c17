"""The variables of MATLAB 5 files, as far as networks and data sets need them.

Own reader, since it meets files from strangers: it runs nothing, reads in one pass,
bounds depth, number and size of what it makes, and holds no more than the file has.

Reference:
    MAT-File Format, The MathWorks, chapter 1 (level 5).
"""

import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from deepgaze_jax.conversion.arrays import converted
from deepgaze_jax.conversion.sniff import require_kind
from deepgaze_jax.errors import WeightsError

__all__ = ["Value", "parse_variables", "read_variables"]

#: Numbers as arrays, texts as str, cells as lists, structs as lists of dictionaries;
#: None for what is not read (functions, objects, sparse and complex numbers).
Value = np.ndarray | str | list | None

_HEADER_BYTES = 128
_MAX_DEPTH = 24
_MAX_VALUES = 200_000
_MAX_AXES = 16
_MAX_TEXT = 10_000
_CHUNK = 1 << 20

_MATRIX, _COMPRESSED = 14, 15
_CELL, _STRUCT, _OBJECT, _CHAR = 1, 2, 3, 4
_COMPLEX_FLAG = 0x0800
_LAST_WITH_SHAPE = 15

# Types of stored elements, and classes of arrays; an array of double may be stored as
# bytes where its numbers allow it.
_STORED = {
    1: "i1",
    2: "u1",
    3: "i2",
    4: "u2",
    5: "i4",
    6: "u4",
    7: "f4",
    9: "f8",
    12: "i8",
    13: "u8",
    16: "u1",
    17: "u2",
    18: "u4",
}
_NUMBERS = {
    6: "f8",
    7: "f4",
    8: "i1",
    9: "u1",
    10: "i2",
    11: "u2",
    12: "i4",
    13: "u4",
    14: "i8",
    15: "u8",
}


def read_variables(
    path: Path, wanted: tuple[str, ...], max_bytes: int
) -> dict[str, Value]:
    """Return some variables of a MATLAB 5 file.

    Args:
        path: the file.
        wanted: names; the others are passed over.
        max_bytes: limit for what one variable takes, also where it is compressed.

    Returns:
        `{name: value}` of those that are there; arrays have the axes they have in
        MATLAB, so that vectors have two.

    Raises:
        WeightsError: another kind of file, cut off, damaged or too large.
    """
    require_kind(path, "matlab")
    with path.open("rb") as file:
        found = parse_variables(
            file, path.stat().st_size, str(path), max_bytes, wanted, _MAX_VALUES
        )
    return {name: value for name, value in found.items() if name in wanted}


def parse_variables(
    file: BinaryIO,
    n_bytes: int,
    where: str,
    max_bytes: int,
    wanted: tuple[str, ...] | None = None,
    max_values: int = _MAX_VALUES,
) -> dict[str, Value]:
    """Return the variables of an open MATLAB 5 file; None for those not wanted.

    Args:
        file: at its beginning.
        n_bytes: its size.
        where: how messages call it.
        max_bytes: limit for what one variable takes, also where it is compressed.
        wanted: names; all if left out.
        max_values: limit for the number of arrays and texts in one variable.

    Raises:
        WeightsError: another kind of file, cut off, damaged or too large.
    """
    try:
        header = file.read(_HEADER_BYTES)
        if header[126:] not in (b"IM", b"MI") or len(header) < _HEADER_BYTES:
            raise ValueError("its header is not that of a MATLAB 5 file")
        order = "<" if header[126:] == b"IM" else ">"
        stream = _Stream(file, n_bytes - _HEADER_BYTES)
        found: dict[str, Value] = {}
        for inner in _elements(stream, order, where, max_bytes):
            parser = _Parser(inner, order, max_bytes, max_values)
            name, value = parser.variable(wanted)
            if name in found:
                raise ValueError(f"{name} is there twice")
            found[name] = value
        return found
    except (ValueError, OSError, zlib.error) as error:
        raise WeightsError(
            f"{where}: is cut off or damaged ({error}); download or copy it again"
        ) from error


class _Stream:
    """Bytes in order, of which it is known how many there should be."""

    def __init__(self, file: BinaryIO, left: int):
        self._file, self.left = file, left

    def read(self, n: int) -> bytes | bytearray:
        if n > self.left:
            raise ValueError(f"{n:,} bytes are announced where {self.left:,} are left")
        self.left -= n
        data = self._file.read(n)
        if len(data) != n:
            raise ValueError("it ends too early")
        return data

    def skip(self, n: int) -> None:
        while n:
            n -= len(self.read(min(n, _CHUNK)))


class _Inflated:
    """A compressed range of a file, to be read like a file."""

    def __init__(self, stream: _Stream, n_bytes: int):
        self._stream, self._packed = stream, n_bytes
        self._zlib = zlib.decompressobj()

    def read(self, n: int) -> bytearray:
        """Return n bytes, or fewer at the end."""
        data = bytearray()
        while len(data) < n and not self._zlib.eof:
            tail = self._zlib.unconsumed_tail
            if not tail and self._packed:
                tail = self._stream.read(min(self._packed, 1 << 16))
                self._packed -= len(tail)
            # No more is inflated than asked for.
            part = self._zlib.decompress(tail, min(n - len(data), _CHUNK))
            if not part and not tail:
                break
            data += part
        return data

    def finish(self) -> None:
        """Pass over what was not used."""
        self._stream.skip(self._packed)


def _elements(
    stream: _Stream, order: str, where: str, max_bytes: int
) -> Iterator[_Stream]:
    """Return the top elements of a file, inflated."""
    while stream.left:
        kind, size, _ = _tag(stream, order)
        inflated = None
        inner = stream
        if kind == _COMPRESSED:
            inflated = _Inflated(stream, size)
            inner = _Stream(inflated, 8)
            kind, size, _ = _tag(inner, order)
        if kind != _MATRIX:
            raise ValueError("an element is not an array")
        if size > max_bytes:
            raise WeightsError(
                f"{where}: a variable takes {size:,} bytes; at most {max_bytes:,} are "
                "read"
            )
        if inflated:
            yield _Stream(inflated, size)
            inflated.finish()
        else:
            if size > stream.left:
                raise ValueError("it ends too early")
            left = stream.left - size
            stream.left = size
            yield stream
            # Whatever was not read of it.
            stream.skip(stream.left)
            stream.left = left


def _tag(stream: _Stream, order: str) -> tuple[int, int, bytes | None]:
    """Return type and size of an element, and its data where they are in the tag."""
    tag = stream.read(8)
    first, size = np.frombuffer(tag, f"{order}u4").tolist()
    if first >> 16:
        size = first >> 16
        if size > 4:
            raise ValueError("a short element is too long")
        return first & 0xFFFF, size, bytes(tag[4 : 4 + size])
    return first, size, None


class _Parser:
    """Reads one array and what lies in it."""

    def __init__(self, stream: _Stream, order: str, max_bytes: int, max_values: int):
        self._stream, self._order = stream, order
        self._bytes, self._values = max_bytes, max_values

    def variable(self, wanted: tuple[str, ...] | None) -> tuple[str, Value]:
        """Return name and value of a variable, of which the tag has been read."""
        return self._matrix(self._stream.left, 0, wanted)

    def _integers(self, max_bytes: int) -> list[int]:
        values = self._data(max_bytes)
        if values.dtype.kind not in "iu":
            raise ValueError("an element is of an unexpected type")
        return values.tolist()

    def _data(self, max_bytes: int) -> np.ndarray:
        """Return a plain element: numbers as they are stored."""
        kind, size, data = _tag(self._stream, self._order)
        if kind not in _STORED or size > max_bytes:
            raise ValueError("an element is of an unexpected type or size")
        dtype = np.dtype(_STORED[kind]).newbyteorder(self._order)
        if data is None:
            data = self._stream.read(size)
            self._stream.skip(min(-size % 8, self._stream.left))
        if size % dtype.itemsize:
            raise ValueError("an element is of an unexpected size")
        return np.frombuffer(data, dtype)

    def _matrix(
        self, size: int, depth: int, wanted: tuple[str, ...] | None = None
    ) -> tuple[str, Value]:
        self._values -= 1
        if depth > _MAX_DEPTH or self._values < 0:
            raise ValueError("it is nested too deeply, or has too many values")
        if size == 0:
            return "", np.zeros((0, 0))
        end = self._stream.left - size
        if end < 0:
            raise ValueError("an array does not fit in")
        flags = self._integers(8)
        if len(flags) != 2:
            raise ValueError("an array has no flags")
        kind = flags[0] & 0xFF
        name, value = "", None
        # Functions and opaque objects have no dimensions.
        if kind <= _LAST_WITH_SHAPE:
            shape = tuple(self._integers(4 * _MAX_AXES))
            if any(n < 0 for n in shape):
                raise ValueError("an array has an impossible shape")
            name = self._data(256).tobytes().decode("latin-1")
        if wanted is not None and name not in wanted:
            # Nothing of it is needed, so nothing of it is inflated.
            return name, None
        if kind <= _LAST_WITH_SHAPE and not flags[0] & _COMPLEX_FLAG:
            value = self._value(kind, shape, end, depth)
        if self._stream.left < end:
            raise ValueError("an array is longer than announced")
        self._stream.skip(self._stream.left - end)
        return name, value

    def _value(self, kind: int, shape: tuple[int, ...], end: int, depth: int) -> Value:
        n, left = math.prod(shape), self._stream.left - end
        if kind in _NUMBERS:
            self._bytes -= n * np.dtype(_NUMBERS[kind]).itemsize
            if self._bytes < 0:
                raise ValueError("its arrays take too much")
            values = self._data(left)
            if len(values) != n:
                raise ValueError(f"an array {list(shape)} has {len(values):,} values")
            return np.array(converted(values, _NUMBERS[kind])).reshape(shape, order="F")
        if kind == _CHAR:
            codes = self._data(left)
            # Long ones are no names, and would take much more as text.
            known = codes.dtype.kind == "u" and len(codes) <= _MAX_TEXT
            return "".join(map(chr, codes.tolist())) if known else ""
        if kind == _CELL:
            return self._children(n, left, depth)
        if kind in (_STRUCT, _OBJECT):
            return self._structs(kind, n, end, depth)
        return None

    def _structs(self, kind: int, n: int, end: int, depth: int) -> list[Value]:
        if kind == _OBJECT:
            self._data(256)  # The name of its class.
        length = self._integers(4)
        if len(length) != 1 or not 0 < length[0] <= 256:
            raise ValueError("a struct has no names of fields")
        names = self._data(_MAX_TEXT).tobytes()
        fields = [
            names[at : at + length[0]].split(b"\0")[0].decode("latin-1")
            for at in range(0, len(names), length[0])
        ]
        step = len(fields)
        values = self._children(n * step, self._stream.left - end, depth)
        # Elements without fields are as good as none.
        return [
            dict(zip(fields, values[at : at + step], strict=True))
            for at in range(0, n * step, step or 1)
        ]

    def _children(self, n: int, left: int, depth: int) -> list[Value]:
        if 8 * n > left:
            raise ValueError(f"{n:,} values are announced in {left:,} bytes")
        values = []
        for _ in range(n):
            kind, size, _ = _tag(self._stream, self._order)
            if kind != _MATRIX:
                raise ValueError("an element is not an array")
            values.append(self._matrix(size, depth + 1)[1])
        return values
