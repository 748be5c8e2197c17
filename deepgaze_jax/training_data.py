"""What steps are given: features, fixation counts and center biases, batch by batch.

Images of one size form a group and share one compiled step; a batch holds images of
one group that the same folds train on. The order of images is
drawn from the seed and the epoch alone, so a run that goes on after a stop sees
exactly the batches that it would have seen.
"""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from deepgaze_jax.center_bias import fit_center_biases, resample_log_density
from deepgaze_jax.datasets.folder import FixationDataset
from deepgaze_jax.datasets.pipeline import behind
from deepgaze_jax.errors import DataError
from deepgaze_jax.folds import Fold
from deepgaze_jax.image_groups import Group, Part, parts_of
from deepgaze_jax.metrics import log_likelihood
from deepgaze_jax.model import FixationModel
from deepgaze_jax.parallel import Placement, place
from deepgaze_jax.read_ahead import Features, features_ahead
from deepgaze_jax.step_features import StepNetwork, features_of
from deepgaze_jax.train_step import Batch

__all__ = ["TrainingData", "check_fixations", "prepare"]

#: Feature channels that hardly vary are not blown up beyond this share of the rest.
_SMALLEST_STD = 1e-2

#: Images that a device looks at together where their moments are wanted.
_AT_ONCE = 8


