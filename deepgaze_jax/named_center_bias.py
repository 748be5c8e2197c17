"""Center biases that have a name, or lie in a file of numpy."""

import os
from pathlib import Path

import numpy as np

from deepgaze_jax.center_bias import (
    CENTER_BIAS_SHAPE,
    check_center_bias,
    uniform_log_density,
)
from deepgaze_jax.errors import ConfigError
from deepgaze_jax.model_files import available_models, load_model

__all__ = [
    "CenterBias",
    "center_bias_names",
    "chosen_center_bias",
    "load_center_bias",
]

#: A name, a `.npy` file or an array.
CenterBias = str | Path | np.ndarray


def chosen_center_bias(
    center_bias: CenterBias, image_size: tuple[int, int]
) -> np.ndarray:
    """Return a center bias that somebody chose for a picture.

    Args:
        center_bias: a name, a file or an array.
        image_size: height and width of the picture, which files and arrays must have.

    Returns:
        Natural-log density [h, w]; named ones at a size of their own.

    Raises:
        ConfigError: no such name, or a file that is not an array of numpy.
        InputError: it does not fit the picture.

    Example:
        >>> chosen_center_bias("uniform", (600, 800)).shape
        (75, 100)
    """
    if not isinstance(center_bias, str | os.PathLike):
        return check_center_bias(center_bias, *image_size)
    values = load_center_bias(center_bias)
    if str(center_bias) in center_bias_names():
        return values
    return check_center_bias(values, *image_size)


def center_bias_names() -> tuple[str, ...]:
    """Return the names of center biases: of the data sets that models were trained on.

    Example:
        >>> center_bias_names()[0]
        'uniform'
    """
    return ("uniform", *_models_by_data())


def load_center_bias(name_or_file: str | Path) -> np.ndarray:
    """Return a center bias by name ([75, 100]) or from a `.npy` file (as it is there).

    Args:
        name_or_file: a name in `center_bias_names()`, or a file of numpy.

    Raises:
        ConfigError: no such name, or a file that is not an array of numpy.

    Example:
        >>> load_center_bias("uniform").shape
        (75, 100)
    """
    models = _models_by_data()
    if str(name_or_file) == "uniform":
        return uniform_log_density(*CENTER_BIAS_SHAPE)
    if str(name_or_file) in models:
        tensors, _ = load_model(models[str(name_or_file)])
        return tensors["center_bias/log_density"][-1]
    path = Path(name_or_file)
    if path.suffix.lower() != ".npy":
        raise ConfigError(
            f"there is no center bias {str(name_or_file)!r}; there are: "
            f"{', '.join(center_bias_names())}; or give a .npy file"
        )
    try:
        # Mapped, so that a header cannot ask for more memory than the file has.
        return np.array(np.load(path, mmap_mode="r", allow_pickle=False))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (OSError, ValueError, EOFError) as error:
        # What numpy says of a file that is none of its own is advice to unpickle it.
        why = f" ({error.strerror})" if isinstance(error, OSError) else ""
        raise ConfigError(
            f"{path}: is not a center bias{why}; expected a .npy file with the log "
            "density [height, width]"
        ) from error


def _models_by_data() -> dict[str, str]:
    """Return one model for each data set, both by name."""
    # A model is called architecture-data, or architecture-data-kind.
    return {name.split("-")[1]: name for name in available_models()[::-1]}
