"""Gaussian blur of one map in float64, exact up to rounding, by matrix products.

Kernels are sampled at whole pixels, cut off and divided by their sum. Two kinds of
padding: "reflect" mirrors the map at its edges (... 1 0 | 0 1 ... n-1 | n-1 ...) and
keeps its sum; "zero" lets what falls beyond the edges go.
"""

from typing import Any, Literal

import numpy as np

from deepgaze_jax.errors import InputError

__all__ = ["Padding", "gaussian_blur", "gaussian_matrix", "reflecting_kernel"]

Padding = Literal["reflect", "zero"]

# Far wider than any image; what is beyond is a slip and would fill the memory.
_MAX_SIGMA = 1e5


def gaussian_blur(
    values: Any, sigma_px: float, padding: Padding = "reflect"
) -> np.ndarray:
    """Returns a map blurred by a Gaussian that is cut off at 4 standard deviations.

    Args:
        values: [height, width].
        sigma_px: standard deviation in pixels, > 0.
        padding: what lies beyond the edges: the mirrored map ("reflect") or "zero".

    Returns:
        float64 [height, width].

    Raises:
        InputError: another padding, or a sigma that is not positive and finite.

    Example:
        >>> gaussian_blur([[0, 0, 3, 0, 0]], 0.5).round(2)
        array([[0.  , 0.32, 2.36, 0.32, 0.  ]])
    """
    values = np.asarray(values, np.float64)
    height, width = values.shape
    vertical = gaussian_matrix(height, sigma_px, padding)
    horizontal = gaussian_matrix(width, sigma_px, padding)
    # Both matrices are symmetric. Maps of fixations are nearly empty: then only what
    # is in them is multiplied.
    row, column = np.nonzero(values)
    if len(row) < height + width:
        return (vertical[:, row] * values[row, column]) @ horizontal[column]
    return vertical @ values @ horizontal


def gaussian_matrix(
    n: int, sigma: float, padding: Padding = "reflect", truncate: float = 4.0
) -> np.ndarray:
    """Returns the symmetric matrix that blurs an axis of n cells.

    Args:
        n: length of the axis.
        sigma: standard deviation in cells, > 0.
        padding: see `gaussian_blur`.
        truncate: standard deviations at which the kernel is cut off.

    Returns:
        float64 [n, n]; with "reflect" rows and columns sum to one.

    Raises:
        InputError: see `gaussian_blur`.

    Example:
        >>> gaussian_matrix(2, 0.5).round(2)
        array([[0.89, 0.11],
               [0.11, 0.89]])
    """
    cell = np.arange(n)
    if padding == "reflect":
        kernel = reflecting_kernel(n, sigma, truncate)
        mirrored = kernel[cell[:, None] + cell + 1]
        return kernel[np.abs(cell[:, None] - cell)] + mirrored
    if padding != "zero":
        raise InputError(f"padding is {padding!r}; expected 'reflect' or 'zero'")
    offset, taps = _taps(sigma, truncate)
    kernel = np.zeros(max(n, offset[-1] + 1))
    kernel[: offset[-1] + 1] = taps[offset >= 0]
    return kernel[np.abs(cell[:, None] - cell)]


def reflecting_kernel(n: int, sigma: float, truncate: float = 4.0) -> np.ndarray:
    """Returns the kernel of a mirrored axis: k with blur[i, j] = k[|i-j|] + k[i+j+1].

    Where only a few entries of the blur are needed, this is all one has to have.

    Args:
        n: length of the axis.
        sigma: standard deviation in cells, > 0.
        truncate: standard deviations at which the kernel is cut off.

    Returns:
        float64 [2 * n], sum 1.

    Raises:
        InputError: a sigma that is not positive and finite.

    Example:
        >>> reflecting_kernel(2, 0.5).round(2)
        array([0.79, 0.11, 0.  , 0.11])
    """
    # An axis mirrored at both ends repeats itself after 2 n cells, so the kernel may
    # be wrapped to that length however far it reaches.
    offset, taps = _taps(sigma, truncate)
    return np.bincount(offset % (2 * n), weights=taps, minlength=2 * n)


def _taps(sigma: float, truncate: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns offsets and normalised values of the kernel."""
    if not 0 < sigma <= _MAX_SIGMA:
        raise InputError(
            f"sigma is {sigma}; expected a positive number of pixels, at most "
            f"{_MAX_SIGMA:g}"
        )
    radius = int(truncate * sigma + 0.5)
    offset = np.arange(-radius, radius + 1)
    taps = np.exp(-0.5 * (offset / sigma) ** 2)
    return offset, taps / taps.sum()
