"""DeepGaze I in plain numpy and scipy, float64; imports nothing of the library.

One image at a time: images [height, width, 3] RGB 0..255, maps [height, width].
"""

import numpy as np
import oracles
import oracles_alexnet
from scipy import ndimage


def nearest_index(n_in, n_out):
    """floor(i * n_in / n_out), with quotient and product rounded to float32."""
    scale = np.float32(n_in) / np.float32(n_out)
    return [int(np.floor(np.float32(i) * scale)) for i in range(n_out)]


def resize_nearest(x, height, width):
    """Map or features [h, w, ...] on another grid, as PyTorch's nearest has it."""
    out = np.zeros((height, width, *x.shape[2:]))
    columns = nearest_index(x.shape[1], width)
    for i, row in enumerate(nearest_index(x.shape[0], height)):
        for j, column in enumerate(columns):
            out[i, j] = x[row, column]
    return out


def keep_every(x, n):
    """Every nth row and column from the first; what fills no whole step is left out."""
    height, width = x.shape[0] // n, x.shape[1] // n
    return np.array([[x[n * i, n * j] for j in range(width)] for i in range(height)])


def blur_radius(sigma):
    """Taps on each side: ceil(3 sigma) in float32."""
    return int(np.ceil(np.float32(3) * np.float32(sigma)))


def blur(x, sigma):
    """Map blurred along both axes, edge cells continued outwards."""
    radius = blur_radius(sigma)
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / float(sigma)) ** 2)
    taps /= taps.sum()
    for axis in (0, 1):
        x = ndimage.correlate1d(np.asarray(x, np.float64), taps, axis, mode="nearest")
    return x


def features(params, image):
    """conv5 of AlexNet, before its ReLU, on its own grid: [rows, columns, 256]."""
    half = keep_every(np.asarray(image, np.float64), 2)
    return oracles_alexnet.alexnet(params, half, ["conv5"])["conv5"]


def deepgaze1(maps, kernel, sigma, weight, center_bias):
    """What lies on the way from features to the density, as a dictionary.

    Args:
        maps: Features of an image, see ``features``.
        kernel: Of the linear readout, [256, 1].
        sigma: Of the blur, in cells of the grid of every 4th pixel.
        weight: Of the center bias.
        center_bias: Log density [height, width], which is the size of the image.

    Returns:
        ``log_density`` [height, width], ``readout_map`` on the grid of every 8th
        pixel, ``blurred`` and ``center_bias`` on that of every 4th.
    """
    height, width = center_bias.shape
    # ceil(height / 2 / 4) of the whole image, not of the halved one.
    grid = -(-height // 8), -(-width // 8)
    readout_map = (resize_nearest(maps, *grid) @ np.asarray(kernel, np.float64))[..., 0]
    small = keep_every(np.asarray(center_bias, np.float64), 4)
    blurred = blur(resize_nearest(readout_map, *small.shape), sigma)
    sums = blurred + float(weight) * small
    return {
        "log_density": oracles.log_normalise(resize_nearest(sums, height, width)),
        "readout_map": readout_map,
        "blurred": blurred,
        "center_bias": small,
    }


# Random inputs, so that tests make them anew instead of storing them


def random_case(seed, height, width):
    """Image, center bias, and values whose densities vary by some nats.

    Returns:
        ``image`` and ``center_bias`` float32, ``kernel`` [256, 1], ``sigma``,
        ``weight``; AlexNet's values are those of ``oracles_alexnet.random_params``.
    """
    rng = np.random.default_rng([seed, height, width])
    y = np.linspace(-1, 1, height)[:, None]
    x = np.linspace(-1, 1, width)[None, :]
    bias = -2 * (y - 0.2) ** 2 - 1.5 * x**2 + 0.3 * rng.standard_normal((height, width))
    return {
        "image": oracles.random_image(seed, height, width),
        "center_bias": np.float32(oracles.log_normalise(bias)),
        "kernel": np.float32(0.05 * rng.standard_normal((256, 1))),
        "sigma": np.float32(rng.uniform(0.9, 9)),
        "weight": np.float32(rng.uniform(0.5, 1.5)),
    }


def state_dict(params, case):
    """The same values under the names of the public ``deepgaze1.pth``."""
    return {
        **oracles_alexnet.state_dict(params, "features.features.1.features."),
        "readout_network.conv0.weight": case["kernel"].T[:, :, None, None].copy(),
        "finalizer.gauss.sigma": np.array(case["sigma"]),
        "finalizer.center_bias_weight": np.array([case["weight"]]),
    }
