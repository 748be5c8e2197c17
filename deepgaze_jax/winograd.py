"""3x3 convolutions with a quarter of the multiplications, for CPUs, band by band.

Winograd's minimal filtering F(4x4, 3x3): a tile of 4x4 outputs needs 6x6 inputs d. With
both transformed, the convolution is a product element by element,

    tile = A' [(G kernel G') * (B' d B)] A,

36 products in place of 144 for each pair of channels. Summed over the input channels
each of the 36 becomes one matrix product [cells, in] x [in, out], which is where a CPU
is fastest. The matrices interpolate a polynomial at 0, 1, -1, 2, -2 and infinity.

What else decides the speed is memory, so

- maps lie as 16 planes, plane 4a + b holding the pixels (4r + a, 4c + b) of the cells
  (r, c). The outputs of one layer are the inputs of the next as they are, and every
  step is a sum of whole contiguous planes, shifted by whole cells;
- maps come in windows of some rows of cells. A layer computes the rows whose neighbours
  have come, and the last rows wait for the next window (`Joint`): nothing is computed
  twice, and no map is ever there as a whole;
- a window is computed in strips of cells that stay in the cache;
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
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

__all__ = [
    "TILE",
    "Buffers",
    "Joint",
    "Kind",
    "Window",
    "convolve",
    "convolve_image",
    "kept_at_first",
    "max_pool",
    "relu",
    "rows_computed",
    "rows_done",
    "strip_bytes",
    "tail_shape",
    "tiles",
    "transform_image_kernel",
    "transform_kernel",
    "window_shape",
]

#: Rows and columns of pixels of a cell.
TILE = 4

Kind = Literal["convolution", "pool"]

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
_INPUT = len(_B_T)

#: Where a tile's six inputs lie along one axis: the plane, and the cell before (0),
#: at (1) or after (2) that of the tile.
_INPUTS = ((3, 0), (0, 1), (1, 1), (2, 1), (3, 1), (0, 2))

#: Transformed inputs and outputs of one strip, in bytes, and its fewest cells. Much
#: less wastes time between steps, and reads the kernel too often; much more falls out
#: of the cache (measured).
_STRIP_BYTES = 4_000_000
_STRIP_CELLS = 96

#: Room for cells grows in this many steps from one power of two to the next.
_STEPS = 8

#: Rows of cells that wait for the next window, at most.
_KEPT = 2


def tiles(size: Any) -> Any:
    """Return how many cells a side takes."""
    return (size + TILE - 1) // TILE


@dataclasses.dataclass(frozen=True)
class Window:
    """Some rows of cells of one image's feature maps.

    A plane is a list of cells, row by row. A row has one zero cell at its end and there
    is one zero cell in front, so that the neighbours of every cell are a fixed number
    of cells away. What lies beyond the image is zero.

    Attributes:
        values: float32 [16, room for cells, channels].
        first: the image's row of cells that comes first; -1 for the zeros above.
        n_rows: rows of cells.
        n_new: those at the end that were not in the window before.
        finished: whether the last row of the image is among them.
        height: rows of pixels of the whole maps.
        width: their columns.
    """

    values: jax.Array
    first: int
    n_rows: int
    n_new: int
    finished: bool
    height: int
    width: int

    def write_maps(self, out: np.ndarray) -> None:
        """Write the pixels of the new rows to their places; returns nothing.

        Args:
            out: the whole maps, [height, width, channels].
        """
        row = tiles(self.width) + 1
        start = 1 + (self.n_rows - self.n_new) * row
        cells = np.asarray(self.values)[:, start : start + self.n_new * row]
        cells = cells.reshape(TILE, TILE, self.n_new, row, -1).transpose(2, 0, 3, 1, 4)
        top = TILE * (self.first + self.n_rows - self.n_new)
        part = out[top : top + TILE * self.n_new]
        whole = cells.reshape(TILE * self.n_new, TILE * row, -1)
        part[...] = whole[: len(part), : self.width]


def kept_at_first(to: Kind | None) -> int:
    """Return how many rows of cells wait above an image: zeros for a convolution."""
    return 1 if to == "convolution" else 0


def rows_done(n_rows: int, to: Kind | None) -> int:
    """Return how many rows of a window the layer behind it does not need any more."""
    if to == "convolution":
        return n_rows - _KEPT
    return n_rows - n_rows % 2 if to == "pool" else n_rows


def rows_computed(n_rows: int, finished: bool, kind: Kind) -> int:
    """Return how many rows a layer computes from a window that has come to it."""
    if kind == "convolution":
        return n_rows - _KEPT + finished
    return (n_rows + finished) // 2


def tail_shape(width: int, channels: int) -> tuple[int, int, int]:
    """Return the shape of what waits for the next window."""
    return TILE**2, _step(_KEPT * (tiles(width) + 1)), channels


def window_shape(width: int, channels: int, most_rows: int) -> tuple[int, int, int]:
    """Return the shape of windows of at most so many rows of cells."""
    # Behind the last row: a row of zeros, and what a last strip writes too much.
    overhang = max(tail_shape(width, channels)[1], _step(_most_cells(channels)))
    cells = 2 + (most_rows + 1) * (tiles(width) + 1) + overhang
    return TILE**2, _step(cells), channels


class Buffers:
    """Memory for windows, used again and again.

    New memory is slow: the system fills it with zeros page by page, which takes longer
    than writing a shallow layer's maps.

    Args:
        most_bytes: that are kept for images of other sizes; what is in use at a time
            has no limit.
    """

    def __init__(self, most_bytes: int = 0):
        self._most_bytes = most_bytes
        self._free: dict[tuple[int, ...], list[jax.Array]] = {}

    def take(self, shape: tuple[int, ...]) -> jax.Array:
        """Return planes of a shape, with any values but in the first cell."""
        try:
            return self._free[shape].pop()
        except (KeyError, IndexError):
            return jnp.zeros(shape, jnp.float32)

    def give(self, values: jax.Array) -> None:
        """Take back planes that nobody will read any more; returns nothing."""
        self._free.setdefault(values.shape, []).append(values)

    def tidy(self) -> None:
        """Give the memory back where it is more than may be kept; returns nothing."""
        free = [array for arrays in self._free.values() for array in arrays]
        if sum(array.nbytes for array in free) > self._most_bytes:
            self._free.clear()


class Joint:
    """Where the last rows of a layer's maps wait for what the next layer needs.

    Args:
        height: rows of the maps.
        width: their columns.
        channels: their channels.
        to: the next layer; None where nobody needs the rows once more.
        usual_rows: new rows of cells of most windows.
        most_rows: rows of cells that a window may have.
        buffers: where the memory for windows comes from.
    """

    def __init__(
        self,
        height: int,
        width: int,
        channels: int,
        to: Kind | None,
        usual_rows: int,
        most_rows: int,
        buffers: Buffers,
    ):
        self.height, self.width, self.to = height, width, to
        self.usual_rows = usual_rows
        self.buffers = buffers
        self.shape = window_shape(width, channels, most_rows)
        tail = tail_shape(width, channels)
        self.tail = jnp.zeros(tail, jnp.float32)
        self.kept = kept_at_first(to)
        self.following = 0

    def numbers(self, n_new: int) -> np.ndarray:
        """Return what a program has to know to write a window."""
        done = rows_done(self.kept + n_new, self.to)
        return np.array([n_new, self.width, self.kept, done], np.int32)

    def take(self, values: jax.Array, tail: jax.Array, n_new: int) -> Window:
        """Return the window that a program wrote, and keep its tail."""
        n_rows = self.kept + n_new
        first = self.following - self.kept
        self.tail, self.kept = tail, n_rows - rows_done(n_rows, self.to)
        self.following += n_new
        finished = self.following == tiles(self.height)
        if finished:
            rows_left = self.height - TILE * (self.following - 1)
            numbers = np.array([n_rows - 1, rows_left, self.width], np.int32)
            values = _cut_below(values, numbers, cells=tail.shape[1])
        return Window(values, first, n_rows, n_new, finished, self.height, self.width)


def transform_kernel(kernel: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return a kernel as `convolve` takes it, computed in float64.

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
    both = np.kron(_G, _G)
    # One after another, as all of them in float64 would be large.
    return tuple(
        (row @ flat).astype(np.float32).reshape(kernel.shape[2:]) for row in both
    )


def transform_image_kernel(kernel: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return a kernel as `convolve_image` takes it.

    Args:
        kernel: [3, 3, in, out].

    Returns:
        For each of the 4 columns of a tile a matrix [18 in, out] from the 3x6 inputs
        that its row reads.

    Example:
        >>> transform_image_kernel(np.ones((3, 3, 3, 7), np.float32))[0].shape
        (54, 7)
    """
    spread = []
    for column in range(TILE):
        whole = np.zeros((3, _INPUT, *kernel.shape[2:]), np.float32)
        whole[:, column : column + 3] = kernel
        spread.append(whole.reshape(-1, kernel.shape[-1]))
    return tuple(spread)


