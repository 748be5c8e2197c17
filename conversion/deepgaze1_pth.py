"""DeepGaze I, the public PyTorch re-issue: its state dict -> our model's tensors.

The names are those that its class gives; no file was seen. The network stands behind a
module that normalises, in a row, inside a module that collects features: hence
`features.features.1.features.10.weight`. One readout; here a fold axis of length one.

Reference: Kümmerer, Theis & Bethge 2015, arXiv 1411.1045; deepgaze_pytorch 1.2.1.
"""

from collections.abc import Mapping

import numpy as np

from deepgaze_jax.alexnet import CONVOLUTIONS, KERNEL_SIZES, MEAN_RGB, STD_RGB
from deepgaze_jax.conversion.arrays import converted
from deepgaze_jax.errors import WeightsError

__all__ = ["features_of", "is_release", "model_tensors"]

_NETWORK = "features.features.1."
_SIGMA = "finalizer.gauss.sigma"
_KERNEL = "readout_network.conv0.weight"
_CENTER_BIAS_WEIGHT = "finalizer.center_bias_weight"
_INDICES = dict(zip(CONVOLUTIONS, (0, 3, 6, 8, 10), strict=True))

# Left out: the classifier above the convolutions. Constants: the class keeps them out
# of its files, an older one need not have done so.
_CLASSIFIER = f"{_NETWORK}classifier."
_CONSTANTS = {
    "features.features.0.mean": MEAN_RGB,
    "features.features.0.std": STD_RGB,
}
_MAX_NAMES = 2000


def _layers() -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return ours -> (theirs, shape there)."""
    layers = {}
    channels_in = 3
    for layer, channels in CONVOLUTIONS.items():
        side = KERNEL_SIZES.get(layer, 3)
        at = f"{_NETWORK}features.{_INDICES[layer]}"
        kernel = (channels, channels_in, side, side)
        layers[f"features/{layer}/kernel"] = (f"{at}.weight", kernel)
        layers[f"features/{layer}/bias"] = (f"{at}.bias", (channels,))
        channels_in = channels
    layers["readout/dense0/kernel"] = (_KERNEL, (1, channels_in, 1, 1))
    layers["finalizer/sigma_grid_px"] = (_SIGMA, ())
    layers["finalizer/center_bias_weight"] = (_CENTER_BIAS_WEIGHT, (1,))
    return layers


_LAYERS = _layers()


def _prefix(names: Mapping[str, object]) -> str | None:
    """Return what stands before every name (`module.`, `model.`), None if no name is.

    A checkpoint of training keeps the state dict below `model`, beside the optimiser's.
    """
    found: dict[str, int] = {}
    for name in names:
        for theirs, _ in _LAYERS.values():
            before = name.removesuffix(theirs)
            if before != name and (not before or before.endswith(".")):
                found[before] = found.get(before, 0) + 1
    return max(found, key=found.__getitem__) if found else None


def is_release(names: Mapping[str, object]) -> bool:
    """Return whether names are those of DeepGaze I, if perhaps not all of them.

    Its relatives (DeepGaze II, IIE, III) share parts of the names; their readouts have
    other layers.

    Example:
        >>> is_release({"finalizer.gauss.sigma": 0, "readout_network.conv0.weight": 0})
        True
        >>> is_release({"finalizer.gauss.sigma": 0, "readout_network.conv1.weight": 0})
        False
    """
    prefix = _prefix(names) if len(names) <= _MAX_NAMES else None
    if prefix is None:
        return False
    own = [n.removeprefix(prefix).split(".") for n in names if n.startswith(prefix)]
    parts = {words[0] for words in own}
    layers = {words[1] for words in own if words[0] == "readout_network" and words[1:]}
    return (
        parts <= {"features", "readout_network", "finalizer"}
        and layers <= {"conv0"}
        and len(parts) >= 2
    )


def features_of(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the arrays of AlexNet, under the names they have."""
    start = (_prefix(arrays) or "") + _NETWORK
    return {name: array for name, array in arrays.items() if name.startswith(start)}


def model_tensors(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the tensors of features, readout and finalizer; the latter have one fold.

    Args:
        arrays: of the state dict; what stands beside it in a checkpoint is left out.

    Returns:
        float32 `{"features/conv1/kernel": [11, 11, 3, 64], ...,
        "readout/dense0/kernel": [1, 256, 1], "finalizer/sigma_grid_px": [1],
        "finalizer/center_bias_weight": [1]}`.

    Raises:
        WeightsError: names all arrays that are missing, unknown or wrong.
    """
    prefix = _prefix(arrays) or ""
    theirs = tuple(name for name, _ in _LAYERS.values())
    # Of several models in one file none is the one.
    others = [n for n in arrays if not n.startswith(prefix) and n.endswith(theirs)]
    arrays = {
        name.removeprefix(prefix): converted(np.asarray(array), "float32")
        for name, array in arrays.items()
        if name.startswith(prefix)
    }
    _check(arrays, others)
    tensors = {}
    for ours, (name, _) in _LAYERS.items():
        array = arrays[name]
        if ours == "readout/dense0/kernel":
            array = array[:, :, 0, 0].T[None]
        elif array.ndim == 4:
            array = array.transpose(2, 3, 1, 0)
        elif ours.startswith("finalizer/"):
            array = array.reshape(1)
        tensors[ours] = np.ascontiguousarray(array)
    return tensors


def _check(arrays: Mapping[str, np.ndarray], others: list[str]) -> None:
    expected = dict(_LAYERS.values())
    missing = [name for name in expected if name not in arrays]
    unknown = [
        name
        for name in arrays
        if name not in expected
        and name not in _CONSTANTS
        and not name.startswith(_CLASSIFIER)
    ]
    unknown += others
    wrong = []
    for name, shape in expected.items():
        array = arrays.get(name)
        if array is None:
            continue
        if array.shape != shape:
            wrong.append(f"{name} {list(array.shape)} instead of {list(shape)}")
        elif not np.isfinite(array).all():
            wrong.append(f"{name} has values that are not finite")
        elif name == _SIGMA and not array > 0:
            wrong.append(f"{name} is {float(array):g}, not above 0")
    for name, values in _CONSTANTS.items():
        array = arrays.get(name, np.float32(values))
        if array.size != 3 or np.abs(array.reshape(-1) - values).max() > 1e-6:
            wrong.append(f"{name} is not {' '.join(map(str, values))}")
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
            f"these are not the {len(expected)} arrays of DeepGaze I; "
            + "; ".join(problems)
        )
