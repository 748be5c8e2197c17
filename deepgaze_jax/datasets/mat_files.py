"""MATLAB files of data sets, as plain arrays, texts, lists and dictionaries.

Version 5 is read by the project's own reader: that of SciPy is faster, but damaged
files crash it. Version 7.3, which is HDF5, is read by h5py. Both are bounded.
"""

import io
from typing import Any

import h5py
import numpy as np

from deepgaze_jax.conversion.mat_file import Value, parse_variables
from deepgaze_jax.datasets.hdf5_files import DAMAGED, child, read_dataset
from deepgaze_jax.datasets.source_files import SourceFile
from deepgaze_jax.errors import DataError, WeightsError

__all__ = ["Value", "read_mat", "row_of_numbers"]

_MAX_BYTES = 2**30
_MAX_VALUES = 5_000_000
_MAX_DEPTH = 24
_NOT_MAT = {
    b"<": "a web page",
    b"version https://git-lfs": "a Git-LFS pointer: fetch the file itself",
}


def read_mat(file: SourceFile, wanted: tuple[str, ...] | None = None) -> dict[str, Any]:
    """Returns the variables of a MATLAB file.

    Numbers are arrays with their axes in MATLAB, texts str, cells lists, structs lists
    of dictionaries; None stands for what is not read (functions, objects).

    Args:
        file: of version 5 to 7.3.
        wanted: names of variables; all if left out.

    Raises:
        DataError: another kind of file, cut off, damaged, too large, or none of the
            wanted variables is in it (the line lists what is).
    """
    data = file.read(_MAX_BYTES)
    if data[:8] == b"\x89HDF\r\n\x1a\n" or data[512:520] == b"\x89HDF\r\n\x1a\n":
        variables = _read_hdf5(file, data, wanted)
    else:
        variables = _read_mat5(file, data, wanted)
    if wanted and not variables:
        found = ", ".join(_names(file, data)) or "none"
        raise DataError(
            f"{file.where}: has no variable {' or '.join(wanted)}; found {found}; is "
            "it a file of this data set?"
        )
    return variables


def row_of_numbers(value: Value, where: str) -> np.ndarray:
    """Returns a vector as float64 [n], whatever way it lies; nothing becomes [0].

    Raises:
        DataError: not numbers, or not a vector.
    """
    if value is None or (isinstance(value, list) and not value):
        return np.zeros(0)
    if isinstance(value, np.ndarray) and value.size == 0:
        return np.zeros(0)
    if not (
        isinstance(value, np.ndarray)
        and value.dtype.kind in "fiub"
        and value.size == max(value.shape, default=1)
    ):
        raise DataError(f"{where}: is not a vector of numbers; fetch the file again")
    return value.reshape(-1).astype(np.float64)


def _read_mat5(
    file: SourceFile, data: bytes, wanted: tuple[str, ...] | None
) -> dict[str, Any]:
    if not data.startswith(b"MATLAB"):
        kind = next((k for m, k in _NOT_MAT.items() if data.lstrip().startswith(m)), "")
        raise DataError(
            f"{file.where}: is {kind or 'not a MATLAB file'}; fetch it again"
        )
    try:
        found = parse_variables(
            io.BytesIO(data), len(data), file.where, _MAX_BYTES, wanted, _MAX_VALUES
        )
    except WeightsError as error:
        raise DataError(str(error)) from error
    return {n: v for n, v in found.items() if wanted is None or n in wanted}


def _names(file: SourceFile, data: bytes) -> list[str]:
    try:
        if not data.startswith(b"MATLAB 5"):
            with h5py.File(io.BytesIO(data), "r") as hdf5:
                return [name for name in hdf5 if not name.startswith("#")]
        return list(
            parse_variables(io.BytesIO(data), len(data), file.where, _MAX_BYTES, ())
        )
    except (WeightsError, *DAMAGED):
        return []  # Only for a message.


def _read_hdf5(
    file: SourceFile, data: bytes, wanted: tuple[str, ...] | None
) -> dict[str, Any]:
    try:
        with h5py.File(io.BytesIO(data), "r") as hdf5:
            names = [n for n in hdf5 if not n.startswith("#")]
            reader = _Hdf5Reader(hdf5)
            return {
                name: reader.value(child(hdf5, name))
                for name in names
                if not wanted or name in wanted
            }
    except DAMAGED as error:
        line = " ".join(str(error).split())[:120]
        raise DataError(
            f"{file.where}: is cut off or damaged ({line}); fetch it again"
        ) from error


class _Hdf5Reader:
    """Values of MATLAB 7.3: arrays lie transposed, cells and structs are references."""

    def __init__(self, hdf5: h5py.File) -> None:
        self._file, self._left = hdf5, _MAX_BYTES

    def value(self, node: h5py.Dataset | h5py.Group, depth: int = 0) -> Value:
        if depth > _MAX_DEPTH:
            raise ValueError("it is nested too deeply")
        if isinstance(node, h5py.Group):
            return self._structs(node, depth)
        array = read_dataset(node, self._left)
        self._left -= array.nbytes
        kind = node.attrs.get("MATLAB_class", b"")
        if node.attrs.get("MATLAB_empty", 0):
            return (
                "" if kind == b"char" else [] if kind == b"cell" else np.zeros((0, 0))
            )
        if array.dtype.kind == "O":
            return [self._referred(r, depth) for r in array.reshape(-1)]
        if kind == b"char":
            return "".join(map(chr, array.T.reshape(-1, order="F").tolist()))
        return array.T

    def _referred(self, reference: Any, depth: int) -> Value:
        if not isinstance(reference, h5py.Reference) or not reference:
            raise ValueError("a cell holds no reference")
        return self.value(self._file[reference], depth + 1)

    def _structs(self, group: h5py.Group, depth: int) -> list[dict[str, Value]]:
        fields = {}
        n = 1
        for name in group:
            node = child(group, name)
            # An array of structs has for each field a table of references, which
            # unlike a cell says no class.
            many = isinstance(node, h5py.Dataset) and node.dtype.kind == "O"
            if many and "MATLAB_class" not in node.attrs:
                fields[name] = self.value(node, depth + 1)
                n = len(fields[name])
            else:
                fields[name] = [self.value(node, depth + 1)]
        if any(len(values) != n for values in fields.values()):
            raise ValueError("the fields of a struct have different lengths")
        return [{name: fields[name][i] for name in fields} for i in range(n)]
