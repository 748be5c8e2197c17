"""Rescaled filters: unit mean activation, and readouts moved between scales.

A filter of VGG-19 may be multiplied by any positive number if the next layer divides
by it: ReLU and maximum pool pass positive factors on, so the function stays the same.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from deepgaze_jax.errors import WeightsError
from deepgaze_jax.model_files import write_tensors
from deepgaze_jax.vgg import CONVOLUTIONS, vgg19_features
from deepgaze_jax.weight_conversion import (
    Converted,
    named_features,
    require_destination,
)

__all__ = [
    "measure_means",
    "normalise_weights",
    "recover_scales",
    "rescale",
    "rescaled_family",
    "transfer_kernel",
    "unit_mean_scales",
]

Params = Mapping[str, Mapping[str, np.ndarray]]
Scales = Mapping[str, np.ndarray]

_RELUS = tuple(layer.replace("conv", "relu") for layer in CONVOLUTIONS)
# Of how far a layer may be from a rescaled one; float32 rounding stays below.
_TOLERANCE = 1e-4


def normalise_weights(
    weights: Converted,
    images: Iterable[np.ndarray],
    destination: str | Path,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Write VGG-19 with unit mean activations on some images; return its card.

    Args:
        weights: from `deepgaze_jax.weight_conversion.load_weights`.
        images: RGB 0..255 [height, width, 3], of any sizes, one at a time.
        destination: a `.safetensors` file.
        progress: called with the number of images done.

    Raises:
        WeightsError: another network, no image, or no place to write.
    """
    if weights.card["network"] != "vgg19":
        raise WeightsError(
            f"only vgg19 can be normalised; these are {weights.card['network']}"
        )
    require_destination(Path(destination))
    counted = []

    def report(done: int) -> None:
        counted.append(done)
        if progress:
            progress(done)

    scales = unit_mean_scales(measure_means(weights.params, images, report))
    params = rescale(weights.params, scales)
    card = weights.card | {
        "family": rescaled_family(scales),
        "rescaled_from": weights.card["family"],
        "rescaled_on": f"{len(counted)} images, unit mean activation per filter",
    }
    write_tensors(destination, named_features(params), card)
    return card


def measure_means(
    params: Params,
    images: Iterable[np.ndarray],
    progress: Callable[[int], None] | None = None,
) -> dict[str, np.ndarray]:
    """Return the mean activation of every filter over all pixels of all images.

    One image is in memory at a time. One pass is enough for all layers: once a layer is
    rescaled and the next one divides by its factors, everything above is as before, so
    bottom to top each layer finds the activations that it had.

    Args:
        params: of VGG-19, see `vgg19_features`.
        images: RGB 0..255 [height, width, 3], of any sizes.
        progress: called with the number of images done.

    Returns:
        `{"conv1_1": float64 [64], ...}`: means after the ReLU.

    Raises:
        WeightsError: there is no image.

    Reference:
        Gatys, Ecker & Bethge 2015, arXiv 1508.06576, section "Methods".
    """
    on_device = jax.device_put(params)
    sums, n_cells = {}, dict.fromkeys(_RELUS, 0)
    n_images = 0
    for image in images:
        taps = _relus(on_device, np.asarray(image, np.float32))
        for tap, (mean, n) in taps.items():
            sums[tap] = sums.get(tap, 0) + np.asarray(mean, np.float64) * int(n)
            n_cells[tap] += int(n)
        n_images += 1
        if progress:
            progress(n_images)
    if not n_images:
        raise WeightsError("no image was given; a mean activation needs at least one")
    return {
        layer: sums[relu] / n_cells[relu]
        for layer, relu in zip(CONVOLUTIONS, _RELUS, strict=True)
    }


@jax.jit
def _relus(params: Params, image: jax.Array) -> dict:
    taps = vgg19_features(params, image, _RELUS)
    return {
        tap: (values.mean((0, 1)), values.shape[0] * values.shape[1])
        for tap, values in taps.items()
    }


