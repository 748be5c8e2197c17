"""AlexNet as pure functions: parameters and an image in, named feature maps out.

The network of torchvision, one stream. Reference: Krizhevsky 2014, arXiv 1404.5997.
"""

import math
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from deepgaze_jax.errors import InputError
from deepgaze_jax.ops import FeaturePrecision, convolution

__all__ = [
    "CONVOLUTIONS",
    "KERNEL_SIZES",
    "MEAN_RGB",
    "MIN_SIZE",
    "STD_RGB",
    "TAPS",
    "alexnet_features",
    "init_params",
    "tap_channels",
    "tap_grid",
    "tap_stride",
]

#: Output channels of each convolution, bottom to top.
CONVOLUTIONS: Mapping[str, int] = {
    "conv1": 64,
    "conv2": 192,
    "conv3": 384,
    "conv4": 256,
    "conv5": 256,
}

#: Side of those kernels that are not 3x3.
KERNEL_SIZES: Mapping[str, int] = {"conv1": 11, "conv2": 5}

#: Mean and standard deviation of RGB 0..1 in the training pictures; an image is
#: normalised with them here and only here.
MEAN_RGB = (0.485, 0.456, 0.406)
STD_RGB = (0.229, 0.224, 0.225)

#: Every tap in the order in which the network computes them: `conv` is before its
#: ReLU, `relu` after it, `pool` the 3x3 maximum with stride 2.
TAPS: tuple[str, ...] = (
    *("conv1", "relu1", "pool1"),
    *("conv2", "relu2", "pool2"),
    *("conv3", "relu3", "conv4", "relu4", "conv5", "relu5"),
)

# Window, stride, and zeros on each side. ReLUs change no grid.
_WINDOWS: Mapping[str, tuple[int, int, int]] = {
    "conv1": (11, 4, 2),
    "pool1": (3, 2, 0),
    "conv2": (5, 1, 2),
    "pool2": (3, 2, 0),
    "conv3": (3, 1, 1),
    "conv4": (3, 1, 1),
    "conv5": (3, 1, 1),
}

Params = Mapping[str, Mapping[str, jax.Array]]


def _steps_to(tap: str) -> list[tuple[int, int, int]]:
    """Return the windows between the image and a tap, bottom to top."""
    below = TAPS[: TAPS.index(tap) + 1]
    return [_WINDOWS[name] for name in below if name in _WINDOWS]


def _min_size(tap: str) -> int:
    """Return the smallest side of an image of which a tap has a cell."""
    size = 1
    for window, stride, padding in reversed(_steps_to(tap)):
        size = (size - 1) * stride + window - 2 * padding
    return size


#: Smallest side of an image of which the highest taps have a cell.
MIN_SIZE = _min_size("conv5")


def tap_channels(tap: str) -> int:
    """Return the number of channels of a tap.

    Example:
        >>> tap_channels("conv5"), tap_channels("pool1")
        (256, 64)
    """
    _check_taps((tap,))
    return CONVOLUTIONS[f"conv{tap[-1]}"]


def tap_grid(tap: str, height: int, width: int) -> tuple[int, int]:
    """Return the rows and columns that a tap has for an image.

    Borders that fill no whole window are left out, so a cell does not stand for a
    whole number of pixels: at conv5 it is less than height / 16 by up to two.

    Args:
        tap: one of `TAPS`.
        height: of the image, in pixels.
        width: of the image, in pixels.

    Raises:
        InputError: the tap is unknown, or nothing of the image is left at it.

    Example:
        >>> tap_grid("conv5", 384, 512), tap_grid("conv5", 31, 46)
        ((23, 31), (1, 1))
    """
    _check_taps((tap,))
    sizes = []
    for size in (height, width):
        for window, stride, padding in _steps_to(tap):
            size = (size + 2 * padding - window) // stride + 1
        sizes.append(size)
    rows, columns = sizes
    if rows < 1 or columns < 1:
        smallest = _min_size(tap)
        raise InputError(
            f"an image of {height}x{width} pixels is too small for AlexNet: {tap} "
            f"needs at least {smallest}x{smallest}; enlarge it"
        )
    return rows, columns


