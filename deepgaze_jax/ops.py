"""Array operations that every model shares: pooling, resizing, blur, normalising.

Pictures and feature maps are `*batch height width channels`; maps (log densities,
readout maps) are `*batch height width`. All functions are pure and work under `jit`,
`vmap` and `grad`; sizes are static.
"""

import dataclasses
from collections.abc import Mapping
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.special import logsumexp

__all__ = [
    "AxisWeights",
    "FeaturePrecision",
    "blur_matrix",
    "convolution",
    "log_normalise",
    "nearest_index",
    "pool_max",
    "pool_mean",
    "pooled_size",
    "resize_image",
    "resize_pictures",
    "resize_weights",
    "same_padding",
    "scaled_size",
    "torch_nearest_index",
    "upsample_nearest",
]

# Cells of an axis whose blur is a constant of a program.
_FEW_CELLS = 512

#: In what products of a feature network are computed.
FeaturePrecision = Literal["float32", "bfloat16", "tensorfloat32"]


# Rows of a picture that are resized together.
_ROWS = 64


def pooled_size(size: int, window: int) -> int:
    """Return the length of an axis after SAME pooling with stride = window.

    Example:
        >>> pooled_size(97, 2), pooled_size(97, 4)
        (49, 25)
    """
    return -(-size // window)


def same_padding(size: int, window: int) -> tuple[int, int]:
    """Return how many cells SAME padding puts before and after an axis.

    The odd cell goes behind, as in TensorFlow: `before = total // 2`.

    Args:
        size: length of the axis.
        window: pooling window, which is also the stride.

    Returns:
        Cells before and cells after.

    Example:
        >>> same_padding(9, 4)
        (1, 2)
    """
    total = pooled_size(size, window) * window - size
    return total // 2, total - total // 2


def _blocks(x: jax.Array, window: int, fill: float) -> jax.Array:
    """Return x cut into pooling windows: `*batch h window w window channels`."""
    *batch, height, width, channels = x.shape
    padding = [(0, 0)] * len(batch) + [
        same_padding(height, window),
        same_padding(width, window),
        (0, 0),
    ]
    x = jnp.pad(x, padding, constant_values=fill)
    return x.reshape(
        *batch,
        pooled_size(height, window),
        window,
        pooled_size(width, window),
        window,
        channels,
    )


def convolution(
    x: jax.Array,
    layer: Mapping[str, jax.Array],
    *,
    stride: int = 1,
    padding: int = 1,
    precision: FeaturePrecision = "float32",
) -> jax.Array:
    """Return a convolution with zeros around, plus bias; sums are float32.

    Args:
        x: `batch height width in`, of the type of the layer's values.
        layer: `{"kernel": [rows, columns, in, out], "bias": [out]}`.
        stride: pixels from one window to the next.
        padding: zeros on each side.
        precision: of the products. On a CPU, "tensorfloat32" is float32; TPUs have
            bfloat16 in its place.
    """
    kernel = jnp.asarray(layer["kernel"])
    if precision == "bfloat16":
        x, kernel = x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16)
    y = lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(stride, stride),
        padding=((padding, padding),) * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        # Float32 matmuls of accelerators are reduced precision unless asked otherwise.
        precision=lax.Precision.HIGHEST if precision == "float32" else None,
        preferred_element_type=jnp.float32,
    )
    bias = jnp.asarray(layer["bias"])
    # Of bfloat16 values all layers are in that, see `vgg.vgg19_features`.
    return (y + bias.reshape(1, 1, 1, -1)).astype(bias.dtype)


def pool_max(x: jax.Array, window: int) -> jax.Array:
    """Return the maximum of each window x window block, SAME padding.

    Args:
        x: `*batch height width channels`.
        window: window and stride; for 2 this equals ceil mode elsewhere.

    Returns:
        `*batch ceil(height/window) ceil(width/window) channels`; padding never wins.
    """
    return _blocks(x, window, -jnp.inf).max(axis=(-4, -2))


