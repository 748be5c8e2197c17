"""VGG-19 in PyTorch, the rival of the benchmarks."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from deepgaze_jax import vgg

Layers = dict[str, tuple[torch.Tensor, torch.Tensor]]


def torch_layers(params: Mapping[str, Any]) -> Layers:
    """Return kernel and bias of each convolution as PyTorch takes them."""
    return {
        name: (
            torch.from_numpy(np.array(params[name]["kernel"])).permute(3, 2, 0, 1),
            torch.from_numpy(np.array(params[name]["bias"])),
        )
        for name in vgg.CONVOLUTIONS
    }


def torch_taps(
    layers: Layers, images: torch.Tensor, taps: Sequence[str]
) -> dict[str, torch.Tensor]:
    """Return the wanted maps of images [B, 3, H, W], RGB 0..255.

    Args:
        layers: from `torch_layers`, or those in another type or memory format.
        images: of the same type and format.
        taps: names from `vgg.TAPS`; nothing above the deepest is computed.
    """
    x = images - torch.tensor(vgg.MEAN_RGB, dtype=images.dtype)[:, None, None]
    found = {}
    for name in vgg.TAPS[: max(map(vgg.TAPS.index, taps)) + 1]:
        if name.startswith("conv"):
            x = functional.conv2d(x, *layers[name], padding=1)
        elif name.startswith("relu"):
            x = functional.relu(x)
        else:
            x = functional.max_pool2d(x, 2, ceil_mode=True)
        if name in taps:
            found[name] = x
    return found
