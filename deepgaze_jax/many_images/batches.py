"""Pictures of one size that wait for a device go through the network together."""

import collections
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Any

import jax
import numpy as np

from deepgaze_jax.predictor import Predictor

__all__ = ["Batches"]


class Batches:
    """Collects what waits: nobody waits for a batch to become full.

    Args:
        free: returns a context with the model of a device that has a free place.
        most: pictures of a batch. Batches have powers of two, because the network is
            compiled for each number.
    """

    def __init__(
        self, free: Callable[[], AbstractContextManager[Predictor]], most: int
    ) -> None:
        self._free = free
        self._most = most
        self._lock = threading.Lock()
        self._waiting: dict[Any, collections.deque[tuple[np.ndarray, Future]]]
        self._waiting = collections.defaultdict(collections.deque)

    def features(self, picture: np.ndarray, pixels_per_dva: float | None) -> Any:
        """Return the features of a picture, on the device that has computed them.

        Args:
            picture: RGB 0..255, [height, width, 3].
            pixels_per_dva: see `Predictor.predict`.

        Raises:
            DeepGazeError: see `Predictor.features`.
        """
        answer: Future = Future()
        queue = self._waiting[picture.shape]
        with self._lock:
            queue.append((picture, answer))
        with self._free() as predictor:
            # Whoever has a place works for all that wait, the first ones first.
            while not answer.done() and (batch := self._next(queue)):
                _answer(predictor, batch, pixels_per_dva)
        return answer.result()

    def _next(self, queue: collections.deque) -> list[tuple[np.ndarray, Future]]:
        with self._lock:
            n_pictures = min(len(queue), self._most)
            n_pictures = 1 << n_pictures.bit_length() >> 1
            return [queue.popleft() for _ in range(n_pictures)]


def _answer(
    predictor: Predictor,
    batch: list[tuple[np.ndarray, Future]],
    pixels_per_dva: float | None,
) -> None:
    """Compute the features of pictures of one size, together if that can be."""
    pictures = np.stack([picture for picture, _ in batch])
    try:
        features = predictor.features(pictures, pixels_per_dva=pixels_per_dva)
        jax.block_until_ready(features)
    except Exception as error:
        if len(batch) == 1:
            batch[0][1].set_exception(error)
            return
        # There is not enough memory for so many; what is wrong with one is not the
        # others' business.
        for one in batch:
            _answer(predictor, [one], pixels_per_dva)
        return
    for own, (_, answer) in zip(features, batch, strict=True):
        answer.set_result(own)
