"""What training reads: features, fixation counts and center biases, batch by batch.

Images of one size form a group and share one compiled step; a batch holds images of
one group that the same folds train on. The order of images is
drawn from the seed and the epoch alone, so a run that goes on after a stop sees
exactly the batches that it would have seen.
"""

import collections
import dataclasses
import functools
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

__all__ = ["Group", "TrainingData", "check_fixations", "prepare"]

#: Feature channels that hardly vary are not blown up beyond this share of the rest.
_SMALLEST_STD = 1e-2

#: Threads that copy features from the cache; copying leaves the interpreter free.
_READERS = 2


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
        )


@dataclasses.dataclass(frozen=True)
class _Part:
    """Images of a group that the same folds train on.

    Attributes:
        group: the group.
        folds: positions of those folds among the trained ones.
        images: positions in the group.
        largest: number of images in the group's largest part.
    """

    group: Group
    folds: np.ndarray
    images: np.ndarray
    largest: int


@dataclasses.dataclass(frozen=True)
class TrainingData:
    """A data set, ready for training.

    Attributes:
        cache: features of all images.
        taps: channel order of the features.
        folds: the F folds that are trained.
        fold_ids: their numbers among all folds.
        member: bool [all folds, n_images], true where a fold trains on an image.
        groups: images with fixations, by size.
        center_biases: float32 [F + 1, 75, 100]; fold by fold, then of all images.
        baseline: float64 [F, n_images], mean log density (nats per pixel) of the
            fold's center bias at each image's fixations.
    """

    cache: FeatureCache
    taps: tuple[str, ...]
    folds: tuple[Fold, ...]
    fold_ids: tuple[int, ...]
    member: np.ndarray
    groups: tuple[Group, ...]
    center_biases: np.ndarray
    baseline: np.ndarray

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
            parts = _cut(group.images, 8)
            for images, features in zip(parts, self._read_ahead(parts), strict=True):
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

    @functools.cached_property
    def _parts(self) -> tuple["_Part", ...]:
        """Images that have their size in common and the folds that train on them."""
        parts = []
        for group in self.groups:
            signatures, part_of = np.unique(
                self.member[:, group.images], axis=1, return_inverse=True
            )
            positions = [
                np.flatnonzero(part_of.reshape(-1) == part)
                for part in range(signatures.shape[1])
            ]
            largest = max(len(images) for images in positions)
            for signature, images in zip(signatures.T, positions, strict=True):
                trained = np.flatnonzero(signature[list(self.fold_ids)])
                if signature.any():
                    parts.append(_Part(group, trained, images, largest))
        return tuple(parts)

    def n_steps(self, batch_size: int) -> int:
        """Return the number of steps of an epoch, of all folds of the data set."""
        return sum(len(_cut(part.images, batch_size)) for part in self._parts)

    def training_batches(
        self, batch_size: int, seed: int, epoch: int
    ) -> Iterator[tuple[int, Batch, np.ndarray]]:
        """Yield the batches of an epoch, each with its number and its baseline.

        The images of a batch are trained on by the same folds, so no fold computes
        anything for an image that it does not learn from. The order is drawn for all
        folds of the data set, whichever are trained: a fold sees the same batches
        alone and among others, and steps that no trained fold takes are left out.

        Args:
            batch_size: images of a batch; smaller batches are filled up, so that the
                step of a group is compiled once.
            seed: of the order.
            epoch: number of the epoch, which changes the order.

        Yields:
            The step's number, its batch, and for each fold in `batch.folds` the mean
            baseline of its images.
        """
        rng = np.random.default_rng([seed, epoch])
        pieces = []
        for part in self._parts:
            order = rng.permutation(part.images)
            pieces += [(part, piece) for piece in _cut(order, batch_size)]
        taken = [
            (step, *pieces[i])
            for step, i in enumerate(rng.permutation(len(pieces)))
            if len(pieces[i][0].folds)
        ]
        batches = [
            _fill(piece, min(batch_size, part.largest)) for _, part, piece in taken
        ]
        read = [
            part.group.images[images]
            for (_, part, _), (images, _) in zip(taken, batches, strict=True)
        ]
        for (step, part, _), (images, weights), features in zip(
            taken, batches, self._read_ahead(read), strict=True
        ):
            batch = part.group.batch(part.folds, images, weights, features)
            baseline = self.baseline[np.ix_(part.folds, part.group.images[images])]
            yield step, batch, (baseline * weights).sum(axis=1) / weights.sum()

    def validation_batches(self, batch_size: int) -> Iterator[tuple[Batch, np.ndarray]]:
        """Yield the validation parts, fold by fold.

        Yields:
            A batch of images of one fold, whose position is `batch.folds`, and the
            image indices [B]; weight 0 is padding.
        """
        pieces = []
        for k, fold in enumerate(self.folds):
            for group in self.groups:
                own = np.flatnonzero(np.isin(group.images, fold.validation))
                size = min(batch_size, len(own))
                pieces += [(k, group, *_fill(p, size)) for p in _cut(own, batch_size)]
        parts = [group.images[images] for _, group, images, _ in pieces]
        for (k, group, images, weights), features in zip(
            pieces, self._read_ahead(parts), strict=True
        ):
            yield (
                group.batch(np.int32(k), images, weights, features),
                group.images[images],
            )

    def _read_ahead(self, parts: Sequence[np.ndarray]) -> Iterator[jax.Array]:
        """Yield the features of some images each; the next part is read meanwhile.

        Aligned host buffers are used in turn, because the CPU backend takes aligned
        memory as it is: no copy, no page faults. The consumer must have finished with
        a part by the time it asks for the second one after it.
        """
        buffers: dict[tuple[int, ...], list[np.ndarray]] = {}

        def read(turn: int) -> np.ndarray:
            shape = self.cache.shape(parts[turn], self.taps)
            part = buffers[shape][turn % (_READERS + 2)]
            return self.cache.read(parts[turn], self.taps, part)

        for images in parts:
            shape = self.cache.shape(images, self.taps)
            if shape not in buffers:
                buffers[shape] = [_aligned(shape) for _ in range(_READERS + 2)]
        with ThreadPoolExecutor(_READERS) as pool:
            ahead = collections.deque(
                pool.submit(read, turn) for turn in range(min(_READERS, len(parts)))
            )
            for turn in range(len(parts)):
                features = jax.device_put(ahead.popleft().result())
                if turn + _READERS < len(parts):
                    ahead.append(pool.submit(read, turn + _READERS))
                yield features


