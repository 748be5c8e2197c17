"""Features that the steps compute themselves, from pictures that are read ahead.

For data whose features are too large to be kept. A step takes pictures at their own
size, as they were decoded; it resizes them, and its features are those of a cache.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from deepgaze_jax import weights
from deepgaze_jax.datasets.features import CachePlan
from deepgaze_jax.datasets.folder import FixationDataset
from deepgaze_jax.datasets.pipeline import DECODERS, read_ahead
from deepgaze_jax.images import rgb_sha256
from deepgaze_jax.model import FixationModel
from deepgaze_jax.ops import resize_image, resize_pictures
from deepgaze_jax.parallel import Placement

__all__ = [
    "Pictures",
    "StepNetwork",
    "features_of",
    "open_pictures",
    "place_network",
    "shared_hashes",
]


@dataclasses.dataclass(frozen=True)
class StepNetwork:
    """The feature network where steps compute features; nothing where a cache has them.

    Attributes:
        everywhere: its parameters on all devices of the run.
        here: the same for what this process computes alone, see `Placement.spread`.
    """

    everywhere: Any = None
    here: Any = None


def place_network(model: FixationModel, dtype: str, placement: Placement) -> Any:
    """Return the feature network on the devices of a run.

    Args:
        model: says which network.
        dtype: what it computes in: `float32` or `bfloat16`.
        placement: of the run.

    Raises:
        WeightsError: its weights are not there.
    """
    params = jax.tree.map(
        lambda leaf: np.asarray(leaf).astype(jnp.dtype(dtype)),
        weights.load_features(model.network),
    )
    everywhere = placement.put_everywhere(params)
    return StepNetwork(everywhere, placement.here(everywhere))


def features_of(
    model: FixationModel, network: Any, inputs: jax.Array, model_size: tuple[int, int]
) -> jax.Array:
    """Return features, float32, from what a step is given; for compiled programs.

    Args:
        model: the model.
        network: parameters of its feature network, or None where the features are
            given.
        inputs: pictures [B, H, W, 3], or features.
        model_size: height and width of the model's images.
    """
    if network is None:
        return inputs
    images = resize_pictures(inputs, *model_size)
    return model.features(network, images).astype(jnp.float32)


@dataclasses.dataclass(frozen=True)
class Pictures:
    """Pictures in the place of their features; see `read_ahead.Features`.

    Attributes:
        plan: sizes of the model's images and of the features.
        rgb_sha256: hash of each picture's decoded RGB.
        dataset: the pictures.
        readers: threads that decode.
    """

    plan: CachePlan
    rgb_sha256: tuple[str, ...]
    dataset: FixationDataset
    readers: int = DECODERS

    def shape(self, images: Sequence[int], taps: Sequence[str]) -> tuple[int, ...]:
        """Return the shape of some pictures of one size; taps do not matter."""
        del taps
        height, width = self._sizes[images[0]]
        return len(images), int(height), int(width), 3

    @property
    def _sizes(self) -> np.ndarray:
        # Pictures of many sizes that became one are resized before they share a batch.
        as_is = self.dataset.file_sizes is None
        return self.dataset.image_sizes if as_is else self.plan.model_sizes

    def read(
        self, images: Sequence[int], taps: Sequence[str], out: np.ndarray | None = None
    ) -> np.ndarray:
        """Return pictures, RGB 0..255.

        Args:
            images: indices of pictures of one size.
            taps: do not matter.
            out: float32 array of the right shape to fill; a new one by default.
        """
        out = np.empty(self.shape(images, taps), np.float32) if out is None else out
        for k, image in enumerate(images):
            # Repeated where it only fills a batch up.
            first = list(images[:k]).index(image) if image in images[:k] else k
            if first == k:
                picture = self.dataset.image(image)
                out[k] = resize_image(picture, *self._sizes[image])
            else:
                out[k] = out[first]
        return out


def open_pictures(
    plan: CachePlan,
    dataset: FixationDataset,
    placement: Placement,
    progress: Callable[[int, int], None] | None = None,
) -> Pictures:
    """Return pictures to train on, each decoded once to be known by its hash.

    Args:
        plan: of their features.
        dataset: the pictures.
        placement: says which of them are this process's.
        progress: called with pictures done and pictures in all.

    Raises:
        InputError: a picture is unreadable.
        DataError: one has another size than the data set states.
    """
    everything = np.arange(len(dataset))
    own = everything[placement.owner(everything) == placement.process]

    def digest(image: int) -> str:
        return rgb_sha256(dataset.image(image))

    found = []
    with contextlib.closing(read_ahead(digest, own, DECODERS, DECODERS)) as hashes:
        for value in hashes:
            found.append(value)
            if progress is not None:
                progress(len(found), len(own))
    return Pictures(plan, shared_hashes(own, found, len(dataset), placement), dataset)


def shared_hashes(
    own: Sequence[int], hashes: Sequence[str], n_images: int, placement: Placement
) -> tuple[str, ...]:
    """Return the hashes of all pictures, of which each process knows some.

    Args:
        own: numbers of this process's pictures.
        hashes: theirs.
        n_images: pictures in all.
        placement: of the run.
    """
    table = np.zeros((n_images, 32), np.uint8)
    for image, value in zip(own, hashes, strict=True):
        table[image] = np.frombuffer(bytes.fromhex(value), np.uint8)
    return tuple(row.tobytes().hex() for row in placement.sum(table))
