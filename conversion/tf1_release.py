"""The authors' TF-1 releases of DeepGaze II and ICF: their arrays -> our model's.

Ten readouts lie side by side; here they become one leading fold axis. The first layer
of DeepGaze II is stored as one kernel for each tap.

Reference: Kümmerer, Wallis & Bethge 2016; Kümmerer, Wallis, Gatys & Bethge 2017.
"""

import re
from collections.abc import Mapping

import numpy as np

from deepgaze_jax.errors import WeightsError

__all__ = ["features_of", "model_tensors", "release_of"]

_N_FOLDS = 10
_PARTS = {"deepgaze2": (5, 512), "icf": (1, 30)}
_RELEASE = re.compile(r"(readout_network|saliency_map)_\d+/")
_FEATURES = "features1/"

# Ours -> theirs, with the shape; `dense0/kernel` is made of parts.
_LAYERS = {
    "readout/dense0/bias": ("readout_network_{k}/conv1/biases", (16,)),
    "readout/dense1/kernel": ("readout_network_{k}/conv2/weights", (1, 1, 16, 32)),
    "readout/dense1/bias": ("readout_network_{k}/conv2/biases", (32,)),
    "readout/dense2/kernel": ("readout_network_{k}/conv3/weights", (1, 1, 32, 2)),
    "readout/dense2/bias": ("readout_network_{k}/conv3/biases", (2,)),
    "readout/dense3/kernel": ("readout_network_{k}/conv4/weights", (1, 1, 2, 1)),
    "finalizer/sigma_grid_px": ("saliency_map_{k}/sigma", ()),
    "finalizer/center_bias_weight": ("saliency_map_{k}/alpha", ()),
}


def release_of(names: Mapping[str, object]) -> str:
    """Return `deepgaze2`, `icf`, or an empty text if the names are of neither.

    Example:
        >>> release_of({"saliency_map_0/alpha": 0, "readout_network_0/conv1_part0": 0})
        'icf'
    """
    if not any(_RELEASE.match(name) for name in names):
        return ""
    deepgaze2 = any(
        name.startswith(_FEATURES) or re.search(r"conv1_part[1-9]", name)
        for name in names
    )
    return "deepgaze2" if deepgaze2 else "icf"


def features_of(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the arrays of the feature network, under the names they have."""
    return {n: array for n, array in arrays.items() if n.startswith(_FEATURES)}


def model_tensors(
    arrays: Mapping[str, np.ndarray], release: str
) -> dict[str, np.ndarray]:
    """Return the tensors of readouts and finalizers, ten folds first.

    Args:
        arrays: of the whole release.
        release: `deepgaze2` or `icf`.

    Returns:
        `{"readout/dense0/kernel": [10, channels, 16], ...}`; rows in the order of the
        taps conv5_1, relu5_1, relu5_2, conv5_3, relu5_4.

    Raises:
        WeightsError: names all arrays that are missing, unknown or mis-shaped.
    """
    n_parts, channels = _PARTS[release]
    parts = {
        f"readout_network_{{k}}/conv1_part{p}/weights": (1, 1, channels, 16)
        for p in range(n_parts)
    }
    expected = {
        theirs.format(k=k): shape
        for theirs, shape in [*parts.items(), *_LAYERS.values()]
        for k in range(_N_FOLDS)
    }
    _check(arrays, expected, release)

    def stacked(theirs: str) -> np.ndarray:
        folds = [np.float32(arrays[theirs.format(k=k)]) for k in range(_N_FOLDS)]
        # A 1x1 convolution is a matrix.
        return np.stack([f[0, 0] if f.ndim == 4 else f for f in folds])

    kernel = np.concatenate([stacked(theirs) for theirs in parts], axis=1)
    tensors = {"readout/dense0/kernel": kernel}
    tensors |= {ours: stacked(theirs) for ours, (theirs, _) in _LAYERS.items()}
    return tensors


def _check(
    arrays: Mapping[str, np.ndarray], expected: Mapping[str, tuple], release: str
) -> None:
    missing = [name for name in expected if name not in arrays]
    unknown = [n for n in arrays if n not in expected and not n.startswith(_FEATURES)]
    wrong = [
        f"{name} {list(np.shape(arrays[name]))} instead of {list(shape)}"
        for name, shape in expected.items()
        if name in arrays and np.shape(arrays[name]) != shape
    ]
    wrong += [
        f"{name} has values that are not finite"
        for name in expected
        if name in arrays and not np.isfinite(arrays[name]).all()
    ]
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
            f"these are not the {len(expected)} readout arrays of the {release} "
            f"release; {'; '.join(problems)}"
        )
