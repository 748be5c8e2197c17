"""VGG-19 in PyTorch, for tests that compare with it (marker torch)."""

import numpy as np
import torch
from oracles import RGB_MEAN, VGG19_LAYERS
from torch.nn import functional


def torch_vgg19(params, image, taps):
    """{tap: float32 [h, w, c]} of an image [height, width, 3], RGB 0..255.

    Torch's own float32 convolution and its max pool in ceil mode; ``params`` as in
    ``oracles.random_vgg19_params``.
    """
    out = {}
    mean = torch.tensor(RGB_MEAN, dtype=torch.float32)
    x = torch.from_numpy(np.array(image, np.float32)) - mean
    x = x.permute(2, 0, 1)[None]
    with torch.no_grad():
        for block, (n_layers, _, _) in enumerate(VGG19_LAYERS, start=1):
            for layer in range(1, n_layers + 1):
                values = params[f"conv{block}_{layer}"]
                weight = torch.from_numpy(np.array(values["kernel"], np.float32))
                bias = torch.from_numpy(np.array(values["bias"], np.float32))
                x = functional.conv2d(x, weight.permute(3, 2, 0, 1), bias, padding=1)
                out[f"conv{block}_{layer}"] = x
                x = functional.relu(x)
                out[f"relu{block}_{layer}"] = x
            x = functional.max_pool2d(x, kernel_size=2, stride=2, ceil_mode=True)
            out[f"pool{block}"] = x
    return {tap: out[tap][0].permute(1, 2, 0).numpy() for tap in taps}
