"""Center bias: where people look whatever the image shows.

A Gaussian kernel density estimate over all fixations, in coordinates divided by each
image's own width and height, mixed with a uniform density. It is fitted and stored on
a grid of 75 x 100 cells and resampled to the size of an image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import logsumexp

from deepgaze_jax.errors import DataError, InputError
from deepgaze_jax.fixations import Fixations
from deepgaze_jax.gaussian_blur import gaussian_matrix

__all__ = [
    "CENTER_BIAS_SHAPE",
    "CenterBias",
    "center_bias_cells",
    "check_center_bias",
    "fit_center_bias",
    "fit_center_biases",
    "image_indices",
    "resample_log_density",
    "uniform_log_density",
]

#: Height and width of the grid that center biases are fitted and stored on.
CENTER_BIAS_SHAPE = (75, 100)

# Bandwidths are searched on a ladder with steps of 2 %: the likelihood is so flat at
# its maximum that the best rung is within 1e-4 bit of it. A fixed ladder lets many
# folds share the expensive part of each evaluation.
_LADDER = np.exp(np.arange(np.log(0.002), np.log(0.5), 0.02))
_COARSE_STEP = 32
_IMAGES_AT_ONCE = 128
# At least this much is uniform, so that every log density is finite.
_UNIFORM_WEIGHT_RANGE = (1e-12, 0.999)
_MAX_LOG_SUM_EXP = 1e-3


@dataclass(frozen=True, eq=False)
class CenterBias:
    """A fitted center bias.

    Attributes:
        log_density: float32 [75, 100], natural log, log-sum-exp 0.
        bandwidth_fraction: standard deviation of the kernel as a fraction of the
            image's height (vertically) and width (horizontally).
        uniform_weight: share of the uniform density in the mixture.
        log_likelihood: of images left out in turn, bits per fixation over uniform;
            mean over the fixations of an image, then over images.
    """

    log_density: np.ndarray
    bandwidth_fraction: float
    uniform_weight: float
    log_likelihood: float


def fit_center_bias(
    fixations: Fixations, image_sizes: Any, images: Any = None
) -> CenterBias:
    """Returns the center bias of some images.

    In the density every fixation counts alike. Bandwidth and uniform weight maximise
    the likelihood of each image's fixations under the density of the other images:
    mean over the fixations of an image, then over images, like every headline number.

    Args:
        fixations: of the data set.
        image_sizes: [n_images, 2], height and width of its images in pixels.
        images: indices of the images to use, for instance `fold.train`; all if left
            out. Images without fixations are passed over.

    Raises:
        DataError: fewer than two images with fixations, or fixations out of frame.
        InputError: image indices that do not exist or repeat.

    Reference:
        Kümmerer, Wallis & Bethge (2016), arXiv 1610.01563, Methods (center bias);
        Kümmerer, Wallis & Bethge (2015), PNAS 112:16054 (cross-validated fit).

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x, y = rng.normal(50, 9, 60), rng.normal(30, 5, 60)
        >>> image = np.repeat(np.arange(6), 10)
        >>> fixations = Fixations(image, 0 * image, np.arange(60), x, y)
        >>> center_bias = fit_center_bias(fixations, [[60, 100]] * 6)
        >>> center_bias.log_density.shape, center_bias.log_likelihood > 1.5
        ((75, 100), True)
    """
    sizes = np.asarray(image_sizes)
    images = np.arange(len(sizes)) if images is None else images
    return fit_center_biases(fixations, sizes, [images])[0]


def fit_center_biases(
    fixations: Fixations, image_sizes: Any, image_sets: Sequence[Any]
) -> tuple[CenterBias, ...]:
    """Returns the center bias of each set of images, like `fit_center_bias` on each.

    Much faster than one call per set where sets overlap, as the training parts of
    folds do.

    Args:
        fixations: of the data set.
        image_sizes: [n_images, 2], height and width of its images in pixels.
        image_sets: image indices, one array per center bias.

    Raises:
        DataError: fewer than two images with fixations in a set, or fixations out of
            frame.
        InputError: image indices that do not exist or repeat.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> image = np.repeat(np.arange(6), 10)
        >>> x, y = rng.normal(50, 9, 60), rng.normal(30, 5, 60)
        >>> fixations = Fixations(image, 0 * image, np.arange(60), x, y)
        >>> sets = [[0, 1, 2], [3, 4, 5]]
        >>> len(fit_center_biases(fixations, [[60, 100]] * 6, sets))
        2
    """
    sizes = np.asarray(image_sizes)
    sets = [image_indices(images, len(sizes)) for images in image_sets]
    used = np.unique(np.concatenate([*sets, np.zeros(0, np.int64)]))
    cells = _Cells(fixations.of_images(used), sizes)
    return tuple(_fit(cells, images) for images in sets)


def resample_log_density(log_density: Any, height: int, width: int) -> np.ndarray:
    """Returns log densities at another size, by the nearest cell, normalised again.

    Args:
        log_density: [..., h, w], natural log.
        height: rows of the result.
        width: columns of the result.

    Returns:
        float32 [..., height, width], log-sum-exp 0 over the last two axes.

    Raises:
        InputError: fewer than two axes, nothing in them, or a size below 1.

    Example:
        >>> np.exp(resample_log_density(np.log([[0.25, 0.75]]), 2, 4)).round(3)
        array([[0.062, 0.062, 0.188, 0.188],
               [0.062, 0.062, 0.188, 0.188]], dtype=float32)
    """
    log_density = np.asarray(log_density, np.float64)
    if log_density.ndim < 2 or 0 in log_density.shape or height < 1 or width < 1:
        raise InputError(
            f"cannot resample the shape {list(log_density.shape)} to {height} x "
            f"{width} pixels; expected [..., height, width] with at least one pixel"
        )
    rows = _nearest(log_density.shape[-2], height)
    columns = _nearest(log_density.shape[-1], width)
    resampled = log_density[..., rows[:, None], columns]
    resampled -= logsumexp(resampled, axis=(-2, -1), keepdims=True)
    return resampled.astype(np.float32)


def uniform_log_density(height: int, width: int) -> np.ndarray:
    """Returns the uniform log density, float32 [height, width].

    Example:
        >>> uniform_log_density(1, 2)
        array([[-0.6931472, -0.6931472]], dtype=float32)
    """
    return np.full((height, width), -np.log(height * width), np.float32)


def check_center_bias(array: Any, height: int, width: int) -> np.ndarray:
    """Returns a center bias given as an array, if it fits an image of this size.

    Args:
        array: natural-log density [height, width].
        height: of the image in pixels.
        width: of the image in pixels.

    Returns:
        float32 [height, width], values unchanged.

    Raises:
        InputError: another size, values that are not finite numbers, or a log-sum-exp
            further from 0 than 1e-3.

    Example:
        >>> check_center_bias(np.log([[0.5, 0.5]]), 1, 2)
        array([[-0.6931472, -0.6931472]], dtype=float32)
    """
    array = np.asarray(array)
    if array.dtype.kind not in "fiu":
        raise InputError(
            f"the center bias has the type {array.dtype}; expected a log density in "
            "floating-point numbers"
        )
    if array.shape != (height, width):
        advice = (
            "give one of the picture's size (in Python: resample_log_density of "
            "deepgaze_jax.center_bias)"
        )
        if array.shape == (width, height):
            advice = "its axes are swapped: transpose it"
        raise InputError(
            f"the center bias has the shape {list(array.shape)}, the image "
            f"[{height}, {width}] (height, width); {advice}"
        )
    unusable = ~np.isfinite(array)
    if unusable.any():
        row, column = np.argwhere(unusable)[0]
        raise InputError(
            f"the center bias has {int(unusable.sum())} values that are not finite, "
            f"first {array[row, column]} in row {row}, column {column}; mix in a "
            "little of the uniform density so that no pixel has probability 0"
        )
    total = float(logsumexp(array.astype(np.float64)))
    if abs(total) > _MAX_LOG_SUM_EXP:
        advice = "subtract that"
        if abs(float(array.sum()) - 1) < 0.01 and array.min() >= 0:
            advice = "this looks like a density: take its natural log"
        raise InputError(
            f"the center bias is no log density: its log-sum-exp is {total:.4g}, "
            f"expected 0 within {_MAX_LOG_SUM_EXP:g}; {advice}"
        )
    return array.astype(np.float32)


def center_bias_cells(
    fixations: Fixations, image_sizes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns row and column of each fixation on the grid of center biases.

    Raises:
        DataError: fixations out of frame.
    """
    fixations.check_frame(image_sizes)
    height, width = image_sizes[fixations.image].T
    rows, columns = CENTER_BIAS_SHAPE
    # min: just below the far edge the product may round up to the next cell.
    row = np.minimum((fixations.y / height * rows).astype(np.int64), rows - 1)
    column = np.minimum((fixations.x / width * columns).astype(np.int64), columns - 1)
    return row, column


