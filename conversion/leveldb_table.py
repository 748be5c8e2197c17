"""The keys and values of a sorted table, the form of a TensorFlow checkpoint's index.

A table is a row of blocks, each with a byte for its compression and a CRC; an index
block lists them, and the last 48 bytes say where the index lies.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from deepgaze_jax.conversion.crc32c import masked_crc32c
from deepgaze_jax.conversion.protobuf import read_varint
from deepgaze_jax.conversion.sniff import require_kind
from deepgaze_jax.errors import WeightsError

__all__ = ["read_table"]

_FOOTER, _TRAILER = 48, 5
_MAGIC = bytes.fromhex("57fb808b247547db")
_MAX_ENTRIES = 20_000
# Keys share what they have in common with the one before, so short entries could make
# up very long keys.
_MAX_KEY_BYTES = 2048


def read_table(path: Path) -> Iterator[tuple[bytes, bytes]]:
    """Return an iterator over the entries of a table, in order, as key and value.

    Args:
        path: the file.

    Raises:
        WeightsError: another kind of file, cut off, damaged, or compressed.
    """
    require_kind(path, "tensorflow")
    try:
        with path.open("rb") as file:
            yield from _entries(file, path.stat().st_size)
    except (ValueError, OSError) as error:
        raise WeightsError(
            f"{path}: is cut off or damaged ({error}); download or copy it again"
        ) from error


def _entries(file: BinaryIO, n_bytes: int) -> Iterator[tuple[bytes, bytes]]:
    end = n_bytes - _FOOTER
    if end < 0:
        raise ValueError(f"{n_bytes} bytes are too few")
    file.seek(end)
    footer = file.read(_FOOTER)
    meta, at = _handle(footer, 0)
    index, at = _handle(footer, at)
    if any(footer[at : -len(_MAGIC)]) or not footer.endswith(_MAGIC):
        raise ValueError("its last bytes are not those of a table")
    # Blocks lie one after the other. A byte that belongs to none is in no CRC.
    here, last, count = 0, None, 0
    for _, value in _block(file, index, end):
        handle, _ = _handle(value, 0)
        here = _follows(handle, here)
        for key, value in _block(file, handle, end):
            count += 1
            if count > _MAX_ENTRIES:
                raise ValueError(f"more than {_MAX_ENTRIES:,} entries")
            if last is not None and key <= last:
                raise ValueError("its keys are out of order")
            last = key
            yield key, value
    here = _follows(meta, here)
    for _ in _block(file, meta, end):
        pass
    if _follows(index, here) != end:
        raise ValueError("there are bytes that belong to no block")


def _handle(data: bytes, at: int) -> tuple[tuple[int, int], int]:
    """Return a block's position and size, and where their numbers end."""
    position, at = read_varint(data, at)
    size, at = read_varint(data, at)
    return (position, size), at


def _follows(handle: tuple[int, int], here: int) -> int:
    position, size = handle
    if position != here:
        raise ValueError(f"there is no block at byte {here:,}")
    return position + size + _TRAILER


def _block(
    file: BinaryIO, handle: tuple[int, int], end: int
) -> Iterator[tuple[bytes, bytes]]:
    position, size = handle
    if position + size + _TRAILER > end or size < 4:
        raise ValueError(f"the block at byte {position:,} does not fit in")
    file.seek(position)
    data = file.read(size + _TRAILER)
    stored = int.from_bytes(data[size + 1 :], "little")
    if masked_crc32c(data[: size + 1]) != stored:
        raise ValueError(f"wrong CRC of the block at byte {position:,}")
    if data[size]:
        kind = "snappy" if data[size] == 1 else f"type {data[size]}"
        raise WeightsError(
            f"{file.name}: is compressed ({kind}), which is not read; save the "
            "checkpoint again with TensorFlow, which writes it uncompressed"
        )
    restarts = int.from_bytes(data[size - 4 : size], "little")
    stop = size - 4 - 4 * restarts
    if stop < 0:
        raise ValueError(f"the block at byte {position:,} has no room for restarts")
    at, key = 0, b""
    while at < stop:
        shared, at = read_varint(data, at)
        unshared, at = read_varint(data, at)
        length, at = read_varint(data, at)
        value_at = at + unshared
        if shared > len(key) or value_at + length > stop:
            raise ValueError(f"an entry in the block at byte {position:,} is broken")
        if shared + unshared > _MAX_KEY_BYTES:
            raise ValueError("a name is too long")
        key = key[:shared] + data[at:value_at]
        at = value_at + length
        yield key, data[value_at:at]
