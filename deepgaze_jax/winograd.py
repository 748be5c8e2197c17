"""3x3 convolutions with a quarter of the multiplications, for CPUs.

Winograd's minimal filtering F(4x4, 3x3): a tile of 4x4 outputs needs 6x6 inputs d. With
both transformed, the convolution is a product element by element,

    tile = A' [(G kernel G') * (B' d B)] A,

36 products in place of 144 for each pair of channels. Summed over the input channels
each of the 36 becomes one matrix product [cells, in] x [in, out], which is where a CPU
is fastest. The matrices interpolate a polynomial at 0, 1, -1, 2, -2 and infinity.

What else decides the speed is memory, so

- maps lie as 16 planes, plane 4a + b holding the pixels (4r + a, 4c + b). The outputs
  of one layer are the inputs of the next as they are, and every step is a sum of whole
  contiguous planes, shifted by whole cells;
- a layer is computed in strips of cells that stay in the cache;
- height and width are known only when a layer runs. What XLA compiles depends on how
  many cells there is room for, and that grows in steps, so images of most sizes share
  their programs.

Reference:
    Lavin & Gray 2015, "Fast algorithms for convolutional neural networks",
    arXiv 1509.09308, section 4.2.
"""

import dataclasses
import functools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

__all__ = ["Planes", "convolve_planes", "max_pool_planes", "transform_kernel"]

_TILE = 4

_B_T = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
    np.float32,
)
_G = np.array(
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ]
)
_A_T = np.array(
    [
        [1, 1, 1, 1, 1, 0],
        [0, 1, -1, 2, -2, 0],
        [0, 1, 1, 4, 4, 0],
        [0, 1, -1, 8, -8, 1],
    ],
    np.float32,
)

#: Where a tile's six inputs lie along one axis: the plane, and the cell before (0),
#: at (1) or after (2) that of the tile.
_INPUTS = ((3, 0), (0, 1), (1, 1), (2, 1), (3, 1), (0, 2))

#: Transformed inputs and outputs of one strip, in bytes. Much less wastes time between
#: steps, much more falls out of the cache (measured).
_STRIP_BYTES = 16_000_000

#: Room for cells grows in this many steps from one power of two to the next.
_STEPS = 8


@dataclasses.dataclass(frozen=True)
class Planes:
    """One image's feature maps, sorted by the position of pixels in 4x4 tiles.

    A plane is a list of cells, row by row. A row has one zero cell at its end, there is
    a row of zeros above and below and one zero cell in front, so that the neighbours of
    every cell are a fixed number of cells away. Everything beyond the image is zero.

    Attributes:
        values: float32 [16, room for cells, channels].
        height: rows of the maps.
        width: columns of the maps.
    """

    values: jax.Array
    height: int
    width: int

    @classmethod
    def of_maps(cls, maps: jax.Array) -> "Planes":
        """Return the planes of maps [height, width, channels]."""
        height, width, channels = maps.shape
        rows, row = _tiles(height), _tiles(width) + 1
        below, right = _TILE * (rows + 1) - height, _TILE * row - width
        maps = jnp.pad(maps, ((_TILE, below), (0, right), (0, 0)))
        tiles = maps.reshape(rows + 2, _TILE, row, _TILE, channels)
        values = tiles.transpose(1, 3, 0, 2, 4).reshape(_TILE**2, -1, channels)
        after = _room(height, width, channels) - values.shape[1] - 1
        return cls(jnp.pad(values, ((0, 0), (1, after), (0, 0))), height, width)

    def maps(self) -> jax.Array:
        """Return the maps, float32 [height, width, channels]."""
        rows, row = _tiles(self.height), _tiles(self.width) + 1
        values = self.values[:, row + 1 : row + 1 + rows * row]
        tiles = values.reshape(_TILE, _TILE, rows, row, -1).transpose(2, 0, 3, 1, 4)
        maps = tiles.reshape(rows * _TILE, row * _TILE, -1)
        return maps[: self.height, : self.width]

    def relu(self) -> "Planes":
        """Return the planes with negative values set to zero."""
        return dataclasses.replace(self, values=jnp.maximum(self.values, 0))


