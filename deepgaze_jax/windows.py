"""Feature maps in windows of a few rows, on their way from layer to layer.

Maps lie as 16 planes, plane 4a + b holding the pixels (4r + a, 4c + b) of the cells
(r, c): that is how Winograd's convolutions read and write them. Height and width are
numbers that programs are given when they run; shapes of arrays grow in steps, so that
images of most sizes share their programs.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
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
    "begin",
    "end",
    "floats_of_windows",
    "kept_at_first",
    "rows_computed",
    "rows_done",
    "stepped",
    "tail_cells",
    "tiles",
]

#: Rows and columns of pixels of a cell.
TILE = 4

#: Kinds of layers.
Kind = Literal["convolution", "pool"]

#: Rows of cells that wait for the next window, at most.
KEPT = 2

#: Room for cells grows in this many steps from one power of two to the next.
_STEPS = 8

#: Memory of windows is a multiple of this many floats, so that it divides into planes
#: of any number of channels.
_UNIT = TILE**2 * 512


def tiles(size: Any) -> Any:
    """Return how many cells a side takes."""
    return (size + TILE - 1) // TILE


def stepped(count: int) -> int:
    """Return the next number for which there are programs.

    Example:
        >>> [stepped(n) for n in (7, 33, 1000)]
        [7, 36, 1024]
    """
    step = 2 ** max(0, count.bit_length() - 1 - int(math.log2(_STEPS)))
    return -(-count // step) * step


def tail_cells(width: int) -> int:
    """Return how many cells what is kept of a window takes, with one in front."""
    return stepped(KEPT * (tiles(width) + 1) + 1)


def floats_of_windows(layers: Sequence[tuple[int, int, int, int]]) -> int:
    """Return how many floats the windows of all layers take: as the largest.

    Windows of one size take turns in the same memory.

    Args:
        layers: width, channels, most rows of cells and strip of each; the strip is
            what is written behind the last row, at most.

    Example:
        >>> floats_of_windows([(747, 64, 34, 434)]) * 4e-6
        29.360128
    """
    units = 0
    for width, channels, most_rows, strip in layers:
        # Behind the last row: a row of zeros, and what a last strip writes too much.
        cells = 2 + (most_rows + 1) * (tiles(width) + 1) + max(tail_cells(width), strip)
        units = max(units, -(-(TILE**2) * channels * cells // _UNIT))
    return _UNIT * stepped(units)


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

    def new_maps(self) -> tuple[int, np.ndarray]:
        """Return the first new row of pixels, and all of them.

        Returns:
            Where they begin in the image, and a copy [rows, width, channels].
        """
        row = tiles(self.width) + 1
        start = 1 + (self.n_rows - self.n_new) * row
        cells = np.asarray(self.values)[:, start : start + self.n_new * row]
        cells = cells.reshape(TILE, TILE, self.n_new, row, -1).transpose(2, 0, 3, 1, 4)
        top = TILE * (self.first + self.n_rows - self.n_new)
        maps = cells.reshape(TILE * self.n_new, TILE * row, -1)
        return top, maps[: self.height - top, : self.width]


def kept_at_first(to: Kind | None) -> int:
    """Return how many rows of cells wait above an image: zeros for a convolution."""
    return 1 if to == "convolution" else 0


def rows_done(n_rows: int, to: Kind | None) -> int:
    """Return how many rows of a window the layer behind it does not need any more."""
    if to == "convolution":
        return n_rows - KEPT
    return n_rows - n_rows % 2 if to == "pool" else n_rows


def rows_computed(n_rows: int, finished: bool, kind: Kind) -> int:
    """Return how many rows a layer computes from a window that has come to it."""
    if kind == "convolution":
        return n_rows - KEPT + finished
    return (n_rows + finished) // 2


class Buffers:
    """Memory for windows, used again and again.

    New memory is slow: the system fills it with zeros page by page, which takes longer
    than writing a shallow layer's maps.

    Args:
        most_bytes: that are kept from one image to the next; what is in use at a time
            has no limit.
    """

    def __init__(self, most_bytes: int = 0):
        self._most_bytes = most_bytes
        self._free: list[jax.Array] = []

    def take(self, n_floats: int, channels: int) -> jax.Array:
        """Return planes with any values, [16, cells, channels]."""
        shape = (TILE**2, n_floats // (TILE**2 * channels), channels)
        while self._free:
            # Another thread may have been faster.
            try:
                values = self._free.pop()
            except IndexError:
                break
            if values.size == n_floats:
                return values if values.shape == shape else _in_shape(values, shape)
        return jnp.zeros(shape, jnp.float32)

    def give(self, values: jax.Array) -> None:
        """Take back planes that nobody will read any more; returns nothing."""
        self._free.append(values)

    @property
    def n_bytes(self) -> int:
        """How much is kept and not in use."""
        return sum(values.nbytes for values in list(self._free))

    def tidy(self) -> None:
        """Free the memory where it is more than may be kept; returns nothing."""
        if self.n_bytes > self._most_bytes:
            self._free.clear()


@functools.partial(jax.jit, static_argnums=1, donate_argnums=0)
def _in_shape(values: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Return the same memory in another shape."""
    return values.reshape(shape)


