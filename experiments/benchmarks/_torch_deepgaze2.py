"""DeepGaze II in PyTorch from a picture to its log density, the rival in prediction.

Re-created from the description of the model: channels last, inference mode, all folds
in one pass. The readout runs on the grid of the features, or as the public code has it
on features that are enlarged before.
"""

import math
from typing import Any

import numpy as np
import torch
from _torch_vgg19 import torch_layers, torch_taps
from torch.nn import functional

from deepgaze_jax.ops import nearest_index, scaled_size
from deepgaze_jax.readout_grid import center_bias_on_grid

RADIUS = 20


class TorchDeepGaze2:
    """The mixture of a model's folds.

    Args:
        predictor: the model, whose values are taken.
        values: of VGG-19, `{"conv1_1": {"kernel", "bias"}, ...}`.
        enlarge_first: whether the features are enlarged before the readout.
    """

    def __init__(self, predictor: Any, values: Any, *, enlarge_first: bool = False):
        """Put all values into tensors."""
        self.predictor, self.enlarge_first = predictor, enlarge_first
        form = {"memory_format": torch.channels_last}
        self.vgg = {
            name: (kernel.contiguous(**form), bias)
            for name, (kernel, bias) in torch_layers(values).items()
        }
        readout = predictor.params["readout"]
        self.n_folds = predictor.n_folds
        self.layers = []
        for k in range(len(readout)):
            layer = readout[f"dense{k}"]
            kernel = np.swapaxes(layer["kernel"], 1, 2)
            kernel = torch.from_numpy(kernel.reshape(-1, kernel.shape[-1], 1, 1))
            bias = layer.get("bias")
            bias = None if bias is None else torch.from_numpy(bias.reshape(-1))
            self.layers.append((kernel.contiguous(**form), bias))
        finalizer = predictor.params["finalizer"]
        sigma = torch.from_numpy(np.float32(finalizer["sigma_grid_px"]))
        offsets = torch.arange(-RADIUS, RADIUS + 1, dtype=torch.float32)
        taps = torch.exp(-(offsets**2) / (2 * sigma[:, None] ** 2))
        self.blur = (taps / taps.sum(dim=1, keepdim=True))[:, None, :]
        weight = np.float32(finalizer["center_bias_weight"])
        self.weight = torch.from_numpy(weight).reshape(1, -1, 1, 1)

    @torch.inference_mode()
    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        """Return log densities [B, H, W] of pictures [B, H, W, 3], RGB 0..255."""
        model = self.predictor.model
        n_images, *size = pictures.shape[:3]
        seen = scaled_size(*size, self.predictor.image_scale())
        x = torch.from_numpy(np.float32(pictures)).permute(0, 3, 1, 2)
        # As all pictures here are enlarged; half-pixel centres, no antialiasing.
        x = functional.interpolate(x, size=seen, mode="bilinear", align_corners=False)
        x = functional.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False)
        x = x.contiguous(memory_format=torch.channels_last)
        maps = torch_taps(self.vgg, x, model.taps)
        x = torch.cat([maps[tap] for tap in model.taps], dim=1)
        del maps
        rows, columns = (math.ceil(n / 4) for n in seen)
        if self.enlarge_first:
            x = functional.interpolate(x, scale_factor=8)[..., :rows, :columns]
        for k, (kernel, bias) in enumerate(self.layers):
            # Behind the first layer every fold has channels of its own.
            groups = self.n_folds if k else 1
            x = functional.conv2d(x, kernel, bias, groups=groups)
            x = functional.relu(x) if k < len(self.layers) - 1 else x
        if not self.enlarge_first:
            x = functional.interpolate(x, scale_factor=8)[..., :rows, :columns]
        x = functional.pad(x.contiguous(), (RADIUS,) * 4, mode="replicate")
        x = functional.conv2d(x, self.blur[..., None], groups=self.n_folds)
        x = functional.conv2d(x, self.blur[:, :, None], groups=self.n_folds)
        bias = center_bias_on_grid(model, self.predictor.center_biases[-1], seen)
        x = x + self.weight * torch.from_numpy(bias)
        log_pixels = torch.from_numpy(model.pixel_grid(*seen).log_pixels)
        x = x - torch.logsumexp((x + log_pixels).flatten(2), dim=2)[..., None, None]
        x = torch.logsumexp(x, dim=1) - math.log(self.n_folds)
        down, across = (
            torch.from_numpy(nearest_index(n, wanted) // 4)
            for n, wanted in zip(seen, size, strict=True)
        )
        x = x[:, down][:, :, across]
        total = torch.logsumexp(x.reshape(n_images, -1).double(), dim=1)
        return (x - total[:, None, None].float()).numpy()
