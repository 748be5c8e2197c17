"""PyTorch's `.pth` and `.pt` files in, named arrays out, without PyTorch.

Two layouts: a zip archive since 1.6, before that a row of pickles with the values
behind them. In both, the tensors are described by a pickle, of which nothing is run.
"""

import io
import mmap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deepgaze_jax.conversion import pickles
from deepgaze_jax.conversion.arrays import MAX_BYTES, from_bfloat16
from deepgaze_jax.conversion.numpy_pickle import require_size
from deepgaze_jax.conversion.sniff import file_kind, require_kind
from deepgaze_jax.conversion.trees import named_arrays
from deepgaze_jax.conversion.zips import Members, open_zip
from deepgaze_jax.errors import WeightsError

__all__ = ["MAX_BYTES", "read"]

_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_PROTOCOL_VERSION = 1001
_MAX_DIMENSIONS = 32

# Type of PyTorch -> how its storage class is called, how numpy calls it. Numpy has no
# bfloat16: its 16 bits are the upper half of a float32.
_TYPES = {
    "float64": ("Double", "f8"),
    "float32": ("Float", "f4"),
    "float16": ("Half", "f2"),
    "bfloat16": ("BFloat16", "bfloat16"),
    "int64": ("Long", "i8"),
    "int32": ("Int", "i4"),
    "int16": ("Short", "i2"),
    "int8": ("Char", "i1"),
    "uint8": ("Byte", "u1"),
    "bool": ("Bool", "b1"),
}
_STORAGES = {f"torch.{name}Storage": code for name, code in _TYPES.values()}
_STORAGES |= {f"torch.cuda.{name}Storage": code for name, code in _TYPES.values()}


def read(path: str | Path, max_bytes: int = MAX_BYTES) -> dict[str, np.ndarray]:
    """Return all tensors of a PyTorch file as arrays.

    Nothing of the file is run, and PyTorch is not needed.

    Args:
        path: what torch.save wrote of a state dict, or of dictionaries of them.
        max_bytes: limit for the file and for all arrays together.

    Returns:
        `{"features.0.weight": array, ...}`; keys of nested dictionaries are joined
        with a dot (`state_dict.features.0.weight`). Types as stored, bfloat16 as
        float32. The arrays may be read-only, not contiguous, and share memory where
        the tensors do.

    Raises:
        WeightsError: another kind of file, cut off, damaged, too large, unsafe, or a
            whole model (TorchScript or pickled classes) where the weights alone are
            expected.

    Example:
        >>> read("vgg19-dcbb9e9d.pth")["features.0.weight"].shape  # doctest: +SKIP
        (64, 3, 3, 3)
    """
    path = Path(path)
    if path.is_file() and file_kind(path) == "tar":
        raise WeightsError(
            f"{path}: is a tar archive, the layout of PyTorch before 0.1.11, which is "
            "not read; load it with PyTorch and save it again"
        )
    kind = require_kind(path, "zip", "torch-legacy", "pickle")
    require_size(path, max_bytes)
    if kind == "zip":
        with open_zip(path, max_bytes) as members:
            tree, values = _read_zip(path, members)
    else:
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            tree, values = _read_stream(path, data)

    def convert(value: Any) -> np.ndarray | None:
        return value.array(values) if isinstance(value, _Tensor) else None

    return named_arrays(tree, path, ".", convert, max_bytes)


@dataclass(frozen=True)
class _Storage:
    """A row of values that tensors look at."""

    key: str
    code: str
    size: int
    start: int = 0

    @property
    def n_bytes(self) -> int:
        return self.size * _item_bytes(self.code)


class _Tensor(pickles.Node):
    """A view of a storage; the values are looked at when all is read."""

    def __init__(
        self, storage: Any, offset: Any, shape: Any, strides: Any, *other: Any
    ) -> None:
        if not isinstance(storage, _Storage):
            raise ValueError("a tensor without a storage")
        for name, numbers in (("shape", shape), ("stride", strides)):
            if not isinstance(numbers, tuple) or not all(map(_is_count, numbers)):
                raise ValueError(f"a tensor without a {name}")
        if len(shape) != len(strides) or len(shape) > _MAX_DIMENSIONS:
            raise ValueError("a tensor whose shape and stride differ in length")
        if not _is_count(offset):
            raise ValueError("a tensor without a place in its storage")
        self._storage, self._offset = storage, offset
        self._shape, self._strides = shape, strides

    def set_state(self, state: Any) -> None:
        """Leave out whether it needs a gradient, which old parameters state."""

    def array(self, values: Mapping[str, np.ndarray]) -> np.ndarray:
        storage = self._storage
        row = values[storage.key][storage.start :][: storage.size]
        if 0 in self._shape:
            return np.zeros(self._shape, row.dtype)
        steps = zip(self._shape, self._strides, strict=True)
        last = self._offset + sum((n - 1) * step for n, step in steps)
        n_values = 1
        for n in self._shape:
            n_values *= n
        # A stride of 0 would let a few bytes look like any amount of values.
        if last >= len(row) or n_values > len(row):
            raise ValueError(
                f"its shape {self._shape} needs more than the {len(row):,} values "
                "that are stored"
            )
        return np.lib.stride_tricks.as_strided(
            row[self._offset :],
            self._shape,
            [row.itemsize * step for step in self._strides],
            writeable=False,
        )


def _is_count(number: Any) -> bool:
    return type(number) is int and 0 <= number < 1 << 40


def _item_bytes(code: str) -> int:
    return 2 if code == "bfloat16" else np.dtype(code).itemsize


def _parameter(data: Any, *other: Any) -> Any:
    """Return the tensor of a parameter."""
    if not isinstance(data, _Tensor):
        raise ValueError("a parameter without a tensor")
    return data


