"""A data set whose pictures all have the paper's size, landscape or portrait."""

from dataclasses import replace

import numpy as np

from deepgaze_jax.datasets.folder import FixationDataset

__all__ = ["enlargement", "unified"]

#: Longer and shorter side, in pixels.
_LONGER, _SHORTER = 1024, 768


def unified(dataset: FixationDataset) -> FixationDataset:
    """Return a data set with pictures of 768 rows by 1024 columns, or 1024 by 768.

    Those higher than wide become portraits, all others (also squares, of which the
    paper says nothing) landscapes; both axes are stretched as needed, and fixations
    move along. Pictures stay as they are in their files, and their hashes with them:
    `image` returns them unchanged, for others to resize.

    Args:
        dataset: as it was recorded.

    Reference:
        Kümmerer, Wallis & Bethge 2016, section 3: pictures of MIT1003 in training.
    """
    height, width = dataset.image_sizes.T
    upright = height > width
    sizes = np.where(upright[:, None], (_LONGER, _SHORTER), (_SHORTER, _LONGER))
    factors = sizes / dataset.image_sizes
    fixations = dataset.fixations
    image = fixations.image
    # Rounding must not push a fixation over the edge.
    last = np.nextafter(sizes[image].astype(np.float64), 0)
    return replace(
        dataset,
        image_sizes=sizes.astype(np.int64),
        file_sizes=dataset.image_sizes,
        fixations=replace(
            fixations,
            x=np.minimum(fixations.x * factors[image, 1], last[:, 1]),
            y=np.minimum(fixations.y * factors[image, 0], last[:, 0]),
        ),
    )


def enlargement(dataset: FixationDataset) -> float:
    """Return how much larger pictures have become, along both sides; 1 as recorded.

    The median over pictures of the geometric mean of both axes.
    """
    if dataset.file_sizes is None:
        return 1.0
    area = (dataset.image_sizes / dataset.file_sizes).prod(axis=1)
    return float(np.median(np.sqrt(area)))
