"""Gold standard: how well the fixations of other people predict a person's.

For each person and image, a Gaussian around each fixation of all *other* people on the
same image, mixed with the center bias and a uniform density. Bandwidth and weights are
those with the highest likelihood of people left out in turn. What it reaches can be
explained by the image; more than that may be explainable.

Discretisation: a density is a probability per pixel with sum 1 over the image. A
Gaussian is centred on the fixated pixel, sampled at whole pixels and mirrored at the
edges, so each has sum 1 as well. Likelihoods are evaluated pair by pair of fixations,
without a grid; they equal the map's values at the fixated pixels up to rounding.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import logsumexp

from deepgaze_jax.errors import InputError
from deepgaze_jax.fixations import Fixations
from deepgaze_jax.gaussian_blur import gaussian_matrix, reflecting_kernel
from deepgaze_jax.map_checks import check_log_density, pixel_index

__all__ = [
    "GoldStandard",
    "gold_standard_log_density",
    "gold_standard_log_likelihood",
    "joint_log_likelihood",
    "kde_at_fixations",
]

# The kernel is not cut where it could matter: at 8 deviations it is below 2e-14.
_TRUNCATE = 8.0
_PAIRS_AT_ONCE = 2**22


@dataclass(frozen=True)
class GoldStandard:
    """Parameters of a gold standard; `dataclasses.asdict` makes them ready for JSON.

    Attributes:
        bandwidth_px: standard deviation of the Gaussian in pixels of the image; None
            if it is stated in degrees.
        bandwidth_dva: the same in degrees of visual angle; None if stated in pixels.
        center_bias_weight: share of the center bias in the mixture.
        uniform_weight: share of the uniform density.
        log_likelihood: of people left out in turn, bits per fixation over uniform;
            mean over the fixations of an image, then over the images of the fit.
        n_images: images that took part in the fit.
    """

    bandwidth_px: float | None
    bandwidth_dva: float | None
    center_bias_weight: float
    uniform_weight: float
    log_likelihood: float
    n_images: int

    def __post_init__(self) -> None:
        if (self.bandwidth_px is None) == (self.bandwidth_dva is None):
            raise InputError(
                f"bandwidth_px is {self.bandwidth_px} and bandwidth_dva "
                f"{self.bandwidth_dva}; expected exactly one of them"
            )

    @property
    def kde_weight(self) -> float:
        """Share of other people's fixations in the mixture."""
        return 1 - self.center_bias_weight - self.uniform_weight

    def sigma_px(self, pixels_per_dva: float | None = None) -> float:
        """Returns the bandwidth in pixels of an image.

        Args:
            pixels_per_dva: of the image; needed where the bandwidth is in degrees.

        Raises:
            InputError: it is needed and not given.
        """
        if self.bandwidth_px is not None:
            return self.bandwidth_px
        if pixels_per_dva is None:
            raise InputError(
                "the gold standard's bandwidth is in degrees of visual angle; give "
                "pixels_per_dva of the image"
            )
        return self.bandwidth_dva * pixels_per_dva


def gold_standard_log_likelihood(
    gold: GoldStandard,
    fixations: Fixations,
    center_bias_log_density: Any,
    pixels_per_dva: float | None = None,
) -> np.ndarray:
    """Returns how well the other people's fixations predict each one on an image.

    In bits per fixation over uniform, like `metrics.log_likelihood`; less the
    log-likelihood of a baseline it is the gold standard's information gain. Where
    nobody else looked at the image, center bias and uniform density share the weight.

    Args:
        gold: from `gold_standard_fit.fit_gold_standard`, fitted on other images where
            that matters.
        fixations: of one image.
        center_bias_log_density: [height, width] of the image, natural log.
        pixels_per_dva: of the image, where the bandwidth is in degrees.

    Returns:
        float64 [n].

    Raises:
        InputError: fixations of several images or outside the center bias, a center
            bias that is no log density.

    Example:
        >>> gold = GoldStandard(1.0, None, 0.1, 0.1, 0.0, 1)
        >>> fixations = Fixations([0, 0], [0, 1], [0, 0], [1, 1], [1, 1])
        >>> uniform = np.full((3, 4), -np.log(12))
        >>> gold_standard_log_likelihood(gold, fixations, uniform).round(2)
        array([0.83, 0.83])
    """
    return _log_likelihood(
        gold, fixations, center_bias_log_density, pixels_per_dva, own=False
    )


def joint_log_likelihood(
    gold: GoldStandard,
    fixations: Fixations,
    center_bias_log_density: Any,
    pixels_per_dva: float | None = None,
) -> np.ndarray:
    """Returns how well everybody's fixations, one's own included, predict each one.

    It knows what it predicts, so it is an upper reference, not a model. Arguments and
    unit as in `gold_standard_log_likelihood`.

    Example:
        >>> gold = GoldStandard(1.0, None, 0.1, 0.1, 0.0, 1)
        >>> fixations = Fixations([0], [0], [0], [1], [1])
        >>> uniform = np.full((3, 4), -np.log(12))
        >>> joint_log_likelihood(gold, fixations, uniform).round(2)
        array([0.83])
    """
    return _log_likelihood(
        gold, fixations, center_bias_log_density, pixels_per_dva, own=True
    )


