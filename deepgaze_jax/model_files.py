"""Models as safetensors files: tensors, and a card that says what they are."""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save

from deepgaze_jax.conversion import safetensors_file
from deepgaze_jax.errors import ConfigError, WeightsError
from deepgaze_jax.files import replacing

__all__ = [
    "ALIASES",
    "FORMAT_VERSION",
    "MODELS",
    "RUN_MODEL",
    "available_models",
    "check_family",
    "check_version",
    "load_model",
    "read_card",
    "read_tensors",
    "resolve",
    "save_model",
    "write_tensors",
]

#: Version of the layout; files of a newer one are refused.
FORMAT_VERSION = 1

#: Models that this package may carry.
MODELS = ("deepgaze2-osie", "deepgaze2-osie-paper", "deepgaze1-osie", "icf-osie")

#: Short names.
ALIASES = {
    "deepgaze2": "deepgaze2-osie",
    "deepgaze2-paper": "deepgaze2-osie-paper",
    "deepgaze1": "deepgaze1-osie",
    "icf": "icf-osie",
}

#: Where a finished training run keeps its model.
RUN_MODEL = "model.safetensors"

_PRETRAINED = Path(__file__).parent / "pretrained"
_MAX_HEADER_BYTES = safetensors_file.MAX_HEADER_BYTES
_MAX_FILE_BYTES = 2 << 30
_CENTER_BIAS_SHAPE = (75, 100)
# As everywhere where a log density comes from outside.
_MAX_LOG_SUM = 1e-3

_REQUIRED = (
    "readout/dense0/kernel",
    "finalizer/sigma_grid_px",
    "finalizer/center_bias_weight",
    "center_bias/log_density",
)
_KNOWN = re.compile(
    r"readout/(dense\d+/(kernel|bias)|layer_norm\d+/(scale|bias))|"
    r"finalizer/(sigma_grid_px|center_bias_weight)|"
    r"center_bias/log_density|features/\w+(/\w+)*"
)


#: What may be stored as float16; everything is float32 once it is read.
_KERNEL = re.compile(r"readout/dense\d+/kernel")


def available_models(folder: Path = _PRETRAINED) -> tuple[str, ...]:
    """Return the names of the models that lie in this installation."""
    return tuple(name for name in MODELS if (folder / f"{name}.safetensors").is_file())


def resolve(name_or_path: str | Path, folder: Path = _PRETRAINED) -> Path:
    """Return the file of a model, given its name, its alias or a path.

    Args:
        name_or_path: `deepgaze2-osie`, an alias such as `deepgaze2`, a
            `.safetensors` file, or the folder of a finished training run.
        folder: where named models lie.

    Returns:
        An existing file.

    Raises:
        ConfigError: there is no such model; names those that there are.
        WeightsError: a run that has not finished.

    Example:
        >>> resolve("deepgaze9")
        Traceback (most recent call last):
        deepgaze_jax.errors.ConfigError: deepgaze9: no such model or file; ...
    """
    name = ALIASES.get(str(name_or_path), str(name_or_path))
    if name in MODELS:
        path = folder / f"{name}.safetensors"
        if path.is_file():
            return path
        problem = f"the model {name} is not part of this installation"
    elif not isinstance(name_or_path, str | os.PathLike):
        problem = f"{type(name_or_path).__name__} is not the name of a model or a file"
    else:
        path = Path(name_or_path)
        if path.is_file():
            return path
        if path.is_dir():
            return _of_run(path)
        problem = f"{name_or_path}: no such model or file"
    there = ", ".join(available_models(folder)) or "none"
    raise ConfigError(
        f"{problem}; available models: {there}; or give a .safetensors file"
    )


def _of_run(run: Path) -> Path:
    """Return the model of a training run."""
    path = run / RUN_MODEL
    if path.is_file():
        return path
    if (run / "config.json").is_file():
        problem = (
            "training has not finished; go on with "
            f"`deepgaze train --data ... -o {run} --resume` and the options that it "
            "was started with"
        )
    else:
        problem = (
            f"is a folder without {RUN_MODEL}; give the folder of a training run, or a "
            ".safetensors file"
        )
    raise WeightsError(f"{run}: {problem}")


