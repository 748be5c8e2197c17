"""Scores of a model on a data set: one row per image, and their summary."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deepgaze_jax.errors import InputError
from deepgaze_jax.files import write_text
from deepgaze_jax.metrics import bootstrap_interval, information_gain, log_likelihood

__all__ = ["ImageScore", "score_image", "summarise", "write_table"]

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


def _finite(score: ImageScore, measure: str) -> float:
    value = getattr(score, measure)
    if value is None or not np.isfinite(value):
        raise InputError(
            f"image {score.image!r} has {measure} = {value}; the density is 0 at a "
            "fixation: mix in a little of the uniform density"
        )
    return value
