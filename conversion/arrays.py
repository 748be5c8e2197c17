"""What the readers of all formats check and do alike."""

from pathlib import Path

import numpy as np

from deepgaze_jax.errors import WeightsError

__all__ = ["MAX_BYTES", "check_name", "check_total", "converted", "from_bfloat16"]

#: Files whose arrays would take more are refused before any of them is read.
MAX_BYTES = 1 << 30


def check_name(name: str) -> str:
    """Return a name from a file if it fits in a line of a message.

    Raises:
        ValueError: it is long, or has characters that cannot be shown.

    Example:
        >>> check_name("conv1_1/weights")
        'conv1_1/weights'
    """
    if len(name) > 500 or not name.isprintable():
        raise ValueError(f"no array is called {name[:40]!r}")
    return name


def check_total(path: Path, n_bytes: int, limit: int) -> None:
    """Raise WeightsError if all arrays of a file together take too much."""
    if n_bytes > limit:
        raise WeightsError(
            f"{path}: its arrays take {n_bytes:,} bytes; at most {limit:,} are read"
        )


def converted(values: np.ndarray, dtype: str) -> np.ndarray:
    """Return values in another type; what does not fit in becomes infinite, silently.

    Files from strangers may hold anything, and whether all is finite is checked later.

    Example:
        >>> converted(np.array([1.5, 1e300]), "float32")
        array([1.5, inf], dtype=float32)
    """
    with np.errstate(all="ignore"):
        return values.astype(dtype, copy=False)


def from_bfloat16(words: np.ndarray) -> np.ndarray:
    """Return float32 values of bfloat16 numbers, given as whole numbers of 16 bits.

    They are the upper halves of float32 numbers, so nothing is lost.

    Example:
        >>> from_bfloat16(np.array([0x3F80, 0xC040], np.uint16)).tolist()
        [1.0, -3.0]
    """
    return (words.astype(np.uint32) << 16).view(np.float32)
