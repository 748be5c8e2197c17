"""The mean density of all other images: what a model predicts whatever it sees."""

from typing import Any

import numpy as np

from deepgaze_jax.center_bias import CENTER_BIAS_SHAPE
from deepgaze_jax.ops import resize_image

__all__ = ["MeanDensity"]


class MeanDensity:
    """Adds up the densities of images, and gives the mean without one of them.

    Images of one size are added pixel by pixel. Where sizes differ, densities are
    brought to the grid of center biases (75 x 100 cells) and back, linearly.

    Args:
        image_sizes: [n_images, 2], height and width in pixels.

    Example:
        >>> mean = MeanDensity([[1, 2]] * 3)
        >>> for density in ([[0.5, 0.5]], [[0.9, 0.1]], [[0.1, 0.9]]):
        ...     mean.add(np.array(density))
        >>> np.exp(mean.log_of_others(np.array([[0.5, 0.5]])))
        array([[0.5, 0.5]])
    """

    def __init__(self, image_sizes: Any) -> None:
        sizes = np.unique(np.asarray(image_sizes), axis=0)
        one = len(sizes) == 1
        self._shape = tuple(map(int, sizes[0])) if one else CENTER_BIAS_SHAPE
        self._sum = np.zeros(self._shape)
        self.n_images = 0

    def add(self, density: np.ndarray) -> None:
        """Adds the density of an image, [height, width]."""
        self._sum += self._on_grid(density)
        self.n_images += 1

    def log_of_others(self, density: np.ndarray) -> np.ndarray:
        """Returns the log of the mean of all densities but one, at that one's size.

        Args:
            density: [height, width], one that was added.
        """
        # Rounding may leave a trace below 0 where the others are tiny.
        floor = self._sum * 1e-12 + np.finfo(np.float64).tiny
        others = np.maximum(self._sum - self._on_grid(density), floor)
        others = _resized(others / others.sum(), density.shape)
        return np.log(others / others.sum())

    def _on_grid(self, density: np.ndarray) -> np.ndarray:
        resized = _resized(density, self._shape)
        return resized / resized.sum()


def _resized(density: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if density.shape == tuple(shape):
        return density.astype(np.float64)
    # Float32 and densities of a millionth: keep away from its smallest numbers.
    scaled = density / density.max()
    return resize_image(scaled[..., None], *shape)[..., 0].astype(np.float64)
