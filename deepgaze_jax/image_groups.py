"""Images that can be in one batch: of one size, and trained on by the same folds."""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np

from deepgaze_jax.train_step import Batch

__all__ = ["Group", "Part", "parts_of"]


@dataclasses.dataclass(frozen=True)
class Group:
    """Images that share all sizes.

    Attributes:
        images: int [m], their indices.
        counts: [m, rows, columns], fixations in each cell of the readout grid.
        center_bias: float32 [F, rows, columns], each fold's own, pooled to the grid.
        log_pixels: float32 [rows, columns], see `PixelGrid.log_pixels`.
        model_size: height and width of the model's images.
    """

    images: np.ndarray
    counts: np.ndarray
    center_bias: np.ndarray
    log_pixels: np.ndarray
    model_size: tuple[int, int]

    def batch(
        self,
        folds: np.ndarray,
        positions: np.ndarray,
        weights: np.ndarray,
        features: jax.Array,
        member_weights: np.ndarray | None = None,
    ) -> Batch:
        """Return a batch of the images at some positions of the group."""
        return Batch(
            folds=folds,
            features=features,
            counts=self.counts[positions],
            weights=weights,
            center_bias=self.center_bias,
            log_pixels=self.log_pixels,
            model_size=self.model_size,
            member_weights=member_weights,
        )


@dataclasses.dataclass(frozen=True)
class Part:
    """Images of a group that share their batches.

    Attributes:
        group: the group.
        folds: positions, among the trained ones, of the folds that train on them.
        images: positions in the group.
        largest: number of images in the group's largest part.
    """

    group: Group
    folds: np.ndarray
    images: np.ndarray
    largest: int


def parts_of(
    groups: Sequence[Group], trains: np.ndarray, fold_ids: Sequence[int], mixed: bool
) -> tuple[Part, ...]:
    """Return what batches are made of: all images that a fold of the data trains on.

    Args:
        groups: images by size.
        trains: bool [all folds, n_images].
        fold_ids: number of each member's fold.
        mixed: whether images of different folds share a batch, with a weight of 0 for
            the folds that must not see them. A fold then takes all its images in as few
            steps as possible, and computes for some that it does not learn from.
    """
    parts = []
    for group in groups:
        own = trains[:, group.images]
        signatures, part_of = np.unique(
            own.any(axis=0, keepdims=True) if mixed else own,
            axis=1,
            return_inverse=True,
        )
        positions = [
            np.flatnonzero(part_of.reshape(-1) == part)
            for part in range(signatures.shape[1])
        ]
        largest = max(len(images) for images in positions)
        for signature, images in zip(signatures.T, positions, strict=True):
            members = own[:, images].any(axis=1)[list(fold_ids)]
            if signature.any():
                parts.append(Part(group, np.flatnonzero(members), images, largest))
    return tuple(parts)