def tap_stride(tap: str) -> int:
    """Return how many pixels of the network's input lie between cells of a tap.

    Example:
        >>> tap_stride("conv5"), tap_stride("conv1")
        (16, 4)
    """
    _check_taps((tap,))
    return math.prod(stride for _, stride, _ in _steps_to(tap))


def _check_taps(taps: Sequence[str]) -> None:
    unknown = [tap for tap in taps if tap not in TAPS]
    if unknown or not taps:
        raise InputError(
            f"unknown AlexNet taps {unknown or list(taps)}; choose one or more of "
            f"{', '.join(TAPS)}"
        )


def alexnet_features(
    params: Params,
    image: jax.Array,
    taps: Sequence[str],
    precision: FeaturePrecision = "float32",
) -> dict[str, jax.Array]:
    """Return the wanted feature maps of AlexNet.

    Nothing above the deepest tap is computed.

    Args:
        params: `{"conv1": {"kernel": [11, 11, 3, 64], "bias": [64]}, ...}` for all
            convolutions up to the deepest tap. Of bfloat16 all layers compute in that.
        image: RGB 0..255, `*batch height width 3`.
        taps: names from `TAPS`.
        precision: of the products, see `ops.convolution`.

    Returns:
        `{tap: [*batch, rows, columns, channels]}` in the order asked for; for rows and
        columns see `tap_grid`.

    Raises:
        InputError: a tap is unknown, the image has another shape, or it is too small
            (below `MIN_SIZE` for the highest taps).

    Example:
        >>> image = np.zeros((97, 131, 3), np.float32)
        >>> alexnet_features(init_params(0), image, ["conv5"])["conv5"].shape
        (5, 7, 256)
    """
    _check_taps(taps)
    image = jnp.asarray(image)
    if image.ndim < 3 or image.shape[-1] != 3:
        raise InputError(
            f"an image of shape {image.shape} was given; AlexNet takes RGB 0..255 of "
            "shape [*batch, height, width, 3]"
        )
    for tap in taps:
        tap_grid(tap, *image.shape[-3:-1])
    batch = image.shape[:-3]
    mean, std = np.float32(MEAN_RGB), np.float32(STD_RGB)
    x = image.reshape(-1, *image.shape[-3:]).astype(jnp.float32) / 255
    x = (x - mean.reshape(1, 1, 1, 3)) / std.reshape(1, 1, 1, 3)
    x = x.astype(params["conv1"]["bias"].dtype)
    wanted, found = set(taps), {}
    for name in TAPS:
        if name.startswith("conv"):
            _, stride, padding = _WINDOWS[name]
            options = {"stride": stride, "padding": padding}
            x = convolution(x, params[name], precision=precision, **options)
        elif name.startswith("relu"):
            x = jnp.maximum(x, 0)
        else:
            x = _pool(x, *_WINDOWS[name])
        if name in wanted:
            found[name] = x.reshape(*batch, *x.shape[1:])
            if len(found) == len(wanted):
                break
    return {tap: found[tap] for tap in taps}


def _pool(x: jax.Array, window: int, stride: int, padding: int) -> jax.Array:
    """Return the maximum of each window; borders that fill none are left out."""
    return lax.reduce_window(
        x,
        -jnp.inf,
        lax.max,
        (1, window, window, 1),
        (1, stride, stride, 1),
        ((0, 0), (padding, padding), (padding, padding), (0, 0)),
    )


def init_params(seed: int, taps: Sequence[str] = ("conv5",)) -> dict:
    """Return random parameters (He initialisation) up to the deepest tap, for tests.

    Args:
        seed: of numpy's generator.
        taps: taps that the parameters must reach.

    Returns:
        numpy arrays in the layout of `alexnet_features`.
    """
    _check_taps(taps)
    rng = np.random.default_rng(seed)
    params, channels_in = {}, 3
    last = max(TAPS.index(tap) for tap in taps)
    for name in TAPS[: last + 1]:
        if not name.startswith("conv"):
            continue
        channels, side = CONVOLUTIONS[name], KERNEL_SIZES.get(name, 3)
        scale = np.float32(np.sqrt(2 / (side**2 * channels_in)))
        kernel = rng.standard_normal((side, side, channels_in, channels), np.float32)
        bias = 0.1 * rng.standard_normal(channels, np.float32)
        params[name] = {"kernel": kernel * scale, "bias": bias}
        channels_in = channels
    return params