def pool_mean(x: jax.Array, window: int) -> jax.Array:
    """Return the mean of each window x window block, SAME padding.

    Padded cells do not count in the mean (spec of the authors' graph).

    Args:
        x: `*batch height width channels`.
        window: window and stride.

    Returns:
        `*batch ceil(height/window) ceil(width/window) channels`.
    """
    *_, height, width, _ = x.shape
    count = np.outer(_window_counts(height, window), _window_counts(width, window))
    total = _blocks(x, window, 0.0).sum(axis=(-4, -2))
    reciprocal = jnp.asarray(1.0 / count, x.dtype)[..., None]
    return total * reciprocal.reshape((1,) * (total.ndim - 3) + reciprocal.shape)


def _window_counts(size: int, window: int) -> np.ndarray:
    """Return how many true cells each SAME window of an axis holds."""
    before, after = same_padding(size, window)
    return np.pad(np.ones(size), (before, after)).reshape(-1, window).sum(axis=1)


def upsample_nearest(x: jax.Array, factor: int, height: int, width: int) -> jax.Array:
    """Return maps enlarged by `factor`, out[i] = in[i // factor], cropped top-left.

    Args:
        x: `*batch h w`.
        factor: whole-number scale.
        height: rows wanted, at most h * factor.
        width: columns wanted, at most w * factor.

    Returns:
        `*batch height width`.
    """
    rows, columns = np.arange(height) // factor, np.arange(width) // factor
    return x[..., rows, :][..., columns]


def nearest_index(size_in: int, size_out: int) -> np.ndarray:
    """Return the input index of each output cell, floor((i + 0.5) * in / out).

    Example:
        >>> nearest_index(2, 4).tolist()
        [0, 0, 1, 1]
    """
    # Whole-number arithmetic: floor((2i + 1) * in / (2 * out)) without rounding.
    return (2 * np.arange(size_out) + 1) * size_in // (2 * size_out)


def torch_nearest_index(size_in: int, size_out: int) -> np.ndarray:
    """Return the input index of each output cell as PyTorch's nearest has it.

    floor(i * scale), with scale = in / out rounded to float32, and so the product: what
    `interpolate` does with float32 maps where only a size is given. Where i * in / out
    is a whole number, rounding can make the index one less than i * in // out. Keeping
    every nth cell (`scale_factor=1/n`) rounds nothing: x[: in // n * n : n].

    Args:
        size_in: length of the axis.
        size_out: length wanted.

    Returns:
        integers [size_out].

    Example:
        >>> torch_nearest_index(5, 3).tolist()
        [0, 1, 3]
        >>> int(torch_nearest_index(2, 82)[41]), 41 * 2 // 82
        (0, 1)
    """
    scale = np.float32(size_in) / np.float32(size_out)
    # The last product stays below size_in by size_in / size_out, far more than float32
    # rounds off for any axis of a picture; PyTorch's limit size_in - 1 never acts.
    return np.floor(np.arange(size_out, dtype=np.float32) * scale).astype(np.int64)


