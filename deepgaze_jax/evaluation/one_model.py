"""Scores of a model on a data set: one row per image, and their summary."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deepgaze_jax import __version__
from deepgaze_jax.datasets.features import FeatureCache, open_cache, plan_cache
from deepgaze_jax.datasets.folder import FixationDataset
from deepgaze_jax.errors import DataError, InputError
from deepgaze_jax.files import write_text
from deepgaze_jax.images import rgb_sha256
from deepgaze_jax.metrics import bootstrap_interval, information_gain, log_likelihood
from deepgaze_jax.predictor import CenterBias, FoldRule, Predictor
from deepgaze_jax.weights import cache_dir, features_card

__all__ = [
    "ImageScore",
    "evaluate",
    "find_cache",
    "score_image",
    "summarise",
    "write_table",
]

_LEVEL = 0.95
_N_RESAMPLES = 2000
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
    scores: list[ImageScore] = []
    refused: list[str] = []
    scored_by: dict[int | str, int] = {}
    # The name of the model's own data means a center bias that all its images took
    # part in; each fold has one without its test part.
    data = predictor.card.get("data", {})
    if isinstance(center_bias, str) and center_bias == data.get("name"):
        center_bias = None
    scales = _pixels_per_dva(predictor, dataset)
    for index, name in enumerate(dataset.image_names):
        if progress is not None:
            progress(index, len(dataset))
        picture = None if cache else dataset.image(index)
        rgb_hash = cache.rgb_sha256[index] if cache else rgb_sha256(picture)
        number = fold
        if fold == "auto":
            unseen = predictor.membership.unseen_fold(rgb_hash)
            number = "mixture" if unseen is None else unseen
        if predictor.membership.has_seen(rgb_hash, number):
            refused.append(name)
            continue
        fixations = dataset.fixations.of_images(index)
        if len(fixations) == 0:
            scores.append(ImageScore(name, 0, None, None))
            continue
        size = tuple(map(int, dataset.image_sizes[index]))
        scale = {"pixels_per_dva": scales[index]}
        if cache:
            features = cache.read([index], predictor.model.taps)[0]
        else:
            features = predictor.features(picture, **scale)
        which = {"fold": number, "center_bias": center_bias}
        log_density = predictor.log_density_of_features(
            features, size, **which, **scale
        )
        baseline = predictor.center_bias_log_density(size, **which)
        scored_by[number] = scored_by.get(number, 0) + 1
        scores.append(
            score_image(name, log_density, baseline, fixations.x, fixations.y)
        )
    if progress is not None:
        progress(len(dataset), len(dataset))
    if refused and not scored_by:
        raise DataError(
            f"{predictor.name} was trained on all images of {dataset.name} that have "
            f"fixations, first {refused[0]}; score it on other images, or with the "
            "folds that have not seen them (auto)"
        )
    summary = summarise(scores, _baseline_name(center_bias, scored_by))
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
        "pixels_per_dva": _summary_of_scales(predictor, scales),
        "version": __version__,
    }
    return scores, summary


def find_cache(predictor: Predictor, dataset: FixationDataset) -> FeatureCache | None:
    """Returns the finished feature cache of a data set, if training left one.

    Only caches in float32 count, whose features are exactly those of a prediction.

    Args:
        predictor: the model, whose network, taps and scale the cache must have.
        dataset: whose pictures it must hold.
    """
    folder = cache_dir() / "features"
    if predictor.stored_features is not None or not folder.is_dir():
        return None
    weights = features_card(predictor.model.network)["source_sha256"]
    scales = [
        predictor.image_scale(value) for value in _pixels_per_dva(predictor, dataset)
    ]
    return open_cache(
        plan_cache(dataset, predictor.model, weights, folder, np.array(scales))
    )


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
    names = [score.image for score in scores]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"image {twice!r} is scored twice; score each image once")
    empty = [score.image for score in scores if score.n_fixations == 0]
    scored = [score for score in scores if score.n_fixations > 0]
    if not scored:
        raise InputError(
            f"none of the {len(scores)} images has fixations; "
            "there is nothing to average"
        )
    n_fixations = np.array([score.n_fixations for score in scored])
    summary: dict[str, Any] = {
        "unit": "bits/fixation",
        "ll_over": "uniform",
        "ig_over": baseline_name,
        "n_images": len(scored),
        "n_fixations": int(n_fixations.sum()),
        "n_images_without_fixations": len(empty),
        "images_without_fixations": empty,
        "interval": {
            "level": _LEVEL,
            "method": "percentile bootstrap over images",
            "n_resamples": _N_RESAMPLES,
            "seed": seed,
        },
    }
    for averaging, weights in (("per_image", None), ("per_fixation", n_fixations)):
        summary[averaging] = {}
        for measure in ("ll", "ig"):
            values = np.array([_finite(score, measure) for score in scored])
            low, high = bootstrap_interval(values, _LEVEL, _N_RESAMPLES, seed, weights)
            summary[averaging][measure] = {
                "mean": float(np.average(values, weights=weights)),
                "low": low,
                "high": high,
            }
    return summary


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

    rows = io.StringIO()
    writer = csv.writer(rows, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for score in scores:
        # None becomes an empty field; csv writes floats so that they read back.
        writer.writerow([getattr(score, column) for column in _COLUMNS])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, rows.getvalue())
    beside = path.with_suffix(".json")
    write_text(beside, text + "\n")
    return beside


def _pixels_per_dva(
    predictor: Predictor, dataset: FixationDataset
) -> list[float | None]:
    """Returns the value to predict each image with; None is the card's own."""
    if dataset.pixels_per_dva is None or predictor.card.get("pixels_per_dva") is None:
        return [None] * len(dataset)
    return [float(value) for value in dataset.pixels_per_dva]


def _summary_of_scales(
    predictor: Predictor, scales: Sequence[float | None]
) -> dict[str, Any]:
    stated = [value for value in scales if value is not None]
    own = predictor.card.get("pixels_per_dva")
    if not stated:
        return {"from": "the model's card", "min": own, "max": own}
    return {"from": "images.csv", "min": min(stated), "max": max(stated)}


def _baseline_name(
    center_bias: CenterBias | None, scored_by: dict[int | str, int]
) -> str:
    if isinstance(center_bias, np.ndarray):
        return "center bias given as an array"
    if center_bias is not None:
        return "uniform" if center_bias == "uniform" else f"center bias {center_bias}"
    if "mixture" not in scored_by:
        return "center bias of the fold"
    if len(scored_by) == 1:
        return "pooled center bias"
    return "center bias of the fold, the pooled one for images new to all folds"


def _finite(score: ImageScore, measure: str) -> float:
    value = getattr(score, measure)
    if value is None or not np.isfinite(value):
        raise InputError(
            f"image {score.image!r} has {measure} = {value}; the density is 0 at a "
            "fixation: mix in a little of the uniform density"
        )
    return value
