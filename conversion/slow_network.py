"""A feature network in plain numpy, float64, exactly as the file describes it.

The oracle of conversions: it takes the arrays before anything was folded, the colours
in the file's own order and scale, a batch norm as a step of its own. Slow and literal.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from deepgaze_jax.conversion.identify import Identity
from deepgaze_jax.conversion.key_maps import Mapped

__all__ = ["fixed_picture", "network_input", "slow_taps"]

_MEAN_BGR = (103.939, 116.779, 123.68)


def fixed_picture(height: int = 48, width: int = 64) -> np.ndarray:
    """Return the picture of all reports: RGB 0..255 float64, smooth with edges.

    Example:
        >>> fixed_picture().shape, bool(fixed_picture().max() <= 255)
        ((48, 64, 3), True)
    """
    y, x = np.mgrid[:height, :width].astype(np.float64)
    waves = [np.sin(x / 3 + y / 7), np.cos(x / 11 - y / 2), np.sin(x * y / 90)]
    picture = 120 + 70 * np.stack(waves, -1) + 30 * (x > width / 3)[..., None]
    picture[height // 2 :, width // 2 :] *= [0.3, 1.0, 0.6]
    return np.round(np.clip(picture, 0, 255))


def network_input(
    mapped: Mapped, identity: Identity, picture: np.ndarray
) -> np.ndarray:
    """Return what a picture, RGB 0..255, is for the network of the file."""
    rgb = np.asarray(picture, np.float64)
    if mapped.key_map.color_layer:
        rgb = rgb[..., ::-1] if identity.order == "BGR" else rgb
        color = mapped.layers["color"]
        return rgb / 255 @ color["kernel"][0, 0].astype(np.float64) + color["bias"]
    if mapped.mean_rgb is not None:
        return rgb - mapped.mean_rgb
    if identity.scaling == "torchvision":
        rgb = (rgb / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        return rgb[..., ::-1] if identity.order == "BGR" else rgb
    bgr = rgb[..., ::-1] - _MEAN_BGR
    return bgr if identity.order == "BGR" else bgr[..., ::-1]


def slow_taps(
    mapped: Mapped,
    identity: Identity,
    picture: np.ndarray,
    taps: Sequence[str],
    visit: Callable[[str, np.ndarray], None] | None = None,
) -> dict[str, np.ndarray]:
    """Return taps of a network, `{"conv5_1": [h, w, channels], ...}`.

    Args:
        mapped: the arrays of a file; it may end early.
        identity: order and scaling of colours, and whether kernels are transposed.
        picture: RGB 0..255 [height, width, 3].
        taps: names `conv...` (before the ReLU) and `relu...`.
        visit: called with every tap, in order.
    """
    network = mapped.key_map.network
    x = network_input(mapped, identity, picture)
    found = {}
    for layer in network.channels:
        parts = mapped.layers.get(layer, {})
        if "kernel" not in parts or "bias" not in parts:
            break
        kernel = parts["kernel"].astype(np.float64)
        if identity.transposed:
            kernel = kernel.transpose(1, 0, 2, 3)
        x = _convolve(x, kernel, network.strides.get(layer, 1), network.padding(layer))
        x = x + parts["bias"]
        if mapped.key_map.batch_norm:
            x = _batch_norm(x, parts)
        relu = np.maximum(x, 0)
        for kind, values in (("conv", x), ("relu", relu)):
            name = layer.replace("conv", kind)
            if name in taps:
                found[name] = values
            if visit:
                visit(name, values)
        x = relu
        if layer in network.pooled:
            x = _pool(x, network.pool_size, network.ceil_mode)
        if len(found) == len(taps) and not visit:
            break
    return found


def _convolve(x: np.ndarray, kernel: np.ndarray, stride: int, pad: int) -> np.ndarray:
    padded = np.pad(x, ((pad, pad), (pad, pad), (0, 0)))
    side = kernel.shape[0]
    height = (padded.shape[0] - side) // stride + 1
    width = (padded.shape[1] - side) // stride + 1
    out = np.zeros((height, width, kernel.shape[3]))
    for dy in range(side):
        for dx in range(side):
            rows = padded[dy : dy + stride * (height - 1) + 1 : stride]
            out += rows[:, dx : dx + stride * (width - 1) + 1 : stride] @ kernel[dy, dx]
    return out


def _batch_norm(x: np.ndarray, parts: Mapping[str, np.ndarray]) -> np.ndarray:
    norm = {name: array.astype(np.float64) for name, array in parts.items()}
    x = (x - norm["norm/running_mean"]) / np.sqrt(norm["norm/running_var"] + 1e-5)
    return x * norm["norm/weight"] + norm["norm/bias"]


def _pool(x: np.ndarray, size: int, ceil_mode: bool) -> np.ndarray:
    def starts(n: int) -> range:
        last = n if ceil_mode else n - size + 1
        return range(0, max(last, 1), 2)

    return np.stack(
        [
            np.stack(
                [x[i : i + size, j : j + size].max((0, 1)) for j in starts(x.shape[1])]
            )
            for i in starts(x.shape[0])
        ]
    )
