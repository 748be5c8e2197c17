"""Slow second implementation of the metrics: loops over fixations and pixels.

Written from the definitions alone; nothing here imports the library. Maps are
[height, width] or nested lists, points are x (right) and y (down) in pixels.
"""

import itertools
import math

import numpy as np
from scipy import ndimage

EPS = 2.2204e-16


def at_fixations(saliency_map, x, y):
    return [
        saliency_map[math.floor(b)][math.floor(a)] for a, b in zip(x, y, strict=True)
    ]


def all_pixels(saliency_map):
    return [value for row in saliency_map for value in row]


def share_below(value, negatives):
    """Share of negatives that are lower, ties half."""
    below = sum(1 for other in negatives if other < value)
    equal = sum(1 for other in negatives if other == value)
    return (below + 0.5 * equal) / len(negatives)


def auc(saliency_map, x, y):
    """One value per fixation; negatives are all pixels."""
    negatives = all_pixels(saliency_map)
    return [share_below(value, negatives) for value in at_fixations(saliency_map, x, y)]


def other_points(points, sizes, image):
    """The points (image, x, y) of all other images, at the size of one image."""
    height, width = sizes[image]
    scaled = []
    for other, x, y in points:
        if other != image:
            other_height, other_width = sizes[other]
            if (other_height, other_width) != (height, width):
                x = x * width / other_width if width != other_width else x
                y = y * height / other_height if height != other_height else y
            scaled.append((min(x, width - 1e-9), min(y, height - 1e-9)))
    return scaled


def sauc(saliency_map, x, y, points, sizes, image):
    """One value per fixation; negatives are the fixations of all other images."""
    others = other_points(points, sizes, image)
    negatives = at_fixations(saliency_map, *zip(*others, strict=True))
    return [share_below(value, negatives) for value in at_fixations(saliency_map, x, y)]


def trapezoid(points):
    """Area under points (false positive rate, true positive rate) in this order."""
    return sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in itertools.pairwise(points))


def auc_judd(saliency_map, x, y):
    fixated = {(math.floor(b), math.floor(a)) for a, b in zip(x, y, strict=True)}
    positives, negatives = [], []
    for i, row in enumerate(saliency_map):
        for j, value in enumerate(row):
            (positives if (i, j) in fixated else negatives).append(value)
    points = [(0.0, 0.0)]
    for threshold in sorted(positives, reverse=True):
        true = sum(1 for value in positives if value >= threshold) / len(positives)
        false = sum(1 for value in negatives if value >= threshold) / len(negatives)
        points.append((false, true))
    return trapezoid([*points, (1.0, 1.0)])


def min_maxed(saliency_map):
    values = np.asarray(saliency_map, np.float64)
    if values.max() == values.min():
        return values * 0
    return (values - values.min()) / (values.max() - values.min())


def stepped_auc(positives, negatives):
    """Area with thresholds 1, 0.9, ..., 0 for values in 0..1."""
    points = [(0.0, 0.0)]
    for step in range(10, -1, -1):
        true = sum(1 for value in positives if value >= step / 10) / len(positives)
        false = sum(1 for value in negatives if value >= step / 10) / len(negatives)
        points.append((false, true))
    return trapezoid([*points, (1.0, 1.0)])


def nss(saliency_map, x, y):
    """One value per fixation; a constant map has 0."""
    values = [float(value) for value in all_pixels(saliency_map)]
    if max(values) == min(values):
        return [0.0 for _ in x]
    mean = math.fsum(values) / len(values)
    deviation = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / len(values))
    return [(v - mean) / deviation for v in at_fixations(saliency_map, x, y)]


def empirical_density(x, y, height, width, sigma_px):
    """Every fixation a Gaussian cut off at 4 sigma, mirrored at the edges."""
    radius = int(4 * sigma_px + 0.5)
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma_px) ** 2)
    taps /= taps.sum()
    density = np.zeros((height, width))
    for a, b in zip(x, y, strict=True):
        vertical, horizontal = np.zeros(height), np.zeros(width)
        for line, n, centre in (
            (vertical, height, math.floor(b)),
            (horizontal, width, math.floor(a)),
        ):
            for offset, weight in zip(range(-radius, radius + 1), taps, strict=True):
                cell = centre + offset
                while not 0 <= cell < n:
                    cell = -1 - cell if cell < 0 else 2 * n - 1 - cell
                line[cell] += weight
        density += np.outer(vertical, horizontal)
    return density / density.sum()


def blurred_with_zeros(values, sigma_px):
    return ndimage.gaussian_filter(
        np.asarray(values, np.float64), sigma_px, mode="constant", truncate=4.0
    )


def cc(saliency_map, empirical_map):
    p = [float(value) for value in all_pixels(saliency_map)]
    q = [float(value) for value in all_pixels(empirical_map)]
    if max(p) == min(p) or max(q) == min(q):
        return 0.0
    p_mean, q_mean = math.fsum(p) / len(p), math.fsum(q) / len(q)
    covariance = math.fsum(
        (a - p_mean) * (b - q_mean) for a, b in zip(p, q, strict=True)
    )
    return covariance / math.sqrt(
        math.fsum((a - p_mean) ** 2 for a in p)
        * math.fsum((b - q_mean) ** 2 for b in q)
    )


def sum_one(values):
    values = [float(value) for value in values]
    if min(values) < 0:
        lowest = min(values)
        values = [value - lowest for value in values]
    total = math.fsum(values)
    if total == 0:
        return [1 / len(values) for _ in values]
    return [value / total for value in values]


def kldiv(saliency_map, empirical_map):
    p, q = sum_one(all_pixels(saliency_map)), sum_one(all_pixels(empirical_map))
    return math.fsum(
        b * math.log(EPS + b / (a + EPS)) for a, b in zip(p, q, strict=True)
    )


def sim(saliency_map, empirical_map):
    p, q = sum_one(all_pixels(saliency_map)), sum_one(all_pixels(empirical_map))
    return math.fsum(min(a, b) for a, b in zip(p, q, strict=True))


def sim_min_max(saliency_map, empirical_map):
    return sim(min_maxed(saliency_map), min_maxed(empirical_map))


def gold_standard_density(
    points, height, width, sigma_px, center_bias, kde_weight, center_bias_weight
):
    """Mixture of a Gaussian for each point (x, y), a center bias and uniform.

    Every Gaussian is sampled at whole pixels around the fixated one, mirrored at the
    edges, with sum one. Without points their weight goes to the others.
    """
    uniform_weight = 1 - kde_weight - center_bias_weight
    uniform = np.full((height, width), 1 / (height * width))
    rest = center_bias_weight * np.asarray(center_bias) + uniform_weight * uniform
    if not points:
        return rest / (center_bias_weight + uniform_weight)
    density = np.zeros((height, width))
    for x, y in points:
        lines = []
        for n, centre in ((height, math.floor(y)), (width, math.floor(x))):
            line = np.zeros(n)
            for mirror in range(-2, 3):
                for position in (centre + 2 * n * mirror, 2 * n * mirror - 1 - centre):
                    distance = (np.arange(n) - position) / sigma_px
                    line += np.exp(-0.5 * distance**2)
            lines.append(line / line.sum())
        density += np.outer(*lines)
    return kde_weight * density / len(points) + rest
