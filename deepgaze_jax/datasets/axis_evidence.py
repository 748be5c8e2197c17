"""Are x and y what they are taken for? Other readings of the same points, compared.

Two witnesses: people look at the middle of images (likelihood under a center bias), and
at places with local contrast. Points that were read wrongly fit both less well.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from deepgaze_jax.fixations import Fixations
from deepgaze_jax.ops import resize_image

__all__ = [
    "READINGS",
    "AxisEvidence",
    "axis_evidence",
    "contrast_map",
    "perhaps",
    "suspect",
]

#: Each reading of a point (x, y) on an image of a width and height.
READINGS = {
    "as given": lambda x, y, width, height: (x, y),
    "transposed": lambda x, y, width, height: (y, x),
    "mirrored": lambda x, y, width, height: (width - x, y),
    "upside down": lambda x, y, width, height: (x, height - y),
    "turned by 180°": lambda x, y, width, height: (width - x, height - y),
}

# The center bias: a Gaussian of these shares of width and height, with a little uniform
# density, and a little outside of the image.
_SPREAD = 0.2
_UNIFORM, _OUTSIDE = 0.2, 0.01
# Contrast is the standard deviation of luminance around a pixel.
_MAX_SIDE = 256
_NEIGHBOURHOOD = 0.012
# When another reading is believed: bits, contrast, standard errors, images.
_BITS, _CONTRAST, _ERRORS, _MIN_IMAGES, _MIN_POINTS = 0.15, 0.1, 3.0, 5, 30
# When it is worth a look. Of random dozens of images of OSIE, mirrored, more than nine
# in ten are found this way, four in ten with the numbers above; of upright ones, none.
_FEW_ERRORS, _FEW_IMAGES = 1.0, 3


@dataclass(frozen=True)
class AxisEvidence:
    """How well one reading of the points fits.

    Attributes:
        reading: one of `READINGS`.
        inside: share of points in the frame.
        log_likelihood: of all points under a center bias, bits over uniform; a point
            out of the frame counts as very unlikely.
        contrast: mean local contrast at the points, in standard deviations of the
            image; NaN where no picture was there.
        contrast_gain: mean over images of the contrast above that of the points as
            given.
        contrast_error: standard error of that.
        n_images: images with pictures that this is a mean over.
    """

    reading: str
    inside: float
    log_likelihood: float
    contrast: float
    contrast_gain: float
    contrast_error: float
    n_images: int


def contrast_map(image: np.ndarray) -> np.ndarray:
    """Returns local contrast as z-scores, float32 [h, w], longest side 256 at most.

    Args:
        image: RGB 0..255, [height, width, 3].

    Example:
        >>> image = np.zeros((40, 60, 3), np.float32)
        >>> image[10:20, 10:20] = 255
        >>> contrast = contrast_map(image)
        >>> bool(contrast[10, 10] > 2), bool(contrast[30, 50] < 0)
        (True, True)
    """
    scale = min(1.0, _MAX_SIDE / max(image.shape[:2]))
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    luminance = image @ np.array([0.299, 0.587, 0.114], np.float32)
    small = np.asarray(resize_image(luminance[..., None], height, width))[..., 0]
    sigma = max(1.0, _NEIGHBOURHOOD * max(height, width))
    mean = gaussian_filter(small, sigma)
    variance = gaussian_filter(small * small, sigma) - mean * mean
    contrast = np.sqrt(np.maximum(variance, 0))
    spread = float(contrast.std())
    return ((contrast - contrast.mean()) / (spread or 1.0)).astype(np.float32)


def axis_evidence(
    fixations: Fixations,
    image_sizes: np.ndarray,
    contrast_maps: Mapping[int, np.ndarray],
) -> tuple[AxisEvidence, ...]:
    """Returns the evidence for every reading, "as given" first.

    Args:
        fixations: of the data set.
        image_sizes: [n_images, 2], height and width; 0 where unknown.
        contrast_maps: of some images, by index, from `contrast_map`.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x, y = rng.normal(300, 50, 200), rng.normal(100, 20, 200)
        >>> fixations = Fixations(0 * x, 0 * x, np.arange(200), y, x)  # swapped
        >>> given, transposed, *_ = axis_evidence(fixations, [[200, 600]], {})
        >>> given.log_likelihood < transposed.log_likelihood
        True
    """
    sizes = np.asarray(image_sizes)
    known = (sizes > 0).all(axis=1)[fixations.image]
    known &= np.isfinite(fixations.x) & np.isfinite(fixations.y)
    points = fixations.select(known)
    height, width = sizes[points.image].T.astype(np.float64)
    order = np.argsort(points.image, kind="stable")
    starts = np.searchsorted(points.image[order], np.arange(len(sizes) + 1))
    rows_of = {i: order[starts[i] : starts[i + 1]] for i in contrast_maps}
    per_image = {}
    found = []
    for name, reading in READINGS.items():
        x, y = reading(points.x, points.y, width, height)
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        u, v = x / np.maximum(width, 1) - 0.5, y / np.maximum(height, 1) - 0.5
        bell = np.exp(-(u**2 + v**2) / (2 * _SPREAD**2)) / (2 * np.pi * _SPREAD**2)
        density = (1 - _OUTSIDE) * (_UNIFORM + (1 - _UNIFORM) * bell)
        bits = np.log2(np.where(inside, density, _OUTSIDE))
        contrast = np.full(len(points), np.nan)
        for image, values in contrast_maps.items():
            rows = rows_of[image][inside[rows_of[image]]]
            h, w = values.shape
            row = np.minimum((y[rows] * h / height[rows]).astype(int), h - 1)
            column = np.minimum((x[rows] * w / width[rows]).astype(int), w - 1)
            contrast[rows] = values[row, column]
        means = _means_per_image(points.image, contrast, len(sizes))
        per_image[name] = means
        gain = means - per_image["as given"]
        gain = gain[np.isfinite(gain)]
        n = len(gain)
        error = float(gain.std(ddof=1) / np.sqrt(n)) if n > 1 else np.nan
        found.append(
            AxisEvidence(
                reading=name,
                inside=float(inside.mean()) if len(points) else np.nan,
                log_likelihood=float(bits.mean()) if len(points) else np.nan,
                contrast=_mean(means),
                contrast_gain=_mean(gain),
                contrast_error=error,
                n_images=n,
            )
        )
    return tuple(found)


def suspect(evidence: tuple[AxisEvidence, ...], n_points: int) -> AxisEvidence | None:
    """Returns the reading that fits clearly better than the one given, if there is one.

    Args:
        evidence: of `axis_evidence`.
        n_points: number of points that it is about.
    """
    if n_points < _MIN_POINTS:
        return None
    given = evidence[0]
    found = []
    for other in evidence[1:]:
        bits = other.log_likelihood - given.log_likelihood
        many = other.n_images >= _MIN_IMAGES
        by_contrast = many and other.contrast_gain > max(
            _CONTRAST, _ERRORS * other.contrast_error
        )
        against = many and other.contrast_gain < -_ERRORS * other.contrast_error
        if by_contrast or (bits > _BITS and not against):
            found.append((bits + np.nan_to_num(other.contrast_gain), other))
    return max(found, key=lambda pair: pair[0])[1] if found else None


def perhaps(evidence: tuple[AxisEvidence, ...], n_points: int) -> AxisEvidence | None:
    """Returns a reading that fits better by contrast, on too few images to be sure.

    Args:
        evidence: of `axis_evidence`.
        n_points: number of points that it is about.
    """
    if n_points < _MIN_POINTS:
        return None
    better = [
        other
        for other in evidence[1:]
        if other.n_images >= _FEW_IMAGES
        and other.contrast_gain > max(_CONTRAST, _FEW_ERRORS * other.contrast_error)
    ]
    return max(better, key=lambda other: other.contrast_gain, default=None)


def _means_per_image(
    image: np.ndarray, values: np.ndarray, n_images: int
) -> np.ndarray:
    """Returns the mean of the numbers on each image, NaN where there are none."""
    there = np.isfinite(values)
    counts = np.bincount(image[there], minlength=n_images)
    sums = np.bincount(image[there], weights=values[there], minlength=n_images)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else np.nan
