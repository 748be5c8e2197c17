"""What may be measured: log densities, other maps, and fixations inside them."""

from typing import Any

import numpy as np

from deepgaze_jax.errors import InputError

__all__ = [
    "check_log_density",
    "check_rankable_map",
    "check_saliency_map",
    "pixel_index",
]

_MAX_LOG_SUM_EXP = 1e-3


def check_log_density(log_density: Any, name: str = "log_density") -> np.ndarray:
    """Returns a log density as float64, refusing every other kind of map.

    Args:
        log_density: [height, width], natural log, log-sum-exp 0 within 1e-3; minus
            infinity is probability 0.
        name: what messages call it.

    Raises:
        InputError: anything else.

    Example:
        >>> check_log_density(np.log([[0.5, 0.5]], dtype=np.float32)).dtype
        dtype('float64')
    """
    log_density = np.asarray(log_density)
    if log_density.dtype.kind not in "fiu" or log_density.ndim != 2:
        raise InputError(
            f"{name} has the type {log_density.dtype} and shape "
            f"{list(log_density.shape)}; expected numbers [height, width]"
        )
    log_density = log_density.astype(np.float64)
    if log_density.size == 0 or np.isnan(log_density).any():
        raise InputError(f"{name} is empty or has NaN; expected a natural-log density")
    total = _log_sum_exp(log_density)
    if not abs(total) <= _MAX_LOG_SUM_EXP:
        raise InputError(
            f"{name} is not a log density: its log-sum-exp is {total:.4g}, expected 0 "
            f"within {_MAX_LOG_SUM_EXP:g}; take the natural log and subtract the "
            "log-sum-exp"
        )
    return log_density


def check_saliency_map(saliency_map: Any, name: str = "saliency_map") -> np.ndarray:
    """Returns a map whose values count, as float64; a log density is refused.

    Args:
        saliency_map: [height, width], finite numbers in any unit.
        name: what messages call it.

    Raises:
        InputError: values that are not finite, or a log density: the logarithm changes
            every measure that is not about ranks alone.

    Example:
        >>> check_saliency_map([[0, 3]])
        array([[0., 3.]])
    """
    saliency_map = check_rankable_map(saliency_map, name).astype(np.float64)
    highest = saliency_map.max()
    # Of a single pixel nothing can be told; several of log-sum-exp 0 are below 0.
    if -np.inf < highest <= _MAX_LOG_SUM_EXP and saliency_map.size > 1:
        below = saliency_map.min() < 0
        if below and abs(_log_sum_exp(saliency_map)) <= _MAX_LOG_SUM_EXP:
            raise InputError(
                f"{name} is a log density (its log-sum-exp is 0), expected a map of "
                "plain values; give its exponential"
            )
    infinite = ~np.isfinite(saliency_map)
    if infinite.any():
        raise InputError(
            f"{name} has {int(infinite.sum())} of {infinite.size} values that are not "
            "finite; expected plain values at every pixel"
        )
    return saliency_map


def check_rankable_map(saliency_map: Any, name: str = "saliency_map") -> np.ndarray:
    """Returns a map of which only the order of values counts, in its own type.

    Args:
        saliency_map: [height, width], any numbers; minus infinity, the logarithm of
            probability 0, is the lowest of them.
        name: what messages call it.

    Raises:
        InputError: no numbers, another shape, no pixels, NaN or plus infinity.

    Example:
        >>> check_rankable_map([[0, 255]]).tolist()
        [[0, 255]]
    """
    saliency_map = np.asarray(saliency_map)
    if saliency_map.dtype.kind not in "fiub" or saliency_map.ndim != 2:
        raise InputError(
            f"{name} has the type {saliency_map.dtype} and shape "
            f"{list(saliency_map.shape)}; expected numbers [height, width]"
        )
    if saliency_map.size == 0:
        raise InputError(f"{name} is empty; expected at least one pixel")
    # NaN is the maximum of whatever it is in.
    if not saliency_map.max() < np.inf:
        raise InputError(f"{name} has NaN or plus infinity; expected numbers")
    return saliency_map


def pixel_index(
    x: Any, y: Any, height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns row and column of each fixation: pixel [floor(y), floor(x)].

    Args:
        x: [n], pixels from the left.
        y: [n], pixels from the top.
        height: of the map in pixels.
        width: of the map in pixels.

    Raises:
        InputError: other shapes, or a fixation outside the map (NaN included).

    Example:
        >>> pixel_index([0.9, 1.0], [0, 0], 1, 2)
        (array([0, 0]), array([0, 1]))
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise InputError(
            f"x has the shape {list(x.shape)}, y {list(y.shape)}; expected two arrays "
            "of one dimension and equal length"
        )
    # Comparisons with NaN are false, so NaN counts as outside.
    outside = ~((x >= 0) & (x < width) & (y >= 0) & (y < height))
    if outside.any():
        first = int(outside.argmax())
        raise InputError(
            f"{int(outside.sum())} of {len(x)} fixations are outside the map of "
            f"{width} x {height} pixels, first x {x[first]}, y {y[first]}; drop them "
            "or check units and axes"
        )
    return y.astype(np.int64), x.astype(np.int64)


def _log_sum_exp(values: np.ndarray) -> float:
    """Returns the log-sum-exp of all values, in a third of SciPy's time."""
    highest = values.max()
    if not np.isfinite(highest):
        return float(highest)
    return float(highest + np.log(np.exp(values - highest).sum()))
