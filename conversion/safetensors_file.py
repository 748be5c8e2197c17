"""Safetensors files in, named float32 arrays out, and the text in their headers.

Own reader of a simple format: a length, a header in JSON, and values. It checks what
the header says against the file before anything is read, and also knows the halves of
float32 numbers (BF16) that numpy does not have.
"""

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deepgaze_jax.conversion.arrays import (
    MAX_BYTES,
    check_name,
    check_total,
    converted,
    from_bfloat16,
)
from deepgaze_jax.conversion.sniff import require_kind
from deepgaze_jax.errors import WeightsError

__all__ = ["MAX_BYTES", "MAX_HEADER_BYTES", "Entry", "Header", "read", "read_header"]

#: Longer headers are refused; one with 10,000 arrays takes about 1 MB.
MAX_HEADER_BYTES = 16 << 20

_MAX_ARRAYS = 10_000
_MAX_AXES = 32
# Each of them becomes an object of some fifty bytes.
_MAX_BRACKETS = 200_000
_TYPE = re.compile(r"[A-Z0-9_]{1,12}")
_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


@dataclass(frozen=True)
class Entry:
    """Type, shape and place of an array.

    Attributes:
        dtype: as the format calls it: `F32`, `BF16`, ...
        shape: of the array.
        start: first byte, counted from the end of the header.
        end: the byte after the last.
    """

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True)
class Header:
    """What a safetensors file says of itself.

    Attributes:
        entries: name -> type, shape and place.
        metadata: free texts by key.
        data_start: where the values begin in the file.
    """

    entries: dict[str, Entry]
    metadata: dict[str, str]
    data_start: int


def read(path: str | Path, max_bytes: int = MAX_BYTES) -> dict[str, np.ndarray]:
    """Return all arrays of a safetensors file as float32.

    Args:
        path: the file.
        max_bytes: limit for all arrays together, checked before any is read.

    Returns:
        `{"features.0.weight": array, ...}`, names and axes as in the file.

    Raises:
        WeightsError: another kind of file, cut off, damaged, too large, or arrays
            that are not of a floating-point type.

    Example:
        >>> import tempfile
        >>> from safetensors.numpy import save
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "small.safetensors"
        ...     _ = path.write_bytes(save({"conv.weight": np.ones(2, np.float16)}))
        ...     read(path)
        {'conv.weight': array([1., 1.], dtype=float32)}
    """
    path = Path(path)
    header = read_header(path)
    types = {name: e.dtype for name, e in header.entries.items()}
    other = [f"{name} ({t})" for name, t in types.items() if t not in _TYPES]
    if other:
        raise WeightsError(
            f"{path}: expected floating-point arrays; others are {', '.join(other[:5])}"
        )
    sizes = [4 * math.prod(e.shape) for e in header.entries.values()]
    check_total(path, sum(sizes), max_bytes)
    arrays = {}
    try:
        with path.open("rb") as file:
            for name, e in header.entries.items():
                file.seek(header.data_start + e.start)
                values = np.empty(e.end - e.start, np.uint8)
                if file.readinto(memoryview(values)) != len(values):
                    raise WeightsError(f"{path}: became shorter while it was read")
                values = values.view(_TYPES[e.dtype]).reshape(e.shape)
                if e.dtype == "BF16":
                    values = from_bfloat16(values)
                arrays[name] = converted(values, "float32")
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror})") from error
    return arrays


def read_header(path: str | Path) -> Header:
    """Return what a safetensors file says of itself, checked against its length.

    Raises:
        WeightsError: another kind of file, cut off, damaged, or a header too large.
    """
    path = Path(path)
    require_kind(path, "safetensors")
    with path.open("rb") as file:
        n_header = int.from_bytes(file.read(8), "little")
        if n_header > MAX_HEADER_BYTES:
            raise WeightsError(
                f"{path}: its header takes {n_header:,} bytes; at most "
                f"{MAX_HEADER_BYTES:,} are read"
            )
        text = file.read(n_header)
    n_data = path.stat().st_size - 8 - n_header
    try:
        entries, metadata = _parse(text)
        end = _check_places(entries)
    except (ValueError, RecursionError) as error:
        line = " ".join(str(error).split())[:200]
        raise WeightsError(
            f"{path}: is cut off or damaged ({line}); download or copy it again"
        ) from error
    if end > n_data:
        raise WeightsError(
            f"{path}: is cut off: {n_data:,} of {end:,} bytes of values are there; "
            "download or copy it again"
        )
    if end < n_data:
        raise WeightsError(
            f"{path}: is damaged: {n_data - end:,} bytes at its end belong to no array"
        )
    return Header(entries, metadata, 8 + n_header)


def _parse(text: bytes) -> tuple[dict[str, Entry], dict[str, str]]:
    if text.count(b"[") + text.count(b"{") > _MAX_BRACKETS:
        raise ValueError("its header has too many parts")
    header = json.loads(text.decode(), object_pairs_hook=_once)
    if not isinstance(header, dict):
        raise ValueError("its header is not a JSON object")
    metadata = header.pop("__metadata__", {})
    texts = metadata.values() if isinstance(metadata, dict) else [None]
    if not all(isinstance(value, str) for value in texts):
        raise ValueError("its metadata are not texts")
    if len(header) > _MAX_ARRAYS:
        raise ValueError(f"more than {_MAX_ARRAYS:,} arrays")
    return {check_name(name): _entry(name, e) for name, e in header.items()}, metadata


def _once(pairs: list) -> dict:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is there twice")
    return found


def _entry(name: str, entry: object) -> Entry:
    parts = entry if isinstance(entry, dict) else {}
    dtype, shape, places = map(parts.get, ("dtype", "shape", "data_offsets"))
    if (type(dtype), type(shape), type(places)) != (str, list, list) or len(parts) > 3:
        raise ValueError(f"{name} has no type, shape and place")
    if not _TYPE.fullmatch(dtype):
        raise ValueError(f"{name} has a type {dtype[:20]!a}, which there is not")
    # bool is an int for Python.
    numbers = all(type(n) is int and 0 <= n < 1 << 62 for n in (*shape, *places))
    if not numbers or len(places) != 2 or len(shape) > _MAX_AXES:
        raise ValueError(f"{name} has an impossible shape or place")
    start, end = places
    size = np.dtype(_TYPES[dtype]).itemsize if dtype in _TYPES else None
    if end < start or (size and end - start != size * math.prod(shape)):
        raise ValueError(f"{name}, {dtype} {shape}, takes {end - start:,} bytes")
    return Entry(dtype, tuple(shape), start, end)


def _check_places(entries: dict[str, Entry]) -> int:
    """Return where the values end; they lie one after the other."""
    end = 0
    for name, e in sorted(entries.items(), key=lambda item: item[1].start):
        if e.start != end:
            raise ValueError(f"{name} does not follow the array before it")
        end = e.end
    return end
