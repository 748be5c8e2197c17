"""TensorFlow checkpoints (tensor bundles, V2) in, named arrays out.

A bundle is an index, `X.index`, and the values, `X.data-00000-of-00001` and so on. The
index is a sorted table of names, each with the type, shape, place and CRC of its array.
"""

import io
import math
import re
from collections.abc import Mapping
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
from deepgaze_jax.conversion.crc32c import masked_crc32c
from deepgaze_jax.conversion.leveldb_table import read_table
from deepgaze_jax.conversion.protobuf import BYTES, FIXED32, VARINT, Fields
from deepgaze_jax.conversion.sniff import file_kind, require_kind
from deepgaze_jax.errors import WeightsError

__all__ = ["MAX_BYTES", "parts", "read", "read_index"]

_MAX_ARRAYS = 10_000
_MAX_AXES = 32

_PART = re.compile(r"\.(index|meta|data-\d{5}-of-\d{5})$")
_HEADER = {1: ("shards", VARINT), 2: ("endianness", VARINT)}
_ENTRY = {
    1: ("dtype", VARINT),
    2: ("shape", BYTES),
    3: ("shard", VARINT),
    4: ("offset", VARINT),
    5: ("size", VARINT),
    6: ("crc", FIXED32),
    7: ("slices", BYTES),
}
_SHAPE = {2: ("dim", BYTES), 3: ("unknown_rank", VARINT)}
_DIM = {1: ("size", VARINT)}

_TYPES = {
    1: "float32",
    2: "float64",
    3: "int32",
    4: "uint8",
    5: "int16",
    6: "int8",
    7: "string",
    9: "int64",
    10: "bool",
    14: "bfloat16",
    17: "uint16",
    19: "float16",
    22: "uint32",
    23: "uint64",
}


@dataclass(frozen=True)
class _Entry:
    dtype: str
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    crc: int


def read(path: str | Path, max_bytes: int = MAX_BYTES) -> dict[str, np.ndarray]:
    """Return all arrays of a checkpoint.

    Texts, which newer checkpoints use for the structure of a model, are left out.

    Args:
        path: the name that the files have in common (`ICF.ckpt`), or one of them.
        max_bytes: limit for all arrays together, checked before any is read.

    Returns:
        `{"readout_network_0/conv1/biases": array, ...}`, names, types and axes as in
        the file; half precision becomes float32.

    Raises:
        WeightsError: a file is missing, cut off, damaged (a CRC is wrong), too large,
            or holds what is not an array in one piece.

    Example:
        >>> read("ICF.ckpt")["saliency_map_0/sigma"].shape  # doctest: +SKIP
        ()
    """
    prefix = _prefix(Path(path))
    n_shards, order, entries = _index(prefix)
    entries = {name: e for name, e in entries.items() if e.dtype != "string"}
    if not entries:
        raise WeightsError(f"{_beside(prefix, '.index')}: lists no arrays")
    shards = {}
    for e in entries.values():
        shards.setdefault(e.shard, _shard(prefix, e.shard, n_shards))
    _check(prefix, entries, shards, max_bytes)
    arrays = {}
    for shard, file_path in shards.items():
        here = {name: e for name, e in entries.items() if e.shard == shard}
        try:
            arrays |= _read_shard(file_path, here, order)
        except OSError as error:
            raise WeightsError(
                f"{file_path}: cannot be read ({error.strerror})"
            ) from error
    return {name: arrays[name] for name in entries}


