"""Scores of any model on every image of a data set."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deepgaze_jax import __version__
from deepgaze_jax.datasets.folder import FixationDataset
from deepgaze_jax.errors import ConfigError, DataError, InputError
from deepgaze_jax.evaluation.predictions import Part, Prediction, Source
from deepgaze_jax.evaluation.scoring import (
    METRICS,
    Viewed,
    check_metrics,
    image_scores,
    mean_sauc,
)
from deepgaze_jax.files import replacing
from deepgaze_jax.journal import Journal
from deepgaze_jax.metric_maps import PredictionSum
from deepgaze_jax.metrics import OtherFixations

__all__ = [
    "ImageRow",
    "ModelScores",
    "ScoreSettings",
    "data_sha256",
    "forget_parts",
    "score_key",
    "score_model",
]

_Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class ScoreSettings:
    """What is computed.

    Attributes:
        metrics: names from `METRICS`.
        blur_px: standard deviation of the Gaussian that makes the empirical map (and
            blurs densities for cc, kldiv and sim), pixels of the image.
        blur_dva: the same in degrees of visual angle, instead of `blur_px`.
    """

    metrics: tuple[str, ...] = METRICS
    blur_px: float | None = 24.0
    blur_dva: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "metrics", check_metrics(self.metrics))
        if (self.blur_px is None) == (self.blur_dva is None):
            raise ConfigError("state the blur either in pixels or in degrees")
        width = self.blur_px if self.blur_dva is None else self.blur_dva
        if not 0 < width < np.inf:
            raise ConfigError(f"the blur is {width}; expected a positive number")

    def sigma_px(self, dataset: FixationDataset, index: int) -> float:
        """Returns the width of the blur for an image in pixels."""
        if self.blur_dva is None:
            return float(self.blur_px)
        if dataset.pixels_per_dva is None:
            raise DataError(
                f"{dataset.name} does not state pixels_per_dva, so a blur in degrees "
                "has no meaning; add that column to images.csv or give pixels"
            )
        return self.blur_dva * float(dataset.pixels_per_dva[index])


@dataclass(frozen=True)
class ImageRow:
    """Scores of one model on one image.

    Attributes:
        image: its name.
        n_fixations: on it.
        scores: metric -> mean over the fixations; None where not defined.
    """

    image: str
    n_fixations: int
    scores: dict[str, float | None]


@dataclass(frozen=True, eq=False)
class ModelScores:
    """Scores of one model on a data set.

    Attributes:
        name: of the model.
        rows: one for each image that was not refused.
        refused: images that the model was made of.
        scored_by: fold, "mixture" or "" -> number of images.
        card: what the model is, ready for JSON.
        key: hexadecimal digest of model, data and settings: the same for equal scores.
    """

    name: str
    rows: tuple[ImageRow, ...]
    refused: tuple[str, ...]
    scored_by: dict[str, int]
    card: dict[str, Any]
    key: str


def data_sha256(dataset: FixationDataset) -> str:
    """Returns a digest of a data set: images' names and sizes, and all fixations."""
    digest = hashlib.sha256()
    fixations = dataset.fixations
    for name in ("image", "subject", "fixation_index", "x", "y"):
        digest.update(np.ascontiguousarray(getattr(fixations, name)).tobytes())
    digest.update(json.dumps(dataset.image_names).encode())
    digest.update(np.ascontiguousarray(dataset.image_sizes).tobytes())
    if dataset.pixels_per_dva is not None:
        digest.update(np.ascontiguousarray(dataset.pixels_per_dva).tobytes())
    return digest.hexdigest()


