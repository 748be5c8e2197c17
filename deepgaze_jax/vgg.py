"""VGG-19 as pure functions: parameters and an image in, named feature maps out.

Reference: Simonyan & Zisserman 2014, arXiv 1409.1556, configuration E.
"""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from deepgaze_jax.errors import InputError
from deepgaze_jax.ops import FeaturePrecision, convolution, pool_max, pooled_size

__all__ = [
    "CONVOLUTIONS",
    "MEAN_RGB",
    "TAPS",
    "check_image",
    "check_taps",
    "init_params",
    "tap_channels",
    "tap_grid",
    "tap_stride",
    "vgg19_features",
    "walk",
]

_BLOCKS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))

#: Output channels of each of the 16 convolutions, bottom to top.
CONVOLUTIONS: dict[str, int] = {
    f"conv{block}_{layer}": channels
    for block, (channels, depth) in enumerate(_BLOCKS, start=1)
    for layer in range(1, depth + 1)
}

#: Mean of the training pictures in red, green, blue; subtracted here and only here.
#: Parameters that need another one bring it with them as `input/mean_rgb`.
MEAN_RGB = (123.68, 116.779, 103.939)


def _tap_names() -> tuple[str, ...]:
    names: list[str] = []
    for block, (_, depth) in enumerate(_BLOCKS, start=1):
        for layer in range(1, depth + 1):
            names += [f"conv{block}_{layer}", f"relu{block}_{layer}"]
        names.append(f"pool{block}")
    return tuple(names)


#: Every tap in the order in which the network computes them: `conv` is before its
#: ReLU, `relu` after it, `pool` the 2x2 maximum at the end of a block.
TAPS: tuple[str, ...] = _tap_names()

Params = Mapping[str, Mapping[str, jax.Array]]


def tap_channels(tap: str) -> int:
    """Return the number of channels of a tap.

    Example:
        >>> tap_channels("relu5_4"), tap_channels("pool1")
        (512, 64)
    """
    _check_taps((tap,))
    return _BLOCKS[_block(tap) - 1][0]


def tap_stride(tap: str) -> int:
    """Return how many pixels of the network's input one cell of a tap spans.

    Example:
        >>> tap_stride("conv5_1"), tap_stride("pool1")
        (16, 2)
    """
    _check_taps((tap,))
    return 2 ** (_block(tap) - (not tap.startswith("pool")))


def tap_grid(tap: str, height: int, width: int) -> tuple[int, int]:
    """Return rows and columns of a tap for an input of height x width.

    Example:
        >>> tap_grid("conv5_1", 33, 47)
        (3, 3)
    """
    stride = tap_stride(tap)
    return pooled_size(height, stride), pooled_size(width, stride)


def _block(tap: str) -> int:
    return int(tap.removeprefix("conv").removeprefix("relu").removeprefix("pool")[0])


def _check_taps(taps: Sequence[str]) -> None:
    check_taps(taps, TAPS, "VGG-19")


def check_taps(taps: Sequence[str], known: Sequence[str], network: str) -> None:
    """Return nothing if all taps are among those of a network, bottom to top.

    Raises:
        InputError: names those that are not.
    """
    unknown = [tap for tap in taps if tap not in known]
    if unknown or not taps:
        highest = known[-2]
        raise InputError(
            f"unknown {network} taps {unknown or list(taps)}; choose one or more of "
            "conv{b}_{l}, relu{b}_{l}, pool{b}, for example conv5_1 or "
            f"{highest}"
        )


def check_image(image: jax.Array, network: str) -> None:
    """Return nothing if an array can be an image, `*batch height width 3`.

    Raises:
        InputError: says its shape.
    """
    if image.ndim < 3 or image.shape[-1] != 3 or 0 in image.shape[-3:]:
        raise InputError(
            f"an image of shape {image.shape} was given; {network} takes RGB 0..255 of "
            "shape [*batch, height, width, 3]"
        )


def vgg19_features(
    params: Params,
    image: jax.Array,
    taps: Sequence[str],
    precision: FeaturePrecision = "float32",
) -> dict[str, jax.Array]:
    """Return the wanted feature maps of VGG-19.

    Zero padding SAME in every convolution, 2x2 maximum pooling that keeps odd borders
    (ceil mode), so any size from 1x1 works. Nothing above the deepest tap is computed.

    Args:
        params: `{"conv1_1": {"kernel": [3, 3, in, out], "bias": [out]}, ...}` for all
            convolutions up to the deepest tap; with `{"input": {"mean_rgb": [3]}}` for
            values that were trained with another mean than `MEAN_RGB`. Of bfloat16 all
            layers compute in that.
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
        >>> features = vgg19_features(init_params(0), image, ["conv2_1"])
        >>> features["conv2_1"].shape
        (17, 24, 128)
    """
    _check_taps(taps)
    image = jnp.asarray(image)
    check_image(image, "VGG-19")
    batch = image.shape[:-3]
    mean = params.get("input", {}).get("mean_rgb", np.asarray(MEAN_RGB, np.float32))
    x = image.reshape(-1, *image.shape[-3:]) - mean.reshape(1, 1, 1, 3)
    # Grey values less the mean are small numbers; before, bfloat16 would round them.
    x = x.astype(params["conv1_1"]["bias"].dtype)
    return walk(TAPS, params, x, taps, batch, precision)


def walk(
    names: Sequence[str],
    params: Params,
    x: jax.Array,
    taps: Sequence[str],
    batch: tuple[int, ...],
    precision: FeaturePrecision = "float32",
) -> dict[str, jax.Array]:
    """Return the wanted taps of a network that is made of the three kinds of steps.

    Args:
        names: of all its taps, bottom to top; `conv`, `relu` or `pool` and a number.
        params: of its convolutions.
        x: what comes in, [B, height, width, 3].
        taps: those wanted.
        batch: shape that B stands for.
        precision: of the products, see `ops.convolution`.
    """
    found = {}
    for name in names[: max(map(names.index, taps)) + 1]:
        if name.startswith("conv"):
            x = convolution(x, params[name], precision=precision)
        elif name.startswith("relu"):
            x = jnp.maximum(x, 0)
        else:
            x = pool_max(x, 2)
        if name in taps:
            found[name] = x.reshape(*batch, *x.shape[1:])
    return {tap: found[tap] for tap in taps}


def init_params(seed: int, taps: Sequence[str] = ("conv5_4",)) -> dict:
    """Return random parameters (He initialisation) up to the deepest tap, for tests.

    Args:
        seed: of numpy's generator.
        taps: taps that the parameters must reach.

    Returns:
        numpy arrays in the layout of `vgg19_features`.
    """
    _check_taps(taps)
    rng = np.random.default_rng(seed)
    params, channels_in = {}, 3
    last = max(TAPS.index(tap) for tap in taps)
    for name in TAPS[: last + 1]:
        if not name.startswith("conv"):
            continue
        channels = CONVOLUTIONS[name]
        scale = np.float32(np.sqrt(2 / (9 * channels_in)))
        kernel = rng.standard_normal((3, 3, channels_in, channels), np.float32)
        bias = 0.1 * rng.standard_normal(channels, np.float32)
        params[name] = {"kernel": kernel * scale, "bias": bias}
        channels_in = channels
    return params
