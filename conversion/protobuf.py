"""The fields of protocol buffer messages, as far as weight files need them.

A message is read from a range of a file, and what lies nested in it is returned as a
range again: nothing is held in memory, and how deep to go is the caller's decision.
"""

from collections.abc import Mapping
from typing import BinaryIO

__all__ = ["BYTES", "FIXED32", "VARINT", "Fields", "Span", "read_varint"]

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

#: Start and end of a range of a file.
Span = tuple[int, int]


class Fields:
    """Reads messages from one file, and gives up after too many fields."""

    def __init__(self, file: BinaryIO, max_fields: int = 200_000):
        self._file, self._left = file, max_fields

    def read(self, span: Span, schema: Mapping[int, tuple[str, int]]) -> dict:
        """Return the fields of a message that a schema names; others are skipped.

        Args:
            span: where the message lies.
            schema: number -> name and wire type.

        Returns:
            `{name: [value, ...]}` with every name; values are whole numbers, and spans
            for fields of type `BYTES`. Repeated numbers may also be packed.

        Raises:
            ValueError: the message is damaged; says where.
        """
        found: dict[str, list] = {name: [] for name, _ in schema.values()}
        at, end = span
        while at < end:
            start = at
            key, at = self._varint(at, end)
            number, wire = key >> 3, key & 7
            if wire == VARINT:
                value, at = self._varint(at, end)
            elif wire == BYTES:
                size, at = self._varint(at, end)
                value, at = (at, at + size), at + size
            elif wire in (FIXED32, FIXED64):
                size = 4 if wire == FIXED32 else 8
                value, at = (
                    int.from_bytes(self.bytes((at, at + size)), "little"),
                    (at + size),
                )
            else:
                raise ValueError(f"byte {start:,}: no field begins there")
            if at > end or number == 0:
                raise ValueError(f"byte {start:,}: a field does not fit in")
            if number not in schema:
                continue
            name, expected = schema[number]
            if wire == expected:
                found[name].append(value)
            elif wire == BYTES and expected == VARINT:
                found[name] += self._packed(value)
            else:
                raise ValueError(f"byte {start:,}: {name} is of another type")
        return found

    def bytes(self, span: Span) -> bytes:
        """Return what lies in a range; less if the file ends before."""
        self._file.seek(span[0])
        return self._file.read(span[1] - span[0])

    def text(self, span: Span, max_bytes: int = 1000) -> str:
        """Return a text, or raise ValueError if it is long or not UTF-8."""
        if span[1] - span[0] > max_bytes:
            raise ValueError(f"byte {span[0]:,}: a name is too long")
        return self.bytes(span).decode()

    def _packed(self, span: Span) -> list[int]:
        values = []
        at, end = span
        while at < end:
            value, at = self._varint(at, end)
            values.append(value)
        return values

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        self._left -= 1
        if self._left < 0:
            raise ValueError(f"byte {at:,}: there are too many fields")
        value, size = read_varint(self.bytes((at, min(at + 10, end))))
        return value, at + size


def read_varint(data: bytes, at: int = 0) -> tuple[int, int]:
    """Return a number of seven bits per byte, and where it ends.

    Raises:
        ValueError: it does not end within ten bytes.

    Example:
        >>> read_varint(bytes([0x96, 1, 7]))
        (150, 2)
    """
    value = 0
    for i, byte in enumerate(data[at : at + 10]):
        value |= (byte & 127) << 7 * i
        if byte < 128:
            return value & 0xFFFFFFFFFFFFFFFF, at + i + 1
    raise ValueError("a number does not end")
