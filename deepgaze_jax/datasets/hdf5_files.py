"""HDF5 files from outside: only what lies in the file itself is read, and bounded."""

import h5py
import numpy as np

__all__ = ["DAMAGED", "child", "read_dataset", "read_text"]

#: What h5py raises depends on where a file is damaged.
DAMAGED = (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError)


def child(group: h5py.Group, name: str) -> h5py.Dataset | h5py.Group:
    """Returns what a group holds under a name, if it lies in this file.

    Raises:
        KeyError: there is nothing of this name.
        ValueError: it is a link to elsewhere.
    """
    link = group.get(name, getlink=True)
    if link is None:
        raise KeyError(f"{name} is missing")
    if not isinstance(link, h5py.HardLink):
        raise ValueError(f"{name} is a link to elsewhere")
    return group[name]


def read_dataset(dataset: h5py.Dataset, max_bytes: int) -> np.ndarray:
    """Returns all of a data set.

    Args:
        dataset: of an open file.
        max_bytes: limit for what it takes in memory.

    Raises:
        ValueError: it is too large, or its bytes lie in other files.
    """
    if not isinstance(dataset, h5py.Dataset):
        raise ValueError("a group is where an array was expected")
    if dataset.is_virtual or dataset.external:
        raise ValueError(f"{dataset.name} lies in another file")
    n_bytes = dataset.size * max(dataset.dtype.itemsize, 1) if dataset.size else 0
    if n_bytes > max_bytes:
        raise ValueError(f"{dataset.name} takes {n_bytes:,} bytes, which is too much")
    return np.asarray(dataset[()])


def read_text(value: object) -> str:
    """Returns a text attribute, bytes or not.

    Example:
        >>> read_text(b"Fixations")
        'Fixations'
    """
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)
