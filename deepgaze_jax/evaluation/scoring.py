"""All scores of one image: each metric gets the map that a density means for it.

A density says where people look; metrics ask for different maps. Giving each metric the
map with which the density does best under it (as benchmarks do for models that predict
densities) keeps rankings from depending on the metric.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from deepgaze_jax.errors import ConfigError, InputError
from deepgaze_jax.evaluation.predictions import Part, Prediction
from deepgaze_jax.fixations import Fixations
from deepgaze_jax.metric_maps import cc_map, nss_map, sim_map
from deepgaze_jax.metrics import (
    OtherFixations,
    auc,
    cc,
    empirical_density,
    information_gain,
    kldiv,
    log_likelihood,
    nss,
    sauc,
    sim,
)

__all__ = ["MAPS", "METRICS", "Viewed", "check_metrics", "image_scores", "mean_sauc"]

#: Which map each metric is computed on, for the file of results.
MAPS = {
    "ll": "log density; bits per fixation over uniform",
    "ig": "log density; bits per fixation over the baseline",
    "auc": "rank-equalised density; negatives are all pixels",
    "sauc": "log density minus log of the mean density of the other images; negatives "
    "are the fixations of all other images",
    "nss": "density",
    "cc": "density blurred by the empirical map's Gaussian (zero padding)",
    "kldiv": "density blurred by the empirical map's Gaussian (zero padding), in nats",
    "sim": "map with the highest expected SIM if fixations follow the density (200 "
    "sampled empirical maps, seed 0)",
}

#: Names of all metrics, in the order of a table's columns.
METRICS = tuple(MAPS)

# They compare one map with the fixations of all people together.
_OF_ONE_MAP = ("cc", "kldiv", "sim")


@dataclass(frozen=True, eq=False)
class Viewed:
    """An image as people viewed it.

    Attributes:
        name: of the image.
        fixations: on it.
        size: its height and width in pixels.
        sigma_px: of the Gaussian that makes the empirical map.
    """

    name: str
    fixations: Fixations
    size: tuple[int, int]
    sigma_px: float


def check_metrics(metrics: Sequence[str]) -> tuple[str, ...]:
    """Returns the metrics in the order of columns, each once.

    Args:
        metrics: names.

    Raises:
        ConfigError: no metric, or an unknown name.

    Example:
        >>> check_metrics(["auc", "ll"])
        ('ll', 'auc')
    """
    unknown = [name for name in metrics if name not in METRICS]
    if unknown or not metrics:
        raise ConfigError(
            f"there is no metric {unknown[0]!r}; there are {', '.join(METRICS)}"
            if unknown
            else f"no metric is named; there are {', '.join(METRICS)}"
        )
    return tuple(name for name in METRICS if name in metrics)


def image_scores(
    prediction: Prediction,
    viewed: Viewed,
    metrics: Sequence[str],
    baseline: np.ndarray | None = None,
) -> dict[str, float | None]:
    """Returns the scores of a prediction, each the mean over the image's fixations.

    Args:
        prediction: of the image.
        viewed: the image with at least one fixation.
        metrics: names; sauc needs the other images' predictions, see `mean_sauc`.
        baseline: [height, width], log density that ig is measured against.

    Returns:
        One number for each metric; None where it is not defined for this prediction,
        as for metrics of one map where each person has a map of their own.

    Raises:
        InputError: a prediction that is not a log density of the image's size, or is 0
            at a fixation.
    """
    for part in prediction.parts:
        if part.log_density.shape != viewed.size:
            raise InputError(
                f"the prediction for {viewed.name} has {part.log_density.shape[0]} x "
                f"{part.log_density.shape[1]} pixels (height x width), the image "
                f"{viewed.size[0]} x {viewed.size[1]}; give one of its size"
            )
    scores: dict[str, float | None] = {}
    for metric in metrics:
        if metric in _OF_ONE_MAP:
            scores[metric] = None
        elif metric != "sauc":
            scores[metric] = _mean(
                prediction.parts, viewed, _of_fixations(metric, baseline)
            )
    wanted = [metric for metric in metrics if metric in _OF_ONE_MAP]
    if wanted and len(prediction.parts) == 1:
        scores |= _map_scores(prediction.parts[0].log_density, viewed, wanted)
    for metric, value in scores.items():
        if value is not None and not np.isfinite(value):
            raise InputError(
                f"image {viewed.name!r} has {metric} = {value}; the density is 0 at a "
                "fixation: mix in a little of the uniform density"
            )
    return scores


def mean_sauc(
    prediction: Prediction,
    viewed: Viewed,
    others_log_density: np.ndarray,
    others: OtherFixations,
    index: int,
) -> float:
    """Returns the shuffled AUC of a prediction, mean over the image's fixations.

    Args:
        prediction: of the image.
        viewed: the image with at least one fixation.
        others_log_density: [height, width], log of the mean density of other images.
        others: fixations of the data set.
        index: of the image in it.

    Raises:
        InputError: see `metrics.sauc`.
    """

    def of_fixations(part: Part, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return sauc(part.log_density - others_log_density, x, y, others, index)

    return _mean(prediction.parts, viewed, of_fixations)


_OfFixations = Callable[[Part, np.ndarray, np.ndarray], np.ndarray]


def _mean(parts: Sequence[Part], viewed: Viewed, of_fixations: _OfFixations) -> float:
    """Returns the mean of a score over the fixations of all parts."""
    x, y = viewed.fixations.x, viewed.fixations.y
    values = []
    for part in parts:
        chosen = slice(None) if part.fixations is None else part.fixations
        values.append(of_fixations(part, x[chosen], y[chosen]))
    return float(np.concatenate(values).mean())


def _of_fixations(metric: str, baseline: np.ndarray | None) -> _OfFixations:
    if metric == "ll":
        return lambda part, x, y: log_likelihood(part.log_density, x, y)
    if metric == "ig":
        return lambda part, x, y: information_gain(part.log_density, baseline, x, y)
    if metric == "auc":
        # Ranks have the order of the density, which is all that counts.
        return lambda part, x, y: auc(part.log_density, x, y)
    return lambda part, x, y: nss(nss_map(part.log_density), x, y)


def _map_scores(
    log_density: np.ndarray, viewed: Viewed, metrics: Sequence[str]
) -> dict[str, float | None]:
    """Returns the metrics that compare with the empirical map."""
    fixations, (height, width) = viewed.fixations, viewed.size
    counts = fixations.counts(int(fixations.image[0]), height, width)
    empirical = empirical_density(counts, viewed.sigma_px)
    scores: dict[str, float | None] = {}
    if "cc" in metrics or "kldiv" in metrics:
        blurred = cc_map(log_density, viewed.sigma_px)
        scores |= {"cc": cc(blurred, empirical), "kldiv": kldiv(blurred, empirical)}
    if "sim" in metrics:
        best = sim_map(log_density, viewed.sigma_px, len(fixations))
        scores["sim"] = sim(best, empirical)
    return {metric: scores[metric] for metric in metrics}