def save_model(
    path: str | Path,
    tensors: Mapping[str, np.ndarray],
    card: Mapping[str, Any],
    half_kernels: bool = False,
) -> None:
    """Write a model file; returns nothing.

    Args:
        path: ends in `.safetensors`; replaced in one step if it exists.
        tensors: float32, F folds first: `readout/dense0/kernel` [F, in, out], ...,
            `finalizer/sigma_grid_px` [F], `finalizer/center_bias_weight` [F],
            `center_bias/log_density` [F+1, 75, 100]; `features/...` may be there.
        card: what the model is, for JSON; `format_version` is filled in.
        half_kernels: store the kernels of the readout, most of the file, as float16.
            They are read as float32, rounded to 11 bits: score what is in the file.

    Raises:
        WeightsError: names all tensors that are missing, unknown or wrong at once.
    """
    path = Path(path)
    card = {"format_version": FORMAT_VERSION, **card}
    tensors = {name: np.asarray(array) for name, array in tensors.items()}
    check_version(path, card)
    if half_kernels:
        # What is too large becomes infinite, and is refused as that.
        with np.errstate(over="ignore"):
            tensors = {
                name: np.float16(a) if _KERNEL.fullmatch(name) else a
                for name, a in tensors.items()
            }
    _check_model(path, tensors)
    write_tensors(path, tensors, card)


