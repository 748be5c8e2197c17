"""From scores of images to scores of a data set, ready for JSON."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from deepgaze_jax.errors import InputError
from deepgaze_jax.evaluation.comparison import ModelScores
from deepgaze_jax.metrics import (
    bootstrap_interval,
    information_gain_explained,
    information_gain_explained_interval,
    paired_interval,
)

__all__ = ["add_explained", "pairs_of_models", "summary_of_scores"]

_LEVEL = 0.95
_N_RESAMPLES = 2000


def summary_of_scores(
    images: Sequence[str],
    n_fixations: Sequence[int],
    scores: Mapping[str, Sequence[float | None]],
    baseline_name: str,
    seed: int = 0,
) -> dict[str, Any]:
    """Returns means and 95 % intervals over the images, ready for JSON.

    Images without fixations are left out of everything and counted. A metric that is
    defined on no image is left out.

    Args:
        images: names.
        n_fixations: number of fixations on each.
        scores: metric -> one value per image.
        baseline_name: what `ig` is measured against.
        seed: of the bootstrap.

    Raises:
        InputError: no image with fixations, an image scored twice, or a score that is
            not finite.
    """
    if len(set(images)) < len(images):
        twice = next(name for name in images if list(images).count(name) > 1)
        raise InputError(f"image {twice!r} is scored twice; score each image once")
    counts = np.array(n_fixations, np.int64)
    used = counts > 0
    empty = [name for name, n in zip(images, counts, strict=True) if n == 0]
    if not used.any():
        raise InputError(
            f"none of the {len(images)} images has fixations, so there is nothing to "
            "average; check the data set"
        )
    summary: dict[str, Any] = {
        "unit": "bits per fixation",
        "ll_over": "uniform",
        "ig_over": baseline_name,
        "n_images": int(used.sum()),
        "n_fixations": int(counts.sum()),
        "n_images_without_fixations": len(empty),
        "images_without_fixations": empty,
        "interval": {
            "level": _LEVEL,
            "method": "percentile bootstrap over images",
            "n_resamples": _N_RESAMPLES,
            "seed": seed,
        },
    }
    columns = {
        metric: _finite(images, used, metric, values)
        for metric, values in scores.items()
        if any(value is not None for value in values)
    }
    for averaging, weights in (("per_image", None), ("per_fixation", counts[used])):
        summary[averaging] = {}
        for metric, values in columns.items():
            low, high = bootstrap_interval(values, _LEVEL, _N_RESAMPLES, seed, weights)
            summary[averaging][metric] = {
                "mean": float(np.average(values, weights=weights)),
                "low": low,
                "high": high,
            }
    return summary


def add_explained(
    summary: dict[str, Any], model: ModelScores, gold: ModelScores, seed: int = 0
) -> None:
    """Adds the share of the gold standard's information gain to a summary.

    Where the gold standard is no better than the baseline (on very few images) there
    is no share, and the reason stands in its place.

    Args:
        summary: of the model, from `summary_of_scores`.
        model: its scores.
        gold: those of the gold standard over the same baseline.
        seed: of the bootstrap.
    """
    own, ceiling, counts = _paired(model, gold, "ig")
    if not len(own):
        return
    try:
        for averaging, weights in (("per_image", None), ("per_fixation", counts)):
            share = information_gain_explained(own, ceiling, weights)
            low, high = information_gain_explained_interval(
                own, ceiling, _LEVEL, _N_RESAMPLES, seed, weights
            )
            explained = {"mean": share, "low": low, "high": high}
            summary[averaging]["ig_explained"] = explained
    except InputError as error:
        summary["ig_explained_left_out"] = str(error)


def pairs_of_models(models: Sequence[ModelScores], seed: int = 0) -> list[dict]:
    """Returns how much better each model is than each other one, image by image.

    The differences are over the images that both were scored on; resamples are the
    same for both.

    Args:
        models: at least two.
        seed: of the bootstrap.
    """
    pairs = []
    for first, second in itertools.combinations(models, 2):
        pair: dict[str, Any] = {"first": first.name, "second": second.name}
        for averaging in ("per_image", "per_fixation"):
            pair[averaging] = {}
        for metric in first.rows[0].scores:
            a, b, counts = _paired(first, second, metric)
            if not len(a):
                continue
            pair["n_images"] = len(a)
            for averaging, weights in (("per_image", None), ("per_fixation", counts)):
                low, high = paired_interval(a, b, _LEVEL, _N_RESAMPLES, seed, weights)
                pair[averaging][metric] = {
                    "difference": float(np.average(a - b, weights=weights)),
                    "low": low,
                    "high": high,
                }
        pairs.append(pair)
    return pairs


def _paired(
    first: ModelScores, second: ModelScores, metric: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns both models' scores, and numbers of fixations, of common images."""
    others = {row.image: row.scores.get(metric) for row in second.rows}
    common = [
        (row.scores[metric], others[row.image], row.n_fixations)
        for row in first.rows
        if row.scores.get(metric) is not None and others.get(row.image) is not None
    ]
    a, b, counts = np.array(common, np.float64).reshape(-1, 3).T
    return a, b, counts


def _finite(
    images: Sequence[str],
    used: np.ndarray,
    metric: str,
    values: Sequence[float | None],
) -> np.ndarray:
    for name, has_fixations, value in zip(images, used, values, strict=True):
        if has_fixations and (value is None or not np.isfinite(value)):
            raise InputError(
                f"image {name!r} has {metric} = {value}; the density is 0 at a "
                "fixation: mix in a little of the uniform density"
            )
    return np.array(values, object)[used].astype(np.float64)
