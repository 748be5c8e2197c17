"""Measures that compare a map's values with where people looked: NSS, CC, KLDiv, SIM.

NSS reads the map at fixations. The others compare it with the empirical map, fixation
counts blurred by a Gaussian: its width changes every number, so state it. All are in
float64. A log density is refused: these measures are about plain values.
"""

from typing import Any

import numpy as np

from deepgaze_jax.errors import InputError
from deepgaze_jax.gaussian_blur import gaussian_blur
from deepgaze_jax.map_checks import check_saliency_map, pixel_index
from deepgaze_jax.roc import min_maxed, scaled_below_one

__all__ = ["cc", "empirical_density", "kldiv", "nss", "sim", "sim_min_max"]

# As the MIT code has it, not the nearest power of two.
_EPS = 2.2204e-16


def empirical_density(fixation_counts: Any, sigma_px: float) -> np.ndarray:
    """Returns where people looked as a density: counts blurred by a Gaussian.

    The map is mirrored at the edges, so that no fixation loses weight there; the kernel
    is cut off at 4 standard deviations.

    Args:
        fixation_counts: [height, width], from `Fixations.counts`; several fixations on
            one pixel are all counted.
        sigma_px: standard deviation in pixels; 24 for MIT data. For a width in degrees
            of visual angle multiply it by the image's pixels per degree.

    Returns:
        float64 [height, width], sum 1.

    Raises:
        InputError: counts that are negative or not finite, no fixation at all, or a
            sigma that is not positive.

    Example:
        >>> empirical_density([[0, 2, 0, 0, 0]], 0.5).round(2)
        array([[0.11, 0.79, 0.11, 0.  , 0.  ]])
    """
    counts = check_saliency_map(fixation_counts, "fixation_counts")
    if counts.min() < 0:
        raise InputError(
            f"fixation_counts has negative values, lowest {counts.min():g}; expected "
            "the number of fixations on each pixel"
        )
    if not counts.any():
        raise InputError("the image has no fixations; leave it out and count it")
    blurred = gaussian_blur(counts, sigma_px)
    return blurred / blurred.sum()


def nss(saliency_map: Any, x: Any, y: Any) -> np.ndarray:
    """Returns the normalised scanpath saliency of each fixation.

    That is (s - mean) / standard deviation at the fixation, over all pixels, with the
    deviation of a population. A constant map has 0.

    Args:
        saliency_map: [height, width], finite values in any unit.
        x: [n], pixels from the left; a fixation belongs to pixel floor(x).
        y: [n], pixels from the top.

    Returns:
        float64 [n]. The NSS of the image is the mean.

    Raises:
        InputError: a log density or values that are not finite, or a fixation outside
            the map.

    Reference:
        Peters, Iyer, Itti & Koch (2005), Vision Research 45:2397.

    Example:
        >>> nss([[0.0, 1.0, 1.0, 2.0]], [3.5, 1.0], [0.5, 0.0])
        array([1.41421356, 0.        ])
    """
    standardised = _standardised(check_saliency_map(saliency_map))
    return standardised[pixel_index(x, y, *standardised.shape)]


def cc(saliency_map: Any, empirical_map: Any) -> float:
    """Returns Pearson's correlation of a map with the empirical one, over pixels.

    Args:
        saliency_map: [height, width], finite values in any unit.
        empirical_map: [height, width], from `empirical_density`.

    Returns:
        -1 to 1; 0 if one of the maps is constant.

    Raises:
        InputError: a log density, values that are not finite, or sizes that differ.

    Example:
        >>> cc([[1.0, 2.0, 3.0]], [[0.4, 0.2, 0.3]])
        -0.5
    """
    saliency_map, empirical_map = _pair(saliency_map, empirical_map)
    product = _standardised(saliency_map) * _standardised(empirical_map)
    return float(np.clip(product.mean(), -1, 1))