def load_model(
    name_or_path: str | Path, folder: Path = _PRETRAINED
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the tensors and the card of a model.

    Args:
        name_or_path: see `resolve`.
        folder: where named models lie.

    Returns:
        `({"readout/dense0/kernel": float32 [F, in, out], ...}, card)`.

    Raises:
        ConfigError: no such model.
        WeightsError: a damaged file, a newer format, or tensors that are missing,
            unknown or mis-shaped: all of them are named at once.
    """
    path = resolve(name_or_path, folder)
    tensors, card = read_tensors(path)
    check_version(path, card)
    _check_model(path, tensors)
    return tensors, card


def check_version(path: Path, card: Mapping[str, Any]) -> None:
    """Refuse a file that is no model of this package, or a newer one; returns nothing.

    Raises:
        WeightsError: there is no format_version, or none that this version reads.
    """
    version = card.get("format_version")
    if version is None:
        raise WeightsError(
            f"{path}: has no card with a format_version, so it is no model of this "
            "package; foreign files are converted first"
        )
    # bool is an int for Python.
    if type(version) is not int or not 1 <= version <= FORMAT_VERSION:
        raise WeightsError(
            f"{path}: has format_version {ascii(version)[:20]}; this version reads up "
            f"to {FORMAT_VERSION}: update deepgaze-jax"
        )


def check_family(card: Mapping[str, Any], features_card: Mapping[str, Any]) -> None:
    """Refuse features of another family than a readout was trained on.

    Two sets of values of one network give features that look alike and mean something
    else, and a readout would return a plausible, wrong density.

    Args:
        card: of the model, with `network` and `family`.
        features_card: of the feature weights, with `network` and `family`.

    Raises:
        WeightsError: they differ; names both.

    Example:
        >>> check_family({"network": "vgg19", "family": "O"},
        ...              {"network": "vgg19", "family": "O"})
    """
    needed = (card.get("network"), card.get("family"))
    given = (features_card.get("network"), features_card.get("family"))
    if needed != given:
        raise WeightsError(
            f"the readout was trained on {needed[0]} of family {needed[1]}, but the "
            f"features are {given[0]} of family {given[1]}; their values differ: use "
            f"weights of family {needed[1]}"
        )


def write_tensors(
    path: str | Path, tensors: Mapping[str, np.ndarray], card: Mapping[str, Any]
) -> None:
    """Write arrays and a card to a safetensors file, in one step.

    Args:
        path: the file; it appears complete or not at all.
        tensors: name -> array; float16 kernels of a readout stay that, all else is
            written as float32.
        card: goes into the header under the key `card`, as JSON.

    Raises:
        WeightsError: the card is not JSON, or too large.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "small.safetensors"
        ...     write_tensors(path, {"a": np.ones(2)}, {"licence": "MIT"})
        ...     read_tensors(path)
        ({'a': array([1., 1.], dtype=float32)}, {'licence': 'MIT'})
    """
    path = Path(path)
    try:
        text = json.dumps(card, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{path}: the card is not valid JSON ({error})") from error
    if len(text.encode()) > _MAX_HEADER_BYTES // 2:
        raise WeightsError(
            f"{path}: the card takes {len(text.encode()):,} bytes; at most "
            f"{_MAX_HEADER_BYTES // 2:,} are allowed"
        )
    arrays = {
        name: np.array(array, _stored_type(name, np.asarray(array).dtype), order="C")
        for name, array in tensors.items()
    }
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(save(arrays, metadata={"card": text}))
    except (OSError, SafetensorError) as error:
        line = " ".join(str(error).split())
        raise WeightsError(f"{path}: cannot be written ({line})") from error


def _stored_type(name: str, dtype: np.dtype) -> type:
    """Return float16 for kernels of a readout that are it, float32 for all else."""
    half = dtype == np.float16 and _KERNEL.fullmatch(name)
    return np.float16 if half else np.float32


def read_tensors(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the float32 arrays and the card of a safetensors file.

    Args:
        path: the file.

    Returns:
        `({name: array}, card)`; a file without a card has an empty one.

    Raises:
        WeightsError: another kind of file, cut off, damaged, too large, or neither
            float32 nor, where these are kernels of a readout, float16.
    """
    path = Path(path)
    header = safetensors_file.read_header(path)
    types = {name: entry.dtype for name, entry in header.entries.items()}
    other = [
        f"{name} ({t})"
        for name, t in types.items()
        if t != "F32" and not (t == "F16" and _KERNEL.fullmatch(name))
    ]
    if other:
        raise WeightsError(
            f"{path}: expected float32 arrays; others are {', '.join(other[:5])}"
        )
    return safetensors_file.read(path, _MAX_FILE_BYTES), _card(path, header.metadata)


def read_card(path: str | Path) -> dict[str, Any]:
    """Return the card of a safetensors file without reading its arrays.

    Raises:
        WeightsError: another kind of file, cut off, damaged or too large.
    """
    path = Path(path)
    return _card(path, safetensors_file.read_header(path).metadata)


def _card(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    try:
        card = json.loads(metadata.get("card", "{}"))
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path}: its card is not valid JSON ({error})") from error
    if not isinstance(card, dict):
        raise WeightsError(f"{path}: its card is not a JSON object")
    return card


def _check_model(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Raise one error with everything that is wrong with a model's tensors."""
    missing = [name for name in _REQUIRED if name not in tensors]
    unknown = [name for name in tensors if not _KNOWN.fullmatch(name)]
    wrong = [] if missing else _wrong_shapes(tensors)
    wrong += [
        f"{name} has values that are not finite"
        for name, array in tensors.items()
        if not np.isfinite(array).all()
    ]
    if not (missing or wrong):
        log_sum = np.log(
            np.exp(tensors["center_bias/log_density"].astype(np.float64)).sum((1, 2))
        )
        if np.abs(log_sum).max() > _MAX_LOG_SUM:
            wrong.append("center_bias/log_density does not sum to one over its cells")
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
        raise WeightsError(f"{path}: is not a fixation model; {'; '.join(problems)}")


def _wrong_shapes(tensors: Mapping[str, np.ndarray]) -> list[str]:
    """Return a text for each tensor that does not fit the others."""
    shapes = {name: np.shape(array) for name, array in tensors.items()}
    n_folds = (*shapes["finalizer/sigma_grid_px"], 0)[0]
    expected = {
        "finalizer/sigma_grid_px": (n_folds,),
        "finalizer/center_bias_weight": (n_folds,),
        "center_bias/log_density": (n_folds + 1, *_CENTER_BIAS_SHAPE),
    }
    kernels = [name for name in shapes if re.fullmatch(r"readout/.*/kernel", name)]
    layer_norms = any(name.startswith("readout/layer_norm") for name in shapes)
    channels = None
    for layer in range(len(kernels)):
        name = f"readout/dense{layer}"
        kernel = shapes.get(f"{name}/kernel", ())
        if len(kernel) != 3:
            return [f"{name}/kernel {list(kernel)} instead of [folds, in, out]"]
        channels_out = 1 if layer == len(kernels) - 1 else kernel[2]
        # How many channels the features have is the model's business, not the file's.
        expected[f"{name}/kernel"] = (n_folds, channels or kernel[1], channels_out)
        if layer < len(kernels) - 1:
            expected[f"{name}/bias"] = (n_folds, channels_out)
            if layer_norms:
                norm = f"readout/layer_norm{layer}"
                expected[f"{norm}/scale"] = (n_folds, channels or kernel[1])
                expected[f"{norm}/bias"] = (n_folds, channels or kernel[1])
        channels = channels_out
    wrong = [
        f"{name} {list(shapes[name])} instead of {list(shape)}"
        for name, shape in expected.items()
        if name in shapes and (shapes[name] != shape or n_folds == 0)
    ]
    wrong += [f"{name} is missing" for name in expected if name not in shapes]
    strays = [n for n in shapes if n.startswith("readout/") and n not in expected]
    wrong += [f"{name} belongs to no layer" for name in strays]
    if not (tensors["finalizer/sigma_grid_px"] > 0).all():
        wrong.append("finalizer/sigma_grid_px is not above 0 everywhere")
    return wrong
