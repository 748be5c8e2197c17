"""MatConvNet networks (`.mat`) in, named arrays out; needs no MATLAB."""

from pathlib import Path

import numpy as np

from deepgaze_jax.conversion.arrays import MAX_BYTES, check_name, check_total
from deepgaze_jax.conversion.mat_file import Value, read_variables
from deepgaze_jax.errors import WeightsError

__all__ = ["MAX_BYTES", "read"]


def read(path: str | Path, max_bytes: int = MAX_BYTES) -> dict[str, np.ndarray]:
    """Return all arrays of a MatConvNet network.

    Fields are found by name, so the layouts of all versions are read: `layers` beside
    `normalization` (old) or `meta` (new), weights in a cell `weights` or in `filters`
    and `biases`, at the top of the file or in a variable `net`.

    Args:
        path: a MATLAB 5 file.
        max_bytes: limit for all arrays together.

    Returns:
        `{"conv1_1/0": filters, "conv1_1/1": biases, ...}`: the name of the layer and
        the number of its array. Types and axes as in the file: filters are [height,
        width, in, out]; a bias has two axes, and last axes of length 1 are left out.

    Raises:
        WeightsError: another kind of file, cut off, damaged, too large, or no network.

    Example:
        >>> read("imagenet-vgg-verydeep-19.mat")["conv1_1/0"].shape
        ... # doctest: +SKIP
        (3, 3, 3, 64)
    """
    path = Path(path)
    found = read_variables(path, ("layers", "net", "params"), max_bytes)
    layers = found.get("layers")
    if "net" in found:
        layers = _struct(found["net"]).get("layers")
    if not isinstance(layers, list):
        raise WeightsError(f"{path}: has no variable `layers`; expected a network")
    arrays: dict[str, np.ndarray] = {}
    try:
        for layer in map(_struct, layers):
            for number, array in enumerate(_weights(layer)):
                name = f"{check_name(_text(layer.get('name')))}/{number}"
                if name in arrays:
                    raise ValueError(f"{name} is there twice")
                arrays[name] = array
    except ValueError as error:
        raise WeightsError(f"{path}: is damaged ({error})") from error
    if not arrays and "params" in found:
        raise WeightsError(
            f"{path}: is a network of the kind DagNN, which is not read; expected one "
            "of the kind SimpleNN"
        )
    if not arrays:
        raise WeightsError(f"{path}: has no arrays; expected the weights of a network")
    check_total(path, sum(array.nbytes for array in arrays.values()), max_bytes)
    return arrays


def _weights(layer: dict[str, Value]) -> list[np.ndarray]:
    weights = layer.get("weights")
    if not isinstance(weights, list):
        weights = [layer.get("filters"), layer.get("biases")]
    arrays = [w for w in weights if isinstance(w, np.ndarray)]
    # Layers that have none may still have the field.
    return [array for array in arrays if array.size and array.dtype.kind == "f"]


def _struct(value: Value) -> dict[str, Value]:
    """Return the only element of a struct; an empty one for anything else."""
    is_struct = isinstance(value, list) and len(value) == 1
    return value[0] if is_struct and isinstance(value[0], dict) else {}


def _text(value: Value) -> str:
    return value if isinstance(value, str) else ""
