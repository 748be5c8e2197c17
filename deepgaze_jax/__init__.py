"""Where do people look in an image? DeepGaze II in JAX and Flax.

Public names are imported when they are first used, so that importing the package
costs nothing and starts no device.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deepgaze_jax.center_bias import fit_center_bias
    from deepgaze_jax.datasets.folder import FixationDataset, read_folder
    from deepgaze_jax.errors import DeepGazeError
    from deepgaze_jax.evaluation import evaluate
    from deepgaze_jax.fixations import Fixations
    from deepgaze_jax.folds import make_folds
    from deepgaze_jax.gold_standard_fit import fit_gold_standard
    from deepgaze_jax.images import load_image
    from deepgaze_jax.metrics import information_gain, log_likelihood
    from deepgaze_jax.model import FixationModel
    from deepgaze_jax.plotting import overlay
    from deepgaze_jax.prediction import load_pretrained, predict
    from deepgaze_jax.predictor import Predictor
    from deepgaze_jax.sampling import sample_fixations
    from deepgaze_jax.visual_angle import pixels_per_dva

__version__ = "0.1.0"

__all__ = [
    "DeepGazeError",
    "FixationDataset",
    "FixationModel",
    "Fixations",
    "Predictor",
    "deepgaze2",
    "evaluate",
    "fit_center_bias",
    "fit_gold_standard",
    "information_gain",
    "load_image",
    "load_pretrained",
    "log_likelihood",
    "make_folds",
    "overlay",
    "pixels_per_dva",
    "predict",
    "read_folder",
    "sample_fixations",
]

_HOME = {
    "DeepGazeError": "errors",
    "FixationDataset": "datasets.folder",
    "FixationModel": "model",
    "Fixations": "fixations",
    "Predictor": "predictor",
    "deepgaze2": "architectures",
    "evaluate": "evaluation",
    "fit_center_bias": "center_bias",
    "fit_gold_standard": "gold_standard_fit",
    "information_gain": "metrics",
    "load_image": "images",
    "load_pretrained": "prediction",
    "log_likelihood": "metrics",
    "make_folds": "folds",
    "overlay": "plotting",
    "pixels_per_dva": "visual_angle",
    "predict": "prediction",
    "read_folder": "datasets.folder",
    "sample_fixations": "sampling",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    # Without what this file itself imports.
    own = {name for name in globals() if name.startswith("__")}
    return sorted({*own, *__all__})