def read_index(path: str | Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return what a checkpoint lists, from its index alone.

    Args:
        path: the name that the files have in common (`ICF.ckpt`), or one of them.

    Returns:
        `{"saliency_map_0/sigma": ("float32", ()), ...}`, sorted by name.

    Raises:
        WeightsError: the index is missing, cut off or damaged.

    Example:
        >>> read_index("DeepGazeII.ckpt")["saliency_map_0/sigma"]  # doctest: +SKIP
        ('float32', ())
    """
    *_, entries = _index(_prefix(Path(path)))
    return {name: (e.dtype, e.shape) for name, e in entries.items()}


def parts(path: Path) -> list[Path]:
    """Return the index and the data of a checkpoint that are there, in this order.

    Args:
        path: the name that the files have in common, or one of them, which may also be
            `.meta`; any other file that exists is no checkpoint and has no parts.
    """
    if path.exists() and not _PART.search(path.name):
        return []
    name = re.compile(re.escape(_prefix(path).name) + r"\.(index|data-\d{5}-of-\d{5})")
    try:
        found = [p.name for p in path.parent.iterdir() if name.fullmatch(p.name)]
    except OSError:
        return []
    found.sort(key=lambda name: (not name.endswith(".index"), name))
    return [path.with_name(name) for name in found]


def _prefix(path: Path) -> Path:
    name = _PART.sub("", path.name)
    return path.with_name(name) if name else path


def _beside(prefix: Path, ending: str) -> Path:
    return prefix.with_name(prefix.name + ending)


def _shard(prefix: Path, shard: int, n_shards: int) -> Path:
    return _beside(prefix, f".data-{shard:05}-of-{n_shards:05}")


def _index(prefix: Path) -> tuple[int, str, dict[str, _Entry]]:
    """Return the number of shards, their byte order, and the entries of an index."""
    path = _beside(prefix, ".index")
    if not path.exists():
        if prefix.is_file() and file_kind(prefix) == "tensorflow":
            raise WeightsError(
                f"{prefix}: is a TensorFlow checkpoint of the old kind, in one file "
                "(V1); save it again with TensorFlow as V2 (.index and .data-... files)"
            )
        if prefix.exists():
            require_kind(prefix, "tensorflow")
        data = sorted(prefix.parent.glob(f"{prefix.name}.data-*-of-*"))
        found = f" beside {data[0].name}" if data else ""
        raise WeightsError(
            f"{path}: no such file{found}; a checkpoint is read from its .index and "
            ".data-... files together"
        )
    entries: dict[str, _Entry] = {}
    header = None
    try:
        for key, value in read_table(path):
            if header is None:
                header = _read_header(path, key, value)
            elif len(entries) == _MAX_ARRAYS:
                raise ValueError(f"more than {_MAX_ARRAYS:,} arrays")
            elif key.startswith(b"\0"):  # A piece of an array, under a binary name.
                continue
            else:
                name = check_name(key.decode())
                entries[name] = _read_entry(path, name, value)
    except ValueError as error:
        raise WeightsError(f"{path}: is damaged ({error}); copy it again") from error
    if header is None:
        raise WeightsError(f"{path}: is damaged (it is empty); copy it again")
    n_shards, order = header
    for name, e in entries.items():
        if e.shard >= n_shards:
            raise WeightsError(
                f"{path}: is damaged ({name} is in part {e.shard} of {n_shards})"
            )
    return n_shards, order, entries


def _read_header(path: Path, key: bytes, value: bytes) -> tuple[int, str]:
    if key:
        raise ValueError("it has no header")
    if value.startswith(b"\n"):
        raise WeightsError(
            f"{path}: is a TensorFlow checkpoint of the old kind (V1); save it again "
            "with TensorFlow as V2"
        )
    header = Fields(io.BytesIO(value), 1000).read((0, len(value)), _HEADER)
    return _last(header["shards"]), "><"[_last(header["endianness"]) == 0]


def _read_entry(path: Path, name: str, value: bytes) -> _Entry:
    fields = Fields(io.BytesIO(value), 1000)
    entry = fields.read((0, len(value)), _ENTRY)
    if entry["slices"]:
        raise WeightsError(
            f"{path}: {name} is stored in slices (a partitioned variable), which is "
            "not read; save the checkpoint again without a partitioner"
        )
    shape: tuple[int, ...] = ()
    for span in entry["shape"]:
        parts = fields.read(span, _SHAPE)
        dims = [fields.read(dim, _DIM)["size"] for dim in parts["dim"]]
        shape += tuple(_last(sizes) for sizes in dims)
    if len(shape) > _MAX_AXES or any(size > 1 << 40 for size in shape):
        raise ValueError(f"{name} has an impossible shape")
    code = _last(entry["dtype"])
    return _Entry(
        dtype=_TYPES.get(code, f"type {code}"),
        shape=shape,
        shard=_last(entry["shard"]),
        offset=_last(entry["offset"]),
        size=_last(entry["size"]),
        crc=_last(entry["crc"]),
    )


def _last(values: list[int]) -> int:
    """Return a field that is there once, or left out because it is zero."""
    return values[-1] if values else 0


def _itemsize(dtype: str) -> int:
    return 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize


def _check(
    prefix: Path, entries: Mapping[str, _Entry], shards: Mapping[int, Path], limit: int
) -> None:
    """Refuse what the index says before anything is read."""
    index = _beside(prefix, ".index")
    for name, e in entries.items():
        if e.dtype not in _TYPES.values():
            raise WeightsError(
                f"{index}: {name} has {e.dtype} of TensorFlow; expected numbers"
            )
        if e.size != math.prod(e.shape) * _itemsize(e.dtype):
            raise WeightsError(
                f"{index}: is damaged ({name}, {e.dtype} {list(e.shape)}, takes "
                f"{e.size:,} bytes); copy it again"
            )
    missing = [path for path in shards.values() if not path.exists()]
    if missing:
        more = f" (nor are {len(missing) - 1} others)" if len(missing) > 1 else ""
        raise WeightsError(
            f"{missing[0]}: is not there{more}; {index.name} lists {len(entries)} "
            "arrays, and their values are in that file: put it in the same folder"
        )
    check_total(index, sum(e.size for e in entries.values()), limit)
    for shard, path in shards.items():
        # Numbers have no magic; only what is surely something else is refused.
        if not path.is_file() or file_kind(path) in ("html", "git-lfs", "empty"):
            require_kind(path, "tensorflow-data")
        here = sorted(
            (e.offset, e.offset + e.size, name)
            for name, e in entries.items()
            if e.shard == shard and e.size
        )
        found, end = path.stat().st_size, 0
        for start, stop, name in here:
            if start < end:
                raise WeightsError(
                    f"{index}: is damaged ({name} lies over another array)"
                )
            end = stop
        if end > found:
            raise WeightsError(
                f"{path}: is cut off: {found:,} of {end:,} bytes are there; download "
                "or copy it again"
            )


def _read_shard(
    path: Path, entries: Mapping[str, _Entry], order: str
) -> dict[str, np.ndarray]:
    arrays = {}
    with path.open("rb") as file:
        for name, e in entries.items():
            file.seek(e.offset)
            data = file.read(e.size)
            if masked_crc32c(data) != e.crc:
                raise WeightsError(
                    f"{path}: the values of {name} are damaged (wrong CRC), or are "
                    "not of this index; download or copy both again"
                )
            arrays[name] = _array(data, e, order)
    return arrays


def _array(data: bytes, e: _Entry, order: str) -> np.ndarray:
    if e.dtype == "bfloat16":
        return from_bfloat16(np.frombuffer(data, f"{order}u2")).reshape(e.shape)
    values = np.frombuffer(data, np.dtype(e.dtype).newbyteorder(order))
    native = "float32" if e.dtype == "float16" else e.dtype
    return np.array(converted(values, native)).reshape(e.shape)
