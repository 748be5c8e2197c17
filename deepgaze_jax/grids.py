"""The grids between a picture and its density, and who reads whom.

A model sees its image on four grids: pixels, cells of the feature map, cells of the
readout grid (one for 4x4 pixels in DeepGaze II), and pixels again. Everything between
them repeats or averages cells, so it is arithmetic on indices. Two rules exist:
`mean` is that of the authors' TensorFlow graphs, `nearest` that of the public PyTorch
code of DeepGaze I.
"""

import dataclasses
from typing import Literal

import jax
import numpy as np

from deepgaze_jax.errors import InputError
from deepgaze_jax.ops import (
    nearest_index,
    pool_mean,
    pooled_size,
    same_padding,
    torch_nearest_index,
)

__all__ = [
    "PixelGrid",
    "Sampling",
    "cells_of_pixels",
    "map_cells_of_grid",
    "pixel_grid",
    "shrink",
    "shrink_matrix",
    "shrunk_size",
]

Sampling = Literal["mean", "nearest"]


def shrunk_size(size: int, factor: int, sampling: Sampling = "mean") -> int:
    """Return the length of an axis after `shrink`.

    Raises:
        InputError: nothing would be left.

    Example:
        >>> shrunk_size(97, 4), shrunk_size(97, 4, "nearest")
        (25, 24)
    """
    if sampling == "mean":
        return pooled_size(size, factor)
    if size < factor:
        raise InputError(
            f"a side of {size} pixels is too short for this model, which keeps one "
            f"pixel in {factor}; give a larger image"
        )
    return size // factor


def shrink(x: jax.Array, factor: int, sampling: Sampling = "mean") -> jax.Array:
    """Return images made smaller by a whole number.

    Args:
        x: `*batch height width channels`.
        factor: cells of x for one of the result.
        sampling: `mean` averages blocks (SAME padding, padded cells do not count);
            `nearest` keeps every `factor`th pixel, and as many as fit whole.

    Returns:
        `*batch shrunk_size(height) shrunk_size(width) channels`.
    """
    if sampling == "mean":
        return pool_mean(x, factor)
    rows, columns = (shrunk_size(n, factor, sampling) * factor for n in x.shape[-3:-1])
    return x[..., :rows:factor, :columns:factor, :]


def shrink_matrix(
    index: np.ndarray, factor: int, n: int, sampling: Sampling
) -> np.ndarray:
    """Return the matrix that picks cells along an axis and shrinks what it picked.

    `shrink` is linear and treats both axes alike, so a map that is enlarged by indices
    and then shrunk never has to be there at its full size.

    Args:
        index: int [size], the cell, below n, that each pixel of the axis is.
        factor: see `shrink`.
        n: cells of the axis.
        sampling: see `shrink`.

    Returns:
        float64 [shrunk_size(size), n], rows sum to one.

    Example:
        >>> shrink_matrix(np.array([0, 0, 1, 2]), 2, 3, "mean").tolist()
        [[1.0, 0.0, 0.0], [0.0, 0.5, 0.5]]
    """
    n_shrunk = shrunk_size(len(index), factor, sampling)
    matrix = np.zeros((n_shrunk, n))
    if sampling == "nearest":
        matrix[np.arange(n_shrunk), index[: n_shrunk * factor : factor]] = 1
        return matrix
    before, _ = same_padding(len(index), factor)
    np.add.at(matrix, ((np.arange(len(index)) + before) // factor, index), 1)
    return matrix / matrix.sum(axis=1, keepdims=True)


def cells_of_pixels(size: int, stride: int, sampling: Sampling = "mean") -> np.ndarray:
    """Return the cell of the readout grid that each pixel of an axis reads.

    Args:
        size: pixels of the axis.
        stride: pixels for one cell.
        sampling: see `shrink`.

    Returns:
        int [size].

    Example:
        >>> cells_of_pixels(6, 4).tolist(), cells_of_pixels(6, 4, "nearest").tolist()
        ([0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 0, 0])
    """
    if sampling == "mean":
        return np.arange(size) // stride
    return torch_nearest_index(shrunk_size(size, stride, sampling), size)


def map_cells_of_grid(
    size: int,
    map_size: int,
    stride: int,
    map_stride: int,
    sampling: Sampling = "mean",
) -> np.ndarray:
    """Return the cell of the feature map that each cell of the readout grid reads.

    Args:
        size: pixels of the axis.
        map_size: cells of the feature map along it.
        stride: pixels for one cell of the readout grid.
        map_stride: pixels for one cell of the feature map.
        sampling: see `shrink`.

    Returns:
        int [cells of the readout grid], never falling.

    Example:
        >>> map_cells_of_grid(40, 2, 4, 32).tolist()
        [0, 0, 0, 0, 0, 0, 0, 0, 1, 1]
    """
    n_cells = shrunk_size(size, stride, sampling)
    if sampling == "mean":
        return np.minimum(np.arange(n_cells) * stride // map_stride, map_size - 1)
    # PARITY: two steps, first to one cell for two of the grid's, then to the grid.
    between = pooled_size(size, 2 * stride)
    first = torch_nearest_index(map_size, between)
    return first[torch_nearest_index(between, n_cells)]


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

    def normalise_and_expand(self, grid: np.ndarray) -> np.ndarray:
        """Return a log density on the pixels, float32 [height, width], log-sum-exp 0.

        Args:
            grid: natural logarithm per pixel, up to a constant, [rows, columns].
        """
        grid = np.asarray(grid, np.float64)
        rows = np.bincount(self.rows, minlength=self.shape[0])
        columns = np.bincount(self.columns, minlength=self.shape[1])
        # The sum over pixels is one over cells: nothing large is made but the result.
        top = grid.max()
        total = top + np.log(rows @ np.exp(grid - top) @ columns)
        return self.expand((grid - total).astype(np.float32))

    def expand(self, grid: jax.Array) -> jax.Array:
        """Return maps on the pixels, `*batch height width`, from maps on the grid."""
        return grid[..., self.rows, :][..., self.columns]


def pixel_grid(
    height: int,
    width: int,
    stride: int = 4,
    model_size: tuple[int, int] | None = None,
    sampling: Sampling = "mean",
) -> PixelGrid:
    """Return the geometry of the output for one picture size.

    Args:
        height: rows of the output.
        width: columns of the output.
        stride: pixels of the model's image per grid cell.
        model_size: height and width of the image that the model saw, where it was
            resized; each output pixel then reads the model pixel under its centre.
        sampling: see `shrink`.

    Returns:
        The pixel grid.

    Example:
        >>> pixel_grid(5, 9).rows.tolist()
        [0, 0, 0, 0, 1]
    """
    model_height, model_width = model_size or (height, width)
    rows = cells_of_pixels(model_height, stride, sampling)
    columns = cells_of_pixels(model_width, stride, sampling)
    return PixelGrid(
        rows=rows[nearest_index(model_height, height)],
        columns=columns[nearest_index(model_width, width)],
        shape=(
            shrunk_size(model_height, stride, sampling),
            shrunk_size(model_width, stride, sampling),
        ),
    )