def _nearest(n_in: int, n_out: int) -> np.ndarray:
    """Returns floor((i + 0.5) * n_in / n_out), in whole numbers."""
    return (2 * np.arange(n_out) + 1) * n_in // (2 * n_out)


def image_indices(images: Any, n_images: int) -> np.ndarray:
    """Returns image indices in rising order, if they exist and none repeats."""
    indices = np.asarray(images)
    if indices.size == 0:
        indices = indices.astype(np.int64)
    if indices.ndim != 1 or indices.dtype.kind not in "iu":
        raise InputError(
            f"images has the type {indices.dtype} and shape {list(indices.shape)}; "
            "expected image indices in one dimension"
        )
    if len(np.unique(indices)) < len(indices):
        raise InputError("images lists an image twice; list each once")
    if len(indices) and not (0 <= indices.min() and indices.max() < n_images):
        raise InputError(
            f"images reaches from {indices.min()} to {indices.max()}; "
            f"expected indices from 0 to {n_images - 1}"
        )
    return np.sort(indices).astype(np.int64)


class _Cells:
    """Fixation counts on the grid, image by image, and the blur of each image alone.

    Arrays of length m list the occupied cells of every image: only there are
    likelihoods needed.
    """

    def __init__(self, fixations: Fixations, image_sizes: np.ndarray) -> None:
        rows, columns = CENTER_BIAS_SHAPE
        row, column = center_bias_cells(fixations, image_sizes)
        key = (fixations.image.astype(np.int64) * rows + row) * columns + column
        key, count = np.unique(key, return_counts=True)
        self.image, self.cell = np.divmod(key, rows * columns)
        self.count = count.astype(np.float64)
        # The images with fixations, numbered without gaps.
        numbered, self._position = np.unique(self.image, return_inverse=True)
        self._n_images = len(numbered)
        self._own_blur: dict[int, np.ndarray] = {}

    def own_blur(self, rung: int) -> np.ndarray:
        """Returns [m], each image's own blurred counts at its occupied cells."""
        if rung not in self._own_blur:
            blurred = np.empty(len(self.cell))
            # Pieces of images bound the memory.
            for start in range(0, self._n_images, _IMAGES_AT_ONCE):
                stop = start + _IMAGES_AT_ONCE
                some = slice(*np.searchsorted(self._position, (start, stop)))
                blurred[some] = self._blur_alone(
                    rung, some, self._position[some] - start
                )
            self._own_blur[rung] = blurred
        return self._own_blur[rung]

    def _blur_alone(self, rung: int, some: slice, image: np.ndarray) -> np.ndarray:
        rows, columns = CENTER_BIAS_SHAPE
        row, column = np.divmod(self.cell[some], columns)
        vertical, horizontal = _blur_matrices(_LADDER[rung])
        # Rows lead and images come second, so that both products are single matmuls.
        counts = np.zeros((rows, _IMAGES_AT_ONCE, columns))
        counts[row, image, column] = self.count[some]
        half = vertical @ counts.reshape(rows, -1)
        blurred = half.reshape(-1, columns) @ horizontal
        return blurred.reshape(counts.shape)[row, image, column]