def convolve_image(
    image: np.ndarray,
    kernel: Sequence[jax.Array],
    bias: jax.Array,
    joint: Joint,
    n_new: int,
    *,
    relu: bool,
) -> Window:
    """Return a window of the 3x3 convolution of an image's rows, plus bias.

    Few channels do not pay for Winograd's transforms: here a tile is one product.

    Args:
        image: [4 n_new + 2, width, channels]: the rows of pixels of the window, one
            above and one below; zeros beyond the image.
        kernel: from `transform_image_kernel`.
        bias: [out].
        joint: where the result goes.
        n_new: rows of cells.
        relu: whether negative values become zero.
    """
    width, channels = image.shape[1:]
    row = tiles(width) + 1
    cells = _strip(joint.usual_rows, row, len(bias))
    padded = np.zeros((TILE * n_new + 2, TILE * row + 2, channels), np.float32)
    padded[:, 1 : width + 1] = image
    down, across, along = padded.strides
    inputs = np.zeros(
        (TILE, _step(n_new * row + cells), 3 * _INPUT * channels), np.float32
    )
    for a, part in enumerate(inputs):
        part[: n_new * row].reshape(n_new, row, 3, -1)[...] = (
            np.lib.stride_tricks.as_strided(
                padded[a:],
                (n_new, row, 3, _INPUT * channels),
                (TILE * down, TILE * across, down, along),
            )
        )
    values, tail = _convolve_image(
        inputs,
        tuple(kernel),
        bias,
        _floor(relu),
        joint.buffers.take(joint.shape),
        joint.tail,
        joint.numbers(n_new),
        cells=cells,
    )
    return joint.take(values, tail, n_new)