def gold_standard_log_density(
    gold: GoldStandard,
    fixations: Fixations,
    center_bias_log_density: Any,
    *,
    left_out: int | None = None,
    pixels_per_dva: float | None = None,
) -> np.ndarray:
    """Returns the density that people's fixations make on one image.

    Args:
        gold: from `gold_standard_fit.fit_gold_standard`.
        fixations: of one image.
        center_bias_log_density: [height, width] of the image, natural log.
        left_out: subject whose fixations are not used, to score the map on them; nobody
            if left out: the map of all, for pictures and as the joint upper reference.
        pixels_per_dva: of the image, where the bandwidth is in degrees.

    Returns:
        float64 [height, width], natural log, log-sum-exp 0.

    Raises:
        InputError: see `gold_standard_log_likelihood`.

    Example:
        >>> gold = GoldStandard(1.0, None, 0.1, 0.1, 0.0, 1)
        >>> fixations = Fixations([0], [0], [0], [1.5], [1.5])
        >>> uniform = np.full((3, 4), -np.log(12))
        >>> density = np.exp(gold_standard_log_density(gold, fixations, uniform))
        >>> np.unravel_index(density.argmax(), density.shape), density.sum().round(6)
        ((np.int64(1), np.int64(1)), np.float64(1.0))
    """
    center_bias = _center_bias(center_bias_log_density)
    height, width = center_bias.shape
    row, column = _pixels(fixations, height, width)
    if left_out is not None:
        used = fixations.subject != left_out
        row, column = row[used], column[used]
    sigma_px = gold.sigma_px(pixels_per_dva)
    vertical = gaussian_matrix(height, sigma_px, truncate=_TRUNCATE)[:, row]
    horizontal = gaussian_matrix(width, sigma_px, truncate=_TRUNCATE)[column]
    # Without anyone's fixations both factors are empty and the product is 0.
    density = vertical @ horizontal / max(len(row), 1)
    return np.log(_mixed(gold, density, center_bias, height * width, len(row) > 0))


def _log_likelihood(
    gold: GoldStandard,
    fixations: Fixations,
    center_bias_log_density: Any,
    pixels_per_dva: float | None,
    own: bool,
) -> np.ndarray:
    center_bias = _center_bias(center_bias_log_density)
    height, width = center_bias.shape
    row, column = _pixels(fixations, height, width)
    subject = None if own else fixations.subject
    density, number = kde_at_fixations(
        row, column, subject, (height, width), gold.sigma_px(pixels_per_dva)
    )
    n_pixels = height * width
    mixed = _mixed(gold, density, center_bias[row, column], n_pixels, number > 0)
    return np.log2(mixed) + np.log2(n_pixels)


def kde_at_fixations(
    row: np.ndarray,
    column: np.ndarray,
    subject: np.ndarray | None,
    size: tuple[int, int],
    sigma_px: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the density of the others' fixations at each fixation, and their number.

    Args:
        row: [n], of the fixated pixels.
        column: [n].
        subject: [n], whose fixations they are; None: one's own count among the others.
        size: height and width of the image.
        sigma_px: standard deviation of the Gaussian around each fixation.

    Returns:
        float64 [n], probability per pixel, 0 where there are no others; int64 [n].

    Example:
        >>> row = column = np.array([1, 1])
        >>> kde_at_fixations(row, column, np.array([0, 1]), (3, 3), 0.1)
        (array([1., 1.]), array([1, 1]))
    """
    vertical = reflecting_kernel(size[0], sigma_px, _TRUNCATE)
    horizontal = reflecting_kernel(size[1], sigma_px, _TRUNCATE)
    n = len(row)
    total, number = np.zeros(n), np.full(n, n)
    at_once = max(1, _PAIRS_AT_ONCE // max(n, 1))
    for start in range(0, n, at_once):
        part = slice(start, start + at_once)
        pairs = _pairwise(vertical, row[part], row)
        pairs *= _pairwise(horizontal, column[part], column)
        if subject is not None:
            others = subject[part, None] != subject
            pairs *= others
            number[part] = others.sum(axis=1)
        total[part] = pairs.sum(axis=1)
    return total / np.maximum(number, 1), number


def _mixed(
    gold: GoldStandard,
    density: np.ndarray,
    center_bias: np.ndarray,
    n_pixels: int,
    has_others: Any,
) -> np.ndarray:
    """Returns the mixture; where there is nobody else, of what remains."""
    rest = gold.center_bias_weight * center_bias + gold.uniform_weight / n_pixels
    alone = rest / (gold.center_bias_weight + gold.uniform_weight)
    return np.where(has_others, gold.kde_weight * density + rest, alone)


def _pixels(
    fixations: Fixations, height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    images = np.unique(fixations.image)
    if len(images) > 1:
        raise InputError(
            f"the fixations are of {len(images)} images; expected those of one: "
            "Fixations.of_images"
        )
    return pixel_index(fixations.x, fixations.y, height, width)


def _center_bias(log_density: Any) -> np.ndarray:
    log_density = check_log_density(log_density, "center_bias_log_density")
    return np.exp(log_density - logsumexp(log_density))


def _pairwise(kernel: np.ndarray, some: np.ndarray, every: np.ndarray) -> np.ndarray:
    """Returns [some, every] entries of the blur that a mirrored kernel makes."""
    mirrored = kernel[some[:, None] + (every + 1)]
    mirrored += kernel[np.abs(some[:, None] - every)]
    return mirrored
