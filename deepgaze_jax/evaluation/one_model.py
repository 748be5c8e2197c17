"""Scores of a model on a data set: one row per image, and their summary."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepgaze_jax import __version__
from deepgaze_jax.datasets.features import FeatureCache
from deepgaze_jax.datasets.folder import FixationDataset
from deepgaze_jax.errors import DataError, InputError
from deepgaze_jax.evaluation.aggregate import summary_of_scores
from deepgaze_jax.evaluation.model_source import ModelSource, name_of_baseline
from deepgaze_jax.evaluation.tables import csv_text
from deepgaze_jax.files import write_text
from deepgaze_jax.metrics import information_gain, log_likelihood
from deepgaze_jax.predictor import CenterBias, FoldRule, Predictor

__all__ = [
    "ImageScore",
    "evaluate",
    "score_image",
    "summarise",
    "write_table",
]

_COLUMNS = ("image", "n_fixations", "ll", "ig")


@dataclass(frozen=True)
class ImageScore:
    """Mean scores over the fixations of one image.

    Attributes:
        image: its name.
        n_fixations: number of fixations on it.
        ll: log-likelihood, bits per fixation over uniform; None without fixations.
        ig: information gain, bits per fixation over the baseline; None without
            fixations.
    """

    image: str
    n_fixations: int
    ll: float | None
    ig: float | None


def evaluate(
    predictor: Predictor,
    dataset: FixationDataset,
    *,
    fold: FoldRule = "auto",
    center_bias: CenterBias | None = None,
    cache: FeatureCache | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[ImageScore], dict[str, Any]]:
    """Returns the score of each image and their summary.

    An image is only scored by parameters that it took no part in making; it is
    recognised by its pixels, not by its name. Images that the wanted fold has seen are
    left out, counted and named in the summary.

    Args:
        predictor: the model.
        dataset: images and fixations. Its `pixels_per_dva`, where stated, are used,
            unless the model's card does not know its own.
        fold: "auto": the fold that has not seen the image, or the mixture for an image
            that no fold has seen; "mixture"; or one fold by its number.
        center_bias: for the model, and the baseline of the information gain; by
            default that of the fold, or the pooled one for the mixture.
        cache: features of the data set, from `find_cache`; computed where left out.
        progress: called with images done and images in all.

    Raises:
        DataError: the model has seen all images.
        InputError: see `Predictor.predict`.
        ConfigError: no such fold or center bias.

    Example:
        >>> scores, summary = evaluate(  # doctest: +SKIP
        ...     load_pretrained("deepgaze2"), read_folder("osie")
        ... )
        >>> summary["per_image"]["ig"]["mean"]  # doctest: +SKIP
        1.9195328124217077
    """
    source = ModelSource(
        predictor, dataset, fold=fold, center_bias=center_bias, cache=cache
    )
    scores: list[ImageScore] = []
    refused: list[str] = []
    scored_by: dict[int | str, int] = {}
    for index, name in enumerate(dataset.image_names):
        if progress is not None:
            progress(index, len(dataset))
        fixations = dataset.fixations.of_images(index)
        if len(fixations) == 0:
            scores.append(ImageScore(name, 0, None, None))
            continue
        prediction = source.predict(index)
        if prediction is None:
            refused.append(name)
            continue
        number = prediction.scored_by
        scored_by[number] = scored_by.get(number, 0) + 1
        log_density = prediction.parts[0].log_density
        scores.append(
            score_image(
                name, log_density, prediction.baseline, fixations.x, fixations.y
            )
        )
    if progress is not None:
        progress(len(dataset), len(dataset))
    if refused and not scored_by:
        raise DataError(
            f"{predictor.name} was trained on all images of {dataset.name} that have "
            f"fixations, first {refused[0]}; score it on other images, or with the "
            "folds that have not seen them (auto)"
        )
    summary = summarise(scores, name_of_baseline(source.center_bias, scored_by))
    summary |= {
        "model": {"name": predictor.name, "sha256": predictor.sha256},
        "data": dataset.name,
        "fold": fold,
        "scored_by_fold": {
            str(number): scored_by[number]
            for number in sorted(scored_by, key=str)
            if number != "mixture"
        },
        "scored_by_mixture": scored_by.get("mixture", 0),
        "n_images_refused": len(refused),
        "images_refused": refused,
        "pixels_per_dva": source.card()["pixels_per_dva"],
        "version": __version__,
    }
    return scores, summary


def score_image(
    image: str, log_density: Any, baseline_log_density: Any, x: Any, y: Any
) -> ImageScore:
    """Returns the mean scores of a prediction over an image's fixations.

    Args:
        image: name of the image.
        log_density: [height, width], natural log, log-sum-exp 0.
        baseline_log_density: the same of the baseline.
        x: [n], pixels from the left.
        y: [n], pixels from the top.

    Raises:
        InputError: see `information_gain`.

    Example:
        >>> import numpy as np
        >>> uniform = np.log([[0.5, 0.5]])
        >>> score_image("a.jpg", np.log([[0.75, 0.25]]), uniform, [1.5], [0.5])
        ImageScore(image='a.jpg', n_fixations=1, ll=-1.0, ig=-1.0)
    """
    ll = log_likelihood(log_density, x, y)
    ig = information_gain(log_density, baseline_log_density, x, y)
    if len(ll) == 0:
        return ImageScore(image, 0, None, None)
    return ImageScore(image, len(ll), float(ll.mean()), float(ig.mean()))


def summarise(
    scores: Sequence[ImageScore], baseline_name: str, seed: int = 0
) -> dict[str, Any]:
    """Returns means and 95 % intervals over the images, ready for JSON.

    Both averages are given: `per_image` is the mean over images of each image's mean
    (the headline number), `per_fixation` the mean over all fixations. Intervals are
    percentile bootstraps over images in both cases. Images without fixations are left
    out of everything and counted.

    Args:
        scores: one per image.
        baseline_name: what `ig` is measured against.
        seed: of the bootstrap.

    Raises:
        InputError: no image with fixations, an image scored twice, or a score that is
            not finite (a density of 0 at a fixation).

    Example:
        >>> scores = [ImageScore("a.jpg", 1, 1.0, 0.5), ImageScore("b.jpg", 3, 2, 1.5)]
        >>> summary = summarise(scores, "center bias")
        >>> summary["per_image"]["ig"]["mean"], summary["per_fixation"]["ig"]["mean"]
        (1.0, 1.25)
    """
    return summary_of_scores(
        [score.image for score in scores],
        [score.n_fixations for score in scores],
        {name: [getattr(score, name) for score in scores] for name in ("ll", "ig")},
        baseline_name,
        seed,
    )


def write_table(
    path: str | Path, scores: Sequence[ImageScore], summary: dict[str, Any]
) -> Path:
    """Returns where the summary was written: beside the table, as JSON.

    The table is CSV with the columns image, n_fixations, ll and ig; scores of images
    without fixations are empty. Floats are written with all their digits. Both files
    appear complete or not at all.

    Args:
        path: of the table, ending in .csv; its folder is made if it is missing.
        scores: one per image.
        summary: from `summarise`, perhaps with more about the run.

    Raises:
        InputError: another ending, or a summary that JSON cannot hold.

    Example:
        >>> import tempfile
        >>> scores = [ImageScore("a.jpg", 2, 1.0, 0.5)]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     table = Path(folder, "scores.csv")
        ...     beside = write_table(table, scores, summarise(scores, "center bias"))
        ...     print(beside.name, table.read_text().split())
        scores.json ['image,n_fixations,ll,ig', 'a.jpg,2,1.0,0.5']
    """
    path = Path(path)
    if path.suffix.lower() != ".csv":
        raise InputError(f"{path}: a table of scores is CSV; let the name end in .csv")
    try:
        text = json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"the summary cannot be written as JSON: {error}") from error

    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [[getattr(score, name) for name in _COLUMNS] for score in scores]
    write_text(path, csv_text(_COLUMNS, rows))
    beside = path.with_suffix(".json")
    write_text(beside, text + "\n")
    return beside
