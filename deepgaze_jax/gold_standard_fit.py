"""Parameters of a gold standard: what predicts people left out in turn best."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar

from deepgaze_jax.center_bias import (
    fit_center_bias,
    image_indices,
    resample_log_density,
)
from deepgaze_jax.errors import DataError, InputError
from deepgaze_jax.fixations import Fixations
from deepgaze_jax.gold_standard import GoldStandard, kde_at_fixations
from deepgaze_jax.leave_one_out import leave_one_out_center_biases

__all__ = ["fit_gold_standard"]

# The search over bandwidths: powers of two in pixels, then between the best of them.
_BANDWIDTHS_PX = 2.0 ** np.arange(0, 9)
_BANDWIDTH_TOLERANCE = 1e-3  # Of its logarithm.
_WEIGHT_GAIN = 1e-7  # Nats that other weights could still gain, at most.
_MAX_STEPS = 5000
_MIN_UNIFORM_WEIGHT = 1e-12


def fit_gold_standard(
    fixations: Fixations,
    image_sizes: Any,
    images: Any = None,
    *,
    pixels_per_dva: Any = None,
    center_biases: Sequence[Any] | None = None,
) -> GoldStandard:
    """Returns the gold standard with the highest likelihood of people left out.

    Every fixation is predicted from the other people's on its image; the likelihood is
    the mean over the fixations of an image, then over images. Images on which nobody
    else looked are passed over.

    Args:
        fixations: of the data set; subject tells people apart.
        image_sizes: [n_images, 2], height and width of its images in pixels.
        images: indices of the images to fit on, for instance `fold.train`; all if left
            out. Nothing of other images is used.
        pixels_per_dva: [n_images], pixels per degree of visual angle; if given, the
            bandwidth is one number of degrees instead of pixels.
        center_biases: a log density [h, w] for each of `images` in rising order,
            resampled to their size; if left out, the center bias of each image from all
            others of `images`.

    Raises:
        DataError: fixations out of frame, or no image on which two people looked.
        InputError: image indices that do not exist or repeat, lengths that differ.

    Reference:
        Kümmerer, Wallis & Bethge (2015), PNAS 112:16054, "Gold standard model".

    Example:
        >>> rng = np.random.default_rng(0)
        >>> image, subject = np.repeat(np.arange(8), 20), np.tile(np.arange(4), 40)
        >>> middle = rng.uniform(10, 90, (2, 8))[:, image]
        >>> x, y = np.clip(middle + rng.normal(0, 4, (2, 160)), 0, 99)
        >>> fixations = Fixations(image, subject, np.arange(160), x, y)
        >>> gold = fit_gold_standard(fixations, [[100, 100]] * 8)
        >>> 2 < gold.bandwidth_px < 5, gold.log_likelihood > 2
        (True, True)
    """
    sizes = np.asarray(image_sizes)
    fixations.check_frame(sizes)
    images = np.arange(len(sizes)) if images is None else images
    images = image_indices(images, len(sizes))
    if center_biases is None:
        fitted = fit_center_bias(fixations, sizes, images)
        center_biases = leave_one_out_center_biases(fixations, sizes, fitted, images)
    if len(center_biases) != len(images):
        raise InputError(
            f"there are {len(center_biases)} center biases for {len(images)} images; "
            "expected one each"
        )
    scale = None if pixels_per_dva is None else np.asarray(pixels_per_dva, np.float64)
    if scale is not None and scale.shape != (len(sizes),):
        raise InputError(
            f"pixels_per_dva has the shape {list(scale.shape)}; expected one value for "
            f"each of {len(sizes)} images"
        )
    problem = _Problem(fixations, sizes, images, center_biases, scale)

    results: dict[float, tuple[float, np.ndarray]] = {}

    def loss(log_bandwidth: float) -> float:
        densities = problem.densities(np.exp(log_bandwidth))
        results[log_bandwidth] = _best_weights(densities, problem.share)
        return -results[log_bandwidth][0]

    ladder = np.log(_BANDWIDTHS_PX / problem.pixels_per_unit)
    best = int(np.argmin([loss(rung) for rung in ladder]))
    minimize_scalar(
        loss,
        bounds=(ladder[max(best - 1, 0)], ladder[min(best + 1, len(ladder) - 1)]),
        method="bounded",
        options={"xatol": _BANDWIDTH_TOLERANCE},
    )
    log_bandwidth = max(results, key=lambda rung: results[rung][0])
    log_likelihood_nats, (_, center_bias_weight, uniform_weight) = results[
        log_bandwidth
    ]
    bandwidth = float(np.exp(log_bandwidth))
    return GoldStandard(
        bandwidth_px=bandwidth if scale is None else None,
        bandwidth_dva=None if scale is None else bandwidth,
        center_bias_weight=float(center_bias_weight),
        uniform_weight=float(uniform_weight),
        log_likelihood=float(log_likelihood_nats / np.log(2)),
        n_images=len(problem.looks),
    )


@dataclass(frozen=True, eq=False)
class _Look:
    """Where people looked on one image.

    Attributes:
        row: [n], of the fixated pixels.
        column: [n].
        subject: [n].
        size: height and width of the image.
    """

    row: np.ndarray
    column: np.ndarray
    subject: np.ndarray
    size: tuple[int, int]


class _Problem:
    """What the likelihood needs of the images on which at least two people looked."""

    def __init__(
        self,
        fixations: Fixations,
        sizes: np.ndarray,
        images: np.ndarray,
        center_biases: Sequence[Any],
        pixels_per_dva: np.ndarray | None,
    ) -> None:
        self.looks: list[_Look] = []
        center_bias, share, scale = [], [], []
        used = fixations.of_images(images)
        order = np.argsort(used.image, kind="stable")
        bounds = np.searchsorted(used.image[order], np.arange(len(sizes) + 1))
        for image, log_density in zip(images, center_biases, strict=True):
            some = order[bounds[image] : bounds[image + 1]]
            if len(np.unique(used.subject[some])) < 2:
                continue
            height, width = map(int, sizes[image])
            row = used.y[some].astype(np.int64)
            column = used.x[some].astype(np.int64)
            look = _Look(row, column, used.subject[some], (height, width))
            self.looks.append(look)
            resampled = resample_log_density(log_density, height, width)
            # Relative to the uniform density, like every column of `densities`.
            density = np.exp(resampled[row, column].astype(np.float64))
            center_bias.append(density * (height * width))
            share.append(np.full(len(some), 1 / len(some)))
            scale.append(1.0 if pixels_per_dva is None else pixels_per_dva[image])
        if not self.looks:
            raise DataError(
                f"on none of {len(images)} images two people looked; a gold standard "
                "predicts a person from others: check the column subject"
            )
        self.share = np.concatenate(share) / len(self.looks)
        self.pixels_per_unit = float(np.median(scale))
        self._scale = scale
        self._center_bias = np.concatenate(center_bias)

    def densities(self, bandwidth: float) -> np.ndarray:
        """Returns [m, 3]: others' fixations, center bias, uniform, at each fixation."""
        others = [
            kde_at_fixations(
                look.row, look.column, look.subject, look.size, bandwidth * scale
            )[0]
            * math.prod(look.size)
            for look, scale in zip(self.looks, self._scale, strict=True)
        ]
        uniform = np.ones_like(self._center_bias)
        return np.stack([np.concatenate(others), self._center_bias, uniform], axis=1)


def _best_weights(densities: np.ndarray, share: np.ndarray) -> tuple[float, np.ndarray]:
    """Returns the highest mean log-likelihood of a mixture in nats, and its weights.

    Args:
        densities: [m, 3], not negative; the last column is positive.
        share: [m], of each row in the mean, sum 1.
    """
    weights = np.array([0.8, 0.15, 0.05])
    for _ in range(_MAX_STEPS):
        gradient = (share / (densities @ weights)) @ densities
        # The likelihood is concave: no weights are better by more than this.
        if gradient.max() - 1 < _WEIGHT_GAIN:
            break
        # Expectation-maximisation: never worse, and the sum stays one.
        weights = weights * gradient
    weights[2] = max(weights[2], _MIN_UNIFORM_WEIGHT)
    weights /= weights.sum()
    return float(share @ np.log(densities @ weights)), weights
