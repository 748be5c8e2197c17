"""How well a density predicts fixations: one function per measure, in float64."""

from typing import Any

import numpy as np
from scipy.special import logsumexp

from deepgaze_jax.errors import InputError

__all__ = ["bootstrap_interval", "information_gain", "log_likelihood"]

_MAX_LOG_SUM_EXP = 1e-3
# Resamples are drawn in pieces of at most this many values (32 MB).
_VALUES_AT_ONCE = 2**21


def log_likelihood(log_density: Any, x: Any, y: Any) -> np.ndarray:
    """Returns the log-likelihood of each fixation, bits per fixation over uniform.

    That is log2 p(x, y) + log2(height * width): 0 for the uniform density. A density
    that is 0 at a fixation gives minus infinity.

    Args:
        log_density: [height, width], natural log, log-sum-exp 0.
        x: [n], pixels from the left; a fixation belongs to pixel floor(x).
        y: [n], pixels from the top.

    Returns:
        float64 [n].

    Raises:
        InputError: a map that is not a log density (NaN, log-sum-exp further from 0
            than 1e-3), or a fixation outside it.

    Reference:
        Kümmerer, Wallis & Bethge (2015), PNAS 112:16054, "Information gain".

    Example:
        >>> log_likelihood(np.log([[0.5, 0.25, 0.125, 0.125]]), [0.9, 1.0], [0, 0])
        array([1., 0.])
    """
    log_density = _checked(log_density, "log_density")
    row, column = _pixels(x, y, *log_density.shape)
    return log_density[row, column] / np.log(2) + np.log2(log_density.size)


def information_gain(
    log_density: Any, baseline_log_density: Any, x: Any, y: Any
) -> np.ndarray:
    """Returns the information gain of each fixation over a baseline, bits per fixation.

    That is log2 p(x, y) - log2 p_baseline(x, y). Say which baseline, wherever the
    number is shown.

    Args:
        log_density: [height, width], natural log, log-sum-exp 0.
        baseline_log_density: the same of the baseline, usually the center bias.
        x: [n], pixels from the left; a fixation belongs to pixel floor(x).
        y: [n], pixels from the top.

    Returns:
        float64 [n].

    Raises:
        InputError: a map that is not a log density (an information gain of another
            kind of map means nothing), sizes that differ, a fixation outside the maps,
            or one where the baseline has probability 0.

    Reference:
        Kümmerer, Wallis & Bethge (2015), PNAS 112:16054, "Information gain".

    Example:
        >>> uniform = np.log([[0.5, 0.5]])
        >>> information_gain(np.log([[0.75, 0.25]]), uniform, [1.5], [0.5])
        array([-1.])
    """
    log_density = _checked(log_density, "log_density")
    baseline = _checked(baseline_log_density, "baseline_log_density")
    if log_density.shape != baseline.shape:
        raise InputError(
            f"log_density has the shape {list(log_density.shape)}, the baseline "
            f"{list(baseline.shape)}; resample the baseline to the image"
        )
    row, column = _pixels(x, y, *log_density.shape)
    below = baseline[row, column]
    impossible = np.isneginf(below)
    if impossible.any():
        raise InputError(
            f"the baseline has probability 0 at {int(impossible.sum())} of {len(row)} "
            "fixations; mix in a little of the uniform density"
        )
    return (log_density[row, column] - below) / np.log(2)


def bootstrap_interval(
    values: Any,
    level: float = 0.95,
    n_resamples: int = 2000,
    seed: int = 0,
    weights: Any = None,
) -> tuple[float, float]:
    """Returns the percentile bootstrap interval of a mean.

    For a difference between two models on the same images give the differences: the
    interval is then the paired one.

    Args:
        values: [n], one per independent unit (an image, not a fixation).
        level: probability that the interval covers.
        n_resamples: number of resamples.
        seed: of the resampling; the same for equal results.
        weights: [n], of a weighted mean, for instance the number of fixations of each
            image; equal if left out.

    Returns:
        Lower and upper end.

    Raises:
        InputError: no values, values that are not finite, or settings out of range.

    Reference:
        Efron & Tibshirani (1993), An Introduction to the Bootstrap, chapter 13.

    Example:
        >>> low, high = bootstrap_interval([1.0, 2.0, 3.0, 4.0])
        >>> low, high
        (1.5, 3.5)
    """
    values = np.asarray(values, np.float64)
    weights = np.ones_like(values) if weights is None else np.asarray(weights, float)
    if values.ndim != 1 or len(values) == 0 or weights.shape != values.shape:
        raise InputError(
            f"values have the shape {list(values.shape)}, weights "
            f"{list(weights.shape)}; expected one dimension and at least one value"
        )
    if not np.isfinite(values).all():
        raise InputError(
            f"{int((~np.isfinite(values)).sum())} of {len(values)} values are not "
            "finite; leave them out and report how many"
        )
    if not (np.isfinite(weights).all() and (weights > 0).all()):
        raise InputError("weights must be positive and finite")
    if not 0 < level < 1 or n_resamples < 1:
        raise InputError(
            f"level is {level} and n_resamples {n_resamples}; expected a level "
            "between 0 and 1 and at least one resample"
        )
    rng = np.random.default_rng(seed)
    means = np.empty(n_resamples)
    at_once = max(1, _VALUES_AT_ONCE // len(values))
    weighted = values * weights
    for start in range(0, n_resamples, at_once):
        part = means[start : start + at_once]
        drawn = rng.integers(len(values), size=(len(part), len(values)))
        part[:] = weighted[drawn].sum(axis=1) / weights[drawn].sum(axis=1)
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def _checked(log_density: Any, name: str) -> np.ndarray:
    """Returns a map as float64, refusing what is not a log density."""
    log_density = np.asarray(log_density)
    if log_density.dtype.kind not in "fiu" or log_density.ndim != 2:
        raise InputError(
            f"{name} has the type {log_density.dtype} and shape "
            f"{list(log_density.shape)}; expected numbers [height, width]"
        )
    log_density = log_density.astype(np.float64)
    if log_density.size == 0 or np.isnan(log_density).any():
        raise InputError(f"{name} is empty or has NaN; expected a natural-log density")
    total = float(logsumexp(log_density))
    if not abs(total) <= _MAX_LOG_SUM_EXP:
        raise InputError(
            f"{name} is not a log density: its log-sum-exp is {total:.4g}, expected 0 "
            f"within {_MAX_LOG_SUM_EXP:g}; take the natural log and subtract the "
            "log-sum-exp"
        )
    return log_density


def _pixels(x: Any, y: Any, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns row and column of each fixation, all inside the image."""
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
