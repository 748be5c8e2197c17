"""Predictions of a trained model, each by a fold that has not seen the image."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from deepgaze_jax.datasets.features import FeatureCache, open_cache, plan_cache
from deepgaze_jax.datasets.folder import FixationDataset
from deepgaze_jax.evaluation.predictions import Part, Prediction
from deepgaze_jax.images import rgb_sha256
from deepgaze_jax.model_cards import fold_text
from deepgaze_jax.model_files import check_family
from deepgaze_jax.predictor import CenterBias, FoldRule, Predictor
from deepgaze_jax.weights import cache_dir, features_card

__all__ = ["ModelSource", "find_cache", "image_scales", "name_of_baseline"]


class ModelSource:
    """A trained model on a data set.

    An image is only predicted by parameters that it took no part in making; it is
    recognised by its pixels, not by its name.

    Args:
        predictor: the model.
        dataset: images and fixations. Its `pixels_per_dva`, where stated, are used,
            unless the model's card does not know its own.
        fold: "auto": the fold that has not seen the image (all its seeds mixed, where
            it was trained with several), or the mixture for an image that no fold has
            seen; "mixture"; or one fold by its number.
        center_bias: for the model, and its baseline; by default that of the fold, or
            the pooled one for the mixture.
        cache: features of the data set, from `find_cache`; computed where left out.
        name: what tables call the model; by default its own name.
    """

    is_costly = True

    def __init__(
        self,
        predictor: Predictor,
        dataset: FixationDataset,
        *,
        fold: FoldRule = "auto",
        center_bias: CenterBias | None = None,
        cache: FeatureCache | None = None,
        name: str | None = None,
    ) -> None:
        # The name of the model's own data means a center bias that all its images took
        # part in; each fold has one without its test part.
        data = predictor.card.get("data", {})
        if isinstance(center_bias, str) and center_bias == data.get("name"):
            center_bias = None
        self.name = name or predictor.name
        self.predictor = predictor
        self.center_bias = center_bias
        self.scales = image_scales(predictor, dataset)
        self._dataset, self._fold, self._cache = dataset, fold, cache

    def identity(self) -> dict[str, Any]:
        """Returns what the model is, ready for JSON."""
        bias = self.center_bias
        if isinstance(bias, np.ndarray):
            bias = hashlib.sha256(np.ascontiguousarray(bias).tobytes()).hexdigest()
        return {
            "kind": "trained model",
            "name": self.predictor.name,
            "sha256": self.predictor.sha256,
            "fold": self._fold,
            "center_bias": None if bias is None else str(bias),
            "pixels_per_dva": _summary_of_scales(self.predictor, self.scales),
        }

    def card(self) -> dict[str, Any]:
        """Returns the identity: nothing is fitted here."""
        return self.identity()

    def predict(self, index: int) -> Prediction | None:
        """Returns the prediction for an image; None where the fold has seen it.

        Args:
            index: of the image in the data set.

        Raises:
            InputError: see `Predictor.predict`.
            ConfigError: no such fold or center bias.
        """
        predictor, cache = self.predictor, self._cache
        picture = None if cache else self._dataset.image(index)
        rgb_hash = cache.rgb_sha256[index] if cache else rgb_sha256(picture)
        number = self._fold
        if number == "auto":
            number = predictor.membership.unseen(rgb_hash)
        seeds = isinstance(number, tuple)
        if not seeds and predictor.membership.has_seen(rgb_hash, number):
            return None
        size = tuple(map(int, self._dataset.image_sizes[index]))
        scale = {"pixels_per_dva": self.scales[index]}
        if cache:
            features = cache.read([index], predictor.model.taps)[0]
        else:
            features = predictor.features(picture, **scale)
        which = {"fold": number, "center_bias": self.center_bias}
        log_density = predictor.log_density_of_features(
            features, size, **which, **scale
        )
        baseline = predictor.center_bias_log_density(size, **which)
        by = fold_text(number) if seeds else number
        return Prediction((Part(log_density),), by, baseline)


def find_cache(predictor: Predictor, dataset: FixationDataset) -> FeatureCache | None:
    """Returns the finished feature cache of a data set, if training left one.

    Only caches in float32 count, whose features are exactly those of a prediction.

    Args:
        predictor: the model, whose network, taps and scale the cache must have.
        dataset: whose pictures it must hold.

    Raises:
        WeightsError: the fetched weights are damaged, not there, or of another family
            than the readout was trained on.
    """
    folder = cache_dir() / "features"
    if predictor.stored_features is not None or not folder.is_dir():
        return None
    card = features_card(predictor.model.network)
    # Finished features would spare the prediction its own look at the weights.
    check_family(predictor.card, card)
    scales = [
        predictor.image_scale(value) for value in image_scales(predictor, dataset)
    ]
    return open_cache(
        plan_cache(
            dataset,
            predictor.model,
            card["source_sha256"],
            folder,
            np.array(scales),
        )
    )


def image_scales(predictor: Predictor, dataset: FixationDataset) -> list[float | None]:
    """Returns the pixels_per_dva to predict each image with; None is the card's own.

    Args:
        predictor: the model.
        dataset: images and fixations.
    """
    if dataset.pixels_per_dva is None or predictor.card.get("pixels_per_dva") is None:
        return [None] * len(dataset)
    return [float(value) for value in dataset.pixels_per_dva]


def name_of_baseline(
    center_bias: CenterBias | None, scored_by: Mapping[str, int]
) -> str:
    """Returns what the center bias that belongs to a model is called in results.

    Args:
        center_bias: what was chosen instead of the model's own.
        scored_by: how many images were scored by each fold, or by the mixture.
    """
    if isinstance(center_bias, np.ndarray):
        return "center bias given as an array"
    if center_bias is not None:
        return "uniform" if center_bias == "uniform" else f"center bias {center_bias}"
    if "mixture" not in scored_by:
        return "center bias of the fold"
    if len(scored_by) == 1:
        return "pooled center bias"
    return "center bias of the fold, the pooled one for images new to all folds"


def _summary_of_scales(
    predictor: Predictor, scales: Sequence[float | None]
) -> dict[str, Any]:
    stated = [value for value in scales if value is not None]
    own = predictor.card.get("pixels_per_dva")
    if not stated:
        return {"from": "the model's card", "min": own, "max": own}
    return {"from": "images.csv", "min": min(stated), "max": max(stated)}
