"""Baselines as models: uniform, center bias, gold standard, and all people together.

Whatever they are fitted to leaves out the image that is scored: the ten folds of the
data set are those that training uses, and an image is scored with what was fitted on
the training images of the fold that it is a test image of.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from deepgaze_jax.center_bias import (
    CenterBias,
    fit_center_biases,
    resample_log_density,
    uniform_log_density,
)
from deepgaze_jax.datasets.folder import FixationDataset
from deepgaze_jax.evaluation.predictions import Part, Prediction
from deepgaze_jax.folds import Fold, make_folds
from deepgaze_jax.gold_standard import GoldStandard, gold_standard_log_density
from deepgaze_jax.gold_standard_fit import fit_gold_standard
from deepgaze_jax.leave_one_out import leave_one_out_center_biases

__all__ = [
    "BASELINES",
    "FITTED_ON",
    "CenterBiasSource",
    "CrossFit",
    "GoldStandardSource",
    "UniformSource",
]

#: Names of the baselines that can be evaluated like models.
BASELINES = ("uniform", "center-bias", "gold-standard", "joint")

#: What the parameters of cross-fitted models were fitted on, for files of results.
FITTED_ON = "training images of the fold that the image is a test image of"

_Progress = Callable[[int, int, str], None]


class CrossFit:
    """What is fitted to a data set without the image that is scored.

    Args:
        dataset: images and fixations.
        progress: called with folds done, folds in all, and what is done.
    """

    def __init__(
        self, dataset: FixationDataset, progress: _Progress | None = None
    ) -> None:
        self.dataset = dataset
        self._progress = progress

    @functools.cached_property
    def folds(self) -> tuple[Fold, ...]:
        """Ten folds, made when they are first needed: two images have none."""
        return make_folds(len(self.dataset))

    @functools.cached_property
    def fold_of(self) -> np.ndarray:
        """For each image, the fold that it is a test image of."""
        number = np.empty(len(self.dataset), np.int64)
        for k, fold in enumerate(self.folds):
            number[fold.test] = k
        return number

    def center_bias(self, index: int) -> np.ndarray:
        """Returns the center bias for an image at its size, log density."""
        log_density = self.center_biases[self.fold_of[index]].log_density
        return resample_log_density(log_density, *self.dataset.image_sizes[index])

    def training_center_biases(
        self, number: int, images: Sequence[int]
    ) -> Iterator[np.ndarray]:
        """Yields center biases for training images of a fold, at their sizes.

        Each is made from the fold's other training images: what is fitted with them
        has seen no test image, and no image has been part of its own.

        Args:
            number: of the fold.
            images: some of its training images.
        """
        sizes, train = self.dataset.image_sizes, np.sort(self.folds[number].train)
        log_densities = leave_one_out_center_biases(
            self.dataset.fixations, sizes, self.center_biases[number], train
        )
        for index, position in zip(images, np.searchsorted(train, images), strict=True):
            yield resample_log_density(log_densities[position], *sizes[index])

    @functools.cached_property
    def center_biases(self) -> tuple[CenterBias, ...]:
        """The center bias of each fold, fitted when it is first needed."""
        return fit_center_biases(
            self.dataset.fixations,
            self.dataset.image_sizes,
            [fold.train for fold in self.folds],
        )

    @functools.cached_property
    def gold_standards(self) -> tuple[GoldStandard, ...]:
        """The gold standard of each fold, fitted when it is first needed."""
        fitted = []
        for done, fold in enumerate(self.folds):
            self.tell(done, len(self.folds), "fitting the gold standard")
            fitted.append(
                fit_gold_standard(
                    self.dataset.fixations,
                    self.dataset.image_sizes,
                    fold.train,
                    pixels_per_dva=self.dataset.pixels_per_dva,
                )
            )
        self.tell(len(self.folds), len(self.folds), "fitting the gold standard")
        return tuple(fitted)

    def tell(self, done: int, total: int, title: str) -> None:
        """Reports progress, if anybody listens."""
        if self._progress is not None:
            self._progress(done, total, title)


class UniformSource:
    """Every pixel alike."""

    name = "uniform"
    is_costly = False

    def __init__(self, dataset: FixationDataset) -> None:
        self._sizes = dataset.image_sizes

    def identity(self) -> dict[str, Any]:
        """Returns what the model is, ready for JSON."""
        return {"kind": "uniform density"}

    def card(self) -> dict[str, Any]:
        """Returns the identity: nothing is fitted here."""
        return self.identity()

    def predict(self, index: int) -> Prediction:
        """Returns the uniform density of an image."""
        log_density = uniform_log_density(*self._sizes[index])
        return Prediction((Part(log_density),), of_any_image=True)


class CenterBiasSource:
    """The center bias of other images."""

    name = "center-bias"
    is_costly = False

    def __init__(self, cross_fit: CrossFit) -> None:
        self._cross_fit = cross_fit

    def identity(self) -> dict[str, Any]:
        """Returns what the model is, ready for JSON."""
        return {"kind": "center bias", "fitted_on": FITTED_ON}

    def card(self) -> dict[str, Any]:
        """Returns the identity with the parameters of each fold."""
        names = ("bandwidth_fraction", "uniform_weight")
        parameters = [
            {name: getattr(bias, name) for name in names}
            for bias in self._cross_fit.center_biases
        ]
        return {**self.identity(), "parameters": parameters}

    def predict(self, index: int) -> Prediction:
        """Returns the center bias at the size of an image."""
        fold = int(self._cross_fit.fold_of[index])
        log_density = self._cross_fit.center_bias(index)
        # Of any image, though folds differ a little: each fold's would say the same of
        # all, and what distinguishes folds is the image that one of them leaves out.
        return Prediction((Part(log_density),), fold, of_any_image=True)


class GoldStandardSource:
    """People predicted by the fixations of others; or, jointly, by everybody's.

    Args:
        cross_fit: of the data set.
        joint: whether a person's own fixations are among those that predict them: an
            upper reference, not a model.
    """

    is_costly = False

    def __init__(self, cross_fit: CrossFit, *, joint: bool = False) -> None:
        self.name = "joint" if joint else "gold-standard"
        self._cross_fit, self._joint = cross_fit, joint
        self._dataset = cross_fit.dataset

    def identity(self) -> dict[str, Any]:
        """Returns what the model is, ready for JSON."""
        kind = "all people together" if self._joint else "gold standard"
        return {"kind": kind, "fitted_on": FITTED_ON}

    def card(self) -> dict[str, Any]:
        """Returns the identity with the parameters of each fold."""
        golds = self._cross_fit.gold_standards
        parameters = [dataclasses.asdict(gold) for gold in golds]
        return {**self.identity(), "parameters": parameters}

    def predict(self, index: int) -> Prediction:
        """Returns a density for each person on an image, or one for all."""
        fold = int(self._cross_fit.fold_of[index])
        gold = self._cross_fit.gold_standards[fold]
        fixations = self._dataset.fixations.of_images(index)
        center_bias = self._cross_fit.center_bias(index)
        scales = self._dataset.pixels_per_dva
        scale = None if scales is None else float(scales[index])

        def without(subject: int | None) -> np.ndarray:
            return gold_standard_log_density(
                gold, fixations, center_bias, left_out=subject, pixels_per_dva=scale
            )

        if self._joint:
            return Prediction((Part(without(None)),), fold)
        return Prediction(
            tuple(
                Part(without(int(subject)), fixations.subject == subject)
                for subject in np.unique(fixations.subject)
            ),
            fold,
        )
