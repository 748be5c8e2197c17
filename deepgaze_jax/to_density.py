"""Saliency maps made into densities: what they say about fixations, at their best.

A map that is no density says nothing in bits. It is given a blur, a monotone
nonlinearity and a share of the center bias,

    log p(x, y) = f(blurred map(x, y)) + w * log center_bias(x, y) - log Z,

with f continuous, rising and linear between knots. For each width of the blur the
likelihood is concave in f and w, so there is one best pair; the best width is searched.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.optimize import minimize
from scipy.special import logsumexp

from deepgaze_jax.errors import DataError, InputError
from deepgaze_jax.map_checks import check_log_density, check_rankable_map, pixel_index

__all__ = ["MapSample", "ToDensity", "fit_to_density", "sample_map"]

#: Widths of the blur that are tried, as shares of an image's longest side.
BLURS = (0.0, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08)

_N_KNOTS = 20
_PIXELS_ALONG = 36  # Pixels along the longest side that stand for the image.
_ANYWHERE = 0.01  # Share of imagined fixations that fall evenly on all pixels.
_OPTIONS = {"ftol": 1e-10, "gtol": 1e-6, "maxiter": 300}


@dataclass(frozen=True)
class ToDensity:
    """How a model's saliency maps become densities; `dataclasses.asdict` goes to JSON.

    Attributes:
        blur_fraction: standard deviation of the blur, share of the longest side.
        knots: values of the blurred map, ascending.
        log_factor: f at the knots, ascending; constant beyond them.
        center_bias_weight: w, not negative.
        log_likelihood: on the images of the fit, bits per fixation over uniform; mean
            over the fixations of an image, then over images.
        n_images: of the fit.
    """

    blur_fraction: float
    knots: tuple[float, ...]
    log_factor: tuple[float, ...]
    center_bias_weight: float
    log_likelihood: float
    n_images: int

    def log_density(
        self, saliency_map: Any, center_bias_log_density: Any
    ) -> np.ndarray:
        """Returns the density that a map stands for.

        Args:
            saliency_map: [height, width], values on the scale of the fitted maps.
            center_bias_log_density: [height, width], natural log.

        Returns:
            float64 [height, width], natural log, log-sum-exp 0.

        Raises:
            InputError: not a map of finite numbers, or sizes that differ.
        """
        saliency_map = _checked_map(saliency_map)
        center_bias = _checked_center_bias(center_bias_log_density, saliency_map.shape)
        blurred = _blurred(saliency_map, self.blur_fraction)
        log_density = np.interp(blurred, self.knots, self.log_factor)
        log_density += self.center_bias_weight * center_bias
        return log_density - logsumexp(log_density)


@dataclass(frozen=True, eq=False)
class MapSample:
    """What a fit needs of one image's map.

    Attributes:
        size: height and width of the map.
        pixels: int64 [m], pixels spread over the image and all that are fixated,
            numbered row by row.
        log_pixels: [m], log of the number of pixels that each stands for.
        at_pixels: [n_blurs, m], blurred map there.
        fixations: int64 [n], pixels of the fixations.
        at_fixations: [n_blurs, n], blurred map there.
    """

    size: tuple[int, int]
    pixels: np.ndarray
    log_pixels: np.ndarray
    at_pixels: np.ndarray
    fixations: np.ndarray
    at_fixations: np.ndarray


def sample_map(saliency_map: Any, x: Any, y: Any) -> MapSample:
    """Returns what a fit needs of a map: some of its pixels, and those at fixations.

    Args:
        saliency_map: [height, width], finite numbers in any unit.
        x: [n], pixels from the left, at least one.
        y: [n], pixels from the top.

    Raises:
        InputError: not a map of finite numbers, or fixations outside.
    """
    saliency_map = _checked_map(saliency_map)
    height, width = saliency_map.shape
    row, column = pixel_index(x, y, height, width)
    fixations = row * width + column
    step = max(height, width) / _PIXELS_ALONG
    rows = _spread(height, max(1, round(height / step)))
    columns = _spread(width, max(1, round(width / step)))
    # Fixated pixels stand for themselves alone: what is added to one of them is then
    # never free, and no likelihood can grow without bounds.
    fixated = np.unique(fixations)
    spread = (rows[:, None] * width + columns).ravel()
    spread = spread[~np.isin(spread, fixated)]
    rest = (saliency_map.size - len(fixated)) / max(len(spread), 1)
    pixels = np.concatenate([fixated, spread])
    share = np.concatenate([np.ones(len(fixated)), np.full(len(spread), rest)])
    blurred = [_blurred(saliency_map, fraction).ravel() for fraction in BLURS]
    return MapSample(
        size=(height, width),
        pixels=pixels,
        log_pixels=np.log(share),
        at_pixels=np.stack([one[pixels] for one in blurred]),
        fixations=fixations,
        at_fixations=np.stack([one[fixations] for one in blurred]),
    )


def fit_to_density(
    samples: Sequence[MapSample], center_biases: Iterable[Any]
) -> ToDensity:
    """Returns the blur, nonlinearity and center bias under which maps do best.

    Args:
        samples: of the images to fit on, from `sample_map`.
        center_biases: a log density [height, width] for each of them; where the fit is
            to know nothing of some image, they must not either.

    Raises:
        DataError: no sample.
        InputError: a center bias that is no log density, or of another size.

    Reference:
        Kümmerer, Wallis & Bethge (2015), PNAS 112:16054, "Optimizing saliency maps for
        information gain".

    Example:
        >>> rng = np.random.default_rng(0)
        >>> uniform = np.full((40, 60), -np.log(2400))
        >>> samples = []
        >>> for _ in range(4):
        ...     saliency_map = rng.random((40, 60))
        ...     y, x = np.divmod(saliency_map.argmax(), 60)
        ...     samples.append(sample_map(saliency_map, [x], [y]))
        >>> fit = fit_to_density(samples, [uniform] * 4)
        >>> fit.log_likelihood > 0, np.diff(fit.log_factor).min() >= 0
        (True, np.True_)
    """
    if not samples:
        raise DataError("no image with fixations is left to fit saliency maps on")
    biases = []
    for sample, log_density in zip(samples, center_biases, strict=True):
        values = _checked_center_bias(log_density, sample.size).ravel()
        biases.append((values[sample.pixels], values[sample.fixations]))
    fits: dict[int, ToDensity] = {}

    def fit(blur: int) -> float:
        if blur not in fits:
            fits[blur] = _fit(samples, biases, blur)
        return fits[blur].log_likelihood

    # Up the ladder until two rungs in a row are worse than the best.
    best = 0
    for blur in range(len(BLURS)):
        if fit(blur) > fit(best):
            best = blur
        if blur >= best + 2:
            break
    return fits[best]


def _fit(
    samples: Sequence[MapSample],
    biases: Sequence[tuple[np.ndarray, np.ndarray]],
    blur: int,
) -> ToDensity:
    """Returns the best fit for one width of the blur.

    Args:
        samples: of the images.
        biases: log center bias at the pixels and at the fixations of each.
        blur: its number.
    """
    knots = _knots(samples, blur)
    pixels = _Points(
        [sample.at_pixels[blur] for sample in samples],
        [at_pixels for at_pixels, _ in biases],
        knots,
    )
    fixations = _Points(
        [sample.at_fixations[blur] for sample in samples],
        [at_fixations for _, at_fixations in biases],
        knots,
    )
    log_pixels = np.concatenate([sample.log_pixels for sample in samples])
    n_pixels = np.add.reduceat(np.exp(log_pixels), pixels.starts)
    # The mean over fixations is linear in the parameters: its slope is known at once.
    share = 1 / len(samples)
    seen = fixations.slope(share / fixations.n_of_image[fixations.image])
    evenly = pixels.slope(np.exp(log_pixels) * share / n_pixels[pixels.image])
    # As if a few had looked anywhere: values that nobody fixated keep some density.
    wanted = (1 - _ANYWHERE) * seen + _ANYWHERE * evenly

    def log_z(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        values = pixels.values(parameters) + log_pixels
        highest = np.maximum.reduceat(values, pixels.starts)
        weights = np.exp(values - highest[pixels.image])
        sums = np.add.reduceat(weights, pixels.starts)
        slope = pixels.slope(weights / sums[pixels.image]) * share
        return float((highest + np.log(sums)).sum()) * share, slope

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = log_z(parameters)
        return value - float(wanted @ parameters), slope - wanted

    # f rises by steps that are not negative; the last parameter is w.
    start = np.append(np.full(len(knots) - 1, 2 / max(1, len(knots) - 1)), 1.0)
    bounds = [(0.0, None)] * len(start)
    result = minimize(
        loss, start, jac=True, bounds=bounds, method="L-BFGS-B", options=_OPTIONS
    )
    steps, weight = result.x[:-1], float(result.x[-1])
    log_likelihood = np.log(n_pixels).mean() + seen @ result.x - log_z(result.x)[0]
    return ToDensity(
        blur_fraction=BLURS[blur],
        knots=tuple(map(float, knots)),
        log_factor=tuple(itertools.accumulate(map(float, steps), initial=0.0)),
        center_bias_weight=weight,
        log_likelihood=float(log_likelihood / np.log(2)),
        n_images=len(samples),
    )


def _knots(samples: Sequence[MapSample], blur: int) -> np.ndarray:
    """Returns values that split pixels and fixations into parts of equal number."""
    level = np.linspace(0, 1, _N_KNOTS // 2 + 1)
    pixels = np.concatenate([sample.at_pixels[blur] for sample in samples])
    fixations = np.concatenate([sample.at_fixations[blur] for sample in samples])
    knots = np.unique(
        np.concatenate([np.quantile(pixels, level), np.quantile(fixations, level)])
    )
    # Knots that nearly coincide would make a cliff of one fixation.
    apart = np.diff(knots, prepend=-np.inf) > 1e-9 * max(float(np.ptp(knots)), 1e-300)
    return knots[apart]


class _Points:
    """Values of maps at some points of several images, as features of log p.

    Args:
        values: one array for each image.
        center_bias: the same, log densities.
        knots: of the nonlinearity.
    """

    def __init__(
        self,
        values: Sequence[np.ndarray],
        center_bias: Sequence[np.ndarray],
        knots: np.ndarray,
    ) -> None:
        self.n_of_image = np.array([len(one) for one in values])
        self.image = np.repeat(np.arange(len(values)), self.n_of_image)
        self.starts = np.cumsum(self.n_of_image) - self.n_of_image
        self._center_bias = np.concatenate(center_bias)
        joined = np.clip(np.concatenate(values), knots[0], knots[-1])
        self._n_steps = len(knots) - 1
        last = max(self._n_steps - 1, 0)
        self._step = np.clip(np.searchsorted(knots, joined, "right") - 1, 0, last)
        width = np.diff(knots)[self._step] if self._n_steps else np.ones(len(joined))
        self._part = (joined - knots[self._step]) / width

    def values(self, parameters: np.ndarray) -> np.ndarray:
        """Returns f + w * log center bias at each point; f starts at 0."""
        steps = np.append(parameters[:-1], 0.0)
        below = np.concatenate([[0.0], np.cumsum(steps)])[self._step]
        f = below + self._part * steps[self._step]
        return f + parameters[-1] * self._center_bias

    def slope(self, weights: np.ndarray) -> np.ndarray:
        """Returns the derivative of sum(weights * values) by each parameter."""
        n = max(self._n_steps, 1)
        partly = np.bincount(self._step, weights * self._part, minlength=n)
        whole = np.bincount(self._step, weights, minlength=n)
        above = whole[::-1].cumsum()[::-1] - whole
        steps = (partly + above)[: self._n_steps]
        return np.append(steps, weights @ self._center_bias)


def _checked_map(saliency_map: Any) -> np.ndarray:
    saliency_map = check_rankable_map(saliency_map).astype(np.float64)
    if not np.isfinite(saliency_map).all():
        raise InputError("saliency_map has values that are not finite")
    return saliency_map


def _checked_center_bias(log_density: Any, size: tuple[int, ...]) -> np.ndarray:
    center_bias = check_log_density(log_density, "center_bias_log_density")
    if center_bias.shape != size:
        raise InputError(
            f"saliency_map has the shape {list(size)}, the center bias "
            f"{list(center_bias.shape)}; resize the map to the image"
        )
    return center_bias


def _blurred(saliency_map: np.ndarray, fraction: float) -> np.ndarray:
    if fraction == 0:
        return saliency_map
    return gaussian_filter(
        saliency_map, fraction * max(saliency_map.shape), mode="nearest"
    )


def _spread(n: int, wanted: int) -> np.ndarray:
    """Returns so many pixels, in the middles of equal stretches."""
    return np.floor((np.arange(wanted) + 0.5) * n / wanted).astype(np.int64)
