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
  their programs;
- programs are written in operations of `lax`. Those of `jax.numpy` do the same, but
  take longer to be read, which a first prediction does for every layer.

Reference:
    Lavin & Gray 2015, "Fast algorithms for convolutional neural networks",
    arXiv 1509.09308, section 4.2.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from deepgaze_jax.windows import (
    TILE,
    Joint,
    Window,
    begin,
    end,
    planes_of,
    rows_computed,
    stepped,
    tiles,
)

__all__ = [
    "convolve",
    "convolve_image",
    "max_pool",
    "most_cells",
    "strip_bytes",
]

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
    # Four pixels of a row lie together, those of every fourth row behind one another.
    padded = np.zeros((TILE * (n_new + 1), TILE * row, channels), np.float32)
    padded[: len(image), 1 : width + 1] = image[:, : TILE * row - 1]
    groups = padded.reshape(n_new + 1, TILE, row, TILE * channels)
    # The same for the last window, which may have fewer rows.
    room = stepped((max(n_new, joint.usual_rows) + 1) * row + cells + 1)
    inputs = np.zeros((TILE, room, TILE * channels), np.float32)
    inputs[:, : (n_new + 1) * row] = groups.swapaxes(0, 1).reshape(
        TILE, -1, TILE * channels
    )
    values, tail = _convolve_image(
        inputs,
        tuple(kernel),
        bias,
        _floor(relu),
        *joint.start(n_new),
        cells=cells,
    )
    return joint.finish(values, tail, n_new)


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
        *joint.start(n_new),
        cells=_strip(
            joint.usual_rows, tiles(window.width) + 1, sum(kernel[0].shape[1:])
        ),
    )
    return joint.finish(values, tail, n_new)


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
        *joint.start(n_new),
        columns=stepped(tiles(joint.width) + 1),
    )
    return joint.finish(values, tail, n_new)


def _floor(relu: bool) -> np.ndarray:
    """Return the lowest value that a map may have."""
    return np.float32(0 if relu else -np.inf)


