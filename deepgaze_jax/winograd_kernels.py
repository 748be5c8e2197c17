"""Kernels of 3x3 convolutions as `winograd.py` takes them."""

import numpy as np

from deepgaze_jax.memory import aligned_memory
from deepgaze_jax.windows import TILE

__all__ = ["transform_image_kernel", "transform_kernel"]

_G = np.array(
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ]
)
_INPUT = len(_G)


def transform_kernel(kernel: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return a kernel as `winograd.convolve` takes it, computed in float64.

    Args:
        kernel: [3, 3, in, out].

    Returns:
        For each of the 6 columns of a transformed tile float32 [6 rows, in, out].

    Example:
        >>> [part.shape for part in transform_kernel(np.ones((3, 3, 5, 7)))][:2]
        [(6, 5, 7), (6, 5, 7)]
    """
    # Both sides at once: rows of the Kronecker product are pairs of rows of G.
    both = np.kron(_G, _G)
    transformed = aligned_memory((_INPUT, _INPUT, *kernel.shape[2:]))
    # Some channels at a time, which stay in the cache as float64.
    for start in range(0, kernel.shape[2], 16):
        part = np.asarray(kernel[:, :, start : start + 16], np.float64)
        flat = both @ part.reshape(9, -1)
        flat = flat.reshape(_INPUT, _INPUT, *part.shape[2:]).swapaxes(0, 1)
        transformed[:, :, start : start + 16] = flat
    return tuple(transformed)


def transform_image_kernel(kernel: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return a kernel as `winograd.convolve_image` takes it.

    Args:
        kernel: [3, 3, in, out].

    Returns:
        For each of the 4 columns of a tile a matrix [18 in, out] from the 3x6 inputs
        that its row reads.

    Example:
        >>> transform_image_kernel(np.ones((3, 3, 3, 7), np.float32))[0].shape
        (54, 7)
    """
    spread = []
    for column in range(TILE):
        whole = np.zeros((3, _INPUT, *kernel.shape[2:]), np.float32)
        whole[:, column : column + 3] = kernel
        spread.append(whole.reshape(-1, kernel.shape[-1]))
    return tuple(spread)
