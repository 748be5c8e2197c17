"""Numpy's `.npy` and `.npz` files in, named arrays out; also pickled dictionaries.

numpy.load could only read such a dictionary by running the pickle.
"""

import io
import math
import mmap
import re
from pathlib import Path
from typing import BinaryIO

import numpy as np

from deepgaze_jax.conversion import numpy_pickle, pickles
from deepgaze_jax.conversion.arrays import MAX_BYTES
from deepgaze_jax.conversion.numpy_pickle import require_size, values_type
from deepgaze_jax.conversion.sniff import require_kind
from deepgaze_jax.conversion.trees import named_arrays
from deepgaze_jax.conversion.zips import open_zip
from deepgaze_jax.errors import WeightsError

__all__ = ["MAX_BYTES", "read"]

#: numpy's own name for an array that was saved without one.
_UNNAMED = "arr_0"

_MAGIC = b"\x93NUMPY"
_MAX_HEADER = 4096
_HEADER = re.compile(
    r"\{'descr': '([^']+)', 'fortran_order': (True|False), "
    r"'shape': \(((?:\d{1,12}L?, ?)*(?:\d{1,12}L?)?)\), ?\}\s*"
)


def read(path: str | Path, max_bytes: int = MAX_BYTES) -> dict[str, np.ndarray]:
    """Return all arrays of a `.npy` or `.npz` file.

    Nothing of a pickle inside is run; see `deepgaze_jax.conversion.pickles`.

    Args:
        path: the file.
        max_bytes: limit for the file and for all arrays together.

    Returns:
        Of a dictionary name -> [W, b] `{"conv1_1/0": array, "conv1_1/1": array, ...}`;
        of a `.npz` the names it has; of a single array `{"arr_0": array}`. Types as
        stored, in the byte order of this machine. The arrays may be read-only.

    Raises:
        WeightsError: another kind of file, cut off, damaged, too large, or unsafe.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "vgg.npy"
        ...     np.save(path, {"conv1_1": [np.ones(2), np.zeros(1)]}, allow_pickle=True)
        ...     read(path)
        {'conv1_1/0': array([1., 1.]), 'conv1_1/1': array([0.])}
    """
    path = Path(path)
    kind = require_kind(path, "numpy", "zip")
    require_size(path, max_bytes)
    if kind == "zip":
        tree = {}
        with open_zip(path, max_bytes) as members:
            for name in members:
                if not name.endswith(".npy"):
                    raise WeightsError(
                        f"{path}: is a zip archive with {name[:100]!a} in it; "
                        "expected one of .npy files only, as numpy.savez writes"
                    )
                member = io.BytesIO(members.read(name))
                size = members.size(name)
                tree[name.removesuffix(".npy")] = _member(path, member, size)
    else:
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            tree = _member(path, data, data.size())
    if isinstance(tree, np.ndarray):
        tree = {_UNNAMED: tree}
    return named_arrays(tree, path, "/", _convert, max_bytes)


def _convert(value: object) -> object:
    return value if isinstance(value, np.ndarray) else numpy_pickle.convert(value)


def _member(path: Path, stream: BinaryIO, n_bytes: int) -> object:
    """Return the array of one `.npy` stream, or the unpickled tree in it."""
    start = stream.read(8)
    if len(start) < 8 or start[:6] != _MAGIC or start[6] not in (1, 2, 3):
        raise WeightsError(
            f"{path}: is cut off, damaged or of a newer format: no header of numpy's "
            "versions 1 to 3"
        )
    length = int.from_bytes(stream.read(2 if start[6] == 1 else 4), "little")
    header = stream.read(min(length, _MAX_HEADER + 1))
    match = _HEADER.fullmatch(header.decode("latin-1"))
    if len(header) != length or match is None:
        raise WeightsError(
            f"{path}: is cut off, damaged or not made of plain arrays (header "
            f"{header[:60].decode('latin-1')!a})"
        )
    descr, fortran, dimensions = match.groups()
    if re.fullmatch(r"\|?O[48]?", descr):
        tree = pickles.load(stream, path, numpy_pickle.ALLOWED)
        if stream.tell() != n_bytes:
            raise WeightsError(f"{path}: goes on after the pickle in it")
        return tree
    try:
        dtype = values_type(descr)
    except ValueError as error:
        raise WeightsError(f"{path}: {error}") from error
    shape = tuple(int(n.rstrip("L")) for n in re.findall(r"\d+L?", dimensions))
    expected, found = math.prod(shape) * dtype.itemsize, n_bytes - stream.tell()
    if expected != found:
        state = "is cut off" if found < expected else "is damaged"
        raise WeightsError(
            f"{path}: {state}: {found:,} bytes of values are there, its header says "
            f"{expected:,}; fetch it again"
        )
    values = np.frombuffer(stream.read(found), dtype) if found else np.zeros(0, dtype)
    try:
        array = values.reshape(shape, order="F" if fortran == "True" else "C")
    except ValueError as error:
        raise WeightsError(f"{path}: is damaged ({error})") from error
    return array.astype(dtype.newbyteorder("="), copy=False)
