"""Feature maps of pictures: decoded ahead, an image of a batch on each device."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from deepgaze_jax.datasets.folder import FixationDataset
from deepgaze_jax.datasets.pipeline import (
    DECODERS,
    Batch,
    Order,
    Source,
    batches,
    behind,
)
from deepgaze_jax.images import rgb_sha256
from deepgaze_jax.ops import resize_image
from deepgaze_jax.spread import Spread

__all__ = ["ImageMaps", "extract"]


@dataclasses.dataclass(frozen=True)
class ImageMaps:
    """What was computed of a picture.

    Attributes:
        image: its number in the data set.
        name: of the picture.
        rgb_sha256: hash of its decoded RGB.
        maps: float32 [rows, columns, channels].
    """

    image: int
    name: str
    rgb_sha256: str
    maps: np.ndarray


def extract(
    dataset: FixationDataset,
    images: Sequence[int],
    model_sizes: np.ndarray,
    features: Callable[[Any, jax.Array], jax.Array],
    params: Any,
    spread: Spread,
) -> Iterator[ImageMaps]:
    """Yield the maps of pictures; the next ones are decoded and computed meanwhile.

    Pictures of one size share a batch, one on each device, so that every device does
    what it would do alone and results do not depend on their number.

    Args:
        dataset: pictures.
        images: numbers of those wanted.
        model_sizes: int [n, 2], height and width of the model's image of each picture
            of the data set.
        features: `(params, pictures [B, H, W, 3]) -> [B, rows, columns, channels]`.
        params: of the feature network.
        spread: devices.

    Raises:
        InputError: a picture is unreadable.
        DataError: one has another size than the data set states.
    """
    compute, params = spread.compile(features), spread.put_shared(params)
    size = spread.full(1)

    def prepare(position: int) -> tuple[np.ndarray, str]:
        image = images[position]
        picture = dataset.image(image)
        return resize_image(picture, *model_sizes[image]), rgb_sha256(picture)

    pictures = Source(
        names=[dataset.image_names[image] for image in images],
        sizes=[tuple(model_sizes[image]) for image in images],
        load=prepare,
    )
    ahead = max(DECODERS, size)
    stream = batches(pictures, Order(size), threads=DECODERS, ahead=ahead)
    with contextlib.closing(stream):
        under_way = (
            (batch.items, compute(params, spread.put_images(_filled(batch, size))))
            for batch in stream
        )
        for items, maps in behind(under_way):
            # What only filled the batch up comes last.
            for item, own in zip(items, np.asarray(maps), strict=False):
                yield ImageMaps(images[item.index], item.name, item.value[1], own)


def _filled(batch: Batch, size: int) -> np.ndarray:
    """Return the pictures of a batch [size, height, width, 3], some of them again."""
    pictures = [item.value[0] for item in batch.items]
    return np.stack([pictures[k % len(pictures)] for k in range(size)])