def kldiv(saliency_map: Any, empirical_map: Any) -> float:
    """Returns the divergence of a map p from the empirical one q; 0 is best.

    That is sum q log(eps + q / (p + eps)) in nats with eps = 2.2204e-16, both divided
    by their sums. A map with negative values is shifted by its lowest first; one that
    is 0 everywhere counts as uniform.

    Args:
        saliency_map: [height, width], finite values in any unit.
        empirical_map: [height, width], from `empirical_density`; not negative.

    Raises:
        InputError: a log density, values that are not finite, sizes that differ, or an
            empirical map that is negative or 0 everywhere.

    Reference:
        MIT saliency benchmark, `KLdiv`.

    Example:
        >>> round(kldiv([[1.0, 1.0]], [[0.25, 0.75]]), 4)
        0.1308
    """
    p, q = _densities(saliency_map, empirical_map)
    return float((q * np.log(_EPS + q / (p + _EPS))).sum())


def sim(saliency_map: Any, empirical_map: Any) -> float:
    """Returns the similarity of a map with the empirical one: the mass they share.

    That is the sum of min(p, q), both divided by their sums: 0 to 1. A map with
    negative values is shifted by its lowest first; one that is 0 everywhere counts as
    uniform. See `sim_min_max` for the MIT code's form.

    Args:
        saliency_map: [height, width], finite values in any unit.
        empirical_map: [height, width], from `empirical_density`; not negative.

    Raises:
        InputError: see `kldiv`.

    Reference:
        Judd, Durand & Torralba (2012), MIT-CSAIL-TR-2012-001.

    Example:
        >>> sim([[1.0, 1.0]], [[0.25, 0.75]])
        0.75
    """
    p, q = _densities(saliency_map, empirical_map)
    return float(np.minimum(p, q).sum())


def sim_min_max(saliency_map: Any, empirical_map: Any) -> float:
    """Returns the similarity as the MIT code has it: both maps brought to 0..1 first.

    The lowest value of each map becomes 0, whatever it was, before both are divided by
    their sums. A constant map counts as uniform.

    Args:
        saliency_map: [height, width], finite values in any unit.
        empirical_map: [height, width], from `empirical_density`; not negative.

    Raises:
        InputError: see `kldiv`.

    Reference:
        MIT saliency benchmark, `similarity`.

    Example:
        >>> sim_min_max([[0.1, 0.2, 0.3]], [[0.2, 0.3, 0.2]])
        0.33...
    """
    p, q = _densities(saliency_map, empirical_map)
    return float(np.minimum(_sum_one(min_maxed(p)), _sum_one(min_maxed(q))).sum())


def _pair(saliency_map: Any, empirical_map: Any) -> tuple[np.ndarray, np.ndarray]:
    saliency_map = check_saliency_map(saliency_map)
    empirical_map = check_saliency_map(empirical_map, "empirical_map")
    if saliency_map.shape != empirical_map.shape:
        raise InputError(
            f"saliency_map has the shape {list(saliency_map.shape)}, empirical_map "
            f"{list(empirical_map.shape)}; resize the map to the image"
        )
    return saliency_map, empirical_map


def _densities(saliency_map: Any, empirical_map: Any) -> tuple[np.ndarray, np.ndarray]:
    """Returns both maps as densities."""
    p, q = _pair(saliency_map, empirical_map)
    if q.min() < 0 or not q.any():
        raise InputError(
            f"empirical_map has values from {q.min():g} to {q.max():g}; expected none "
            "below 0 and some above; leave images without fixations out"
        )
    p = scaled_below_one(p)
    return _sum_one(p - min(p.min(), 0.0)), _sum_one(scaled_below_one(q))


def _sum_one(values: np.ndarray) -> np.ndarray:
    """Returns a map divided by its sum; uniform, if that is 0."""
    total = values.sum()
    return values / total if total > 0 else np.full_like(values, 1 / values.size)


def _standardised(values: np.ndarray) -> np.ndarray:
    """Returns a map with mean 0 and standard deviation 1; a constant one is 0."""
    # Not by the deviation: a mean can be one ulp off, and 0 / 0 turn into -1.
    if values.max() == values.min():
        return np.zeros_like(values)
    values = min_maxed(values)
    values = values - values.mean()
    return values / np.sqrt(np.mean(values**2))
