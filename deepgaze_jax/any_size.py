"""A prediction as one function that is traced once for pictures of any size.

The rest of the package knows the size of a picture before it traces anything, and makes
its tables of indices and weights with numpy. Here height and width are the symbolic
dimensions of `jax.export`, so the same tables are arithmetic on whole numbers inside of
the program. Networks, readout and finalizer are those of every other prediction.
"""

import dataclasses
import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp

from deepgaze_jax.errors import ConfigError, InputError
from deepgaze_jax.grids import Sampling
from deepgaze_jax.model import FixationModel, mixture
from deepgaze_jax.ops import FeaturePrecision, pooled_size, same_padding

__all__ = ["Sizes", "log_density"]

Params = Mapping[str, Any]
#: A number, or an expression of symbolic dimensions.
Size = Any

# Products of two sides, doubled, have to stay below 2^31.
_LARGEST = 30_000
_LARGEST_DENOMINATOR = 10_000
# Pictures below show nothing.
_SMALLEST = 16


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Which pictures a function for any size takes, and how it resizes them.

    Attributes:
        scale: from a picture's side to that of the model's image.
        smallest: shortest side, in pixels.
        largest: longest side, in pixels.
    """

    scale: Fraction
    smallest: int
    largest: int

    @classmethod
    def of(cls, model: FixationModel, scale: float) -> "Sizes":
        """Return the sizes of a model's pictures.

        Args:
            model: the configuration.
            scale: from `image_scale`.

        Raises:
            ConfigError: no picture would fit.

        Example:
            >>> Sizes.of(FixationModel(), 35 / 24).scale
            Fraction(35, 24)
        """
        # A short fraction: the program computes sizes in 32 bits.
        limit = max(1, min(_LARGEST_DENOMINATOR, int(_LARGEST_DENOMINATOR / scale)))
        fraction = Fraction(scale).limit_denominator(limit)
        sides = np.arange(1, _LARGEST + 1)
        wanted = np.maximum(np.floor(sides * scale + 0.5).astype(int), 1)
        own = (2 * sides * fraction.numerator + fraction.denominator) // (
            2 * fraction.denominator
        )
        sizes = cls(fraction, _SMALLEST, _LARGEST)
        while not _fits(model, sizes.model_side(sizes.smallest)):
            sizes = dataclasses.replace(sizes, smallest=sizes.smallest + 1)
            if sizes.smallest > _LARGEST:
                raise ConfigError(
                    f"scale {scale:g} leaves too little of any picture; use a larger "
                    "input_scale"
                )
        # From the first side on that is rounded another way, none is taken.
        other = sides[(own != wanted) & (sides >= sizes.smallest)]
        largest = min(_LARGEST, int(_LARGEST / scale), *(int(k) - 1 for k in other[:1]))
        if largest < sizes.smallest:
            raise ConfigError(f"scale {scale!r} is no fraction; use a simpler one")
        return dataclasses.replace(sizes, largest=largest)

    def model_side(self, side: Size) -> Size:
        """Return the side of the model's image for that of a picture."""
        numerator, denominator = self.scale.numerator, self.scale.denominator
        return (2 * numerator * side + denominator) // (2 * denominator)


def _fits(model: FixationModel, side: int) -> bool:
    """Return whether a model sees something in an image of that side."""
    try:
        grid = model.feature_grid(side, side)
    except InputError:
        return False
    # The blur has a first and a last cell.
    return min(grid) >= 1 and side >= 2 * model.readout_stride


@dataclasses.dataclass(frozen=True, eq=False)
class _Taps:
    """Weights that make one axis from another, inside of a program.

    Attributes:
        index: int32 [size_out, n], the cells that each new one reads.
        weights: float32 [size_out, n].
    """

    index: jax.Array
    weights: jax.Array

    def apply(self, x: jax.Array, axis: int) -> jax.Array:
        """Return the new cells of an array whose `axis` has the old ones."""
        shape = [1] * x.ndim
        shape[axis] = -1
        return sum(
            jnp.take(x, index, axis=axis, mode="clip") * weights.reshape(shape)
            for index, weights in zip(self.index.T, self.weights.T, strict=True)
        )


