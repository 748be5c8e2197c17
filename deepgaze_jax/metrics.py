"""How well a prediction fits fixations: every measure under its exact name, in float64.

| measure | of | one value per |
|---|---|---|
| `log_likelihood`, `information_gain` | log densities | fixation, in bits |
| `auc`, `sauc`, `nss` | maps | fixation |
| `auc_judd`, `auc_borji`, `sauc_mit` | maps | image |
| `cc`, `kldiv`, `sim`, `sim_min_max` | maps, with the `empirical_density` | image |
| `information_gain_explained` | scores of images | data set |

Where there is a value per fixation, take the mean over an image's fixations first, then
over images (`averages`). What depends on a convention says so in its docstring.

Training maximises and logs the log-likelihood alone, which `train_step` compiles; no
other measure has a compiled twin, because nothing would call it.
"""

from typing import Any

import numpy as np

from deepgaze_jax.auc import auc, auc_borji, auc_judd
from deepgaze_jax.errors import InputError
from deepgaze_jax.map_checks import check_log_density, pixel_index
from deepgaze_jax.map_metrics import (
    cc,
    empirical_density,
    kldiv,
    nss,
    sim,
    sim_min_max,
)
from deepgaze_jax.shuffled_auc import OtherFixations, sauc, sauc_mit
from deepgaze_jax.summaries import (
    Averages,
    averages,
    bootstrap_interval,
    information_gain_explained,
    information_gain_explained_interval,
    paired_interval,
)

__all__ = [
    "Averages",
    "OtherFixations",
    "auc",
    "auc_borji",
    "auc_judd",
    "averages",
    "bootstrap_interval",
    "cc",
    "empirical_density",
    "information_gain",
    "information_gain_explained",
    "information_gain_explained_interval",
    "kldiv",
    "log_likelihood",
    "nss",
    "paired_interval",
    "sauc",
    "sauc_mit",
    "sim",
    "sim_min_max",
]


def log_likelihood(log_density: Any, x: Any, y: Any) -> np.ndarray:
    """Returns the log-likelihood of each fixation, bits per fixation over uniform.

    That is log2 p(x, y) + log2(height * width): 0 for the uniform density. A density
    that is 0 at a fixation gives minus infinity.

    Args:
        log_density: [height, width], natural log, log-sum-exp 0.
        x: [n], pixels from the left; a fixation belongs to pixel floor(x).
        y: [n], pixels from the top.

    Returns:
        float64 [n].

    Raises:
        InputError: a map that is not a log density (NaN, log-sum-exp further from 0
            than 1e-3), or a fixation outside it.

    Reference:
        Kümmerer, Wallis & Bethge (2015), PNAS 112:16054, "Information gain".

    Example:
        >>> log_likelihood(np.log([[0.5, 0.25, 0.125, 0.125]]), [0.9, 1.0], [0, 0])
        array([1., 0.])
    """
    log_density = check_log_density(log_density)
    row, column = pixel_index(x, y, *log_density.shape)
    return log_density[row, column] / np.log(2) + np.log2(log_density.size)


def information_gain(
    log_density: Any, baseline_log_density: Any, x: Any, y: Any
) -> np.ndarray:
    """Returns the information gain of each fixation over a baseline, bits per fixation.

    That is log2 p(x, y) - log2 p_baseline(x, y). Say which baseline, wherever the
    number is shown.

    Args:
        log_density: [height, width], natural log, log-sum-exp 0.
        baseline_log_density: the same of the baseline, usually the center bias.
        x: [n], pixels from the left; a fixation belongs to pixel floor(x).
        y: [n], pixels from the top.

    Returns:
        float64 [n].

    Raises:
        InputError: a map that is not a log density (an information gain of another
            kind of map means nothing), sizes that differ, a fixation outside the maps,
            or one where the baseline has probability 0.

    Reference:
        Kümmerer, Wallis & Bethge (2015), PNAS 112:16054, "Information gain".

    Example:
        >>> uniform = np.log([[0.5, 0.5]])
        >>> information_gain(np.log([[0.75, 0.25]]), uniform, [1.5], [0.5])
        array([-1.])
    """
    log_density = check_log_density(log_density)
    baseline = check_log_density(baseline_log_density, "baseline_log_density")
    if log_density.shape != baseline.shape:
        raise InputError(
            f"log_density has the shape {list(log_density.shape)}, the baseline "
            f"{list(baseline.shape)}; resample the baseline to the image"
        )
    row, column = pixel_index(x, y, *log_density.shape)
    below = baseline[row, column]
    impossible = np.isneginf(below)
    if impossible.any():
        raise InputError(
            f"the baseline has probability 0 at {int(impossible.sum())} of {len(row)} "
            "fixations; mix in a little of the uniform density"
        )
    return (log_density[row, column] - below) / np.log(2)