@dataclasses.dataclass(frozen=True)
class TrainingData:
    """A data set, ready for training.

    Attributes:
        cache: features of all images, or of those that this process owns; or pictures
            whose features the steps compute.
        network: which they compute them with.
        model: what is trained.
        folds: what each of the M members is trained on; members of one fold that
            differ by their seed have the same.
        fold_ids: number of each member's fold among all folds.
        trains: bool [all folds, n_images], true where a fold trains on an image.
        groups: images with fixations, by size.
        center_biases: float32 [M + 1, 75, 100]; member by member, then of all images.
        baseline: float64 [M, n_images], mean log density (nats per pixel) of the
            member's center bias at each image's fixations.
        placement: which process reads which images, and for which devices.
        mixed: whether images of different folds share a batch, see `parts_of`.
    """

    cache: Features
    network: StepNetwork
    model: FixationModel
    folds: tuple[Fold, ...]
    fold_ids: tuple[int, ...]
    trains: np.ndarray
    groups: tuple[Group, ...]
    center_biases: np.ndarray
    baseline: np.ndarray
    placement: Placement
    mixed: bool = False

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation of every channel on each training part.

        Returns:
            Two float32 arrays [M, C].
        """
        n_images, spread = self.baseline.shape[1], self.placement.spread
        sums = np.zeros((n_images, 2, self.model.channels))
        for group in self.groups:

            def image_moments(
                network: Any, inputs: jax.Array, size: Any = group.model_size
            ) -> jax.Array:
                features = features_of(self.model, network, inputs, size)
                flat = features.reshape(len(features), -1, features.shape[-1])
                means = flat.mean(axis=1), jnp.square(flat).mean(axis=1)
                return jnp.stack(means, axis=1)

            compute = spread.compile(image_moments)
            own = self._own(group.images)
            parts = [_fill(part, size) for part, size in self._spread(own, _AT_ONCE)]
            ahead = self._ahead([images for images, _ in parts])
            found = (compute(self.network.here, inputs) for inputs in ahead)
            for (images, weights), moments in zip(parts, behind(found), strict=True):
                real = weights > 0
                sums[images[real]] = np.asarray(moments, np.float64)[real]
        sums = sums.transpose(1, 0, 2)
        scored = np.concatenate([group.images for group in self.groups])
        means, stds = [], []
        for fold in self.folds:
            images = np.intersect1d(fold.train, scored)
            total = self.placement.sum(sums[:, images].sum(axis=1))
            mean, square = total / len(images)
            std = np.sqrt(np.maximum(square - mean**2, 0))
            means.append(mean)
            stds.append(np.maximum(std, _SMALLEST_STD * std.mean()))
        return np.float32(means), np.float32(stds)

    def _own(self, images: np.ndarray) -> np.ndarray:
        """Return those of some images whose features this process has."""
        return images[self.placement.owner(images) == self.placement.process]

    def _spread(self, images: np.ndarray, at_once: int) -> list[tuple[np.ndarray, int]]:
        """Return images cut into parts for all devices, and how far to fill each up."""
        spread = self.placement.spread
        if not len(images):
            return []
        size = spread.full(min(at_once * len(spread.devices), len(images)))
        return [(part, size) for part in _cut(images, size)]

    def _ahead(self, parts: Sequence[np.ndarray]) -> Iterator[jax.Array]:
        """Yield what is read of some images each, spread over the own devices."""
        put = self.placement.spread.put_images
        return features_ahead(self.cache, parts, self.model.taps, put)

    @functools.cached_property
    def _parts(self) -> tuple[Part, ...]:
        return parts_of(self.groups, self.trains, self.fold_ids, self.mixed)

    def n_steps(self, batch_size: int) -> int:
        """Return the number of steps of an epoch, of all folds of the data set."""
        return sum(len(_cut(part.images, batch_size)) for part in self._parts)

    @property
    def n_images(self) -> int:
        """Images with fixations that at least one trained fold learns from."""
        return sum(len(part.images) for part in self._parts if len(part.folds))

    def training_batches(
        self, batch_size: int, seed: int, epoch: int
    ) -> Iterator[tuple[int, Batch, np.ndarray]]:
        """Yield the batches of an epoch, each with its number and its baseline.

        The images of a batch are trained on by the same folds, so no fold computes
        anything for an image that it does not learn from; unless they are mixed. The
        order is drawn for all folds of the data set, whichever are trained: a fold sees
        the same batches alone and among others, and steps that no trained fold takes
        are left out.

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
        batches, read = [], []
        for _, part, piece in taken:
            size = min(batch_size, part.largest)
            slots, weights = self.placement.slots(part.group.images[piece], size)
            batches.append((piece[slots], weights))
            own = self.placement.own_slots(len(slots))
            read.append(part.group.images[piece[slots]][own])

        ahead = features_ahead(
            self.cache, read, self.model.taps, self.placement.put_features
        )
        for (step, part, _), (images, weights), features in zip(
            taken, batches, ahead, strict=True
        ):
            own = part.group.images[images]
            folds, by_member = part.folds, None
            if self.mixed:
                trained = self.trains[np.ix_(self.fold_ids, own)]
                by_member = np.float32(weights * trained)
                folds = np.flatnonzero(by_member.any(axis=1))
            batch = part.group.batch(folds, images, weights, features, by_member)
            counted = batch.weights_of(folds)
            total = (self.baseline[np.ix_(folds, own)] * counted).sum(axis=1)
            yield step, batch, total / counted.sum(axis=1)

    def validation_batches(
        self, batch_size: int, part: Literal["validation", "test"] = "validation"
    ) -> Iterator[tuple[Batch, np.ndarray]]:
        """Yield what this process has of the validation parts, member by member.

        Args:
            batch_size: images of a batch on one device.
            part: of each fold.

        Yields:
            A batch of images for one member, whose position is `batch.folds`, and the
            image indices [B]; weight 0 is padding. It lies on all devices.
        """
        pieces = []
        for k, fold in enumerate(self.folds):
            for group in self.groups:
                wanted = np.isin(group.images, self._own(getattr(fold, part)))
                own = np.flatnonzero(wanted)
                pieces += [
                    (k, group, *_fill(part, size))
                    for part, size in self._spread(own, batch_size)
                ]
        ahead = self._ahead([group.images[images] for _, group, images, _ in pieces])
        for (k, group, images, weights), features in zip(pieces, ahead, strict=True):
            yield (
                group.batch(np.int32(k), images, weights, features),
                group.images[images],
            )


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
    cache: Features,
    model: FixationModel,
    all_folds: Sequence[Fold],
    fold_ids: Sequence[int],
    placement: Placement | None = None,
    center_biases: np.ndarray | None = None,
    network: StepNetwork | None = None,
    mixed: bool = False,
) -> TrainingData:
    """Return a data set ready for training.

    The center bias of a fold is fitted on its training part alone.

    Args:
        dataset: images and fixations.
        cache: their features, or pictures.
        model: the model, for its grid.
        all_folds: folds of the data set.
        fold_ids: number of each member's fold.
        placement: of the run; one device by default.
        center_biases: float32 [M + 1, 75, 100], where they come from other data.
        network: of steps that compute features from pictures.
        mixed: whether images of different folds share a batch, see `parts_of`.

    Raises:
        DataError: no image has fixations.
    """
    fixations = dataset.fixations
    n_fixations = np.bincount(fixations.image, minlength=len(dataset))
    folds = tuple(all_folds[k] for k in fold_ids)
    if center_biases is None:
        center_biases = _center_biases(dataset, all_folds, fold_ids)
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
    trains = np.zeros((len(all_folds), len(dataset)), bool)
    for k, fold in enumerate(all_folds):
        trains[k, fold.train] = True
    return TrainingData(
        cache=cache,
        network=network or StepNetwork(),
        model=model,
        folds=folds,
        fold_ids=tuple(fold_ids),
        trains=trains,
        groups=tuple(groups),
        center_biases=center_biases,
        baseline=baseline,
        placement=placement or place(len(folds), 1, jax.local_devices()[:1]),
        mixed=mixed,
    )


def _center_biases(
    dataset: FixationDataset, all_folds: Sequence[Fold], fold_ids: Sequence[int]
) -> np.ndarray:
    """Return the center bias of each member, fitted once a fold; the pooled last."""
    different = list(dict.fromkeys(fold_ids))
    parts = [*(all_folds[k].train for k in different), np.arange(len(dataset))]
    fitted = fit_center_biases(dataset.fixations, dataset.image_sizes, parts)
    rows = [different.index(k) for k in fold_ids]
    return np.stack([fitted[row].log_density for row in [*rows, -1]])
