"""What the areas under the ROC curve share: counting, scaling and curves."""

from typing import Any

import numpy as np

from deepgaze_jax.errors import InputError
from deepgaze_jax.map_checks import check_saliency_map, pixel_index

__all__ = [
    "area",
    "below_and_equal",
    "min_maxed",
    "positives_and_pixels",
    "scaled_below_one",
    "stepped_auc",
]

_BUCKET_BITS = 17
# So few values are sorted faster than put into buckets.
_SORTED_AT_ONCE = 2**12
_THRESHOLDS = np.arange(11) / 10


def below_and_equal(
    values: np.ndarray, queries: np.ndarray, counts: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Returns how many values are below each query, and how many are equal to it.

    Exact, whatever the type, and several times faster than sorting all values: they
    are put into many buckets whose order is that of the values, and only the buckets
    that hold a query are sorted.

    Args:
        values: [m], numbers without NaN.
        queries: [n], of the same type.
        counts: [m], how often each value counts; once, if left out.

    Returns:
        float64 [n] and [n].
    """
    if len(values) < _SORTED_AT_ONCE and counts is None:
        ordered = np.sort(values)
        below = ordered.searchsorted(queries, "left").astype(np.float64)
        return below, ordered.searchsorted(queries, "right") - below
    if len(values) == 0 or len(queries) == 0:
        return np.zeros(len(queries)), np.zeros(len(queries))
    bucket, bucket_of_query = _buckets(values, queries)
    total = np.bincount(bucket, weights=counts)
    searched = np.zeros(len(total), bool)
    searched[bucket_of_query] = True
    near = searched[bucket]
    close = values[near]
    if counts is None:
        close.sort()
        cumulated = np.arange(len(close) + 1)
    else:
        order = close.argsort()
        close = close[order]
        cumulated = np.concatenate([[0], counts[near][order].cumsum()])
    below_or_equal = cumulated[close.searchsorted(queries, "right")]
    below = cumulated[close.searchsorted(queries, "left")]
    # `below` covers the searched buckets; these are the others.
    total[searched] = 0
    skipped = total.cumsum()[bucket_of_query]
    return (below + skipped).astype(np.float64), (below_or_equal - below).astype(float)


def _buckets(values: np.ndarray, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the bucket of each value and query: whole numbers in their order.

    A higher value never has a lower bucket; equal values share one.
    """
    with np.errstate(over="ignore"):
        # Rounding to float32 keeps the order, and what it merges is told apart later.
        rounded = values.astype(np.float32, copy=False)
        asked = queries.astype(np.float32, copy=False)
    limit = np.finfo(np.float32).max
    low = rounded.min()
    if not abs(low) <= limit:
        finite = rounded[np.abs(rounded) <= limit]
        low = finite.min() if len(finite) else np.float32(limit)
        rounded = np.maximum(rounded, low)
    if low == 0:
        low = np.float32(-0.0)  # Less this, both zeros are the positive one.
    with np.errstate(over="ignore"):
        rounded = rounded - low
        asked = np.maximum(asked, low) - low
    # The bits of positive floats, read as a whole number, have the order of the floats
    # and steps that grow with them: fine both for densities and for their logarithms.
    key = rounded.view(np.uint32)
    highest = key.max()
    shift = np.uint32(max(0, int(highest).bit_length() - _BUCKET_BITS))
    asked = np.minimum(asked.view(np.uint32), highest)
    return (key >> shift).astype(np.intp), (asked >> shift).astype(np.intp)


def min_maxed(saliency_map: np.ndarray) -> np.ndarray:
    """Returns a map brought to 0..1; a constant one is 0."""
    if saliency_map.max() == saliency_map.min():
        return np.zeros_like(saliency_map)
    values = scaled_below_one(saliency_map)
    low = values.min()
    return (values - low) / (values.max() - low)


def scaled_below_one(values: np.ndarray) -> np.ndarray:
    """Returns a map times a power of two, exactly: its largest value is 1/2 to 1.

    Sums and ranges of it neither overflow nor vanish.
    """
    return np.ldexp(values, -np.frexp(np.abs(values).max())[1])


def positives_and_pixels(
    saliency_map: Any, x: Any, y: Any, splits: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the values of all pixels in 0..1, and those at the fixations."""
    if splits < 1:
        raise InputError(f"splits is {splits}; expected at least one")
    saliency_map = min_maxed(check_saliency_map(saliency_map))
    at = saliency_map[pixel_index(x, y, *saliency_map.shape)]
    if len(at) == 0:
        raise InputError("the image has no fixations; leave it out and count it")
    return saliency_map.ravel(), at


def stepped_auc(at: np.ndarray, negatives: np.ndarray) -> float:
    """Returns the mean area over splits with thresholds 0, 0.1, ..., 1.

    Args:
        at: [n], values of the positives, 0..1.
        negatives: [splits, m], values of the negatives.
    """

    def share_at_least(values: np.ndarray) -> np.ndarray:
        """Returns [rows, 11], thresholds falling."""
        # Number of thresholds that each value reaches, at least one, at most all.
        reached = np.searchsorted(_THRESHOLDS, values, side="right")
        n_rows, n_values = values.shape
        flat = reached + (len(_THRESHOLDS) + 1) * np.arange(n_rows)[:, None]
        counts = np.bincount(
            flat.ravel(), minlength=n_rows * (len(_THRESHOLDS) + 1)
        ).reshape(n_rows, -1)
        return counts[:, :0:-1].cumsum(axis=1) / n_values

    return area(share_at_least(negatives), share_at_least(at[None])[0])


def area(false: np.ndarray, true: np.ndarray) -> float:
    """Returns the mean area under points joined from (0, 0) to (1, 1).

    Args:
        false: [..., m], rates of false positives, rising.
        true: [m], rates of true positives.
    """
    false = np.concatenate(
        [np.zeros_like(false[..., :1]), false, np.ones_like(false[..., :1])], axis=-1
    )
    true = np.concatenate([[0.0], true, [1.0]])
    return float(np.trapezoid(true, false, axis=-1).mean())
