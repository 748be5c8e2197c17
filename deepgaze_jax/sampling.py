"""Fixations drawn from a density."""

from typing import Any

import numpy as np

from deepgaze_jax.errors import InputError
from deepgaze_jax.map_checks import check_log_density

__all__ = ["sample_fixations"]


def sample_fixations(
    log_density: Any, n: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Returns n points drawn independently from a density, x and y in pixels.

    A pixel is drawn by its probability, the place within it uniformly. There is no
    order and no inhibition of return: the points are fixations, not a scanpath.

    Args:
        log_density: [height, width], natural log, log-sum-exp 0.
        n: number of points.
        seed: of the draws; the same for equal results.

    Returns:
        x and y, each float64 [n]; a point belongs to pixel [floor(y), floor(x)].

    Raises:
        InputError: a map that is not a log density, or a negative number.

    Example:
        >>> with np.errstate(divide="ignore"):
        ...     x, y = sample_fixations(np.log([[0.0, 1.0, 0.0]]), 2)
        >>> np.floor(x), np.floor(y)
        (array([1., 1.]), array([0., 0.]))
    """
    density = np.exp(check_log_density(log_density))
    if n < 0:
        raise InputError(f"n is {n}; expected a number of fixations")
    rng = np.random.default_rng(seed)
    cumulated = density.ravel().cumsum()
    # "right": a pixel with probability 0 does not raise the sum and is passed over.
    pixel = np.searchsorted(cumulated, rng.random(n) * cumulated[-1], side="right")
    # min: the product may be rounded up to the whole sum.
    pixel = np.minimum(pixel, np.flatnonzero(density)[-1])
    row, column = np.divmod(pixel, density.shape[1])
    inside_y, inside_x = rng.random((2, n))
    # Far from 0 the sum may be rounded up to the next pixel.
    x = np.minimum(column + inside_x, np.nextafter(column + 1.0, 0))
    y = np.minimum(row + inside_y, np.nextafter(row + 1.0, 0))
    return x, y