_ALLOWED: pickles.Allowed = {
    "collections.OrderedDict": pickles.ordered_dict,
    "torch._utils._rebuild_tensor": _Tensor,
    "torch._utils._rebuild_tensor_v2": _Tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    # How parameters were written before 0.4; the files of 2017 hold such ones.
    "torch.nn.parameter.Parameter": _parameter,
    "torch.Size": tuple,
    **dict.fromkeys(_STORAGES),
    **dict.fromkeys(f"torch.{name}" for name in _TYPES),
}


def _storages(legacy: bool) -> tuple[dict[str, _Storage], Callable[[Any], _Storage]]:
    """Return an empty table, and what fills it from the identities in a pickle."""
    found: dict[str, _Storage] = {}

    def persistent(identity: Any) -> _Storage:
        if not isinstance(identity, tuple) or len(identity) not in (5, 6):
            raise ValueError("an identity that PyTorch does not write")
        word, kind, key, _place, size = identity[:5]
        code = _STORAGES.get(getattr(kind, "name", None))
        if word != "storage" or code is None:
            raise ValueError("an identity of what is no storage of numbers")
        if not isinstance(key, str) or not _is_count(size):
            raise ValueError("a storage without a name or a size")
        storage = found.setdefault(key, _Storage(key, code, size))
        if (storage.code, storage.size) != (code, size):
            raise ValueError(f"two different storages named {key[:40]!a}")
        view = identity[5] if legacy and len(identity) == 6 else None
        if view is None:
            return storage
        # A part of the storage, in files before 0.4.
        _, start, length = view
        if not _is_count(start) or not _is_count(length) or start + length > size:
            raise ValueError("a part that lies outside its storage")
        return _Storage(key, code, length, start)

    return found, persistent


def _values(storage: _Storage, data: bytes, little: bool) -> np.ndarray:
    order = "<" if little else ">"
    if storage.code != "bfloat16":
        values = np.frombuffer(data, order + storage.code)
        return values.astype(values.dtype.newbyteorder("="), copy=False)
    return from_bfloat16(np.frombuffer(data, order + "u2"))


def _read_zip(path: Path, members: Members) -> tuple[Any, dict[str, np.ndarray]]:
    names = list(members)
    if any(name.split("/")[1:2] in (["code"], ["constants.pkl"]) for name in names):
        raise WeightsError(
            f"{path}: is a TorchScript archive, a whole program; load it with PyTorch "
            "and save its state_dict()"
        )
    folders = [
        name.removesuffix("data.pkl")
        for name in names
        if name.count("/") == 1 and name.endswith("/data.pkl")
    ]
    if len(folders) != 1:
        shown = ", ".join(ascii(name[:60]) for name in names[:3])
        raise WeightsError(
            f"{path}: is a zip archive, but not one of PyTorch (no data.pkl; it has "
            f"{shown or 'no members'})"
        )
    compressed = [name for name in names if members.is_compressed(name)]
    if compressed:
        raise WeightsError(
            f"{path}: its member {compressed[0][:100]!a} is compressed, which "
            "torch.save does not do; unpack the archive and zip it without compression"
        )
    folder = folders[0]
    order = b"little"
    if f"{folder}byteorder" in members:
        order = members.read(f"{folder}byteorder").strip()
    if order not in (b"little", b"big"):
        raise WeightsError(f"{path}: is damaged (byte order {order[:20]!a})")
    storages, persistent = _storages(legacy=False)
    stream = io.BytesIO(members.read(f"{folder}data.pkl"))
    tree = pickles.load(stream, path, _ALLOWED, persistent)
    values = {}
    for key, storage in storages.items():
        member = f"{folder}data/{key}"
        found = members.size(member) if member in members else None
        if found != storage.n_bytes:
            state = "is missing" if found is None else f"has {found:,} bytes"
            raise WeightsError(
                f"{path}: is damaged: {member!a} {state}; expected "
                f"{storage.n_bytes:,} bytes of values"
            )
        values[key] = _values(storage, members.read(member), order == b"little")
    return tree, values


def _read_stream(path: Path, data: mmap.mmap) -> tuple[Any, dict[str, np.ndarray]]:
    magic = pickles.load(data, path, {})
    version = pickles.load(data, path, {}) if magic == _MAGIC_NUMBER else None
    if version != _PROTOCOL_VERSION:
        raise WeightsError(
            f"{path}: is a pickle, but none that torch.save wrote; expected a PyTorch "
            "file"
        )
    system = pickles.load(data, path, {})
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise WeightsError(
            f"{path}: was written on a big-endian machine or is damaged; load it with "
            "PyTorch and save it again"
        )
    storages, persistent = _storages(legacy=True)
    tree = pickles.load(data, path, _ALLOWED, persistent)
    keys = pickles.load(data, path, {})
    # No repr of what may be nested without end.
    named = isinstance(keys, list) and all(isinstance(key, str) for key in keys)
    if not named or sorted(keys) != sorted(storages):
        raise WeightsError(f"{path}: is damaged: its list of storages is not complete")
    values = {}
    for key in keys:
        storage = storages[key]
        size = int.from_bytes(data.read(8), "little")
        left = data.size() - data.tell()
        if left < storage.n_bytes:
            raise WeightsError(
                f"{path}: is cut off: {storage.n_bytes:,} more bytes of values are "
                f"expected, {left:,} are there; fetch it again"
            )
        if size != storage.size:
            raise WeightsError(
                f"{path}: is damaged: a storage has {size:,} values; expected "
                f"{storage.size:,}"
            )
        values[key] = _values(storage, data.read(storage.n_bytes), little=True)
    return tree, values
