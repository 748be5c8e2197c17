"""AlexNet in plain numpy float64, window by window; imports nothing of the library.

The network of torchvision: RGB/255 minus a mean, divided by a standard deviation, then
convolutions with zeros around and maxima of 3x3 cells every 2 cells, without padding;
what fills no whole window is left out. One image at a time, [height, width, 3].
"""

import numpy as np

MEAN_RGB = (0.485, 0.456, 0.406)
STD_RGB = (0.229, 0.224, 0.225)

# Name, side of the kernel, stride, zeros on each side, channels in and out.
LAYERS = (
    ("conv1", 11, 4, 2, 3, 64),
    ("conv2", 5, 1, 2, 64, 192),
    ("conv3", 3, 1, 1, 192, 384),
    ("conv4", 3, 1, 1, 384, 256),
    ("conv5", 3, 1, 1, 256, 256),
)
POOL_AFTER = {"conv1": "pool1", "conv2": "pool2"}
TAPS = (
    *("conv1", "relu1", "pool1", "conv2", "relu2", "pool2"),
    *("conv3", "relu3", "conv4", "relu4"),
    *("conv5", "relu5"),
)
# Indices in torchvision's `features`.
TORCH_INDEX = {"conv1": 0, "conv2": 3, "conv3": 6, "conv4": 8, "conv5": 10}


def random_params(seed):
    """Values that keep the scale of activations and have biases that count."""
    rng = np.random.default_rng(seed)
    params = {}
    for name, side, _, _, n_in, n_out in LAYERS:
        kernel = rng.standard_normal((side, side, n_in, n_out), dtype=np.float32)
        kernel *= np.float32(np.sqrt(2 / (side * side * n_in)))
        bias = 0.3 * rng.standard_normal(n_out, dtype=np.float32)
        params[name] = {"kernel": kernel, "bias": bias}
    return params


def state_dict(params, prefix):
    """The same values as torchvision names and turns them."""
    arrays = {}
    for name, parts in params.items():
        at = f"{prefix}{TORCH_INDEX[name]}"
        kernel = np.asarray(parts["kernel"])
        arrays[f"{at}.weight"] = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
        arrays[f"{at}.bias"] = np.asarray(parts["bias"])
    return arrays


def convolution(x, kernel, bias, stride, padding):
    """Cross-correlation, one output cell after the other."""
    side = kernel.shape[0]
    height, width, n_in = x.shape
    padded = np.zeros((height + 2 * padding, width + 2 * padding, n_in))
    padded[padding : padding + height, padding : padding + width] = x
    rows = (height + 2 * padding - side) // stride + 1
    columns = (width + 2 * padding - side) // stride + 1
    weights = np.asarray(kernel, np.float64).reshape(-1, kernel.shape[3])
    out = np.zeros((rows, columns, kernel.shape[3]))
    for i in range(rows):
        for j in range(columns):
            y, x0 = i * stride, j * stride
            window = padded[y : y + side, x0 : x0 + side]
            out[i, j] = window.reshape(-1) @ weights + np.asarray(bias, np.float64)
    return out


def pool(x):
    """Maxima of 3x3 cells, every 2 cells."""
    rows, columns = (x.shape[0] - 3) // 2 + 1, (x.shape[1] - 3) // 2 + 1
    out = np.zeros((rows, columns, x.shape[2]))
    for i in range(rows):
        for j in range(columns):
            out[i, j] = x[2 * i : 2 * i + 3, 2 * j : 2 * j + 3].max(axis=(0, 1))
    return out


def alexnet(params, image, taps):
    """{tap: features} of an image, RGB 0..255."""
    x = (np.asarray(image, np.float64) / 255 - MEAN_RGB) / STD_RGB
    out = {}
    for name, _, stride, padding, _, _ in LAYERS:
        x = convolution(
            x, params[name]["kernel"], params[name]["bias"], stride, padding
        )
        out[name] = x
        x = np.where(x > 0, x, 0.0)
        out[f"relu{name[-1]}"] = x
        if name in POOL_AFTER:
            x = pool(x)
            out[POOL_AFTER[name]] = x
        if set(taps) <= set(out):
            break
    return {tap: out[tap] for tap in taps}