def convolve(
    window: Window,
    kernel: Sequence[jax.Array],
    bias: jax.Array,
    joint: Joint,
    *,
    relu: bool,
) -> Window | None:
    """Return a window of the 3x3 convolution with zero padding SAME, plus bias.

    Args:
        window: of the input maps, from a joint to a convolution.
        kernel: from `transform_kernel`.
        bias: [out].
        joint: where the result goes.
        relu: whether negative values become zero.

    Returns:
        The rows that have all of their inputs; None if there are none.
    """
    n_new = rows_computed(window.n_rows, window.finished, "convolution")
    if n_new == 0:
        return None
    values, tail = _convolve(
        window.values,
        tuple(kernel),
        bias,
        _floor(relu),
        joint.buffers.take(joint.shape),
        joint.tail,
        joint.numbers(n_new),
        cells=_strip(joint.usual_rows, tiles(window.width) + 1, sum(kernel[0].shape)),
    )
    return joint.take(values, tail, n_new)


def max_pool(window: Window, joint: Joint) -> Window | None:
    """Return a window of the 2x2 maximum of maps that are nowhere negative.

    Odd borders are kept.

    Args:
        window: of the input maps, from a joint to a pool.
        joint: where the result goes.

    Returns:
        The rows that have all of their inputs; None if there are none.
    """
    n_new = rows_computed(window.n_rows, window.finished, "pool")
    if n_new == 0:
        return None
    values, tail = _max_pool(
        window.values,
        joint.buffers.take(joint.shape),
        joint.tail,
        joint.numbers(n_new),
        columns=_step(tiles(joint.width) + 1),
    )
    return joint.take(values, tail, n_new)


def relu(window: Window, joint: Joint) -> Window:
    """Return the window with negative values set to zero, and set them in its joint."""
    values, joint.tail = _relu(window.values, joint.tail)
    return dataclasses.replace(window, values=values)


def _floor(relu: bool) -> np.ndarray:
    """Return the lowest value that a map may have."""
    return np.float32(0 if relu else -np.inf)


