"""Keras weight files (HDF5) in, named arrays out."""

from pathlib import Path

import h5py
import numpy as np

from deepgaze_jax.conversion.sniff import require_kind
from deepgaze_jax.errors import WeightsError

__all__ = ["MAX_BYTES", "read"]

#: Files whose arrays would take more are refused before any of them is read.
MAX_BYTES = 1 << 30

_MAX_ARRAYS = 10_000


def read(path: str | Path, max_bytes: int = MAX_BYTES) -> dict[str, np.ndarray]:
    """Return all weight arrays of a Keras HDF5 file as float32.

    Whole saved models are read as well: the prefix `model_weights/` is dropped and
    the optimiser's state is left out.

    Args:
        path: an `.h5` file.
        max_bytes: limit for all arrays together, checked before any is read.

    Returns:
        `{"block1_conv1/block1_conv1_W_1:0": array, ...}`, names as in the file.

    Raises:
        WeightsError: no HDF5 file, cut off, damaged, too large, or arrays that are
            not float or lie outside the file.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "small.h5"
        ...     with h5py.File(path, "w") as file:
        ...         file["conv/kernel:0"] = np.zeros((3, 3, 1, 2), np.float32)
        ...     {name: array.shape for name, array in read(path).items()}
        {'conv/kernel:0': (3, 3, 1, 2)}
    """
    path = Path(path)
    require_kind(path, "hdf5")
    # What h5py raises depends on where a file is damaged.
    try:
        with h5py.File(path, "r") as file:
            datasets = _datasets(file)
            _check(path, datasets, max_bytes)
            return {
                name: np.asarray(dataset[()], np.float32)
                for name, dataset in datasets.items()
            }
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        line = " ".join(str(error).split())
        raise WeightsError(f"{path}: is damaged ({line}); fetch it again") from error


def _datasets(file: h5py.File) -> dict[str, h5py.Dataset]:
    found = {}

    def visit(name: str | bytes, item: h5py.HLObject) -> None:
        if isinstance(name, bytes):  # Not UTF-8: no name that Keras writes.
            name = name.decode(errors="backslashreplace")
        if isinstance(item, h5py.Dataset) and not name.startswith("optimizer_weights/"):
            found[name.removeprefix("model_weights/")] = item

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
    if n_bytes > max_bytes:
        raise WeightsError(
            f"{path}: its arrays take {n_bytes:,} bytes; at most {max_bytes:,} are read"
        )
