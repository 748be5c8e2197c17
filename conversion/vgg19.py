"""VGG-19 in foreign layouts in, the parameters of `deepgaze_jax.vgg` out."""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from deepgaze_jax.conversion import keras_h5
from deepgaze_jax.errors import WeightsError
from deepgaze_jax.vgg import CONVOLUTIONS

__all__ = ["check_params", "from_keras", "read_keras"]

Params = dict[str, dict[str, np.ndarray]]

# Layers above the convolutions; nothing here uses them.
_CLASSIFIER = ("fc1/", "fc2/", "predictions/")

# Old: block1_conv1/block1_conv1_W_1:0. Newer, a level deeper, sometimes with a
# prefix for the model: block1_conv1/vgg19/block1_conv1/kernel:0.
_KERAS_NAME = re.compile(
    r"block(?P<block>\d)_conv(?P<layer>\d)/(?:.*/)?"
    r"(?:block\d_conv\d_(?P<old>[Wb])_1:0|(?P<new>kernel|bias)(?::0)?)"
)
_PARTS = {"W": "kernel", "b": "bias", "kernel": "kernel", "bias": "bias"}


def read_keras(path: str | Path, channels: Mapping[str, int] = CONVOLUTIONS) -> Params:
    """Return the VGG-19 parameters of a Keras `.h5` file; see `from_keras`."""
    return from_keras(keras_h5.read(path), channels)


def from_keras(
    arrays: Mapping[str, np.ndarray], channels: Mapping[str, int] = CONVOLUTIONS
) -> Params:
    """Return VGG-19 parameters for RGB input from arrays under Keras' names.

    Keras' network takes blue, green, red; ours takes red, green, blue. The only layer
    that sees colours is conv1_1, whose input axis is turned round. (The mean is
    subtracted in `vgg19_features`, in the same order of colours.)

    Args:
        arrays: `{"block1_conv1/block1_conv1_W_1:0": [3, 3, 3, 64], ...}`, or the newer
            names that end in `kernel:0` and `bias:0`; a classifier is left out.
        channels: output channels of every convolution, bottom to top.

    Returns:
        `{"conv1_1": {"kernel": float32 [3, 3, in, out], "bias": [out]}, ...}`.

    Raises:
        WeightsError: names all missing, unknown and mis-shaped arrays at once.

    Example:
        >>> kernel = np.arange(27, dtype=np.float32).reshape(3, 3, 3, 1)
        >>> params = from_keras(
        ...     {"block1_conv1/kernel:0": kernel, "block1_conv1/bias:0": np.zeros(1)},
        ...     {"conv1_1": 1},
        ... )
        >>> params["conv1_1"]["kernel"][0, 0, :, 0].tolist()
        [2.0, 1.0, 0.0]
    """
    params: Params = {}
    unknown = []
    for name, array in arrays.items():
        if name.startswith(_CLASSIFIER):
            continue
        match = _KERAS_NAME.fullmatch(name)
        layer = match and f"conv{match['block']}_{match['layer']}"
        part = match and _PARTS[match["old"] or match["new"]]
        if layer not in channels or part in params.get(layer, {}):
            unknown.append(name)
        else:
            params.setdefault(layer, {})[part] = np.asarray(array, np.float32)
    check_params(params, channels, unknown)
    params = {layer: params[layer] for layer in channels}
    first = next(iter(channels))
    params[first]["kernel"] = np.ascontiguousarray(params[first]["kernel"][:, :, ::-1])
    return params


def check_params(
    params: Params,
    channels: Mapping[str, int] = CONVOLUTIONS,
    unknown: list[str] | tuple[str, ...] = (),
    kernel_sizes: Mapping[str, int] | None = None,
    network: str = "VGG-19",
) -> None:
    """Refuse parameters that are not exactly those of the network.

    Args:
        params: `{"conv1_1": {"kernel", "bias"}, ...}`.
        channels: output channels of every convolution, bottom to top.
        unknown: names that the caller could not place; they are reported with the rest.
        kernel_sizes: side of the kernels that are not 3x3.
        network: named in the error.

    Raises:
        WeightsError: one line with everything missing, unknown, mis-shaped or not
            finite.
    """
    unknown, missing, wrong = list(unknown), [], []
    channels_in = 3
    for layer, channels_out in channels.items():
        side = (kernel_sizes or {}).get(layer, 3)
        kernel = (side, side, channels_in, channels_out)
        shapes = {"kernel": kernel, "bias": (channels_out,)}
        for part, shape in shapes.items():
            array = params.get(layer, {}).get(part)
            name = f"{layer}/{part}"
            if array is None:
                missing.append(name)
            elif array.shape != shape:
                wrong.append(f"{name} {list(array.shape)} instead of {list(shape)}")
            elif not np.isfinite(array).all():
                wrong.append(f"{name} has values that are not finite")
        channels_in = channels_out
    for layer, parts in params.items():
        known = ("kernel", "bias") if layer in channels else ()
        unknown += [f"{layer}/{part}" for part in parts if part not in known]
    problems = [
        f"{what}: {', '.join(names)}"
        for what, names in (
            ("missing", missing),
            ("unknown", unknown),
            ("wrong", wrong),
        )
        if names
    ]
    if problems:
        raise WeightsError(
            f"these are not the {len(channels)} convolutions of {network}; "
            + "; ".join(problems)
        )
