"""VGG-16 with torchvision's values, as pure functions.

Reference: Simonyan & Zisserman 2014, arXiv 1409.1556, configuration D. It is VGG-19
without the fourth convolutions of the upper three blocks.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from deepgaze_jax import vgg
from deepgaze_jax.alexnet import MEAN_RGB, STD_RGB
from deepgaze_jax.ops import FeaturePrecision

__all__ = ["TAPS", "tap_channels", "tap_grid", "tap_stride", "vgg16_features"]

#: Every tap, bottom to top; see `vgg.TAPS`.
TAPS: tuple[str, ...] = tuple(tap for tap in vgg.TAPS if not tap.endswith("_4"))


def tap_channels(tap: str) -> int:
    """Return the number of channels of a tap.

    Example:
        >>> tap_channels("relu5_3"), tap_channels("pool1")
        (512, 64)
    """
    _check_taps((tap,))
    return vgg.tap_channels(tap)


def tap_stride(tap: str) -> int:
    """Return how many pixels of the network's input one cell of a tap spans.

    Example:
        >>> tap_stride("conv5_1"), tap_stride("pool1")
        (16, 2)
    """
    _check_taps((tap,))
    return vgg.tap_stride(tap)


def tap_grid(tap: str, height: int, width: int) -> tuple[int, int]:
    """Return rows and columns of a tap for an input of height x width.

    Example:
        >>> tap_grid("conv5_1", 33, 47)
        (3, 3)
    """
    _check_taps((tap,))
    return vgg.tap_grid(tap, height, width)


def vgg16_features(
    params: vgg.Params,
    image: jax.Array,
    taps: Sequence[str],
    precision: FeaturePrecision = "float32",
) -> dict[str, jax.Array]:
    """Return the wanted feature maps of VGG-16.

    Args:
        params: `{"conv1_1": {"kernel": [3, 3, in, out], "bias": [out]}, ...}` for all
            convolutions up to the deepest tap. Of bfloat16 all layers compute in that.
        image: RGB 0..255, `*batch height width 3`.
        taps: names from `TAPS`.
        precision: of the products, see `ops.convolution`.

    Returns:
        `{tap: [*batch, ceil(height/stride), ceil(width/stride), channels]}` in the
        order asked for.

    Raises:
        InputError: a tap is unknown or the image has another shape.

    Example:
        >>> image = np.zeros((33, 47, 3), np.float32)
        >>> features = vgg16_features(vgg.init_params(0), image, ["conv2_1"])
        >>> features["conv2_1"].shape
        (17, 24, 128)
    """
    _check_taps(taps)
    image = jnp.asarray(image, jnp.float32)
    vgg.check_image(image, "VGG-16")
    batch = image.shape[:-3]
    mean, std = np.float32(MEAN_RGB), np.float32(STD_RGB)
    x = image.reshape(-1, *image.shape[-3:]) / 255
    x = (x - mean.reshape(1, 1, 1, 3)) / std.reshape(1, 1, 1, 3)
    x = x.astype(params["conv1_1"]["bias"].dtype)
    return vgg.walk(TAPS, params, x, taps, batch, precision)


def _check_taps(taps: Sequence[str]) -> None:
    vgg.check_taps(taps, TAPS, "VGG-16")
