"""The finalizer: blur, center bias and normalisation turn a map into a log density.

Everything happens on the readout grid (one cell for 4x4 pixels of the image). The
picture-sized density only repeats cells, so its normaliser is a sum over cells
weighted by how many pixels read each of them: `grids.PixelGrid` holds those numbers.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.special import logsumexp

from deepgaze_jax.ops import blur_matrix

__all__ = ["Finalizer"]

#: Float32 products of accelerators are reduced precision unless asked otherwise.
_EXACT = lax.Precision.HIGHEST

#: Which row and which column of a map each row and column of the grid repeats.
MapCells = tuple[np.ndarray, np.ndarray]


def _blur_of_map(
    map_cells: np.ndarray,
    map_size: int,
    sigma: jax.Array,
    radius: int,
    truncate: float | None,
) -> jax.Array:
    """Return the [cells, map_size] matrix: repeat map cells along the grid, then blur.

    `map_cells` [cells] says which map cell each cell of the grid repeats.
    """
    blur = blur_matrix(map_cells.shape[0], sigma, radius, truncate)
    # Of numbers a constant of the program; cells of `any_size` are none.
    numbers = np if isinstance(map_cells, np.ndarray) else jnp
    repeat = numbers.float32(map_cells[:, None] == numbers.arange(map_size)[None])
    return jnp.matmul(blur, repeat, precision=_EXACT)


class Finalizer(nn.Module):
    """Log density on the readout grid from a readout map and a center bias.

    Attributes:
        blur_radius: taps of the Gaussian on each side.
        blur_truncate: taps farther than ceil(blur_truncate * sigma) do not count; None
            for none.
        sigma_grid_px: where the learned blur starts, in cells of the readout grid.

    Reference:
        Kümmerer, Wallis & Bethge 2016, section 3; constants of the authors' release.
    """

    blur_radius: int = 20
    blur_truncate: float | None = None
    sigma_grid_px: float = 5.0

    def setup(self) -> None:
        """Declare the two learned numbers."""
        start = nn.initializers.constant
        self.sigma = self.param("sigma_grid_px", start(self.sigma_grid_px), ())
        self.weight = self.param("center_bias_weight", start(1.0), ())

    def __call__(
        self,
        readout_map: jax.Array,
        map_cells: MapCells,
        center_bias: jax.Array | None,
        log_pixels: jax.Array,
    ) -> jax.Array:
        """Return log densities per pixel, one value for each cell of the grid.

        Args:
            readout_map: `*batch h w`.
            map_cells: int [rows] and int [columns], which row and column of the map
                each cell of the grid repeats.
            center_bias: natural-log density pooled to the grid, broadcastable to
                `*batch rows columns`; None leaves the center bias out.
            log_pixels: [rows, columns], log of the pixels that read each cell.

        Returns:
            `*batch rows columns`; the sum of pixels * exp(value) is one.
        """
        by, bx = self._blurs(readout_map.shape[-2:], map_cells)
        x = jnp.einsum("...ij,xj->...ix", _level(readout_map), bx, precision=_EXACT)
        x = jnp.einsum("yi,...ix->...yx", by, x, precision=_EXACT)
        if center_bias is not None:
            x = x + _expand_to(self.weight * center_bias, x.ndim)
        return x - logsumexp(
            x + _expand_to(log_pixels, x.ndim), axis=(-2, -1), keepdims=True
        )

    def mean_log_density(
        self,
        readout_map: jax.Array,
        map_cells: MapCells,
        center_bias: jax.Array,
        log_pixels: jax.Array,
        counts: jax.Array,
    ) -> jax.Array:
        """Return the mean log density at the fixations of each image, for training.

        Equals the density of `__call__` times the counts, summed and divided by the
        number of fixations.

        Args:
            readout_map: [B, h, w].
            map_cells: see `__call__`.
            center_bias: [rows, columns], natural-log density pooled to the grid.
            log_pixels: [rows, columns], log of the pixels that read each cell.
            counts: [B, rows, columns], fixations in each cell, any number type.

        Returns:
            [B], nats per fixation.
        """
        by, bx = self._blurs(readout_map.shape[-2:], map_cells)
        return _mean_log_densities(
            _level(readout_map), by, bx, self.weight, center_bias, log_pixels, counts
        )

    def _blurs(
        self, map_shape: tuple[int, ...], map_cells: MapCells
    ) -> tuple[jax.Array, jax.Array]:
        """Return the matrices that enlarge a map to the grid and blur it."""
        # Repeating cells and blurring them is one small matrix an axis: the repeated
        # map itself is never made.
        by, bx = (
            _blur_of_map(cells, size, self.sigma, self.blur_radius, self.blur_truncate)
            for cells, size in zip(map_cells, map_shape, strict=True)
        )
        return by, bx


def _level(readout_map: jax.Array) -> jax.Array:
    """Return maps around zero, where the products of the blur round least.

    The blur keeps constants and the normalisation removes them: a map's level is free.
    """
    level = readout_map.mean(axis=(-2, -1), keepdims=True)
    return readout_map - lax.stop_gradient(level)


def _one_mean_log_density(
    readout_map: jax.Array,
    by: jax.Array,
    bx: jax.Array,
    weight: jax.Array,
    center_bias: jax.Array,
    log_pixels: jax.Array,
    counts: jax.Array,
    gradients: bool,
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    """Return the value for one image, [], and its gradients by the first four."""
    multiply = functools.partial(jnp.matmul, precision=_EXACT)
    half = multiply(readout_map, bx.T)
    x = multiply(by, half) + weight * center_bias
    number = counts.astype(x.dtype)
    total = jnp.maximum(number.sum(), 1)
    normaliser = logsumexp(x + log_pixels)
    value = (number * x).sum() / total - normaliser
    if not gradients:
        return value, ()
    # What was observed minus what was expected.
    by_x = number / total - jnp.exp(x + log_pixels - normaliser)
    by_half = multiply(by.T, by_x)
    return value, (
        multiply(by_half, bx),
        multiply(by_x, half.T),
        multiply(by_half.T, readout_map),
        (by_x * center_bias).sum(),
    )


def _over_images(gradients: bool, *arguments: jax.Array) -> tuple[jax.Array, ...]:
    """Return values, and gradients where wanted, of all images one after another."""
    readout_map, by, bx, weight, center_bias, log_pixels, counts = arguments

    def one(image: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, ...]:
        own_map, own_counts = image
        return _one_mean_log_density(
            own_map, by, bx, weight, center_bias, log_pixels, own_counts, gradients
        )

    return lax.map(one, (readout_map, counts))


@jax.custom_vjp
def _mean_log_densities(*arguments: jax.Array) -> jax.Array:
    """Return the mean log density at the fixations of each image, [B].

    Image after image, so that everything of an image stays in the processor's cache.
    The gradient is made on the way: what is kept for it is then a few small matrices
    an image, where automatic differentiation keeps several grids.
    """
    return _over_images(False, *arguments)[0]


def _forward(*arguments: jax.Array) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    return _over_images(True, *arguments)


def _backward(
    kept: tuple[jax.Array, ...], by_value: jax.Array
) -> tuple[jax.Array | None, ...]:
    maps, by, bx, weight = kept
    sums = [
        jnp.tensordot(by_value, one, axes=1, precision=_EXACT)
        for one in (by, bx, weight)
    ]
    return by_value[:, None, None] * maps, *sums, None, None, None


_mean_log_densities.defvjp(_forward, _backward)


def _expand_to(x: jax.Array, ndim: int) -> jax.Array:
    """Return x with leading axes of length one up to ndim (no implicit promotion)."""
    return x.reshape((1,) * (ndim - x.ndim) + x.shape)
