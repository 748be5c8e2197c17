"""Keras weight files (HDF5) in, named arrays out."""

import re
from pathlib import Path

import h5py
import numpy as np

from deepgaze_jax.conversion.arrays import (
    MAX_BYTES,
    check_name,
    check_total,
    converted,
)
from deepgaze_jax.conversion.sniff import require_kind
from deepgaze_jax.errors import WeightsError

__all__ = ["MAX_BYTES", "read"]

_MAX_ARRAYS = 10_000
# What h5py raises depends on where a file is damaged.
_DAMAGED = (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError)
# The state of the optimiser, in whole saved models.
_NO_WEIGHTS = ("optimizer_weights/", "optimizer/")

# block1_conv1/block1_conv1_W_1:0 of the first versions.
_OLD = re.compile(r"(?:.*/)?(?P<layer>[^/]+)_(?P<part>[Wb])(?:_\d+)?(?::0)?")
# block1_conv1/block1_conv1/kernel:0, and deeper where a model is part of another.
_NEW = re.compile(
    r"(?:(?P<first>[^/]+)/)?(?:.*/)?(?P<layer>[^/]+)/(?P<part>kernel|bias)(?::0)?"
)
# layers/conv2d/vars/0 of Keras 3, which numbers what it holds.
_NUMBERED = re.compile(
    r"(?:.*/)?(?:layers|_layer_checkpoint_dependencies)/(?P<layer>[^/]+)/vars/(?P<part>\d+)"
)
_PARTS = {"W": "kernel", "b": "bias", "0": "kernel", "1": "bias"}


def read(path: str | Path, max_bytes: int = MAX_BYTES) -> dict[str, np.ndarray]:
    """Return all weight arrays of a Keras HDF5 file as float32.

    Names of all versions become `layer/kernel` and `layer/bias`. Whole saved models
    are read as well, without the state of the optimiser.

    Args:
        path: an `.h5`, `.hdf5` or `.weights.h5` file.
        max_bytes: limit for all arrays together, checked before any is read.

    Returns:
        `{"block1_conv1/kernel": array, ...}`. Keras 3 calls layers by their kind and
        order, `conv2d`, `conv2d_1`, ...; they are returned in that order. Other arrays
        keep the names that the file has.

    Raises:
        WeightsError: no HDF5 file, cut off, damaged, too large, or arrays that are
            not float, are there twice, or lie outside the file.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "small.h5"
        ...     with h5py.File(path, "w") as file:
        ...         file["conv/conv/kernel:0"] = np.zeros((3, 3, 1, 2), np.float32)
        ...     {name: array.shape for name, array in read(path).items()}
        {'conv/kernel': (3, 3, 1, 2)}
    """
    path = Path(path)
    require_kind(path, "hdf5")
    try:
        with h5py.File(path, "r") as file:
            datasets = _datasets(file)
            _check(path, datasets, max_bytes)
            named = {}
            for name, dataset in datasets.items():
                plain = check_name(_plain_name(name, dataset))
                if plain in named:
                    raise ValueError(f"{plain} is there twice")
                named[plain] = dataset
            return {
                n: converted(np.asarray(d[()]), "float32") for n, d in _in_order(named)
            }
    except _DAMAGED as error:
        line = " ".join(str(error).split())
        raise WeightsError(f"{path}: is damaged ({line}); fetch it again") from error


def _plain_name(name: str, dataset: h5py.Dataset) -> str:
    """Return `layer/kernel` or `layer/bias` for the names of all versions of Keras."""
    if match := _NUMBERED.fullmatch(name):
        # Newer files note the layer's own name in an attribute. It is not read: the
        # library crashes on damaged texts of that kind, and the order says as much.
        layer = match["layer"]
        alone = set(dataset.parent.keys()) <= {"0", "1"}
        plain = _PARTS.get(match["part"]) if alone and dataset.ndim else None
        return f"{layer}/{plain or match['part']}"
    if match := _OLD.fullmatch(name):
        return f"{match['layer']}/{_PARTS[match['part']]}"
    if match := _NEW.fullmatch(name):
        layer, first = match["layer"], match["first"]
        # TensorFlow adds a number where a name was taken.
        again = first and re.fullmatch(rf"{re.escape(first)}_\d+", layer)
        return f"{first if again else layer}/{match['part']}"
    return name


def _in_order(named: dict[str, h5py.Dataset]) -> list[tuple[str, h5py.Dataset]]:
    """Return arrays with conv2d_2 before conv2d_10."""

    def key(name: str) -> list[str | int]:
        # Texts and numbers take turns.
        parts = re.split(r"([0-9]+)", name)
        return [int(part) if i % 2 else part for i, part in enumerate(parts)]

    return sorted(named.items(), key=lambda item: key(item[0]))


def _datasets(file: h5py.File) -> dict[str, h5py.Dataset]:
    found = {}

    def visit(name: str | bytes, item: h5py.HLObject) -> None:
        if isinstance(name, bytes):  # Not UTF-8: no name that Keras writes.
            name = name.decode(errors="backslashreplace")
        if isinstance(item, h5py.Dataset) and not name.startswith(_NO_WEIGHTS):
            found[check_name(name.removeprefix("model_weights/"))] = item

    # Does not follow soft or external links, which could lead to other files.
    file.visititems(visit)
    return found


def _check(path: Path, datasets: dict[str, h5py.Dataset], max_bytes: int) -> None:
    """Refuse what cannot be weights before anything is read."""
    if not datasets:
        raise WeightsError(f"{path}: has no arrays; expected the weights of a network")
    if len(datasets) > _MAX_ARRAYS:
        raise WeightsError(
            f"{path}: has {len(datasets):,} arrays; at most {_MAX_ARRAYS:,} are read"
        )
    outside = [name for name, d in datasets.items() if d.external or d.is_virtual]
    if outside:
        raise WeightsError(
            f"{path}: keeps {outside[0]} in another file, which is not followed; save "
            "all weights in one file"
        )
    other = [name for name, d in datasets.items() if d.dtype.kind != "f"]
    if other:
        kind = datasets[other[0]].dtype
        raise WeightsError(
            f"{path}: {other[0]} has type {kind}; expected floating-point weights"
        )
    n_bytes = sum(4 * d.size for d in datasets.values())
    check_total(path, n_bytes, max_bytes)
    # Keras stores every array in one piece. The library that reads pieces trusts what
    # a damaged file says about them, and inflates them without a limit.
    pieces = [name for name, d in datasets.items() if d.chunks]
    if pieces:
        raise WeightsError(
            f"{path}: {pieces[0]} is stored in pieces or compressed, as Keras does not "
            "write it; run `h5repack -l CONTI -f NONE` on the file"
        )
    stored = {name: d.id.get_storage_size() for name, d in datasets.items()}
    absent = [n for n, d in datasets.items() if stored[n] != d.size * d.dtype.itemsize]
    if absent:
        raise ValueError(f"the values of {absent[0]} are not in the file")
    if sum(stored.values()) > path.stat().st_size:
        raise ValueError("its arrays lie over one another")