def _fit(cells: _Cells, images: np.ndarray) -> CenterBias:
    """Returns the center bias of some images."""
    used = np.flatnonzero(np.isin(cells.image, images))
    cell, count = cells.cell[used], cells.count[used]
    _, image = np.unique(cells.image[used], return_inverse=True)
    n_fixations = np.bincount(image, weights=count)
    if len(n_fixations) < 2:
        raise DataError(
            f"{len(n_fixations)} of {len(images)} images have fixations; a center bias "
            "needs at least 2, because each is predicted from the others"
        )
    n_cells = CENTER_BIAS_SHAPE[0] * CENTER_BIAS_SHAPE[1]
    total = np.bincount(cell, weights=count, minlength=n_cells)
    total = total.reshape(CENTER_BIAS_SHAPE)
    weight = count / n_fixations[image] / len(n_fixations)
    n_others = n_fixations.sum() - n_fixations[image]

    def blurred(rung: int) -> np.ndarray:
        vertical, horizontal = _blur_matrices(_LADDER[rung])
        return vertical @ total @ horizontal

    results: dict[int, tuple[float, float]] = {}

    def log_likelihood(rung: int) -> float:
        if rung not in results:
            others = blurred(rung).ravel()[cell] - cells.own_blur(rung)[used]
            # Blur is linear, so this is the blur of the others; rounding may leave
            # a trace below 0. Densities here are relative to uniform.
            density = np.maximum(others, 0) / n_others * n_cells
            results[rung] = _best_uniform_weight(density, weight)
        return results[rung][0]

    best = max(range(0, len(_LADDER), _COARSE_STEP), key=log_likelihood)
    step = _COARSE_STEP // 2
    while step:
        near = (best, best - step, best + step)
        best = max((r for r in near if 0 <= r < len(_LADDER)), key=log_likelihood)
        step //= 2

    log_likelihood_nats, uniform_weight = results[best]
    density = (1 - uniform_weight) * blurred(best) / n_fixations.sum()
    log_density = np.log(density + uniform_weight / n_cells)
    log_density = (log_density - logsumexp(log_density)).astype(np.float32)
    log_density.setflags(write=False)
    return CenterBias(
        log_density=log_density,
        bandwidth_fraction=float(_LADDER[best]),
        uniform_weight=uniform_weight,
        log_likelihood=float(log_likelihood_nats / np.log(2)),
    )


def _best_uniform_weight(
    density: np.ndarray, weight: np.ndarray
) -> tuple[float, float]:
    """Returns the highest mean log-likelihood of the mixture, and its uniform weight.

    Args:
        density: [m], relative to the uniform density.
        weight: [m], share of each in the mean.
    """
    # Loads a lot that predictions do without.
    from scipy.optimize import brentq

    def slope(uniform_weight: float) -> float:
        return weight @ ((1 - density) / (density + uniform_weight * (1 - density)))

    # The likelihood is concave in the weight: its slope has at most one zero.
    low, high = _UNIFORM_WEIGHT_RANGE
    if slope(low) <= 0:
        best = low
    elif slope(high) >= 0:
        best = high
    else:
        best = float(brentq(slope, low, high, xtol=1e-9, rtol=1e-6))
    return float(weight @ np.log(density + best * (1 - density))), best


def _blur_matrices(bandwidth_fraction: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns A and B such that A @ counts @ B is the blurred grid."""
    rows, columns = CENTER_BIAS_SHAPE
    return (
        gaussian_matrix(rows, bandwidth_fraction * rows),
        gaussian_matrix(columns, bandwidth_fraction * columns),
    )