def scaled_size(height: int, width: int, scale: float) -> tuple[int, int]:
    """Return height and width times scale, rounded half up, at least one pixel.

    Example:
        >>> scaled_size(600, 800, 35 / 24)
        (875, 1167)
    """
    return (
        max(1, int(np.floor(height * scale + 0.5))),
        max(1, int(np.floor(width * scale + 0.5))),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class AxisWeights:
    """Weights that make one axis of a picture from another: few neighbours each.

    Attributes:
        first: int [size_out], the first cell that each new one reads.
        weights: float32 [size_out, n], of that cell and the next ones; 0 beyond.
    """

    first: np.ndarray
    weights: np.ndarray

    def apply(self, x: np.ndarray, axis: int) -> np.ndarray:
        """Return the new cells, float32, of an array whose `axis` has the old ones."""
        shape = [1] * x.ndim
        shape[axis] = len(self.first)
        total = 0
        for k, weight in enumerate(self.weights.T):
            # Weights beyond the end are 0.
            index = np.minimum(self.first + k, x.shape[axis] - 1)
            total = total + np.take(x, index, axis=axis) * weight.reshape(shape)
        return total

    def matrix(self, size: int) -> np.ndarray:
        """Return the same as a float32 matrix [size_out, size] for an axis of `size`.

        Example:
            >>> resize_weights(2, 1).matrix(2).tolist()
            [[0.5, 0.5]]
        """
        matrix = np.zeros((len(self.first), size), np.float32)
        new = np.arange(len(self.first))
        for k, weight in enumerate(self.weights.T):
            np.add.at(matrix, (new, np.minimum(self.first + k, size - 1)), weight)
        return matrix

    def part(self, start: int, stop: int) -> tuple[slice, "AxisWeights"]:
        """Return which old cells some of the new ones read, and the weights of those.

        Args:
            start: the first new cell.
            stop: the one behind the last.
        """
        first, weights = self.first[start:stop], self.weights[start:stop]
        old = slice(first[0], first[-1] + weights.shape[1])
        return old, AxisWeights(first - first[0], weights)


def resize_weights(size_in: int, size_out: int, shrink: int = 1) -> AxisWeights:
    """Return the weights that resize one axis.

    Shrinking averages over the area that each output pixel covers; enlarging is
    bilinear with half-pixel centres and repeated edges. Weights of a cell sum to one.

    Args:
        size_in: length of the axis.
        size_out: length wanted.
        shrink: how many neighbours of the result are averaged in the same step, as
            `pool_mean` does for 1 and 2.

    Returns:
        Weights of ceil(size_out / shrink) cells.

    Example:
        >>> weights = resize_weights(4, 2)
        >>> weights.first.tolist(), weights.weights.tolist()
        ([0, 2], [[0.5, 0.5], [0.5, 0.5]])
    """
    first, weights = _resize_taps(size_in, size_out)
    n_out = pooled_size(size_out, shrink)
    start = first[::shrink]
    cell = np.arange(size_out) // shrink
    place = (first - start[cell])[:, None] + np.arange(weights.shape[1])
    summed = np.zeros((n_out, place.max() + 1))
    np.add.at(summed, (cell[:, None], place), weights)
    # The last one may have fewer neighbours.
    count = np.bincount(cell)[:, None]
    n_used = np.flatnonzero(summed.any(axis=0))[-1] + 1
    return AxisWeights(start, (summed / count).astype(np.float32)[:, :n_used])


def _resize_taps(size_in: int, size_out: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the first cell that each new one reads, and float64 weights from it on."""
    if size_in == size_out:
        return np.arange(size_in), np.ones((size_in, 1))
    scale = size_in / size_out
    if size_out < size_in:
        edges = np.arange(size_out + 1) * scale
        low, high = edges[:-1, None], edges[1:, None]
        first = np.minimum(np.floor(low[:, 0]).astype(int), size_in - 1)
        cell = first[:, None] + np.arange(int(np.ceil(scale)) + 1)
        overlap = np.minimum(high, cell + 1) - np.maximum(low, cell)
        return first, np.maximum(overlap, 0) * (cell < size_in) / scale
    centre = np.clip((np.arange(size_out) + 0.5) * scale - 0.5, 0, size_in - 1)
    left = np.minimum(np.floor(centre).astype(int), max(size_in - 2, 0))
    part = centre - left
    return left, np.stack([1 - part, part], axis=1)


def resize_image(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return pictures resized to height x width, on the host.

    Args:
        image: `*batch H W channels`.
        height: rows wanted.
        width: columns wanted.

    Returns:
        float32 `*batch height width channels`; the picture itself where the size is
        already right.
    """
    image = np.asarray(image)
    if image.shape[-3:-1] == (height, width):
        return np.asarray(image, np.float32)
    rows = resize_weights(image.shape[-3], height)
    columns = resize_weights(image.shape[-2], width)
    *batch, _, _, channels = image.shape
    resized = np.empty((*batch, height, width, channels), np.float32)
    # A few rows after another, so that memory is that of the result.
    for start in range(0, height, _ROWS):
        stop = min(start + _ROWS, height)
        old, weights = rows.part(start, stop)
        part = columns.apply(weights.apply(image[..., old, :, :], -3), -2)
        resized[..., start:stop, :, :] = part
    return resized


def resize_pictures(pictures: jax.Array, height: int, width: int) -> jax.Array:
    """Return what `resize_image` returns, as two matrix products inside of a program.

    Args:
        pictures: `*batch H W channels`.
        height: rows wanted.
        width: columns wanted.

    Returns:
        float32 `*batch height width channels`.

    Example:
        >>> resize_pictures(jnp.arange(4.0).reshape(1, 4, 1), 1, 2).reshape(-1).tolist()
        [0.5, 2.5]
    """
    pictures = jnp.asarray(pictures, jnp.float32)
    if pictures.shape[-3:-1] == (height, width):
        return pictures
    rows, columns = (
        resize_weights(old, new).matrix(old)
        for old, new in zip(pictures.shape[-3:-1], (height, width), strict=True)
    )
    exact = lax.Precision.HIGHEST
    half = jnp.einsum("yi,...ijc->...yjc", rows, pictures, precision=exact)
    return jnp.einsum("xj,...yjc->...yxc", columns, half, precision=exact)


def blur_matrix(
    size: int,
    sigma: jax.Array | float,
    radius: int = 20,
    truncate: float | None = None,
) -> jax.Array:
    """Return the matrix that blurs an axis with a truncated, edge-replicated Gaussian.

    `blur_matrix(h, s) @ x @ blur_matrix(w, s).T` is the separable blur of x. The tap
    count 2 * radius + 1 is fixed, so the shape never depends on the learned sigma.

    Args:
        size: length of the axis.
        sigma: standard deviation in cells, > 0; a scalar that may be traced.
        radius: taps on each side.
        truncate: taps farther than ceil(truncate * sigma) cells do not count. The
            tap count stays fixed: such taps have the weight zero.

    Returns:
        [size, size], rows sum to one.

    Reference:
        Authors' release of DeepGaze II: 41 taps, edge replication.
    """
    sigma = jnp.asarray(sigma)
    if size == 1:
        return jnp.ones((1, 1), sigma.dtype)

    def gaussian(distance: np.ndarray | jax.Array) -> jax.Array:
        distance = jnp.asarray(distance, sigma.dtype)
        weight = jnp.exp(-0.5 * jnp.square(distance / sigma))
        if truncate is None:
            return weight
        return jnp.where(distance <= jnp.ceil(truncate * sigma), weight, 0)

    # Large constants would lie in memory several times, with the program's text; the
    # sizes of `any_size` are no numbers.
    constant = isinstance(size, int) and size <= _FEW_CELLS
    numbers = np.arange if constant else jnp.arange
    cell, tap = numbers(size), np.arange(radius + 1)
    taps = gaussian(tap)
    total = 2 * taps.sum() - taps[0]
    # Masks and constant matrices instead of indexing: the gradient of an index is a
    # scatter, which costs more on a CPU than all of the blur.
    distance = abs(cell[:, None] - cell[None, 1:-1])
    inner = jnp.where(distance <= radius, gaussian(distance), 0)
    # What falls beyond an edge lands on it: column 0 gets all offsets >= the row.
    beyond = (tap[None, :] >= cell[:, None]).astype(jnp.float32)
    first = jnp.matmul(beyond, taps, precision=lax.Precision.HIGHEST)
    columns = [first[:, None], inner, jnp.flip(first)[:, None]]
    return jnp.concatenate(columns, axis=1) / total


def log_normalise(x: jax.Array) -> jax.Array:
    """Return maps minus their log-sum-exp over height and width.

    Args:
        x: `*batch height width`, natural logarithms.

    Returns:
        log densities, same shape: log-sum-exp over the last two axes is zero.
    """
    # Near zero the difference rounds least: far from it, digits would be lost.
    x = x - lax.stop_gradient(x.max(axis=(-2, -1), keepdims=True))
    return x - logsumexp(x, axis=(-2, -1), keepdims=True)
