"""What training reads: features, fixation counts and center biases, batch by batch.

Images of one size form a group and share one compiled step. The order of images is
drawn from the seed and the epoch alone, so a run that goes on after a stop sees
exactly the batches that it would have seen.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np

from deepgaze_jax.center_bias import fit_center_biases, resample_log_density
from deepgaze_jax.datasets.features import FeatureCache
from deepgaze_jax.datasets.folder import FixationDataset
from deepgaze_jax.errors import DataError
from deepgaze_jax.folds import Fold
from deepgaze_jax.metrics import log_likelihood
from deepgaze_jax.model import FixationModel
from deepgaze_jax.train_step import Batch

__all__ = ["Group", "TrainingData", "prepare"]

#: Feature channels that hardly vary are not blown up beyond this share of the rest.
_SMALLEST_STD = 1e-3


@dataclasses.dataclass(frozen=True)
class Group:
    """Images that share all sizes.

    Attributes:
        images: int [m], their indices.
        counts: [m, rows, columns], fixations in each cell of the readout grid.
        center_bias: float32 [F, rows, columns], each fold's own, pooled to the grid.
        log_pixels: float32 [rows, columns], see `PixelGrid.log_pixels`.
    """

    images: np.ndarray
    counts: np.ndarray
    center_bias: np.ndarray
    log_pixels: np.ndarray


@dataclasses.dataclass(frozen=True)
class TrainingData:
    """A data set, ready for training.

    Attributes:
        cache: features of all images.
        taps: channel order of the features.
        folds: the F folds that are trained.
        groups: images with fixations, by size.
        center_biases: float32 [F + 1, 75, 100]; fold by fold, then of all images.
        baseline: float64 [F, n_images], mean log density (nats per pixel) of the
            fold's center bias at each image's fixations.
    """

    cache: FeatureCache
    taps: tuple[str, ...]
    folds: tuple[Fold, ...]
    groups: tuple[Group, ...]
    center_biases: np.ndarray
    baseline: np.ndarray

    def n_steps(self, batch_size: int) -> int:
        """Return the number of training steps of an epoch."""
        return sum(len(_cut(group.images, batch_size)) for group in self.groups)

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation of every channel on each training part.

        Returns:
            Two float32 arrays [F, C].
        """
        n_images = self.baseline.shape[1]
        sums = np.zeros((2, n_images, 0))

        @jax.jit
        def image_moments(features: jax.Array) -> jax.Array:
            flat = features.reshape(len(features), -1, features.shape[-1])
            return jnp.stack([flat.mean(axis=1), jnp.square(flat).mean(axis=1)])

        for group in self.groups:
            parts = _cut(np.arange(len(group.images)), 8)
            for images, features in self._read_ahead([group.images[p] for p in parts]):
                found = np.asarray(image_moments(features), np.float64)
                if not sums.shape[-1]:
                    sums = np.zeros((2, n_images, found.shape[-1]))
                sums[:, images] = found
        scored = np.concatenate([group.images for group in self.groups])
        means, stds = [], []
        for fold in self.folds:
            mean, square = sums[:, np.intersect1d(fold.train, scored)].mean(axis=1)
            std = np.sqrt(np.maximum(square - mean**2, 0))
            means.append(mean)
            stds.append(np.maximum(std, _SMALLEST_STD * std.mean()))
        return np.float32(means), np.float32(stds)

    def training_batches(
        self, batch_size: int, seed: int, epoch: int
    ) -> Iterator[tuple[Batch, np.ndarray]]:
        """Yield the batches of an epoch, each with its baseline.

        All folds get the same images; the weights say which of them train on each.
        Every image is among them, whichever folds are trained: a fold sees the same
        batches alone and among others.

        Args:
            batch_size: images of a batch; the last one of a group may be smaller.
            seed: of the order.
            epoch: number of the epoch, which changes the order.

        Yields:
            The batch, and for each fold the mean baseline of its images, [F].
        """
        rng = np.random.default_rng([seed, epoch])
        pieces = []
        for group in self.groups:
            order = rng.permutation(len(group.images))
            pieces += [(group, part) for part in _cut(order, batch_size)]
        pieces = [pieces[i] for i in rng.permutation(len(pieces))]
        member = np.zeros((len(self.folds), self.baseline.shape[1]), np.float32)
        for k, fold in enumerate(self.folds):
            member[k, fold.train] = 1
        images = [group.images[part] for group, part in pieces]
        for (group, part), (index, features) in zip(
            pieces, self._read_ahead(images), strict=True
        ):
            weights = member[:, index]
            total = (weights * self.baseline[:, index]).sum(axis=1)
            yield (
                Batch(
                    features=features,
                    counts=group.counts[part],
                    weights=weights,
                    center_bias=group.center_bias,
                    log_pixels=group.log_pixels,
                ),
                total / np.maximum(weights.sum(axis=1), 1),
            )

    def validation_batches(
        self, images_per_fold: int = 2
    ) -> Iterator[tuple[Batch, np.ndarray]]:
        """Yield batches in which every fold gets images of its own validation part.

        Yields:
            A batch whose features `[F, B, h, w, C]`, counts and weights `[F, B]` have
            a leading fold axis, and the image indices [F, B]; weight 0 is padding.
        """
        for group in self.groups:
            position = np.full(self.baseline.shape[1], -1)
            position[group.images] = np.arange(len(group.images))
            own = [fold.validation for fold in self.folds]
            own = [part[position[part] >= 0] for part in own]
            longest = max(len(part) for part in own)
            if not longest:
                continue
            length = -(-longest // images_per_fold) * images_per_fold
            index = np.full((len(own), length), group.images[0])
            weights = np.zeros((len(own), length), np.float32)
            for k, part in enumerate(own):
                index[k, : len(part)] = part
                weights[k, : len(part)] = 1
            cuts = [
                slice(i, i + images_per_fold) for i in range(0, length, images_per_fold)
            ]
            parts = [index[:, cut].reshape(-1) for cut in cuts]
            for cut, (flat, features) in zip(
                cuts, self._read_ahead(parts), strict=True
            ):
                fold_shape = (len(own), images_per_fold)
                batch = Batch(
                    features=features.reshape(*fold_shape, *features.shape[1:]),
                    counts=group.counts[position[flat]].reshape(
                        *fold_shape, *group.counts.shape[1:]
                    ),
                    weights=weights[:, cut],
                    center_bias=group.center_bias,
                    log_pixels=group.log_pixels,
                )
                yield batch, index[:, cut]

    def _read_ahead(
        self, parts: Sequence[np.ndarray]
    ) -> Iterator[tuple[np.ndarray, jax.Array]]:
        """Yield images and their features; the next part is read meanwhile.

        Aligned host buffers are used in turn, because the CPU backend takes aligned
        memory as it is: no copy, no page faults. The consumer must have finished with
        a part by the time it asks for the second one after it.
        """
        if not parts:
            return
        buffers: dict[tuple[int, ...], list[np.ndarray]] = {}

        def read(turn: int) -> np.ndarray:
            shape = self.cache.shape(parts[turn], self.taps)
            if shape not in buffers:
                buffers[shape] = [_aligned(shape) for _ in range(3)]
            return self.cache.read(parts[turn], self.taps, buffers[shape][turn % 3])

        with ThreadPoolExecutor(1) as pool:
            ahead = pool.submit(read, 0)
            for turn, images in enumerate(parts):
                features = jax.device_put(ahead.result())
                if turn + 1 < len(parts):
                    ahead = pool.submit(read, turn + 1)
                yield images, features


def _aligned(shape: tuple[int, ...]) -> np.ndarray:
    """Return uninitialised float32 memory that starts at a multiple of 64 bytes."""
    n_bytes = 4 * int(np.prod(shape))
    raw = np.empty(n_bytes + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + n_bytes].view(np.float32).reshape(shape)


def _cut(order: np.ndarray, size: int) -> list[np.ndarray]:
    """Return an array cut into parts of at most `size`."""
    return [order[i : i + size] for i in range(0, len(order), size)]


def prepare(
    dataset: FixationDataset,
    cache: FeatureCache,
    model: FixationModel,
    folds: Sequence[Fold],
    fold_ids: Sequence[int] | None = None,
) -> TrainingData:
    """Return a data set ready for training.

    The center bias of a fold is fitted on its training part alone.

    Args:
        dataset: images and fixations.
        cache: their features.
        model: the model, for its grid.
        folds: folds to train.
        fold_ids: their numbers, for messages; counted from 0 by default.

    Raises:
        DataError: no image has fixations, or a fold's parts have none.
    """
    fixations = dataset.fixations
    n_fixations = np.bincount(fixations.image, minlength=len(dataset))
    for k, fold in zip(fold_ids or range(len(folds)), folds, strict=True):
        for part in ("train", "validation"):
            images = getattr(fold, part)
            if len(images) and not n_fixations[images].any():
                raise DataError(
                    f"none of the {len(images)} images in the {part} part of fold {k} "
                    f"has fixations ({dataset.image_names[images[0]]} and so on); "
                    "remove images without fixations or make fewer folds"
                )
    everything = np.arange(len(dataset))
    fitted = fit_center_biases(
        fixations, dataset.image_sizes, [*(fold.train for fold in folds), everything]
    )
    center_biases = np.stack([center_bias.log_density for center_bias in fitted])
    sizes = np.concatenate([dataset.image_sizes, cache.plan.model_sizes], axis=1)
    baseline = np.zeros((len(folds), len(dataset)))
    groups = []
    for height, width, model_height, model_width in np.unique(sizes, axis=0):
        images = np.flatnonzero(
            (sizes == (height, width, model_height, model_width)).all(axis=1)
            & (n_fixations > 0)
        )
        if not len(images):
            continue
        pixels = model.pixel_grid(height, width, (model_height, model_width))
        at_model = resample_log_density(center_biases[:-1], model_height, model_width)
        at_picture = resample_log_density(center_biases[:-1], height, width)
        counts = np.zeros((len(images), *pixels.shape), np.int64)
        for row, image in enumerate(images):
            part = fixations.select(fixations.image == image)
            x, y = part.x.astype(int), part.y.astype(int)
            np.add.at(counts[row], (pixels.rows[y], pixels.columns[x]), 1)
            for k in range(len(folds)):
                bits = log_likelihood(at_picture[k], part.x, part.y).mean()
                baseline[k, image] = bits * np.log(2) - np.log(height * width)
        groups.append(
            Group(
                images=images,
                counts=counts.astype(np.min_scalar_type(int(counts.max()))),
                center_bias=np.asarray(model.pool_center_bias(at_model)),
                log_pixels=pixels.log_pixels,
            )
        )
    if not groups:
        raise DataError(f"{dataset.name} has no fixations; there is nothing to train")
    return TrainingData(
        cache=cache,
        taps=model.taps,
        folds=tuple(folds),
        groups=tuple(groups),
        center_biases=center_biases,
        baseline=baseline,
    )
