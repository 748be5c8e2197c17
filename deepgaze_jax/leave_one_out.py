"""The center bias of each image, made from all others.

A data set without folds needs a baseline that has not seen the image that is scored.
"""

from typing import Any

import numpy as np
from scipy.special import logsumexp

from deepgaze_jax.center_bias import (
    CENTER_BIAS_SHAPE,
    CenterBias,
    center_bias_cells,
    image_indices,
)
from deepgaze_jax.errors import InputError
from deepgaze_jax.fixations import Fixations
from deepgaze_jax.gaussian_blur import gaussian_matrix

__all__ = ["leave_one_out_center_biases"]

_IMAGES_AT_ONCE = 128


def leave_one_out_center_biases(
    fixations: Fixations, image_sizes: Any, center_bias: CenterBias, images: Any = None
) -> np.ndarray:
    """Returns for each of some images the center bias that all the others make.

    Bandwidth and uniform weight are those of `center_bias`; only the fixations of the
    image itself are taken out. An image without fixations has the center bias of all.

    Args:
        fixations: of the data set.
        image_sizes: [n_images, 2], height and width of its images in pixels.
        center_bias: fitted on the same images, by `fit_center_bias`.
        images: indices of these images; all if left out.

    Returns:
        float32 [len(images), 75, 100], natural log, log-sum-exp 0 each; in rising order
        of the indices.

    Raises:
        DataError: fixations out of frame.
        InputError: image indices that do not exist or repeat, or fewer than two images
            with fixations.

    Reference:
        Kümmerer, Wallis & Bethge (2015), PNAS 112:16054 (cross-validated baseline).

    Example:
        >>> from deepgaze_jax.center_bias import fit_center_bias
        >>> rng = np.random.default_rng(0)
        >>> x, y = rng.normal(50, 9, 60), rng.normal(30, 5, 60)
        >>> image = np.repeat(np.arange(6), 10)
        >>> fixations = Fixations(image, 0 * image, np.arange(60), x, y)
        >>> center_bias = fit_center_bias(fixations, [[60, 100]] * 6)
        >>> leave_one_out_center_biases(fixations, [[60, 100]] * 6, center_bias).shape
        (6, 75, 100)
    """
    sizes = np.asarray(image_sizes)
    images = np.arange(len(sizes)) if images is None else images
    images = image_indices(images, len(sizes))
    position = np.full(len(sizes), -1)
    position[images] = np.arange(len(images))
    used = fixations.of_images(images)
    row, column = center_bias_cells(used, sizes)
    image = position[used.image]
    if len(np.unique(image)) < 2:
        raise InputError(
            "fewer than two of the images have fixations; without one of them nothing "
            "is left"
        )
    rows, columns = CENTER_BIAS_SHAPE
    n_cells = rows * columns
    total = np.bincount(row * columns + column, minlength=n_cells)
    fraction = center_bias.bandwidth_fraction
    vertical = gaussian_matrix(rows, fraction * rows)
    horizontal = gaussian_matrix(columns, fraction * columns)
    result = np.empty((len(images), rows, columns), np.float32)
    for start in range(0, len(images), _IMAGES_AT_ONCE):
        part = result[start : start + _IMAGES_AT_ONCE]
        here = (image >= start) & (image < start + len(part))
        own = np.bincount(
            ((image[here] - start) * rows + row[here]) * columns + column[here],
            minlength=part.size,
        )
        others = (total - own.reshape(-1, n_cells)).astype(np.float64)
        others /= others.sum(axis=1, keepdims=True)
        blurred = vertical @ others.reshape(part.shape) @ horizontal
        weight = center_bias.uniform_weight
        log_density = np.log((1 - weight) * blurred + weight / n_cells)
        log_density -= logsumexp(log_density, axis=(1, 2), keepdims=True)
        part[:] = log_density
    return result
