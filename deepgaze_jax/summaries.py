"""Scores of a data set from scores of its images: means, shares and intervals.

A score of a data set is the mean over an image's fixations, then over images; the mean
over all fixations stands beside it. Intervals resample images, which are independent
of each other; fixations on one image are not.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from deepgaze_jax.errors import InputError

__all__ = [
    "Averages",
    "averages",
    "bootstrap_interval",
    "information_gain_explained",
    "information_gain_explained_interval",
    "paired_interval",
]

# Resamples are drawn in pieces of at most this many values (32 MB).
_VALUES_AT_ONCE = 2**21


@dataclass(frozen=True)
class Averages:
    """Both means of a score over a data set; say which one is shown.

    Attributes:
        per_image: mean over images, each counting alike.
        per_fixation: mean over fixations.
        n_images: images with fixations, which the means are of.
        n_fixations: on them.
        n_images_without_fixations: left out.
    """

    per_image: float
    per_fixation: float
    n_images: int
    n_fixations: int
    n_images_without_fixations: int


def averages(image_scores: Any, n_fixations: Any) -> Averages:
    """Returns the means of a score over images and over fixations.

    Images without fixations have no score: they are left out and counted, whatever
    stands in their place.

    Args:
        image_scores: [n_images], the score of each image, for measures defined for
            each fixation the mean over its fixations.
        n_fixations: [n_images], number of fixations on each image.

    Raises:
        InputError: shapes that differ, no fixation at all, or a score that is not
            finite on an image that has fixations.

    Example:
        >>> averages([1.0, 4.0, None], [3, 1, 0])
        Averages(per_image=2.5, per_fixation=1.75, n_images=2, n_fixations=4, \
n_images_without_fixations=1)
    """
    scores = np.array(image_scores, np.float64)
    counts = np.asarray(n_fixations)
    if scores.ndim != 1 or counts.shape != scores.shape:
        raise InputError(
            f"image_scores have the shape {list(scores.shape)}, n_fixations "
            f"{list(counts.shape)}; expected one of each per image"
        )
    used = counts > 0
    if not used.any():
        raise InputError("no image has fixations; there is nothing to average")
    scored = scores[used]
    if not np.isfinite(scored).all():
        first = int(np.flatnonzero(used & ~np.isfinite(scores))[0])
        raise InputError(
            f"{int((~np.isfinite(scored)).sum())} of {len(scored)} images with "
            f"fixations have no finite score, first image {first} ({scores[first]})"
        )
    return Averages(
        per_image=float(scored.mean()),
        per_fixation=float(np.average(scored, weights=counts[used])),
        n_images=len(scored),
        n_fixations=int(counts[used].sum()),
        n_images_without_fixations=int((~used).sum()),
    )


def information_gain_explained(
    information_gain: Any, gold_information_gain: Any, weights: Any = None
) -> float:
    """Returns the share of the explainable information that a model has.

    That is the mean information gain of the model divided by that of the gold standard:
    a ratio of means, not a mean of ratios. Both must be over the same baseline.

    Args:
        information_gain: [n_images], of the model, mean over each image's fixations.
        gold_information_gain: [n_images], of the gold standard on the same images.
        weights: [n_images], for instance numbers of fixations; equal if left out.

    Returns:
        1 means as good as the other people's fixations.

    Raises:
        InputError: shapes that differ, values that are not finite, or a gold standard
            that is no better than the baseline.

    Reference:
        Kümmerer, Wallis & Bethge (2015), PNAS 112:16054; (2016), arXiv 1610.01563.

    Example:
        >>> information_gain_explained([1.0, 2.0], [2.0, 2.0])
        0.75
    """
    columns, weights = _columns(information_gain, gold_information_gain, weights)
    model, gold = columns @ weights / weights.sum()
    _check_explainable(gold)
    return float(model / gold)


def information_gain_explained_interval(
    information_gain: Any,
    gold_information_gain: Any,
    level: float = 0.95,
    n_resamples: int = 2000,
    seed: int = 0,
    weights: Any = None,
) -> tuple[float, float]:
    """Returns the bootstrap interval of `information_gain_explained`, over images.

    Model and gold standard are resampled together.

    Args:
        information_gain: [n_images], of the model.
        gold_information_gain: [n_images], of the gold standard on the same images.
        level: probability that the interval covers.
        n_resamples: number of resamples.
        seed: of the resampling.
        weights: [n_images]; equal if left out.

    Returns:
        Lower and upper end.

    Raises:
        InputError: see `information_gain_explained` and `bootstrap_interval`.

    Example:
        >>> information_gain_explained_interval([1.0, 1.0], [2.0, 2.0])
        (0.5, 0.5)
    """
    columns, weights = _columns(information_gain, gold_information_gain, weights)
    model, gold = _resampled_means(columns, weights, level, n_resamples, seed)
    _check_explainable(gold.min())
    return _percentiles(model / gold, level)


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
    means = _resampled_means(values[None], weights, level, n_resamples, seed)
    return _percentiles(means[0], level)


def paired_interval(
    first: Any,
    second: Any,
    level: float = 0.95,
    n_resamples: int = 2000,
    seed: int = 0,
    weights: Any = None,
) -> tuple[float, float]:
    """Returns the bootstrap interval of how much better one model is than another.

    Both are resampled together, image by image: what makes an image hard for both is
    no uncertainty of their difference. An interval without 0 tells them apart.

    Args:
        first: [n_images], scores of one model.
        second: [n_images], scores of the other on the same images.
        level: probability that the interval covers.
        n_resamples: number of resamples.
        seed: of the resampling; the same draws for all pairs of models.
        weights: [n_images], for instance numbers of fixations; equal if left out.

    Returns:
        Lower and upper end of mean(first) - mean(second).

    Raises:
        InputError: shapes that differ, or see `bootstrap_interval`.

    Reference:
        Efron & Tibshirani (1993), An Introduction to the Bootstrap, chapter 13.

    Example:
        >>> paired_interval([2.0, 9.0, 5.0], [1.0, 8.0, 4.0])
        (1.0, 1.0)
    """
    columns, weights = _columns(first, second, weights)
    return bootstrap_interval(
        columns[0] - columns[1], level, n_resamples, seed, weights
    )


def _columns(first: Any, second: Any, weights: Any) -> tuple[np.ndarray, np.ndarray]:
    """Returns [2, n] values and [n] weights of the same images."""
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    weights = np.ones_like(first) if weights is None else np.asarray(weights, float)
    if first.ndim != 1 or not first.shape == second.shape == weights.shape:
        raise InputError(
            f"the scores have the shapes {list(first.shape)} and "
            f"{list(second.shape)}, weights {list(weights.shape)}; expected one of "
            "each for the same images"
        )
    columns = np.stack([first, second])
    _check_values(columns, weights)
    return columns, weights


def _check_values(columns: np.ndarray, weights: np.ndarray) -> None:
    if columns.size == 0:
        raise InputError("there are no values; expected at least one")
    if not np.isfinite(columns).all():
        wrong = int((~np.isfinite(columns)).any(axis=0).sum())
        raise InputError(
            f"{wrong} of {columns.shape[1]} values are not finite; leave them out and "
            "report how many"
        )
    if not (np.isfinite(weights).all() and (weights > 0).all()):
        raise InputError("weights must be positive and finite")


def _check_explainable(gold: float) -> None:
    if not gold > 0:
        raise InputError(
            f"the gold standard has a mean information gain of {gold:.4g} bit; a share "
            "of it means nothing unless it is better than the baseline"
        )


def _resampled_means(
    columns: np.ndarray, weights: np.ndarray, level: float, n_resamples: int, seed: int
) -> np.ndarray:
    """Returns the means of each row of [k, n] values in each resample: [k, m]."""
    _check_values(columns, weights)
    if not 0 < level < 1 or n_resamples < 1:
        raise InputError(
            f"level is {level} and n_resamples {n_resamples}; expected a level "
            "between 0 and 1 and at least one resample"
        )
    rng = np.random.default_rng(seed)
    n = columns.shape[1]
    means = np.empty((len(columns), n_resamples))
    at_once = max(1, _VALUES_AT_ONCE // n)
    weighted = columns * weights
    for start in range(0, n_resamples, at_once):
        part = means[:, start : start + at_once]
        drawn = rng.integers(n, size=(part.shape[1], n))
        for row, values in zip(part, weighted, strict=True):
            row[:] = values[drawn].sum(axis=1) / weights[drawn].sum(axis=1)
    return means


def _percentiles(values: np.ndarray, level: float) -> tuple[float, float]:
    tail = (1 - level) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)
