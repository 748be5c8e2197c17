"""The finalizer: blur, center bias and normalisation turn a map into a log density.

Everything happens on the readout grid (one cell for 4x4 pixels of the image). The
picture-sized density only repeats cells, so its normaliser is a sum over cells
weighted by how many pixels read each of them: `PixelGrid` holds those numbers.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.special import logsumexp

from deepgaze_jax.ops import blur_matrix, nearest_index, pooled_size

__all__ = ["Finalizer", "PixelGrid", "mean_log_density", "pixel_grid"]

Shape = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class PixelGrid:
    """Which cell of the readout grid each pixel of the output reads.

    Attributes:
        rows: int [height], grid row of each pixel row.
        columns: int [width], grid column of each pixel column.
        shape: rows and columns of the grid.
    """

    rows: np.ndarray
    columns: np.ndarray
    shape: tuple[int, int]

    @property
    def log_pixels(self) -> np.ndarray:
        """Natural log of the number of pixels of each cell, float32 [rows, columns]."""
        rows = np.bincount(self.rows, minlength=self.shape[0])
        columns = np.bincount(self.columns, minlength=self.shape[1])
        with np.errstate(divide="ignore"):
            return np.log(np.outer(rows, columns)).astype(np.float32)

    def expand(self, grid: jax.Array) -> jax.Array:
        """Return maps on the pixels, `*batch height width`, from maps on the grid."""
        return grid[..., self.rows, :][..., self.columns]


def pixel_grid(
    height: int,
    width: int,
    stride: int = 4,
    model_size: tuple[int, int] | None = None,
) -> PixelGrid:
    """Return the geometry of the output for one picture size.

    Args:
        height: rows of the output.
        width: columns of the output.
        stride: pixels of the model's image per grid cell.
        model_size: height and width of the image that the model saw, where it was
            resized; each output pixel then reads the model pixel under its centre.

    Returns:
        The pixel grid.

    Example:
        >>> pixel_grid(5, 9).rows.tolist()
        [0, 0, 0, 0, 1]
    """
    model_height, model_width = model_size or (height, width)
    return PixelGrid(
        rows=nearest_index(model_height, height) // stride,
        columns=nearest_index(model_width, width) // stride,
        shape=(pooled_size(model_height, stride), pooled_size(model_width, stride)),
    )


def _blur_of_upsampled(
    cells: int, size: int, factor: int, sigma: jax.Array, radius: int
) -> jax.Array:
    """Return the [cells, size] matrix: nearest by `factor`, crop to `cells`, blur."""
    matrix = blur_matrix(cells, sigma, radius)
    matrix = jnp.pad(matrix, ((0, 0), (0, size * factor - cells)))
    return matrix.reshape(cells, size, factor).sum(axis=2)


class Finalizer(nn.Module):
    """Log density on the readout grid from a readout map and a center bias.

    Attributes:
        upscale: grid cells per readout-map cell (nearest, cropped top-left).
        blur_radius: taps of the Gaussian on each side.
        sigma_grid_px: where the learned blur starts, in cells of the readout grid.

    Reference:
        Kümmerer, Wallis & Bethge 2016, section 3; constants of the authors' release.
    """

    upscale: int = 8
    blur_radius: int = 20
    sigma_grid_px: float = 5.0

    @nn.compact
    def log_weights(
        self, readout_map: jax.Array, center_bias: jax.Array | None, shape: Shape
    ) -> jax.Array:
        """Return the log density on the readout grid before it is normalised.

        Args:
            readout_map: `*batch h w`.
            center_bias: natural-log density pooled to the grid, broadcastable to
                `*batch rows columns`; None leaves the center bias out.
            shape: rows and columns of the grid.

        Returns:
            `*batch rows columns`.
        """
        start = nn.initializers.constant
        sigma = self.param("sigma_grid_px", start(self.sigma_grid_px), ())
        weight = self.param("center_bias_weight", start(1.0), ())
        height, width = readout_map.shape[-2:]
        rows, columns = shape
        # Repeating cells and blurring them is one small matrix an axis: the repeated
        # map itself is never made.
        by = _blur_of_upsampled(rows, height, self.upscale, sigma, self.blur_radius)
        bx = _blur_of_upsampled(columns, width, self.upscale, sigma, self.blur_radius)
        # The blur keeps constants and the normalisation removes them, so the map's
        # level is free: near zero the products round least.
        level = readout_map.mean(axis=(-2, -1), keepdims=True)
        readout_map = readout_map - lax.stop_gradient(level)
        precision = lax.Precision.HIGHEST
        x = jnp.einsum("...ij,xj->...ix", readout_map, bx, precision=precision)
        # One product per map, in the layout of the result: no transposes.
        by = jnp.broadcast_to(by, (*x.shape[:-2], *by.shape))
        x = jnp.matmul(by, x, precision=precision)
        if center_bias is None:
            return x
        return x + _expand_to(weight * center_bias, x.ndim)

    def __call__(
        self,
        readout_map: jax.Array,
        center_bias: jax.Array | None,
        log_pixels: jax.Array,
    ) -> jax.Array:
        """Return log densities per pixel, one value for each cell of the grid.

        Args:
            readout_map: `*batch h w`.
            center_bias: see `log_weights`.
            log_pixels: [rows, columns], log of the pixels that read each cell.

        Returns:
            `*batch rows columns`; the sum of pixels * exp(value) is one.
        """
        x = self.log_weights(readout_map, center_bias, log_pixels.shape)
        return x - logsumexp(
            x + _expand_to(log_pixels, x.ndim), axis=(-2, -1), keepdims=True
        )


@jax.custom_vjp
def mean_log_density(
    log_weights: jax.Array, counts: jax.Array, log_pixels: jax.Array
) -> jax.Array:
    """Return the mean log density at fixations, of densities not yet normalised.

    The same as normalising, multiplying by the counts and dividing by their sum, in
    fewer passes over memory, forwards and backwards.

    Args:
        log_weights: [B, rows, columns], from `Finalizer.log_weights`.
        counts: [B, rows, columns], fixations in each cell, any number type.
        log_pixels: [rows, columns], log of the pixels that read each cell.

    Returns:
        [B], nats per fixation; 0 minus the normaliser where there are no fixations.
    """
    return _mean_log_density(log_weights, counts, log_pixels)[0]


def _mean_log_density(
    log_weights: jax.Array, counts: jax.Array, log_pixels: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    """Return the value of `mean_log_density` and what its gradient needs."""
    number = counts.astype(log_weights.dtype)
    total = jnp.maximum(number.sum(axis=(-2, -1)), 1)
    normaliser = logsumexp(log_weights + log_pixels[None], axis=(-2, -1))
    value = (number * log_weights).sum(axis=(-2, -1)) / total - normaliser
    return value, (log_weights, counts, total, log_pixels, normaliser)


def _mean_log_density_gradient(
    kept: tuple[jax.Array, ...], by_value: jax.Array
) -> tuple[jax.Array, None, None]:
    """Return the gradient: what was observed minus what was expected."""
    log_weights, counts, total, log_pixels, normaliser = kept
    observed = counts.astype(log_weights.dtype) * (by_value / total)[:, None, None]
    share = jnp.exp(log_weights + log_pixels[None] - normaliser[:, None, None])
    return observed - share * by_value[:, None, None], None, None


mean_log_density.defvjp(_mean_log_density, _mean_log_density_gradient)


def _expand_to(x: jax.Array, ndim: int) -> jax.Array:
    """Return x with leading axes of length one up to ndim (no implicit promotion)."""
    return x.reshape((1,) * (ndim - x.ndim) + x.shape)