def transform_kernel(kernel: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return a kernel as `convolve_planes` takes it, computed in float64.

    Args:
        kernel: [3, 3, in, out].

    Returns:
        36 float32 matrices [in, out].

    Example:
        >>> len(transform_kernel(np.ones((3, 3, 5, 7), np.float32)))
        36
    """
    # Both sides at once: rows of the Kronecker product are pairs of rows of G.
    flat = np.asarray(kernel, np.float64).reshape(9, -1)
    transformed = (np.kron(_G, _G) @ flat).astype(np.float32)
    return tuple(transformed.reshape(-1, *kernel.shape[2:]))


def convolve_planes(
    planes: Planes, kernel: Sequence[jax.Array], bias: jax.Array, *, relu: bool
) -> Planes:
    """Return the 3x3 convolution with zero padding SAME, plus bias.

    Args:
        planes: the input maps.
        kernel: from `transform_kernel`.
        bias: [out].
        relu: whether negative values become zero.

    Returns:
        The output maps, of the same height and width.

    Example:
        >>> planes = Planes.of_maps(jnp.ones((5, 6, 2)))
        >>> kernel = transform_kernel(np.ones((3, 3, 2, 4)))
        >>> planes = convolve_planes(planes, kernel, jnp.zeros(4), relu=False)
        >>> planes.maps()[0, :, 0].round().tolist()
        [8.0, 12.0, 12.0, 12.0, 12.0, 8.0]
    """
    channels, outputs = kernel[0].shape
    height, width = planes.height, planes.width
    values = _convolve(
        planes.values,
        tuple(kernel),
        bias,
        np.int32(height),
        np.int32(width),
        cells=_strip(height, width, channels, outputs),
        room=_room(height, width, outputs),
        relu=relu,
    )
    return Planes(values, height, width)


def max_pool_planes(planes: Planes) -> Planes:
    """Return the 2x2 maximum of maps that are nowhere negative, odd borders kept.

    Example:
        >>> maps = jnp.arange(15.0).reshape(3, 5, 1)
        >>> max_pool_planes(Planes.of_maps(maps)).maps()[..., 0].tolist()
        [[6.0, 8.0, 9.0], [11.0, 13.0, 14.0]]
    """
    height, width = -(-planes.height // 2), -(-planes.width // 2)
    room = _room(height, width, planes.values.shape[-1])
    size = np.int32(planes.height), np.int32(planes.width)
    return Planes(_max_pool(planes.values, *size, room=room), height, width)


def _tiles(size: Any) -> Any:
    """Return how many tiles a side takes."""
    return (size + _TILE - 1) // _TILE


def _step(count: int) -> int:
    """Return the next number of cells that there are programs for."""
    step = 2 ** max(0, count.bit_length() - 1 - int(math.log2(_STEPS)))
    return -(-count // step) * step


def _most_cells(channels: int) -> int:
    """Return how many cells of a layer's input and output fit into a strip."""
    return max(1, _STRIP_BYTES // (4 * len(_B_T) ** 2 * channels))


def _strip(height: int, width: int, channels: int, outputs: int) -> int:
    """Return how many cells a strip has; strips share the work evenly."""
    cells = _step(_tiles(height) * (_tiles(width) + 1))
    return -(-cells // -(-cells // _most_cells(channels + outputs)))


def _room(height: int, width: int, channels: int) -> int:
    """Return for how many cells planes have room: also for a last strip's overhang."""
    row = _tiles(width) + 1
    cells = _tiles(height) * row
    overhang = min(_most_cells(channels), _step(cells))
    return _step(cells + 2 * row + overhang + 3)


@functools.partial(jax.jit, static_argnames=("cells", "room", "relu"))
def _convolve(
    planes: jax.Array,
    kernel: tuple[jax.Array, ...],
    bias: jax.Array,
    height: jax.Array,
    width: jax.Array,
    *,
    cells: int,
    room: int,
    relu: bool,
) -> jax.Array:
    """Return the planes of a convolution, strip by strip."""
    row = _tiles(width) + 1
    outputs = len(bias)

    def strip(index: jax.Array, values: jax.Array) -> jax.Array:
        start = index * cells

        def part(first: int, n_planes: int, n_rows: int) -> jax.Array:
            """Return planes of the strip `n_rows` rows further, and a cell around."""
            at = (first, start + n_rows * row, 0)
            shape = (n_planes, cells + 2, planes.shape[-1])
            return lax.dynamic_slice(planes, at, shape)

        above, here, below = part(12, 4, 0), part(0, 16, 1), part(0, 4, 2)
        always = index >= 0
        halves = _apart(always, _input_rows, (above, here, below))
        products = [
            [
                _input_tile(halves[a], c, cells) @ kernel[len(_B_T) * a + c]
                for c in range(len(_B_T))
            ]
            for a in range(len(_B_T))
        ]
        halves = _apart(always, _output_columns, products)
        keep = _inside(start + jnp.arange(cells), row, height, width)
        outs = []
        for a in range(_TILE):
            for b in range(_TILE):
                out = _combine(_A_T[a], halves[b]) + bias.reshape(1, -1)
                out = jnp.maximum(out, 0) if relu else out
                outs.append(jnp.where(keep[a][b][:, None], out, 0))
        at = (0, start + row + 1, 0)
        return lax.dynamic_update_slice(values, jnp.stack(outs), at)

    n_strips = (_tiles(height) * row + cells - 1) // cells
    empty = jnp.zeros((_TILE**2, room, outputs), jnp.float32)
    return lax.fori_loop(0, n_strips, strip, empty)


@functools.partial(jax.jit, static_argnames="room")
def _max_pool(
    planes: jax.Array, height: jax.Array, width: jax.Array, *, room: int
) -> jax.Array:
    """Return the planes of the 2x2 maximum."""
    rows, row = _tiles(height), _tiles(width) + 1
    pooled_row = _tiles((width + 1) // 2) + 1
    # Pixels beyond the image are zero and never exceed a true one.
    grid = planes.reshape(2, 2, 2, 2, *planes.shape[1:]).max(axis=(1, 3))
    at = jnp.arange(room) - 1
    tiles = []
    for a in range(_TILE):
        for b in range(_TILE):
            # A tile of the result is 2x2 of these. The first cell stands for zero.
            y = 2 * (at // pooled_row - 1) + a // 2
            x = 2 * (at % pooled_row) + b // 2
            there = (at >= 0) & (y >= 0) & (y < rows) & (x < row - 1)
            cell = jnp.where(there, 1 + (y + 1) * row + x, 0)
            tiles.append(grid[a % 2, b % 2].at[cell].get(mode="promise_in_bounds"))
    return jnp.stack(tiles)


def _input_rows(parts: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
    """Return B' d: [6, 4 planes along the other axis, cells + 2, channels]."""
    above, here, below = parts
    here = here.reshape(_TILE, _TILE, *here.shape[1:])
    inputs = {0: {3: above}, 1: dict(enumerate(here)), 2: {0: below}}
    inputs = [inputs[at][plane] for plane, at in _INPUTS]
    return jnp.stack([_combine(weights, inputs) for weights in _B_T])


def _input_tile(half: jax.Array, c: int, cells: int) -> jax.Array:
    """Return column c of (B' d) B, [cells, channels], for one row of B' d."""
    shifted = [lax.slice_in_dim(half[plane], at, at + cells) for plane, at in _INPUTS]
    return _combine(_B_T[c], shifted)


def _output_columns(products: list[list[jax.Array]]) -> list[list[jax.Array]]:
    """Return m A for each of its 4 columns: lists of 6 arrays [cells, out]."""
    return [[_combine(weights, row) for row in products] for weights in _A_T]


def _combine(weights: np.ndarray, arrays: Sequence[jax.Array]) -> jax.Array:
    """Return the weighted sum of arrays, without those of weight 0."""
    terms = [
        array if weight == 1 else weight * array
        for weight, array in zip(weights, arrays, strict=True)
        if weight != 0
    ]
    return functools.reduce(operator.add, terms)


def _inside(
    cell: jax.Array, row: jax.Array, height: jax.Array, width: jax.Array
) -> list[list[jax.Array]]:
    """Return for each plane whether a cell's pixel is in the image."""
    down = [_TILE * (cell // row) + a < height for a in range(_TILE)]
    across = [_TILE * (cell % row) + b < width for b in range(_TILE)]
    return [[y & x for x in across] for y in down]


def _apart(always: jax.Array, function: Callable[..., Any], argument: Any) -> Any:
    """Return function(argument), compiled apart from what uses its results.

    XLA would otherwise compute the results anew inside each of their users, several
    times the work; it keeps the branches of a condition that is known only when the
    program runs for themselves.
    """
    results = jax.eval_shape(function, argument)

    def never(_: Any) -> Any:
        return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), results)

    return lax.cond(always, function, never, argument)
