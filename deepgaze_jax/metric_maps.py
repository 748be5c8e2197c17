"""The map that a density predicts best under each measure.

No single map is best under all measures. A model that predicts a density says where
fixations will fall, and from that follows which map each measure wants:

| measure | map |
|---|---|
| AUC | `auc_map`: the ranks of the density |
| sAUC | `sauc_map`: the ranks of the density relative to those of other images |
| NSS | `nss_map`: the density |
| CC, KLDiv | `cc_map`: the density blurred like the empirical map |
| SIM | `sim_map`: the map of the highest expected SIM |

Reference: Kümmerer, Wallis & Bethge (2018), ECCV, "Saliency benchmarking made easy".
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import rankdata

from deepgaze_jax.center_bias import resample_log_density
from deepgaze_jax.errors import InputError
from deepgaze_jax.gaussian_blur import gaussian_blur, gaussian_matrix
from deepgaze_jax.map_checks import check_log_density
from deepgaze_jax.sampling import sample_fixations

__all__ = [
    "PredictionSum",
    "auc_map",
    "cc_map",
    "nss_map",
    "sauc_map",
    "sim_map",
]

# Blurred maps are smooth: a value every quarter of a standard deviation is enough.
_STEPS_PER_SIGMA = 4


def auc_map(log_density: Any) -> np.ndarray:
    """Returns the ranks of a density, 0 to 1; equal values share their mean rank.

    The histogram is flat, which shows all of the density's order. AUC itself does not
    change: only the order counts.

    Args:
        log_density: [height, width], natural log, log-sum-exp 0.

    Returns:
        float64 [height, width]; the share of pixels that are lower, equal ones half.

    Raises:
        InputError: a map that is not a log density.

    Example:
        >>> auc_map(np.log([[0.1, 0.2, 0.2, 0.5]]))
        array([[0.125, 0.5  , 0.5  , 0.875]])
    """
    return _ranks(check_log_density(log_density))


@dataclass(frozen=True, eq=False)
class PredictionSum:
    """The predictions for all images of a data set, added up pixel by pixel.

    What a shuffled AUC compares a prediction with is the mean of those for the other
    images: the sum of all, less the image's own.

    Attributes:
        total: [height, width], sum of densities. Images of other sizes are resampled
            to this one; choose that of most images.
        n_images: number of densities in it.

    Example:
        >>> predictions = PredictionSum.empty(1, 2)
        >>> for density in ([[0.5, 0.5]], [[0.25, 0.75]], [[0.75, 0.25]]):
        ...     predictions = predictions.plus(np.log(density))
        >>> np.exp(predictions.log_mean_without(np.log([[0.5, 0.5]])))
        array([[0.5, 0.5]])
    """

    total: np.ndarray
    n_images: int

    @staticmethod
    def empty(height: int, width: int) -> "PredictionSum":
        """Returns the sum of no predictions."""
        return PredictionSum(np.zeros((height, width)), 0)

    def plus(self, log_density: Any) -> "PredictionSum":
        """Returns the sum with one more prediction.

        Args:
            log_density: natural log, log-sum-exp 0.

        Raises:
            InputError: a map that is not a log density.
        """
        return PredictionSum(self.total + self._density(log_density), self.n_images + 1)

    def log_mean_without(self, log_density: Any) -> np.ndarray:
        """Returns the log of the mean of all predictions but one, at its size.

        Args:
            log_density: the one, which is part of the sum.

        Returns:
            float64, of the shape of log_density.

        Raises:
            InputError: it is the only one, or not a log density.
        """
        if self.n_images < 2:
            raise InputError(
                f"the sum has {self.n_images} predictions; the mean of the others "
                "needs at least one other"
            )
        others = self.total - self._density(log_density)
        # What rounding leaves of nothing must neither be 0 nor negative.
        floor = np.maximum(np.finfo(float).eps * self.total, np.finfo(float).tiny)
        log_mean = np.log(np.maximum(others, floor) / (self.n_images - 1))
        shape = np.shape(log_density)
        if log_mean.shape == shape:
            return log_mean
        return resample_log_density(log_mean, *shape).astype(np.float64)

    def _density(self, log_density: Any) -> np.ndarray:
        log_density = check_log_density(log_density)
        if log_density.shape != self.total.shape:
            log_density = resample_log_density(log_density, *self.total.shape)
        return np.exp(log_density, dtype=np.float64)


def sauc_map(log_density: Any, log_mean_of_others: Any) -> np.ndarray:
    """Returns the ranks of a density relative to the predictions for other images.

    Where the negatives are fixations on other images, the best order is that of the
    ratio of the two densities.

    Args:
        log_density: [height, width], natural log, log-sum-exp 0.
        log_mean_of_others: [height, width], from `PredictionSum.log_mean_without`.

    Returns:
        float64 [height, width], 0 to 1 like `auc_map`.

    Raises:
        InputError: a map that is not a log density, or sizes that differ.

    Example:
        >>> sauc_map(np.log([[0.4, 0.4, 0.2]]), np.log([[0.6, 0.2, 0.2]])).round(2)
        array([[0.17, 0.83, 0.5 ]])
    """
    log_density = check_log_density(log_density)
    others = check_log_density(log_mean_of_others, "log_mean_of_others")
    if others.shape != log_density.shape:
        raise InputError(
            f"log_density has the shape {list(log_density.shape)}, the mean of the "
            f"others {list(others.shape)}; resample it"
        )
    possible = log_density > -np.inf
    ratio = np.full_like(log_density, -np.inf)
    np.subtract(log_density, others, out=ratio, where=possible)
    return _ranks(ratio)


def nss_map(log_density: Any) -> np.ndarray:
    """Returns the density itself: NSS is highest in expectation for it.

    Args:
        log_density: [height, width], natural log, log-sum-exp 0.

    Returns:
        float64 [height, width].

    Raises:
        InputError: a map that is not a log density.

    Example:
        >>> nss_map(np.log([[0.25, 0.75]]))
        array([[0.25, 0.75]])
    """
    return np.exp(check_log_density(log_density))


def cc_map(log_density: Any, sigma_px: float) -> np.ndarray:
    """Returns the density blurred like the empirical map, for CC and KLDiv.

    Beyond the edges there is nothing (zeros), unlike for the empirical map.

    Args:
        log_density: [height, width], natural log, log-sum-exp 0.
        sigma_px: standard deviation of the empirical map's Gaussian in pixels.

    Returns:
        float64 [height, width].

    Raises:
        InputError: a map that is not a log density, or a sigma that is not positive.

    Example:
        >>> cc_map(np.log([[0.2, 0.6, 0.2]]), 0.1)
        array([[0.2, 0.6, 0.2]])
    """
    return gaussian_blur(np.exp(check_log_density(log_density)), sigma_px, "zero")


def sim_map(
    log_density: Any,
    sigma_px: float,
    n_fixations: int,
    n_samples: int = 200,
    seed: int = 0,
) -> np.ndarray:
    """Returns the map whose expected SIM with the empirical map is highest.

    If fixations follow the density, the empirical map Q is random. The expected SIM of
    a map m is the sum over pixels of E min(m, Q), which is concave in m with the slope
    P(Q > m). Under the condition that m has sum one, all slopes are equal at the
    maximum: at each pixel m is the same quantile of Q there, the one whose sum over
    pixels is one. Quantiles are those of empirical maps of sampled fixations, computed
    at every fourth part of a standard deviation and joined linearly.

    Args:
        log_density: [height, width], natural log, log-sum-exp 0.
        sigma_px: standard deviation of the empirical map's Gaussian in pixels.
        n_fixations: number of fixations in an empirical map; the fewer, the patchier
            the maps are and the more compact the best answer.
        n_samples: number of sampled empirical maps.
        seed: of the samples.

    Returns:
        float64 [height, width], sum 1.

    Raises:
        InputError: a map that is not a log density, a sigma that is not positive, or
            no fixations or samples.

    Reference:
        Kümmerer, Wallis & Bethge (2018), ECCV, section 3 (SIM, by gradient ascent).

    Example:
        >>> log_density = np.log([[0.1, 0.1, 0.6, 0.1, 0.1]])
        >>> sim_map(log_density, 0.1, 1)
        array([[0., 0., 1., 0., 0.]])
    """
    log_density = check_log_density(log_density)
    if n_fixations < 1 or n_samples < 1:
        raise InputError(
            f"n_fixations is {n_fixations} and n_samples {n_samples}; expected at "
            "least one of each"
        )
    x, y = sample_fixations(log_density, n_fixations * n_samples, seed)
    height, width = log_density.shape
    from_rows, vertical = _blur_on_grid(height, sigma_px)
    from_columns, horizontal = _blur_on_grid(width, sigma_px)
    row = y.astype(np.int64).reshape(n_samples, n_fixations)
    column = x.astype(np.int64).reshape(n_samples, n_fixations)
    # Most of the time is spent here: float32, with a point's values side by side.
    vertical = np.ascontiguousarray(vertical.T / n_fixations, np.float32)
    horizontal = np.ascontiguousarray(horizontal.T, np.float32)
    maps = np.empty((n_samples, vertical.shape[1], horizontal.shape[1]), np.float32)
    for sample in range(n_samples):
        np.matmul(vertical[row[sample]].T, horizontal[column[sample]], out=maps[sample])
    maps.sort(axis=0)
    # The sum over pixels of each quantile map, which rises from one to the next.
    sums = from_rows.sum(axis=0) @ (maps @ from_columns.sum(axis=0)).T
    above = int(np.clip(np.searchsorted(sums, 1.0), 1, max(n_samples - 1, 1)))
    low, high = maps[above - 1], maps[min(above, n_samples - 1)]
    difference = sums[min(above, n_samples - 1)] - sums[above - 1]
    part = np.clip((1 - sums[above - 1]) / difference, 0, 1) if difference > 0 else 0.0
    best = from_rows @ (low + part * (high - low)) @ from_columns.T
    return best / best.sum()


def _ranks(values: np.ndarray) -> np.ndarray:
    """Returns the share of pixels that are lower, equal ones counted half."""
    ranks = rankdata(values, method="average").reshape(values.shape)
    return (ranks - 0.5) / values.size


def _blur_on_grid(n: int, sigma_px: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns what joins values on a grid linearly, and the blur at the grid's cells.

    Args:
        n: length of the axis.
        sigma_px: of the blur.

    Returns:
        [n, m] and [m, n].
    """
    blur = gaussian_matrix(n, sigma_px)
    n_steps = int(np.ceil((n - 1) / max(1.0, sigma_px / _STEPS_PER_SIGMA)))
    cells = np.unique(np.linspace(0, n - 1, n_steps + 1).round().astype(int))
    pixel = np.arange(n)
    after = np.searchsorted(cells, pixel)
    before = np.maximum(after - 1, 0)
    part = (pixel - cells[before]) / np.maximum(cells[after] - cells[before], 1)
    joined = np.zeros((n, len(cells)))
    joined[pixel, before] = 1 - part
    joined[pixel, after] += part
    return joined, blur[cells]
