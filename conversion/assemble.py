"""Arrays of a foreign file -> parameters for RGB 0..255, normalised in one place.

What a first layer expects is always `matrix @ (rgb - mean)`. The matrix (the order of
colours, a scale) becomes part of the first kernel: exact everywhere, because zeros of
the padding stay zeros. The mean cannot become part of the bias: padding would then no
longer be the colour that the network takes for zero, and the border would change. So
the mean stays a number beside the parameters, `input/mean_rgb`, and `vgg19_features`,
which subtracts it, is the only place that normalises. It is left out where it is the
usual one.
"""

import numpy as np

from deepgaze_jax.conversion.identify import Identity, preprocessing_of
from deepgaze_jax.conversion.key_maps import Mapped
from deepgaze_jax.conversion.vgg19 import Params
from deepgaze_jax.vgg import MEAN_RGB

__all__ = ["assemble", "expected_input"]

# Means that differ by less are the same; features then agree to seven digits.
_SAME_MEAN = 1e-3


def assemble(mapped: Mapped, identity: Identity) -> Params:
    """Return the parameters of a network for RGB input.

    Those of VGG-19 take RGB 0..255. Networks that nothing here computes keep their
    scale (see `expected_input`); only their colours are put in the order RGB.

    Args:
        mapped: the arrays of a file.
        identity: with family and order.

    Returns:
        `{"conv1_1": {"kernel", "bias"}, ..., "input": {"mean_rgb": [3]}}`, float32;
        `input` only where the mean is not that of `deepgaze_jax.vgg.MEAN_RGB`.

    Raises:
        WeightsError: names all arrays that are missing, unknown or mis-shaped.
    """
    params = mapped.params()
    expected = preprocessing_of(mapped, identity)
    matrix = expected.matrix
    if mapped.key_map.network.name != "vgg19":
        matrix = np.eye(3)[::-1] if identity.order == "BGR" else np.eye(3)
    if identity.transposed:
        for parts in params.values():
            parts["kernel"] = parts["kernel"].transpose(1, 0, 2, 3)
    first = params[mapped.key_map.network.first]
    kernel = np.einsum("hwjo,jc->hwco", first["kernel"].astype(np.float64), matrix)
    first["kernel"] = kernel.astype(np.float32)
    params = {
        layer: {part: np.ascontiguousarray(array) for part, array in parts.items()}
        for layer, parts in params.items()
    }
    mean = np.abs(expected.mean - MEAN_RGB).max()
    if mapped.key_map.network.name == "vgg19" and mean > _SAME_MEAN:
        params["input"] = {"mean_rgb": expected.mean.astype(np.float32)}
    return params


def expected_input(network: str, identity: Identity, params: Params) -> str:
    """Return what the assembled network expects, for people.

    Example:
        >>> identity = Identity("O", "BGR", False, "mean", ())
        >>> expected_input("vgg19", identity, {})
        'RGB 0..255 minus mean 123.68 116.779 103.939'
    """
    if network != "vgg19" and identity.scaling == "torchvision":
        return "RGB/255 minus mean 0.485 0.456 0.406, divided by std 0.229 0.224 0.225"
    mean = params.get("input", {}).get("mean_rgb", MEAN_RGB)
    return f"RGB 0..255 minus mean {' '.join(f'{value:g}' for value in mean)}"