def _aligned(shape: tuple[int, ...]) -> np.ndarray:
    """Return uninitialised float32 memory that starts at a multiple of 64 bytes."""
    n_bytes = 4 * int(np.prod(shape))
    raw = np.empty(n_bytes + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + n_bytes].view(np.float32).reshape(shape)


def _cut(order: np.ndarray, size: int) -> list[np.ndarray]:
    """Return an array cut into parts of at most `size`."""
    return [order[i : i + size] for i in range(0, len(order), size)]


def _fill(images: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return images repeated up to `size`, and weights that are 0 for repetitions."""
    return np.resize(images, size), np.float32(np.arange(size) < len(images))


def check_fixations(
    dataset: FixationDataset, all_folds: Sequence[Fold], fold_ids: Sequence[int]
) -> None:
    """Return nothing if every part has enough images with fixations.

    Args:
        dataset: images and fixations.
        all_folds: folds of the data set.
        fold_ids: numbers of those to train.

    Raises:
        DataError: fewer than two for training (a center bias needs them) or, where
            there is a validation part, none in that.
    """
    n_fixations = np.bincount(dataset.fixations.image, minlength=len(dataset))
    for k in fold_ids:
        for part, needed in (("train", 2), ("validation", 1)):
            images = getattr(all_folds[k], part)
            found = np.count_nonzero(n_fixations[images])
            if len(images) and found < needed:
                raise DataError(
                    f"images with fixations in the {part} part of fold {k}: {found} of "
                    f"{len(images)}, at least {needed} are needed; remove images "
                    "without fixations, add some with them, or make fewer folds"
                )


def prepare(
    dataset: FixationDataset,
    cache: FeatureCache,
    model: FixationModel,
    all_folds: Sequence[Fold],
    fold_ids: Sequence[int],
) -> TrainingData:
    """Return a data set ready for training.

    The center bias of a fold is fitted on its training part alone.

    Args:
        dataset: images and fixations.
        cache: their features.
        model: the model, for its grid.
        all_folds: folds of the data set.
        fold_ids: numbers of those to train.

    Raises:
        DataError: no image has fixations.
    """
    fixations = dataset.fixations
    n_fixations = np.bincount(fixations.image, minlength=len(dataset))
    folds = tuple(all_folds[k] for k in fold_ids)
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
        counts = np.zeros((len(images), *pixels.shape), np.uint16)
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
                model_size=(int(model_height), int(model_width)),
            )
        )
    if not groups:
        raise DataError(f"{dataset.name} has no fixations; there is nothing to train")
    member = np.zeros((len(all_folds), len(dataset)), bool)
    for k, fold in enumerate(all_folds):
        member[k, fold.train] = True
    return TrainingData(
        cache=cache,
        taps=model.taps,
        folds=folds,
        fold_ids=tuple(fold_ids),
        member=member,
        groups=tuple(groups),
        center_biases=center_biases,
        baseline=baseline,
    )