def score_key(
    source: Source,
    dataset: FixationDataset,
    settings: ScoreSettings,
    baseline: Source | None,
) -> str:
    """Returns a digest of all that decides the scores, before any is computed."""
    pictures = [dataset.pictures.stamp(i) for i in range(len(dataset))]
    made_of = {
        "model": source.identity(),
        "baseline": None if baseline is None else baseline.identity(),
        "data": data_sha256(dataset),
        "pictures": pictures,
        "settings": asdict(settings),
        "version": __version__,
    }
    text = json.dumps(made_of, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def score_model(
    source: Source,
    dataset: FixationDataset,
    settings: ScoreSettings | None = None,
    *,
    baseline: Source | None = None,
    work: str | Path | None = None,
    progress: _Progress | None = None,
) -> ModelScores:
    """Returns the scores of a model on every image that it may be scored on.

    Args:
        source: the model.
        dataset: images and fixations.
        settings: metrics and blur.
        baseline: what information gain is measured over; the model's own center bias
            if left out.
        work: folder that keeps what is ready; the same call goes on there.
        progress: called with images done, images in all, and what is done.

    Raises:
        DataError: the model was made of all images.
        InputError: a prediction that cannot be scored.

    Example:
        >>> from deepgaze_jax.datasets.folder import read_folder
        >>> from deepgaze_jax.evaluation.baselines import UniformSource
        >>> dataset = read_folder("osie")  # doctest: +SKIP
        >>> scores = score_model(UniformSource(dataset), dataset)  # doctest: +SKIP
    """
    settings = ScoreSettings() if settings is None else settings
    key = score_key(source, dataset, settings, baseline)
    work = None if work is None else Path(work)
    run = _Run(source, dataset, settings, baseline, work, key, progress)
    run.score()
    if "sauc" in settings.metrics:
        run.score_shuffled()
    return run.result()


def forget_parts(work: str | Path, keys: Iterable[str]) -> None:
    """Removes what `score_model` has kept of finished evaluations; returns nothing.

    What others have kept in the same folder stays; an empty folder goes.

    Args:
        work: folder that was given to `score_model`.
        keys: of the scores that are safe elsewhere.
    """
    work = Path(work)
    for key in keys:
        journal, kept = _parts(work, key)
        shutil.rmtree(kept, ignore_errors=True)
        journal.unlink(missing_ok=True)
    if work.is_dir() and not any(work.iterdir()):
        work.rmdir()


def _parts(work: Path, key: str) -> tuple[Path, Path]:
    """Returns where scores, and where predictions of an evaluation are kept."""
    return work / f"{key[:24]}.jsonl", work / key[:24]


class _Run:
    """One evaluation under way."""

    def __init__(
        self,
        source: Source,
        dataset: FixationDataset,
        settings: ScoreSettings,
        baseline: Source | None,
        work: Path | None,
        key: str,
        progress: _Progress | None,
    ) -> None:
        self._source, self._dataset, self._settings = source, dataset, settings
        self._baseline, self._key = baseline, key
        self._progress = progress or (lambda done, total, title: None)
        journal, self._kept = (None, None) if work is None else _parts(work, key)
        self._journal = Journal(journal)
        by_image = np.argsort(dataset.fixations.image, kind="stable")
        bounds = np.searchsorted(
            dataset.fixations.image[by_image], np.arange(len(dataset) + 1)
        )
        self._rows_of = np.split(by_image, bounds[1:-1])
        self._looked_at = [i for i, rows in enumerate(self._rows_of) if len(rows)]
        sizes, counts = np.unique(dataset.image_sizes, axis=0, return_counts=True)
        self._sum = PredictionSum.empty(*map(int, sizes[counts.argmax()]))

    def score(self) -> None:
        """Computes all metrics but the shuffled AUC."""
        shuffled = "sauc" in self._settings.metrics and not self._is_complete()
        title = f"scoring {self._source.name}"
        for done, index in enumerate(self._looked_at):
            self._progress(done, len(self._looked_at), title)
            name = self._dataset.image_names[index]
            known = self._journal[name]
            prediction = None
            if not known:
                prediction = self._score(index)
            elif shuffled and not known.get("refused"):
                prediction = self._again(index)
            if shuffled and prediction is not None:
                self._sum = self._sum.plus(prediction.mean_log_density)
        self._progress(len(self._looked_at), len(self._looked_at), title)

    def score_shuffled(self) -> None:
        """Computes the shuffled AUC, which needs the predictions for all images."""
        scored = self._scored()
        if all("sauc" in self._journal[self._name(index)] for index in scored):
            return
        others = OtherFixations(self._dataset.fixations, self._dataset.image_sizes)
        title = f"shuffled AUC of {self._source.name}"
        for done, index in enumerate(scored):
            self._progress(done, len(scored), title)
            if "sauc" in self._journal[self._name(index)]:
                continue
            value = None
            if len(scored) > 1:
                prediction = self._again(index)
                if prediction.of_any_image:
                    log_mean = prediction.parts[0].log_density
                else:
                    log_mean = self._sum.log_mean_without(prediction.mean_log_density)
                value = mean_sauc(
                    prediction, self._viewed(index), log_mean, others, index
                )
            self._journal.add(self._name(index), {"sauc": value})
        self._progress(len(scored), len(scored), title)

    def result(self) -> ModelScores:
        """Returns what was computed, in the order of the data set."""
        refused = [
            self._name(index)
            for index in self._looked_at
            if self._journal[self._name(index)].get("refused")
        ]
        if not self._scored():
            if refused:
                raise DataError(
                    f"{self._source.name} was trained on all images of "
                    f"{self._dataset.name} that have fixations, first {refused[0]}; "
                    "score it on other images, or with the folds that have not seen "
                    "them (auto)"
                )
            raise DataError(f"no image of {self._dataset.name} has fixations")
        rows, scored_by = [], {}
        metrics = self._settings.metrics
        for index, name in enumerate(self._dataset.image_names):
            entry = self._journal[name]
            if entry.get("refused"):
                continue
            scores = {metric: entry.get(metric) for metric in metrics}
            rows.append(ImageRow(name, len(self._rows_of[index]), scores))
            if entry:
                by = str(entry["scored_by"])
                scored_by[by] = scored_by.get(by, 0) + 1
        return ModelScores(
            name=self._source.name,
            rows=tuple(rows),
            refused=tuple(refused),
            scored_by=dict(sorted(scored_by.items())),
            card=self._source.card(),
            key=self._key,
        )

    def _score(self, index: int) -> Prediction | None:
        """Returns the prediction for an image whose scores it has written down."""
        prediction = self._source.predict(index)
        if prediction is None:
            self._journal.add(self._name(index), {"refused": True})
            return None
        settings = self._settings
        baseline = prediction.baseline
        if self._baseline is not None:
            baseline = self._baseline.predict(index).parts[0].log_density
        elif baseline is None and "ig" in settings.metrics:
            raise InputError(
                f"{self._source.name} has no center bias of its own; choose the "
                "baseline of the information gain: center-bias or uniform"
            )
        try:
            scores = image_scores(
                prediction, self._viewed(index), settings.metrics, baseline
            )
        except InputError as error:
            raise InputError(f"{self._source.name}: {error}") from error
        if "sauc" in settings.metrics:
            self._keep(index, prediction)
        entry = {**scores, "scored_by": prediction.scored_by}
        self._journal.add(self._name(index), entry)
        return prediction

    def _keep(self, index: int, prediction: Prediction) -> None:
        if self._source.is_costly and self._kept is not None:
            self._kept.mkdir(parents=True, exist_ok=True)
            with replacing(self._kept / f"{index}.npy") as temporary:
                np.save(temporary, prediction.parts[0].log_density)

    def _again(self, index: int) -> Prediction:
        """Returns the prediction for an image that has been scored."""
        if self._kept is not None and (self._kept / f"{index}.npy").exists():
            return Prediction((Part(np.load(self._kept / f"{index}.npy")),))
        prediction = self._source.predict(index)
        self._keep(index, prediction)
        return prediction

    def _viewed(self, index: int) -> Viewed:
        return Viewed(
            self._name(index),
            self._dataset.fixations.select(self._rows_of[index]),
            tuple(map(int, self._dataset.image_sizes[index])),
            self._settings.sigma_px(self._dataset, index),
        )

    def _name(self, index: int) -> str:
        return self._dataset.image_names[index]

    def _scored(self) -> list[int]:
        """Returns the images that have scores."""
        journal = self._journal
        return [
            index
            for index in self._looked_at
            if journal[self._name(index)]
            and not journal[self._name(index)].get("refused")
        ]

    def _is_complete(self) -> bool:
        return all(
            "sauc" in entry or entry.get("refused")
            for entry in (self._journal[self._name(i)] for i in self._looked_at)
        )