def _step(count: int) -> int:
    """Return the next number of cells that there are programs for."""
    step = 2 ** max(0, count.bit_length() - 1 - int(math.log2(_STEPS)))
    return -(-count // step) * step


def _most_cells(channels: int) -> int:
    """Return how many cells a strip has at most, for channels in and out."""
    return max(_STRIP_CELLS, _STRIP_BYTES // (4 * _INPUT**2 * channels))


def strip_bytes(channels: int) -> int:
    """Return how much memory a strip takes, for channels in and out."""
    return 4 * 2 * _INPUT**2 * channels * _step(_most_cells(channels))


def _strip(n_rows: int, row: int, channels: int) -> int:
    """Return how many cells a strip has; strips of a usual window share it evenly."""
    cells = n_rows * row
    n_strips = -(-cells // _most_cells(channels))
    return _step(-(-cells // n_strips))


def _begin(values: jax.Array, tail: jax.Array, kept_cells: jax.Array) -> jax.Array:
    """Return planes that begin with what was kept."""
    kept = (jnp.arange(tail.shape[1]) < kept_cells)[None, :, None]
    return lax.dynamic_update_slice(values, jnp.where(kept, tail, 0), (0, 1, 0))


def _end(
    values: jax.Array, tail: jax.Array, done_cells: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return planes, and what is to be kept of them."""
    return values, lax.dynamic_slice(values, (0, 1 + done_cells, 0), tail.shape)


@functools.partial(jax.jit, static_argnames="cells", donate_argnames="values")
def _cut_below(values: jax.Array, numbers: jax.Array, *, cells: int) -> jax.Array:
    """Return planes with zeros below the image, where its last row of cells starts."""
    last_row, height, width = numbers
    row = tiles(width) + 1
    here = (jnp.arange(TILE) < height).reshape(TILE, 1, 1, 1)
    keep = here & (jnp.arange(cells) < row)[None, None, :, None]
    at = (0, 1 + last_row * row, 0)
    part = lax.dynamic_slice(values, at, (TILE**2, cells, values.shape[-1]))
    part = part.reshape(TILE, TILE, cells, -1)
    part = jnp.where(keep, part, 0).reshape(TILE**2, cells, -1)
    return lax.dynamic_update_slice(values, part, at)


@functools.partial(jax.jit, donate_argnames="values")
def _relu(values: jax.Array, tail: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return both with negative values set to zero."""
    return jnp.maximum(values, 0), jnp.maximum(tail, 0)


@functools.partial(jax.jit, static_argnames="cells", donate_argnames="values")
def _convolve_image(
    inputs: jax.Array,
    kernel: tuple[jax.Array, ...],
    bias: jax.Array,
    floor: jax.Array,
    values: jax.Array,
    tail: jax.Array,
    numbers: jax.Array,
    *,
    cells: int,
) -> tuple[jax.Array, jax.Array]:
    """Return planes and tail from the inputs of all tiles, [4, cells, 18 channels]."""
    n_rows, width, kept, done = numbers
    row = tiles(width) + 1

    def strip(index: jax.Array, values: jax.Array) -> jax.Array:
        start = index * cells
        shape = (TILE, cells, inputs.shape[-1])
        part = lax.dynamic_slice(inputs, (0, start, 0), shape)
        for a in range(TILE):
            for b in range(TILE):
                plane = TILE * a + b
                out = jnp.maximum(part[a] @ kernel[b] + bias.reshape(1, -1), floor)
                at = (plane, start + kept * row + 1, 0)
                values = lax.dynamic_update_slice(values, out[None], at)
        return values

    n_strips = (n_rows * row + cells - 1) // cells
    values = lax.fori_loop(0, n_strips, strip, _begin(values, tail, kept * row))
    return _end(_cut_right(values, kept, n_rows, width), tail, done * row)


@functools.partial(jax.jit, static_argnames="cells", donate_argnames="values")
def _convolve(
    planes: jax.Array,
    kernel: tuple[jax.Array, ...],
    bias: jax.Array,
    floor: jax.Array,
    values: jax.Array,
    tail: jax.Array,
    numbers: jax.Array,
    *,
    cells: int,
) -> tuple[jax.Array, jax.Array]:
    """Return planes and tail of a convolution, strip by strip."""
    n_rows, width, kept, done = numbers
    row = tiles(width) + 1

    def input_rows(source: tuple[jax.Array, jax.Array]) -> jax.Array:
        planes, start = source

        def part(first: int, n_planes: int, n_rows: int) -> jax.Array:
            """Return planes of the strip `n_rows` rows further, and a cell around."""
            at = (first, start + n_rows * row, 0)
            shape = (n_planes, cells + 2, planes.shape[-1])
            return lax.dynamic_slice(planes, at, shape)

        return _input_rows((part(12, 4, 0), part(0, 16, 1), part(0, 4, 2)))

    def strip(index: jax.Array, values: jax.Array) -> jax.Array:
        start = index * cells
        always = index >= 0
        halves = _apart(always, input_rows, (planes, start))
        products = [
            [
                _input_tile(halves[a], c, cells) @ kernel[_INPUT * a + c]
                for c in range(_INPUT)
            ]
            for a in range(_INPUT)
        ]
        halves = _apart(always, _output_columns, products)
        for a in range(TILE):
            for b in range(TILE):
                plane = TILE * a + b
                out = _combine(_A_T[a], halves[b])
                out = jnp.maximum(out + bias.reshape(1, -1), floor)
                # Each for itself: a stack of them would be one copy more.
                at = (plane, start + kept * row + 1, 0)
                values = lax.dynamic_update_slice(values, out[None], at)
        return values

    n_strips = (n_rows * row + cells - 1) // cells
    values = lax.fori_loop(0, n_strips, strip, _begin(values, tail, kept * row))
    return _end(_cut_right(values, kept, n_rows, width), tail, done * row)


def _cut_right(
    values: jax.Array, first: jax.Array, n_rows: jax.Array, width: jax.Array
) -> jax.Array:
    """Return planes with zeros to the right of the image, in some rows of cells."""
    row = tiles(width) + 1
    # Two cells: the last one of the image, part of which may be beyond, and a zero.
    column = TILE * (row - 2 + jnp.arange(2)).reshape(1, -1)
    column = column + jnp.arange(TILE).reshape(-1, 1)
    keep = jnp.tile(column < width, (TILE, 1))[..., None]

    def cut(index: jax.Array, values: jax.Array) -> jax.Array:
        at = (0, (first + index + 1) * row - 1, 0)
        cells = lax.dynamic_slice(values, at, (TILE**2, 2, values.shape[-1]))
        return lax.dynamic_update_slice(values, jnp.where(keep, cells, 0), at)

    return lax.fori_loop(0, n_rows, cut, values)


@functools.partial(jax.jit, static_argnames="columns", donate_argnames="values")
def _max_pool(
    planes: jax.Array,
    values: jax.Array,
    tail: jax.Array,
    numbers: jax.Array,
    *,
    columns: int,
) -> tuple[jax.Array, jax.Array]:
    """Return planes and tail of the 2x2 maximum, row by row of cells."""
    n_rows, pooled_width, kept, done = numbers
    row, pooled_row = tiles(2 * pooled_width) + 1, tiles(pooled_width) + 1
    inside = (jnp.arange(columns) < pooled_row - 1)[None, :, None]

    def one(index: jax.Array, values: jax.Array) -> jax.Array:
        def part(n_rows: jax.Array) -> jax.Array:
            shape = (TILE**2, 2 * columns, planes.shape[-1])
            cells = lax.dynamic_slice(planes, (0, 1 + n_rows * row, 0), shape)
            return cells.reshape(2, 2, 2, 2, columns, 2, -1).max(axis=(1, 3))

        # A cell of the result is 2x2 of these, which are [2, 2, columns, 2, channels].
        both = jnp.stack([part(2 * index), part(2 * index + 1)])
        cells = both.transpose(0, 1, 4, 2, 3, 5).reshape(TILE**2, columns, -1)
        at = (0, 1 + (kept + index) * pooled_row, 0)
        return lax.dynamic_update_slice(values, jnp.where(inside, cells, 0), at)

    values = _begin(values, tail, kept * pooled_row)
    values = lax.fori_loop(0, n_rows, one, values)
    return _end(values, tail, done * pooled_row)


def _input_rows(parts: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
    """Return B' d: [6, 4 planes along the other axis, cells + 2, channels]."""
    above, here, below = parts
    here = here.reshape(TILE, TILE, *here.shape[1:])
    inputs = {0: {3: above}, 1: dict(enumerate(here)), 2: {0: below}}
    inputs = [inputs[at][plane] for plane, at in _INPUTS]
    return jnp.stack([_combine(weights, inputs) for weights in _B_T])


def _input_tile(half: jax.Array, c: int, cells: int) -> jax.Array:
    """Return column c of (B' d) B, [cells, channels], for one row of B' d."""
    shifted = [lax.slice_in_dim(half[plane], at, at + cells) for plane, at in _INPUTS]
    return _combine(_B_T[c], shifted)


def _output_columns(products: list[list[jax.Array]]) -> jax.Array:
    """Return m A for each of its 4 columns: [4, 6, cells, out]."""
    return jnp.stack(
        [jnp.stack([_combine(weights, row) for row in products]) for weights in _A_T]
    )


def _combine(weights: np.ndarray, arrays: Sequence[jax.Array] | jax.Array) -> jax.Array:
    """Return the weighted sum of arrays, without those of weight 0."""
    terms = [
        array if weight == 1 else weight * array
        for weight, array in zip(weights, arrays, strict=True)
        if weight != 0
    ]
    return functools.reduce(operator.add, terms)


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
