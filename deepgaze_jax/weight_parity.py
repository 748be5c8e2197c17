"""Does a converted network compute what the file's own network computes?"""

from typing import Any

import numpy as np

from deepgaze_jax.alexnet import alexnet_features
from deepgaze_jax.conversion.identify import Identity
from deepgaze_jax.conversion.key_maps import Mapped
from deepgaze_jax.conversion.networks import Network
from deepgaze_jax.conversion.slow_network import fixed_picture, slow_taps
from deepgaze_jax.conversion.torch_network import torch_taps
from deepgaze_jax.conversion.vgg19 import Params
from deepgaze_jax.vgg import vgg19_features

__all__ = ["TOLERANCE", "max_norm_error", "mean_activations", "parity_report"]

#: Of max|a - b| / max|b|, per tap.
TOLERANCE = 1e-5


def max_norm_error(found: np.ndarray, expected: np.ndarray) -> float:
    """Return max|found - expected| / max|expected|.

    Example:
        >>> max_norm_error(np.array([1.0, 2.0]), np.array([1.0, 2.5]))
        0.2
    """
    scale = np.abs(expected).max()
    difference = np.abs(np.asarray(found, np.float64) - expected).max()
    return float(difference / scale) if scale > 0 else float(difference)


def _taps(network: Network) -> tuple[str, ...]:
    if network.name == "vgg19":
        return ("conv5_1", "relu5_1", "relu5_2", "conv5_3", "relu5_4")
    last = list(network.channels)[-1]
    return (last, last.replace("conv", "relu"))


def parity_report(
    mapped: Mapped,
    identity: Identity,
    params: Params,
    picture: np.ndarray | None = None,
) -> dict[str, Any]:
    """Return how far the taps are from those of the network in the file.

    That network is computed from the arrays as they were read, in the file's own order
    and scale of colours, by PyTorch where it is installed, else by plain numpy.

    Args:
        mapped: the arrays of the file.
        identity: what the file is.
        params: the result of the conversion.
        picture: RGB 0..255 [height, width, 3]; by default a fixed one.

    Returns:
        `{"compared_with", "picture", "taps": {tap: error}, "tolerance", "passed"}`.
    """
    network = mapped.key_map.network
    taps = _taps(network)
    if picture is None:
        # AlexNet needs more pixels, or nothing is left at its end.
        picture = fixed_picture(*((48, 64) if network.name != "alexnet" else (96, 112)))
    picture = np.asarray(picture, np.float32)
    # Values that are too large give numbers that are not finite; so do the errors then.
    with np.errstate(all="ignore"):
        expected = torch_taps(mapped, identity, picture, taps)
        reference = "PyTorch, float32"
        if expected is None:
            expected = slow_taps(mapped, identity, picture, taps)
            reference = "plain numpy, float64"
        if network.name == "vgg19":
            found = vgg19_features(params, picture, taps)
        elif network.name == "alexnet":
            found = alexnet_features(params, picture, taps)
        else:
            found = _slow(mapped, identity, params, picture, taps)
        errors = {tap: max_norm_error(found[tap], expected[tap]) for tap in taps}
    return {
        "compared_with": reference,
        "picture": f"fixed, {picture.shape[0]}x{picture.shape[1]}",
        "taps": errors,
        "tolerance": TOLERANCE,
        "passed": all(error <= TOLERANCE for error in errors.values()),
    }


def _slow(
    mapped: Mapped,
    identity: Identity,
    params: Params,
    picture: np.ndarray,
    taps: tuple[str, ...],
) -> dict[str, np.ndarray]:
    """Return the taps of a converted network that nothing here computes faster."""
    own = type(mapped)(
        type(mapped.key_map)("deepgaze-jax", mapped.key_map.network, {}),
        "HWIO",
        "",
        params,
        (),
        (),
    )
    plain = Identity(identity.family, "RGB", False, identity.scaling, ())
    return slow_taps(own, plain, picture, taps)


def mean_activations(
    mapped: Mapped, identity: Identity, picture: np.ndarray | None = None
) -> dict[str, float]:
    """Return the mean activation after each ReLU, bottom to top, as far as layers go.

    Args:
        mapped: the arrays of a file; it may end early.
        identity: with family and order.
        picture: RGB 0..255 [height, width, 3]; by default a fixed one.
    """
    picture = fixed_picture(96, 112) if picture is None else picture
    means = {}

    def visit(tap: str, values: np.ndarray) -> None:
        if tap.startswith("relu") and np.isfinite(mean := float(values.mean())):
            means[tap] = mean

    # A file may hold values of any size; of what is not finite nothing is said.
    with np.errstate(all="ignore"):
        slow_taps(mapped, identity, picture, (), visit)
    return means