class Joint:
    """Where the last rows of a layer's maps wait for what the next layer needs.

    Args:
        height: rows of the maps.
        width: their columns.
        channels: their channels.
        to: the next layer; None where nobody needs the rows once more.
        usual_rows: new rows of cells of most windows.
        n_floats: of a window.
        buffers: where the memory for windows comes from.
    """

    def __init__(
        self,
        height: int,
        width: int,
        channels: int,
        to: Kind | None,
        usual_rows: int,
        n_floats: int,
        buffers: Buffers,
    ):
        self.height, self.width, self.to = height, width, to
        self.usual_rows = usual_rows
        self.tail = jnp.zeros((TILE**2, tail_cells(width), channels), jnp.float32)
        self._n_floats, self._channels, self._buffers = n_floats, channels, buffers
        self._kept = kept_at_first(to)
        self._following = 0

    def start(self, n_new: int) -> tuple[jax.Array, jax.Array, np.ndarray]:
        """Return what a program writes a window with so many new rows into.

        Returns:
            Planes of any values, the rows that were kept, and
            [new rows, width, kept rows, rows that are not needed any more then].
        """
        done = rows_done(self._kept + n_new, self.to)
        numbers = np.array([n_new, self.width, self._kept, done], np.int32)
        return self._buffers.take(self._n_floats, self._channels), self.tail, numbers

    def finish(self, values: jax.Array, tail: jax.Array, n_new: int) -> Window:
        """Return the window that a program wrote, and keep its tail."""
        n_rows = self._kept + n_new
        first = self._following - self._kept
        self.tail, self._kept = tail, n_rows - rows_done(n_rows, self.to)
        self._following += n_new
        finished = self._following == tiles(self.height)
        if finished:
            rows_left = self.height - TILE * (self._following - 1)
            numbers = np.array([n_rows - 1, rows_left, self.width], np.int32)
            values = _cut_below(values, numbers, cells=tail.shape[1])
        return Window(values, first, n_rows, n_new, finished, self.height, self.width)

    def relu(self, window: Window) -> Window:
        """Return the window with negative values set to zero, here and in its tail."""
        values, self.tail = _relu(window.values, self.tail)
        return dataclasses.replace(window, values=values)


def begin(values: jax.Array, tail: jax.Array, kept: jax.Array, row: jax.Array) -> Any:
    """Return planes that begin with a zero cell and the rows that were kept."""
    cell = jnp.arange(tail.shape[1])
    there = ((cell > 0) & (cell <= kept * row))[None, :, None]
    return lax.dynamic_update_slice(values, jnp.where(there, tail, 0), (0, 0, 0))


def end(
    values: jax.Array, tail: jax.Array, numbers: jax.Array, row: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return planes without what is right of the image, and what is kept of them."""
    n_new, width, kept, done = numbers
    # Two cells: the last one of the image, part of which may be beyond, and a zero.
    cell, pixel = jnp.arange(2).reshape(1, -1), jnp.arange(TILE).reshape(-1, 1)
    column = TILE * (row - 2 + cell) + pixel
    inside = jnp.tile(column < width, (TILE, 1))[..., None]

    def cut(index: jax.Array, values: jax.Array) -> jax.Array:
        at = (0, (kept + index + 1) * row - 1, 0)
        cells = lax.dynamic_slice(values, at, (TILE**2, 2, values.shape[-1]))
        return lax.dynamic_update_slice(values, jnp.where(inside, cells, 0), at)

    values = lax.fori_loop(0, n_new, cut, values)
    return values, lax.dynamic_slice(values, (0, done * row, 0), tail.shape)


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
