"""Prediction: a picture in, the log density of its fixations out."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from deepgaze_jax.errors import WeightsError
from deepgaze_jax.model_cards import FoldMembership, model_of_card, nested
from deepgaze_jax.model_files import MODELS, check_family, load_model, resolve
from deepgaze_jax.ops import FeaturePrecision
from deepgaze_jax.predictor import CenterBias, FoldRule, Predictor
from deepgaze_jax.weights import REGISTRY, checked_features, read_features

__all__ = ["Predictor", "load_pretrained", "predict"]


def load_pretrained(
    name_or_path: str | Path = "deepgaze2",
    *,
    features: str | Path | None = None,
    feature_precision: FeaturePrecision = "float32",
) -> Predictor:
    """Return a model that is ready to predict.

    Only the readout is read here. The weights of its feature network are taken from
    the weights cache when they are first needed; nothing is downloaded.

    Args:
        name_or_path: a model's name or alias, a `.safetensors` file, or the folder of
            a finished training run.
        features: a file of feature weights, from `deepgaze weights convert`, in place
            of those in the cache or in the model file.
        feature_precision: in what the feature network multiplies; sums are float32,
            and so is all behind the features. "bfloat16" and "tensorfloat32" are for
            accelerators, on a CPU they are slower or the same.

    Raises:
        ConfigError: no such model or precision.
        WeightsError: features of another family than the readout was trained on, a
            run that has not finished, a damaged file, or a card that this version
            cannot use.

    Example:
        >>> predictor = load_pretrained("deepgaze2")  # doctest: +SKIP
        >>> predictor.predict("photograph.jpg").shape  # doctest: +SKIP
        (600, 800)
    """
    path = resolve(name_or_path)
    tensors, card = load_model(path)
    params = nested(tensors)
    model = model_of_card(card, params, path)
    stored = None
    if features is not None:
        stored, features_card = read_features(features)
        check_family(card, features_card)
    elif "features" in params:
        stored = _stored_features(path, tensors, model.network)
        if isinstance(card.get("features"), dict):
            check_family(card, card["features"])
    params.pop("features", None)
    center_biases = params.pop("center_bias")["log_density"]
    n_listed = len(FoldMembership.of_card(card).folds)
    if n_listed not in (0, len(center_biases) - 1):
        raise WeightsError(
            f"{path}: its card lists {n_listed} folds, its tensors have "
            f"{len(center_biases) - 1}; the two do not belong together: export it again"
        )
    return Predictor(
        # Not the whole path: results that name it may be published.
        name=path.stem if path.stem in MODELS else Path(name_or_path).name,
        model=model,
        params=params,
        center_biases=center_biases,
        card=card,
        stored_features=stored,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        feature_precision=feature_precision,
    )


def _stored_features(
    path: Path, tensors: Mapping[str, np.ndarray], network: str
) -> dict[str, dict]:
    """Return the parameters of the feature network that a model file carries."""
    if network not in REGISTRY:
        raise WeightsError(
            f"{path}: carries features, but {network} has no weights; export it again"
        )
    try:
        return checked_features(tensors, REGISTRY[network])
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error


def predict(
    image: Any,
    model: str | Path | Predictor = "deepgaze2",
    *,
    center_bias: CenterBias | None = None,
    pixels_per_dva: float | None = None,
    fold: FoldRule = "mixture",
    without_center_bias: bool = False,
) -> np.ndarray:
    """Return the log density of fixations on a picture, at its own size.

    A name is loaded anew each time; for many pictures load the model once with
    `load_pretrained` and call its `predict`, whose arguments these are.

    Args:
        image: a picture file, bytes, a Pillow image or an array, RGB 0..255; an array
            [B, H, W, 3] is a batch.
        model: name, file, run folder, or a loaded model.
        center_bias: see `Predictor.predict`.
        pixels_per_dva: see `Predictor.predict`.
        fold: see `Predictor.predict`.
        without_center_bias: see `Predictor.predict`.

    Returns:
        numpy float32 [H, W] or [B, H, W]; log-sum-exp 0.

    Raises:
        DeepGazeError: see `load_pretrained` and `Predictor.predict`.

    Example:
        >>> log_density = predict("photograph.jpg")  # doctest: +SKIP
        >>> float(np.exp(log_density).sum())  # doctest: +SKIP
        1.0
    """
    predictor = model if isinstance(model, Predictor) else load_pretrained(model)
    return predictor.predict(
        image,
        center_bias=center_bias,
        pixels_per_dva=pixels_per_dva,
        fold=fold,
        without_center_bias=without_center_bias,
    )
