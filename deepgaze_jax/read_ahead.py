"""Features from a cache, the next ones read while the current ones are used."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import jax
import numpy as np

from deepgaze_jax.datasets.features import CachePlan
from deepgaze_jax.datasets.pipeline import read_ahead

__all__ = ["Features", "features_ahead"]

#: Threads that copy features from the cache; copying leaves the interpreter free.
_READERS = 2


class Features(Protocol):
    """What training needs of a feature cache; see `datasets.features.FeatureCache`."""

    @property
    def plan(self) -> CachePlan:
        """Sizes of all images and maps."""

    @property
    def rgb_sha256(self) -> tuple[str, ...]:
        """Hash of each picture's decoded RGB."""

    def read(
        self, images: Sequence[int], taps: Sequence[str], out: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the features of some images of one grid size."""


def features_ahead(
    cache: Features,
    parts: Sequence[np.ndarray],
    taps: Sequence[str],
    put: Callable[[int, np.ndarray], jax.Array],
) -> Iterator[jax.Array]:
    """Yield the features of some images each; the next part is read meanwhile.

    Aligned host buffers are used in turn, because the CPU backend takes aligned
    memory as it is: no copy, no page faults. The consumer must have finished with
    a part by the time it asks for the second one after it.

    Args:
        cache: features of all images.
        parts: indices of the images of each part.
        taps: channel order of the features.
        put: brings part number `turn` to its devices.
    """
    buffers: dict[tuple[int, ...], list[np.ndarray]] = {}

    def read(turn: int) -> np.ndarray:
        shape = cache.plan.shape(parts[turn], taps)
        return cache.read(parts[turn], taps, buffers[shape][turn % (_READERS + 2)])

    for images in parts:
        shape = cache.plan.shape(images, taps)
        if shape not in buffers:
            buffers[shape] = [_aligned(shape) for _ in range(_READERS + 2)]
    turns = range(len(parts))
    with contextlib.closing(read_ahead(read, turns, _READERS, _READERS)) as parts_read:
        for turn, features in enumerate(parts_read):
            yield put(turn, features)


def _aligned(shape: tuple[int, ...]) -> np.ndarray:
    """Return uninitialised float32 memory that starts at a multiple of 64 bytes."""
    n_bytes = 4 * int(np.prod(shape))
    raw = np.empty(n_bytes + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + n_bytes].view(np.float32).reshape(shape)