def unit_mean_scales(means: Scales) -> dict[str, np.ndarray]:
    """Return the factors that make every mean activation one.

    A filter that is never active keeps its scale.

    Example:
        >>> unit_mean_scales({"conv1_1": np.array([4.0, 0.0])})
        {'conv1_1': array([0.25, 1.  ])}
    """
    return {
        layer: 1 / np.where(np.asarray(mean) > 0, mean, 1.0)
        for layer, mean in means.items()
    }


def rescale(params: Params, scales: Scales) -> dict[str, dict[str, np.ndarray]]:
    """Return parameters with the filters of each layer times `scales[layer]`.

    Args:
        params: `{"conv1_1": {"kernel", "bias"}, ...}`, bottom to top.
        scales: positive factors [channels] of every layer.

    Returns:
        float32; every tap is the old one times its layer's factors.
    """
    result = {name: dict(parts) for name, parts in params.items()}
    below = np.ones(3)
    for layer in (name for name in CONVOLUTIONS if name in params):
        factors = np.asarray(scales[layer], np.float64)
        kernel = params[layer]["kernel"] / below[:, None] * factors
        bias = params[layer]["bias"] * factors
        result[layer] = {"kernel": np.float32(kernel), "bias": np.float32(bias)}
        below = factors
    return result


def recover_scales(original: Params, rescaled: Params) -> dict[str, np.ndarray]:
    """Return by which factors the filters of one set of values are those of another.

    Args:
        original: for example family O.
        rescaled: for example family N.

    Returns:
        `{layer: float64 [channels]}`, such that `rescale(original, scales)` is
        `rescaled`; the factor of a filter of zeros is one.

    Raises:
        WeightsError: they are not rescaled forms of each other; names the first layer
            and by how much.
    """
    scales, below = {}, np.ones(3)
    for layer in (name for name in CONVOLUTIONS if name in original):
        old = np.asarray(original[layer]["kernel"], np.float64) / below[:, None]
        new = np.asarray(rescaled[layer]["kernel"], np.float64)
        if old.shape != new.shape:
            raise WeightsError(f"{layer} is {list(new.shape)}, not {list(old.shape)}")
        power = (old**2).sum((0, 1, 2))
        factors = (old * new).sum((0, 1, 2)) / np.where(power > 0, power, 1)
        factors = np.where(power > 0, factors, 1.0)
        error = np.abs(old * factors - new).max() / max(np.abs(new).max(), 1e-30)
        bias = np.asarray(rescaled[layer]["bias"], np.float64)
        expected = original[layer]["bias"] * factors
        error = max(
            error, np.abs(expected - bias).max() / max(np.abs(bias).max(), 1e-30)
        )
        if (factors <= 0).any() or not error <= _TOLERANCE:
            raise WeightsError(
                f"{layer} is no rescaled form of the other one: after the best factors "
                f"they differ by {error:.1e} of the largest value, "
                f"{int((factors <= 0).sum())} factors are not positive"
            )
        scales[layer] = below = factors
    return scales


def transfer_kernel(
    kernel: np.ndarray, taps: Sequence[str], scales: Scales
) -> np.ndarray:
    """Return a readout's first kernel for features that were rescaled.

    Args:
        kernel: [*folds, channels, out]; rows in the order of `taps`.
        taps: feature maps that the readout sees.
        scales: factors by which the new features are stronger than those that the
            readout was trained on.

    Returns:
        float32 of the same shape; the readout computes what it did.

    Example:
        >>> scales = {"conv5_1": np.full(512, 2.0)}
        >>> transfer_kernel(np.ones((512, 16)), ["relu5_1"], scales)[0, 0].item()
        0.5
    """
    layers = [tap.replace("relu", "conv") for tap in taps]
    factors = np.concatenate([np.asarray(scales[layer]) for layer in layers])
    if kernel.shape[-2] != len(factors):
        raise WeightsError(
            f"the readout has {kernel.shape[-2]} channels, the taps have {len(factors)}"
        )
    return np.float32(kernel / factors[:, None])


def rescaled_family(scales: Scales) -> str:
    """Return a name for values that were rescaled here, different for other factors.

    Family N is one certain rescaling; a readout trained on it must not take another.
    """
    digest = hashlib.sha256()
    for layer in CONVOLUTIONS:
        digest.update(np.float32(scales[layer]).astype("<f4").tobytes())
    return f"N-{digest.hexdigest()[:8]}"
