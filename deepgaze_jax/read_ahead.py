"""What steps are given, the next read while the current is used."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import jax
import numpy as np

from deepgaze_jax.datasets.features import CachePlan
from deepgaze_jax.datasets.pipeline import read_ahead
from deepgaze_jax.memory import aligned_memory

__all__ = ["Features", "features_ahead"]


class Features(Protocol):
    """What training reads: a feature cache, or pictures whose features steps compute.

    See `datasets.features.FeatureCache` and `step_features.Pictures`.
    """

    @property
    def plan(self) -> CachePlan:
        """Sizes of all images and maps."""

    @property
    def rgb_sha256(self) -> tuple[str, ...]:
        """Hash of each picture's decoded RGB."""

    @property
    def readers(self) -> int:
        """Threads that read it."""

    def shape(self, images: Sequence[int], taps: Sequence[str]) -> tuple[int, ...]:
        """Return the shape of what `read` returns."""

    def read(
        self, images: Sequence[int], taps: Sequence[str], out: np.ndarray | None = None
    ) -> np.ndarray:
        """Return what a step is given of some images, which share all sizes."""


def features_ahead(
    cache: Features,
    parts: Sequence[np.ndarray],
    taps: Sequence[str],
    put: Callable[[np.ndarray], jax.Array],
) -> Iterator[jax.Array]:
    """Yield what a step is given of some images each; the next part is read meanwhile.

    Aligned host buffers are used in turn, because the CPU backend takes aligned
    memory as it is: no copy, no page faults. The consumer must have finished with
    a part by the time it asks for the second one after it.

    Args:
        cache: features or pictures of all images.
        parts: indices of the images of each part.
        taps: channel order of the features.
        put: brings a part to its devices.
    """
    buffers: dict[tuple[int, ...], list[np.ndarray]] = {}
    threads = cache.readers

    def read(turn: int) -> np.ndarray:
        shape = cache.shape(parts[turn], taps)
        return cache.read(parts[turn], taps, buffers[shape][turn % (threads + 2)])

    for images in parts:
        shape = cache.shape(images, taps)
        if shape not in buffers:
            n_buffers = min(threads + 2, len(parts))
            buffers[shape] = [aligned_memory(shape) for _ in range(n_buffers)]
    turns = range(len(parts))
    with contextlib.closing(read_ahead(read, turns, threads, threads)) as parts_read:
        yield from map(put, parts_read)
