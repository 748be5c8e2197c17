"""Shuffled AUC: fixations on other images as negatives, so that center bias is no help.

`sauc` is exact; `sauc_mit` is the form of the MIT benchmark's code.
"""

from typing import Any

import numpy as np

from deepgaze_jax.errors import InputError
from deepgaze_jax.fixations import Fixations
from deepgaze_jax.map_checks import check_rankable_map, pixel_index
from deepgaze_jax.roc import below_and_equal, positives_and_pixels, stepped_auc

__all__ = ["OtherFixations", "sauc", "sauc_mit"]


class OtherFixations:
    """Where people looked on the other images: the negatives of `sauc`.

    Points of an image of another size are scaled: x by the ratio of the widths, y by
    that of the heights. Points on one pixel are all kept.

    Args:
        fixations: of the data set.
        image_sizes: [n_images, 2], height and width of its images in pixels.

    Raises:
        DataError: fixations out of frame, or on images that do not exist.
        InputError: image_sizes of another shape.

    Example:
        >>> fixations = Fixations([0, 1, 2], [0] * 3, [0] * 3, [1, 2, 3], [0, 0, 0])
        >>> others = OtherFixations(fixations, [[1, 4], [1, 4], [1, 8]])
        >>> others.counts(0).tolist()
        [[0, 1, 1, 0]]
    """

    def __init__(self, fixations: Fixations, image_sizes: Any) -> None:
        fixations.check_frame(image_sizes)
        sizes, image = np.asarray(image_sizes), fixations.image
        self._sizes, self._image = sizes, image
        self._x, self._y = fixations.x, fixations.y
        order = np.argsort(image, kind="stable")
        bounds = np.searchsorted(image[order], np.arange(len(sizes) + 1))
        self._rows = np.split(order, bounds[1:-1])
        # The last size asked for: data sets have one, or runs of the same.
        self._size: tuple[int, int] | None = None
        self._scaled: tuple[np.ndarray, np.ndarray | None]

    def counts(self, image: int) -> np.ndarray:
        """Returns how many of the others' fixations fall on each pixel of an image.

        Args:
            image: index of the image.

        Returns:
            int64 [height, width].
        """
        height, width = self._sizes[image]
        pixel, count = self._all(height, width)
        own = self._own(image)
        n_pixels = int(height * width)
        total = np.zeros(n_pixels, np.int64)
        np.add.at(total, pixel, 1 if count is None else count)
        total -= np.bincount(own, minlength=n_pixels)
        return total.reshape(height, width)

    def number(self, image: int) -> int:
        """Returns how many fixations are on the other images."""
        return len(self._image) - len(self._rows[image])

    def ranks(self, saliency_map: np.ndarray, at: np.ndarray, image: int) -> np.ndarray:
        """Returns how many of the others' values are lower, equal ones counted half.

        Args:
            saliency_map: [height, width] of the image.
            at: [n], values to rank.
            image: index of the image.

        Returns:
            float64 [n].

        Raises:
            InputError: the map has another size than the image.
        """
        height, width = map(int, self._sizes[image])
        if saliency_map.shape != (height, width):
            raise InputError(
                f"saliency_map has the shape {list(saliency_map.shape)}, image {image} "
                f"[{height}, {width}]; give the map of this image at its size"
            )
        values = saliency_map.ravel()
        # All of them, less the image's own: nothing has to be selected each time.
        pixel, count = self._all(height, width)
        below, equal = below_and_equal(values[pixel], at, count)
        own_below, own_equal = below_and_equal(values[self._own(image)], at)
        return (below - own_below) + (equal - own_equal) / 2

    def pool(self, image: int, n_images: int, rng: np.random.Generator) -> np.ndarray:
        """Returns the pixels that people fixated on some other images, each once.

        Args:
            image: index of the image, at whose size the pixels are.
            n_images: number of other images with fixations to draw; all, if fewer.
            rng: what draws them.

        Returns:
            int64 [m], numbered row by row.

        Raises:
            InputError: no other image has fixations, or none is wanted.
        """
        candidates = [
            other
            for other, rows in enumerate(self._rows)
            if other != image and len(rows)
        ]
        if not candidates or n_images < 1:
            raise InputError(
                f"{len(candidates)} other images have fixations and {n_images} are "
                "wanted; a shuffled AUC needs at least one"
            )
        drawn = rng.choice(candidates, min(n_images, len(candidates)), replace=False)
        rows = np.concatenate([self._rows[other] for other in drawn])
        return np.unique(self._pixels(rows, *self._sizes[image]))

    def _own(self, image: int) -> np.ndarray:
        return self._pixels(self._rows[image], *self._sizes[image])

    def _all(self, height: int, width: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Returns pixels, and how often each counts (once, where None)."""
        if self._size != (height, width):
            # Their order is of no use; sorted, they are read from a map fastest.
            pixel = np.sort(self._pixels(slice(None), height, width))
            count = None
            if len(pixel) > height * width:
                count = np.bincount(pixel)
                pixel = np.flatnonzero(count)
                count = count[pixel]
            self._size, self._scaled = (height, width), (pixel, count)
        return self._scaled

    def _pixels(self, rows: Any, height: int, width: int) -> np.ndarray:
        heights, widths = self._sizes[self._image[rows]].T
        column = _scaled_floor(self._x[rows], widths, width)
        row = _scaled_floor(self._y[rows], heights, height)
        return row * int(width) + column


def sauc(
    saliency_map: Any, x: Any, y: Any, others: OtherFixations, image: int
) -> np.ndarray:
    """Returns the shuffled AUC of each fixation: the share of others' that it beats.

    Negatives are the fixations of all other images, scaled to the size of this one;
    duplicates are kept and equal values count half, so a constant map has 0.5. A map
    that only says "people look at the middle" has 0.5 as well, up to chance.

    Args:
        saliency_map: [height, width], any numbers; only their order counts.
        x: [n], pixels from the left; a fixation belongs to pixel floor(x).
        y: [n], pixels from the top.
        others: fixations of the data set, made once for all images.
        image: index of this image in it; its own fixations are no negatives.

    Returns:
        float64 [n]. The sAUC of the image is the mean.

    Raises:
        InputError: a map with NaN or of another size than the image, a fixation
            outside it, or no fixation on any other image.

    Reference:
        Tatler, Baddeley & Gilchrist (2005), Vision Research 45:643; Zhang et al.
        (2008), Journal of Vision 8(7):32.

    Example:
        >>> fixations = Fixations([0, 1, 1], [0] * 3, [0, 0, 1], [1, 0, 1], [0, 0, 0])
        >>> others = OtherFixations(fixations, [[1, 2], [1, 2]])
        >>> sauc([[0.2, 0.9]], [1], [0], others, 0)
        array([0.75])
    """
    saliency_map = check_rankable_map(saliency_map)
    at = saliency_map[pixel_index(x, y, *saliency_map.shape)]
    n_negatives = others.number(image)
    if n_negatives == 0:
        raise InputError(
            "no other image has fixations; a shuffled AUC needs at least two images"
        )
    return others.ranks(saliency_map, at, image) / n_negatives


def sauc_mit(
    saliency_map: Any,
    x: Any,
    y: Any,
    others: OtherFixations,
    image: int,
    splits: int = 100,
    n_other_images: int = 10,
    seed: int = 0,
) -> float:
    """Returns the shuffled AUC of an image in the form of the MIT benchmark's code.

    Ten other images are drawn; their fixated pixels together, each once, are the pool.
    In each split as many of the pool as there are fixations are drawn without
    replacement. The map is brought to 0..1 and thresholds are 0, 0.1, ..., 1. Prefer
    `sauc`, which is exact.

    Args:
        saliency_map: [height, width], finite values in any unit.
        x: [n], pixels from the left; a fixation belongs to pixel floor(x).
        y: [n], pixels from the top.
        others: fixations of the data set, made once for all images.
        image: index of this image in it.
        splits: number of random draws; the result is their mean.
        n_other_images: images that the pool is made of; all, if there are fewer.
        seed: of all draws.

    Raises:
        InputError: see `auc.auc_borji`; or no fixation on any other image.

    Reference:
        MIT saliency benchmark, `AUC_shuffled`.

    Example:
        >>> fixations = Fixations([0, 1, 1], [0] * 3, [0, 0, 1], [1, 0, 1], [0, 0, 0])
        >>> others = OtherFixations(fixations, [[1, 2], [1, 2]])
        >>> 0.7 < sauc_mit([[0.2, 0.9]], [1], [0], others, 0) < 0.8
        True
    """
    values, at = positives_and_pixels(saliency_map, x, y, splits)
    rng = np.random.default_rng(seed)
    pool = others.pool(image, n_other_images, rng)
    n_drawn = min(len(at), len(pool))
    # Each row an order of its own: its start is a draw without replacement.
    drawn = rng.random((splits, len(pool))).argsort(axis=1)[:, :n_drawn]
    return stepped_auc(at, values[pool[drawn]])


def _scaled_floor(points: np.ndarray, size: np.ndarray, new_size: int) -> np.ndarray:
    """Returns the pixels of coordinates in an image of another size."""
    # Multiplied first: whole numbers then land exactly on edges of pixels. Where the
    # size is the same nothing may move.
    scaled = np.where(size == new_size, points, points * new_size / size)
    # min: just below the far edge the product may round up to it.
    return np.minimum(scaled.astype(np.int64), new_size - 1)
