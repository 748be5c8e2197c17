"""Areas under the ROC curve: definitions that share a name, each under its own.

| function | positives | negatives | curve |
|---|---|---|---|
| `auc` | every fixation | all pixels | exact, ties half |
| `auc_judd` | each fixated pixel once | the other pixels | thresholds at positives |
| `auc_borji` | every fixation | random pixels, 100 times | steps of 0.1 |
| `sauc` | every fixation | every one on the other images | exact, ties half |
| `sauc_mit` | every fixation | pixels of 10 other images, 100 times | steps of 0.1 |

`auc` and `sauc` return one value for each fixation (take the mean over an image first,
then over images), the others one value for the image. `auc`, `sauc` and `auc_judd` ask
only for the order of a map's values: log densities may be given as they are. The last
two are in `shuffled_auc`.
"""

from typing import Any

import numpy as np

from deepgaze_jax.errors import InputError
from deepgaze_jax.map_checks import (
    check_rankable_map,
    check_saliency_map,
    pixel_index,
)
from deepgaze_jax.roc import (
    area,
    below_and_equal,
    min_maxed,
    positives_and_pixels,
    stepped_auc,
)

__all__ = ["auc", "auc_borji", "auc_judd"]

_JITTER = 1e-7


def auc(saliency_map: Any, x: Any, y: Any) -> np.ndarray:
    """Returns the AUC of each fixation: the share of pixels that it stands above.

    Negatives are all pixels, each once, fixated or not. A pixel with the same value
    counts half, so a constant map has 0.5. Fixations on one pixel all count.

    Args:
        saliency_map: [height, width], any numbers; only their order counts.
        x: [n], pixels from the left; a fixation belongs to pixel floor(x).
        y: [n], pixels from the top.

    Returns:
        float64 [n]. The AUC of the image is the mean.

    Raises:
        InputError: a map with NaN, or a fixation outside it.

    Reference:
        Kümmerer, Wallis & Bethge (2018), ECCV, "Saliency benchmarking made easy".

    Example:
        >>> auc([[0.1, 0.2], [0.2, 0.9]], [1.5, 0.0], [1.5, 1.0])
        array([0.875, 0.5  ])
    """
    saliency_map = check_rankable_map(saliency_map)
    at = saliency_map[pixel_index(x, y, *saliency_map.shape)]
    below, equal = below_and_equal(saliency_map.ravel(), at)
    return (below + equal / 2) / saliency_map.size


def auc_judd(
    saliency_map: Any, x: Any, y: Any, jitter: bool = False, seed: int = 0
) -> float:
    """Returns the AUC of an image as Judd et al. define it.

    A fixated pixel counts once. Thresholds are the values of fixated pixels; true
    positives are counted over these, false positives over all other pixels, and the
    points are joined by straight lines from (0, 0) to (1, 1).

    Args:
        saliency_map: [height, width], any numbers.
        x: [n], pixels from the left; a fixation belongs to pixel floor(x).
        y: [n], pixels from the top.
        jitter: break ties by noise of up to 1e-7 of the map's range.
        seed: of the noise.

    Raises:
        InputError: a map with NaN (with jitter also a log density), a fixation outside
            it, no fixation, or no pixel without one.

    Reference:
        Judd, Ehinger, Durand & Torralba (2009), ICCV; MIT saliency benchmark,
        `AUC_Judd`.

    Example:
        >>> auc_judd([[0.1, 0.2], [0.2, 0.9]], [1.5, 0.0], [1.5, 1.0])
        0.875
    """
    # PARITY: the MIT code gives tied fixated pixels one point each, by their order
    # after sorting, and so counts some of them as false positives on the way. Without
    # ties (its jitter is on by default) both agree.
    if jitter:
        # PARITY: the MIT code adds the noise before it brings the map to 0..1, where
        # its effect depends on the map's unit.
        saliency_map = min_maxed(check_saliency_map(saliency_map))
        noise = np.random.default_rng(seed).random(saliency_map.shape)
        saliency_map = saliency_map + _JITTER * noise
    saliency_map = check_rankable_map(saliency_map)
    row, column = pixel_index(x, y, *saliency_map.shape)
    fixated = np.unique(row * saliency_map.shape[1] + column)
    n_pixels, n_fixated = saliency_map.size, len(fixated)
    if not 0 < n_fixated < n_pixels:
        raise InputError(
            f"{n_fixated} of {n_pixels} pixels are fixated; AUC-Judd needs at least "
            "one that is and one that is not; leave the image out"
        )
    values = saliency_map.ravel()
    at = np.sort(values[fixated])
    thresholds = np.unique(at)[::-1]
    at_least = n_pixels - below_and_equal(values, thresholds)[0]
    fixated_at_least = n_fixated - np.searchsorted(at, thresholds)
    true = fixated_at_least / n_fixated
    false = (at_least - fixated_at_least) / (n_pixels - n_fixated)
    return area(false, true)


def auc_borji(
    saliency_map: Any, x: Any, y: Any, splits: int = 100, seed: int = 0
) -> float:
    """Returns the AUC of an image as Borji et al. define it.

    In each split as many pixels as there are fixations are drawn at random, any pixel
    and with replacement. The map is brought to 0..1, thresholds are 0, 0.1, ..., 1, and
    the points are joined from (0, 0) to (1, 1). A constant map has 0.5.

    Args:
        saliency_map: [height, width], finite values in any unit.
        x: [n], pixels from the left; a fixation belongs to pixel floor(x).
        y: [n], pixels from the top.
        splits: number of random draws; the result is their mean.
        seed: of the draws.

    Raises:
        InputError: a log density or values that are not finite, a fixation outside the
            map, no fixation, or no split.

    Reference:
        Borji, Tavakoli, Sihite & Itti (2013), ICCV; MIT saliency benchmark,
        `AUC_Borji`.

    Example:
        >>> auc_borji([[0.0, 0.0], [0.0, 1.0]], [1.5], [1.5]) > 0.8
        True
    """
    values, at = positives_and_pixels(saliency_map, x, y, splits)
    drawn = np.random.default_rng(seed).integers(len(values), size=(splits, len(at)))
    return stepped_auc(at, values[drawn])