def _numbers(n: Size) -> jax.Array:
    return jnp.arange(n, dtype=jnp.int32)


def _resize_taps(size: Size, sizes: Sizes) -> _Taps:
    """Return what `ops.resize_weights` does, for an axis of a picture.

    All positions are whole numbers of a fraction of a pixel, so nothing is rounded.
    """
    wanted = sizes.model_side(size)
    new = _numbers(wanted)
    if sizes.scale < 1:
        # In units of 1 / wanted of a pixel.
        low, high = new * size, (new + 1) * size
        sides = np.arange(sizes.smallest, sizes.largest + 1)
        n = math.ceil((sides / sizes.model_side(sides)).max()) + 1
        cell = (low // wanted)[:, None] + np.arange(n, dtype=np.int32).reshape(1, -1)
        overlap = jnp.minimum(high[:, None], (cell + 1) * wanted) - jnp.maximum(
            low[:, None], cell * wanted
        )
        weights = jnp.float32(jnp.maximum(overlap, 0)) / jnp.float32(size)
        return _Taps(cell, weights)
    # In units of 1 / (2 wanted) of a pixel.
    centre = jnp.clip((2 * new + 1) * size - wanted, 0, 2 * wanted * (size - 1))
    left = jnp.minimum(centre // (2 * wanted), size - 2)
    part = jnp.float32(centre - 2 * wanted * left) / jnp.float32(2 * wanted)
    return _Taps(
        jnp.stack([left, left + 1], axis=1), jnp.stack([1 - part, part], axis=1)
    )


def _shrunk(size: Size, factor: int, sampling: Sampling) -> Size:
    """Return what `grids.shrunk_size` does."""
    return pooled_size(size, factor) if sampling == "mean" else size // factor


def _shrink_taps(size: Size, factor: int, sampling: Sampling) -> _Taps:
    """Return what `grids.shrink` does, for one axis."""
    first = _numbers(_shrunk(size, factor, sampling))[:, None] * factor
    if sampling == "nearest":
        return _Taps(first, jnp.ones(first.shape, jnp.float32))
    before, _ = same_padding(size, factor)
    index = first - before + np.arange(factor, dtype=np.int32).reshape(1, -1)
    inside = jnp.float32((index >= 0) & (index < size))
    weights = inside / inside.sum(axis=1, keepdims=True)
    return _Taps(jnp.clip(index, 0, size - 1), weights)


def _torch_nearest(size_in: Size, size_out: Size) -> jax.Array:
    """Return what `ops.torch_nearest_index` does."""
    scale = jnp.float32(size_in) / jnp.float32(size_out)
    index = jnp.floor(jnp.float32(_numbers(size_out)) * scale)
    return index.astype(jnp.int32)


def _nearest(size_in: Size, size_out: Size) -> jax.Array:
    """Return what `ops.nearest_index` does."""
    return (2 * _numbers(size_out) + 1) * size_in // (2 * size_out)


def _cells_of_pixels(size: Size, stride: int, sampling: Sampling) -> jax.Array:
    """Return what `grids.cells_of_pixels` does."""
    if sampling == "mean":
        return _numbers(size) // stride
    return _torch_nearest(_shrunk(size, stride, sampling), size)


def _map_cells(model: FixationModel, size: Size, map_size: Size) -> jax.Array:
    """Return what `grids.map_cells_of_grid` does."""
    stride, sampling = model.readout_stride, model.sampling
    n_cells = _shrunk(size, stride, sampling)
    if sampling == "mean":
        cells = _numbers(n_cells) * stride // model.feature_stride
        return jnp.minimum(cells, map_size - 1)
    between = pooled_size(size, 2 * stride)
    return _torch_nearest(map_size, between)[_torch_nearest(between, n_cells)]


def _counts(cells: jax.Array, n: Size) -> jax.Array:
    """Return how often each of n cells is read, float32 [n]."""
    return jnp.zeros(n, jnp.float32).at[cells].add(1)


def _log_outer(rows: jax.Array, columns: jax.Array) -> jax.Array:
    """Return the log of the product of each row's number and each column's."""
    return jnp.log(rows)[:, None] + jnp.log(columns)[None, :]


def _center_bias_on_grid(
    model: FixationModel, log_density: np.ndarray, model_size: tuple[Size, Size]
) -> jax.Array:
    """Return what `readout_grid.center_bias_on_grid` does."""
    values = np.asarray(log_density, np.float64)
    # Near zero float32 rounds least.
    grid = jnp.asarray(values - values.max(), jnp.float32)
    pixels = [_nearest(*n) for n in zip(values.shape, model_size, strict=True)]
    counts = [_counts(*own) for own in zip(pixels, values.shape, strict=True)]
    total = logsumexp(grid + _log_outer(*counts))
    for axis, (index, size) in enumerate(zip(pixels, model_size, strict=True)):
        taps = _shrink_taps(size, model.readout_stride, model.sampling)
        grid = _Taps(index[taps.index], taps.weights).apply(grid, axis)
    return grid - total


def log_density(
    model: FixationModel,
    sizes: Sizes,
    feature_params: Params,
    params: Params,
    center_bias: np.ndarray,
    picture: jax.Array,
    precision: FeaturePrecision = "float32",
) -> jax.Array:
    """Return the log density of a picture, the mixture of folds.

    Args:
        model: the configuration.
        sizes: of pictures.
        feature_params: of the feature network.
        params: readout and finalizer parameters with a leading fold axis.
        center_bias: [75, 100], natural log.
        picture: RGB 0..255, [H, W, 3], H and W symbolic or not.
        precision: of the network's products, see `ops.convolution`.

    Returns:
        float32 [H, W], log-sum-exp 0.
    """
    image_size = picture.shape[:2]
    model_size = tuple(map(sizes.model_side, image_size))
    image = picture
    for axis in range(2):
        if sizes.scale != 1:
            image = _resize_taps(image_size[axis], sizes).apply(image, axis)
    for axis in range(2):
        taps = _shrink_taps(model_size[axis], model.downsample, model.sampling)
        image = taps.apply(image, axis)
    features = model.features_of_input(feature_params, image, precision)

    stride, sampling = model.readout_stride, model.sampling
    grid_size = [_shrunk(size, stride, sampling) for size in model_size]
    read = [
        _map_cells(model, size, n)
        for size, n in zip(model_size, features.shape[:2], strict=True)
    ]
    counts = None
    if model.layer_norm:
        rows, columns = map(_counts, read, features.shape[:2])
        counts = rows[:, None] * columns[None, :]
    pixels = [_cells_of_pixels(size, stride, sampling) for size in model_size]
    bias = _center_bias_on_grid(model, center_bias, model_size)
    log_pixels = _log_outer(*map(_counts, pixels, grid_size))

    def of(fold: Params) -> jax.Array:
        readout_map = model.readout.apply({"params": fold["readout"]}, features, counts)
        return model.finalizer.apply(
            {"params": fold["finalizer"]}, readout_map, tuple(read), bias, log_pixels
        )

    grid = mixture(jax.vmap(of)(dict(params)))
    # Back: each pixel of the picture reads the pixel of the model's image below it.
    back = [
        own[_nearest(seen, size)]
        for own, seen, size in zip(pixels, model_size, image_size, strict=True)
    ]
    grid = grid - logsumexp(grid + _log_outer(*map(_counts, back, grid_size)))
    return grid[back[0]][:, back[1]]
