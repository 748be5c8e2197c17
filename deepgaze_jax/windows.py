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
    "planes_of",
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
        values: float32, planes [16, room for cells, channels] one after another.
        first: the image's row of cells that comes first; -1 for the zeros above.
        n_rows: rows of cells.
        n_new: those at the end that were not in the window before.
        finished: whether the last row of the image is among them.
        height: rows of pixels of the whole maps.
        width: their columns.
        channels: their channels.
    """

    values: jax.Array
    first: int
    n_rows: int
    n_new: int
    finished: bool
    height: int
    width: int
    channels: int

    def new_maps(self) -> tuple[int, np.ndarray]:
        """Return the first new row of pixels, and all of them.

        Returns:
            Where they begin in the image, and a copy [rows, width, channels].
        """
        row = tiles(self.width) + 1
        start = 1 + (self.n_rows - self.n_new) * row
        planes = np.asarray(self.values).reshape(TILE**2, -1, self.channels)
        cells = planes[:, start : start + self.n_new * row]
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
    """

    def __init__(self) -> None:
        self._free: list[jax.Array] = []

    def take(self, n_floats: int) -> jax.Array:
        """Return an array [n_floats] with any values."""
        while self._free:
            # Another thread may have been faster.
            try:
                values = self._free.pop()
            except IndexError:
                break
            if values.size == n_floats:
                return values
        return jnp.zeros(n_floats, jnp.float32)

    def give(self, values: jax.Array) -> None:
        """Take back an array that nobody will read any more; returns nothing."""
        self._free.append(values)

    @property
    def n_bytes(self) -> int:
        """How much is kept and not in use."""
        return sum(values.nbytes for values in list(self._free))

    def clear(self) -> None:
        """Free what is not in use; returns nothing."""
        self._free.clear()


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
            Memory with any values, the rows that were kept, and six numbers: new rows,
            width, kept rows, rows that are not needed any more then; 1 if the image
            ends with them, else 0; rows of pixels of the last row of cells.
        """
        done = rows_done(self._kept + n_new, self.to)
        pixels_left = self.height - TILE * (self._following + n_new - 1)
        finished = pixels_left <= TILE
        numbers = [n_new, self.width, self._kept, done, finished, pixels_left]
        values = self._buffers.take(self._n_floats)
        return values, self.tail, np.array(numbers, np.int32)

    def finish(self, values: jax.Array, tail: jax.Array, n_new: int) -> Window:
        """Return the window that a program wrote, and keep its tail."""
        n_rows = self._kept + n_new
        first = self._following - self._kept
        self.tail, self._kept = tail, n_rows - rows_done(n_rows, self.to)
        self._following += n_new
        finished = self._following == tiles(self.height)
        size = self.height, self.width, self._channels
        return Window(values, first, n_rows, n_new, finished, *size)

    def relu(self, window: Window) -> Window:
        """Return the window with negative values set to zero, here and in its tail."""
        values, self.tail = _relu(window.values, self.tail)
        return dataclasses.replace(window, values=values)


def planes_of(values: jax.Array, channels: int) -> jax.Array:
    """Return the planes that lie in an array, [16, cells, channels]."""
    return values.reshape(TILE**2, -1, channels)


def begin(planes: jax.Array, tail: jax.Array, numbers: jax.Array) -> jax.Array:
    """Return planes that begin with a zero cell and the rows that were kept."""
    _, width, kept, *_ = numbers
    cell = jnp.arange(tail.shape[1])
    there = (cell > 0) & (cell <= kept * (tiles(width) + 1))
    rows = jnp.where(there[None, :, None], tail, 0)
    return lax.dynamic_update_slice(planes, rows, (0, 0, 0))


def end(
    planes: jax.Array, tail: jax.Array, numbers: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return the array of planes without what is beyond the image, and its tail."""
    n_new, width, kept, done, finished, pixels_left = numbers
    row = tiles(width) + 1
    channels = planes.shape[-1]
    # Two cells: the last one of the image, part of which may be beyond, and a zero.
    cell, pixel = jnp.arange(2).reshape(1, -1), jnp.arange(TILE).reshape(-1, 1)
    column = TILE * (row - 2 + cell) + pixel
    inside = jnp.tile(column < width, (TILE, 1))[..., None]

    def cut_right(index: jax.Array, planes: jax.Array) -> jax.Array:
        at = (0, (kept + index + 1) * row - 1, 0)
        cells = lax.dynamic_slice(planes, at, (TILE**2, 2, channels))
        return lax.dynamic_update_slice(planes, jnp.where(inside, cells, 0), at)

    planes = lax.fori_loop(0, n_new, cut_right, planes)
    # The image's last row of cells, part of which may be beyond, and a row of zeros.
    there = (jnp.arange(TILE) < pixels_left).reshape(TILE, 1, 1, 1)
    there = there & (jnp.arange(tail.shape[1]) < row)[None, None, :, None]

    def cut_below(_: jax.Array, planes: jax.Array) -> jax.Array:
        at = (0, 1 + (kept + n_new - 1) * row, 0)
        cells = lax.dynamic_slice(planes, at, tail.shape)
        cells = jnp.where(there, cells.reshape(TILE, TILE, *tail.shape[1:]), 0)
        return lax.dynamic_update_slice(planes, cells.reshape(tail.shape), at)

    planes = lax.fori_loop(0, finished, cut_below, planes)
    kept_rows = lax.dynamic_slice(planes, (0, done * row, 0), tail.shape)
    return planes.reshape(-1), kept_rows


@functools.partial(jax.jit, donate_argnames=("values", "tail"))
def _relu(values: jax.Array, tail: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return both with negative values set to zero."""
    return jnp.maximum(values, 0), jnp.maximum(tail, 0)