def most_cells(channels: int) -> int:
    """Return how many cells a strip has at most, for channels in and out."""
    return stepped(max(_STRIP_CELLS, _STRIP_BYTES // (4 * _INPUT**2 * channels)))


def strip_bytes(channels: int) -> int:
    """Return how much memory a strip takes, for channels in and out."""
    return 4 * 2 * _INPUT**2 * channels * most_cells(channels)


def _strip(n_rows: int, row: int, channels: int) -> int:
    """Return how many cells a strip has; strips of a usual window share it evenly."""
    cells = n_rows * row
    n_strips = -(-cells // most_cells(channels))
    return stepped(-(-cells // n_strips))


@functools.partial(jax.jit, static_argnames="cells", donate_argnames=("values", "tail"))
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
    """Return planes and tail from groups of pixels, [4, cells, 4 channels]."""
    n_rows, width, kept, *_ = numbers
    row = tiles(width) + 1
    activate = _activation(bias, floor, cells)

    def strip(index: jax.Array, values: jax.Array) -> jax.Array:
        start = index * cells
        lines = []
        for line in range(_INPUT):
            at = (line % TILE, start + line // TILE * row, 0)
            four = lax.dynamic_slice(inputs, at, (1, cells + 1, inputs.shape[-1]))
            four = lax.squeeze(four, (0,))
            # Six neighbours: a group, and half of the next.
            half = lax.slice(four, (1, 0), (cells + 1, inputs.shape[-1] // 2))
            four = lax.slice_in_dim(four, 0, cells)
            lines.append(lax.concatenate([four, half], 1))
        to = start + kept * row + 1
        for a in range(TILE):
            part = lax.concatenate(lines[a : a + 3], 1)
            for b in range(TILE):
                out = activate(lax.dot(part, kernel[b]))
                values = _put(values, out, TILE * a + b, to)
        return values

    n_strips = (n_rows * row + cells - 1) // cells
    out = begin(planes_of(values, len(bias)), tail, numbers)
    return end(lax.fori_loop(0, n_strips, strip, out), tail, numbers)


@functools.partial(jax.jit, static_argnames="cells", donate_argnames=("values", "tail"))
def _convolve(
    source: jax.Array,
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
    n_rows, width, kept, *_ = numbers
    row = tiles(width) + 1
    planes = planes_of(source, kernel[0].shape[1])
    activate = _activation(bias, floor, cells)

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
            lax.dot_general(columns, matrices, (((2,), (1,)), ((0,), (0,))))
            for columns, matrices in zip(
                _input_columns(halves, cells), kernel, strict=True
            )
        ]
        columns = _apart(always, _output_columns, products)
        to = start + kept * row + 1
        for b, column in enumerate(_parts(columns, 0)):
            rows = _parts(column, 0)
            for a in range(TILE):
                # Each for itself: a stack of them would be one copy more.
                out = activate(_combine(_A_T[a], rows))
                values = _put(values, out, TILE * a + b, to)
        return values

    n_strips = (n_rows * row + cells - 1) // cells
    out = begin(planes_of(values, len(bias)), tail, numbers)
    return end(lax.fori_loop(0, n_strips, strip, out), tail, numbers)


@functools.partial(
    jax.jit, static_argnames="columns", donate_argnames=("values", "tail")
)
def _max_pool(
    source: jax.Array,
    values: jax.Array,
    tail: jax.Array,
    numbers: jax.Array,
    *,
    columns: int,
) -> tuple[jax.Array, jax.Array]:
    """Return planes and tail of the 2x2 maximum, row by row of cells."""
    n_rows, pooled_width, kept, *_ = numbers
    channels = tail.shape[-1]
    planes = planes_of(source, channels)
    row, pooled_row = tiles(2 * pooled_width) + 1, tiles(pooled_width) + 1
    inside = (jnp.arange(columns) < pooled_row - 1)[None, :, None]

    def one(index: jax.Array, values: jax.Array) -> jax.Array:
        rows = []
        for down in range(2):
            shape = (TILE**2, 2 * columns, planes.shape[-1])
            at = (0, 1 + (2 * index + down) * row, 0)
            cells = lax.dynamic_slice(planes, at, shape)
            # A cell of the result is made of 2x2 cells, a pixel of it of 2x2 planes.
            cells = cells.reshape(2, 2, 2, 2, columns, 2, -1)
            for axis in (1, 2):
                one, other = _parts(cells, axis)
                cells = lax.max(one, other)
            # [rows of planes, columns of planes, cells, 2 cells across, channels]
            rows.append(lax.transpose(cells, (0, 3, 1, 2, 4)))
        cells = lax.concatenate(rows, 0).reshape(TILE**2, columns, -1)
        cells = jnp.where(inside, cells, 0)
        at = (0, 1 + (kept + index) * pooled_row, 0)
        return lax.dynamic_update_slice(values, cells, at)

    out = begin(planes_of(values, channels), tail, numbers)
    return end(lax.fori_loop(0, n_rows, one, out), tail, numbers)


def _activation(
    bias: jax.Array, floor: jax.Array, cells: int
) -> Callable[[jax.Array], jax.Array]:
    """Return what adds the bias to products [cells, out], and cuts them off below."""
    shape = (cells, len(bias))
    biases = lax.broadcast_in_dim(bias, shape, (1,))
    floors = lax.broadcast_in_dim(floor, shape, ())
    return lambda products: lax.max(lax.add(products, biases), floors)


def _put(values: jax.Array, out: jax.Array, plane: int, at: jax.Array) -> jax.Array:
    """Return planes with cells written into one of them."""
    return lax.dynamic_update_slice(values, lax.expand_dims(out, (0,)), (plane, at, 0))


def _parts(array: jax.Array, axis: int) -> list[jax.Array]:
    """Return what lies along an axis."""
    return [
        lax.index_in_dim(array, k, axis, keepdims=False)
        for k in range(array.shape[axis])
    ]


def _input_rows(parts: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
    """Return B' d: [6, 4 planes along the other axis, cells + 2, channels]."""
    above, here, below = parts
    here = here.reshape(TILE, TILE, *here.shape[1:])
    inputs = {0: {3: above}, 1: dict(enumerate(_parts(here, 0))), 2: {0: below}}
    inputs = [inputs[at][plane] for plane, at in _INPUTS]
    return _stack([_combine(weights, inputs) for weights in _B_T])


def _input_columns(half: jax.Array, cells: int) -> list[jax.Array]:
    """Return (B' d) B, a list of its 6 columns [6 rows, cells, channels]."""
    planes = _parts(half, 1)
    shifted = [
        lax.slice_in_dim(planes[plane], at, at + cells, axis=1) for plane, at in _INPUTS
    ]
    return [_combine(weights, shifted) for weights in _B_T]


def _output_columns(products: list[jax.Array]) -> jax.Array:
    """Return m A: [4 columns, 6 rows, cells, out]."""
    return _stack([_combine(weights, products) for weights in _A_T])


def _stack(arrays: Sequence[jax.Array]) -> jax.Array:
    return lax.concatenate([lax.expand_dims(array, (0,)) for array in arrays], 0)


def _combine(weights: np.ndarray, arrays: Sequence[jax.Array]) -> jax.Array:
    """Return the weighted sum of arrays, without those of weight 0."""
    total = None
    for weight, array in zip(weights, arrays, strict=True):
        if weight == 0:
            continue
        if abs(weight) != 1:
            array = lax.mul(array, lax.broadcast(np.abs(weight), array.shape))
        if total is None:
            total = array if weight > 0 else lax.neg(array)
        else:
            total = (lax.add if weight > 0 else lax.sub)(total, array)
    return total


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
