"""Every decision about meshes: which device holds which folds and which images.

The mesh has two axes. `fold` holds members, whose steps never talk to one another;
`batch` holds the images of a step, whose gradients are summed. The devices of one
process form a block of `batch` columns: a process computes, stores and reads the
features of its own images alone.

What is done image by image (features, scores) lies on another mesh: `spread.py`.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from deepgaze_jax.errors import DeepGazeError, TrainingError
from deepgaze_jax.spread import BATCH, Spread

__all__ = ["Placement", "grid_of", "in_common", "place", "total"]

FOLD = "fold"


def grid_of(
    n_devices: int, n_members: int, batch_size: int, features_in_step: bool = False
) -> tuple[int, int]:
    """Return how many devices of a process lie along `fold` and along `batch`.

    The pair with which the busiest device has least to do; among equal ones the one
    with the longest `fold` axis, along which nothing is communicated. Where a step
    computes the features of its images, which costs as much as hundreds of readouts,
    the devices with fewest images have least to do.

    Example:
        >>> grid_of(2, 10, 10), grid_of(8, 10, 10), grid_of(4, 1, 16)
        ((2, 1), (4, 2), (1, 4))
        >>> grid_of(8, 10, 10, True), grid_of(8, 10, 4, True)
        ((1, 8), (2, 4))
    """
    pairs = [(n, n_devices // n) for n in range(1, n_devices + 1) if n_devices % n == 0]

    def busiest(pair: tuple[int, int]) -> tuple[int, int, int]:
        folds, columns = pair
        images = -(-batch_size // columns)
        readouts = -(-n_members // folds) * images
        return images if features_in_step else 0, readouts, -folds

    return min(pairs, key=busiest)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def total(value: Any, axis: str | None) -> Any:
    """Return the sum over the devices of an axis; each knows its own gradient.

    Args:
        value: array or tree of this device.
        axis: of the mesh; None where one device has everything.
    """
    return value if axis is None else jax.lax.psum(value, axis)


total.defvjp(
    lambda value, axis: (total(value, axis), None),
    lambda axis, _, by_total: (by_total,),
)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def in_common(params: Any, axis: str | None) -> Any:
    """Return what the devices of an axis have in common; gradients are summed.

    Args:
        params: equal on all of them.
        axis: of the mesh; None where one device has everything.
    """
    del axis
    return params


in_common.defvjp(
    lambda params, axis: (params, None),
    lambda axis, _, by_params: (total(by_params, axis),),
)


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where members and images of a run are.

    Attributes:
        mesh: devices [fold, batch].
        n_members: members M of the run. They are filled up to a multiple of the `fold`
            axis with members that are never active and that no result contains.
        process: number of this process.
        n_processes: number of processes.
    """

    mesh: Mesh
    n_members: int
    process: int = 0
    n_processes: int = 1

    @property
    def batch_axis(self) -> str | None:
        """Name of the axis to sum gradients along, None where one device has all."""
        return BATCH if self.mesh.shape[BATCH] > 1 else None

    @property
    def n_rows(self) -> int:
        """Length of the fold axis of the state, with what fills it up."""
        shards = self.mesh.shape[FOLD]
        return -(-self.n_members // shards) * shards

    @functools.cached_property
    def devices(self) -> list[jax.Device]:
        """The devices of this process."""
        return [d for d in self.mesh.devices.flat if d.process_index == self.process]

    @functools.cached_property
    def spread(self) -> Spread:
        """The devices of this process, for what is done image by image."""
        return Spread(tuple(self.devices))

    # --- state ------------------------------------------------------------------------

    def put_state(self, state: Any) -> Any:
        """Return a state on the devices; leaves are `[M, ...]` on the host.

        What fills the fold axis up repeats the first member; its `active` is false.
        """
        extra = self.n_rows - self.n_members

        def pad(leaf: np.ndarray) -> np.ndarray:
            leaf = np.asarray(leaf)
            return np.concatenate([leaf, np.repeat(leaf[:1], extra, axis=0)])

        padded = jax.tree.map(pad, state)
        padded.active[self.n_members :] = False
        return jax.tree.map(functools.partial(self._put, spec=P(FOLD)), padded)

    def take_state(self, state: Any) -> Any:
        """Return a state as numpy arrays `[M, ...]`; every process gets all of it."""
        return jax.tree.map(lambda leaf: _rows(leaf)[: self.n_members], state)

    def put_members(self, values: np.ndarray) -> jax.Array:
        """Return an array `[M, ...]` beside the state; its first row fills it up."""
        return self._put(self._filled(values), P(FOLD))

    def put_everywhere(self, values: Any) -> Any:
        """Return host arrays on every device."""
        return jax.tree.map(lambda leaf: self._put(np.asarray(leaf), P()), values)

    def here(self, values: Any) -> Any:
        """Return what `put_everywhere` returned as `spread` takes it, not copied."""
        if self.mesh.size == 1:
            return values
        sharding = self.spread.sharding(P())

        def own(leaf: jax.Array) -> jax.Array:
            parts = [shard.data for shard in leaf.addressable_shards]
            return jax.make_array_from_single_device_arrays(leaf.shape, sharding, parts)

        return jax.tree.map(own, values)

    def _put(self, array: np.ndarray, spec: P) -> jax.Array:
        sharding = NamedSharding(self.mesh, spec)
        if self.mesh.size == 1:
            # A copy: device memory may be the host's, and the state is donated.
            return jax.device_put(np.array(array))
        return jax.make_array_from_callback(array.shape, sharding, array.__getitem__)

    # --- batches ----------------------------------------------------------------------

    def owner(self, images: np.ndarray) -> np.ndarray:
        """Return which process has the features of each image."""
        return np.asarray(images) % self.n_processes

    def slots(self, images: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Return where the images of a batch are computed.

        Args:
            images: indices of its n images.
            size: fewest images of a batch, which is filled up.

        Returns:
            Positions `[S]` in `images`, each process's own together and in order of
            processes; and float32 weights `[S]`, 0 for what only fills up.
        """
        columns = self.mesh.shape[BATCH] // self.n_processes
        own = [
            np.flatnonzero(self.owner(images) == process)
            for process in range(self.n_processes)
        ]
        if self.n_processes > 1:
            size = max(len(one) for one in own)
        size = -(-size // columns) * columns
        positions = [np.resize(one if len(one) else [0], size) for one in own]
        weights = [np.arange(size) < len(one) for one in own]
        return np.concatenate(positions), np.float32(np.concatenate(weights))

    def own_slots(self, n_slots: int) -> slice:
        """Return which of the slots of a batch this process has the features of."""
        size = n_slots // self.n_processes
        return slice(self.process * size, (self.process + 1) * size)

    def put_features(self, own: np.ndarray) -> jax.Array:
        """Return the features of a batch, of which this process brings its slots."""
        if self.mesh.size == 1:
            return jax.device_put(own)
        sharding = NamedSharding(self.mesh, P(BATCH))
        shape = (len(own) * self.n_processes, *own.shape[1:])
        return jax.make_array_from_process_local_data(sharding, own, shape)

    def _specs(self, batch: Any, members: P) -> Any:
        return batch.replace(
            folds=members,
            features=P(BATCH),
            counts=P(BATCH),
            weights=P(BATCH),
            center_bias=members,
            member_weights=P(*members, BATCH),
            log_pixels=P(),
        )

    def put_batch(self, batch: Any) -> Any:
        """Return a batch as the compiled step takes it; its features are placed.

        On the host `folds` are members `[A]`, `center_bias` is `[M, rows, columns]`.
        """
        if self.mesh.size == 1:
            return batch
        host = {
            "folds": self._local_rows(batch.folds)[0],
            "counts": batch.counts,
            "weights": batch.weights,
            "center_bias": self._filled(batch.center_bias),
            "log_pixels": batch.log_pixels,
        }
        if batch.member_weights is not None:
            host["member_weights"] = self._filled(batch.member_weights)
        specs = self._specs(batch, P(FOLD))
        placed = {
            field: self._put(np.asarray(array), getattr(specs, field))
            for field, array in host.items()
        }
        return batch.replace(**placed)

    def _filled(self, by_member: np.ndarray) -> np.ndarray:
        """Return an array `[M, ...]` with rows up to those of the state."""
        extra = np.repeat(by_member[:1], self.n_rows - self.n_members, axis=0)
        return np.concatenate([by_member, extra])

    def take_loss(self, loss: jax.Array, folds: np.ndarray) -> np.ndarray:
        """Return the loss of each member `[A]` of a batch from what the step gave."""
        if self.mesh.size == 1:
            return np.asarray(loss)
        return _rows(loss)[self._local_rows(folds)[1]]

    def _local_rows(self, folds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return rows on their own shard, shard after shard; and where each fold is.

        All shards get the same number; a row behind the last stands for no member.
        """
        shards = self.mesh.shape[FOLD]
        per_shard = self.n_rows // shards
        folds = np.asarray(folds)
        most = np.bincount(folds // per_shard, minlength=shards).max()
        rows = np.full((shards, most), per_shard, np.int32)
        places = np.zeros(len(folds), int)
        filled = np.zeros(shards, int)
        for k, fold in enumerate(folds):
            shard, row = divmod(int(fold), per_shard)
            rows[shard, filled[shard]] = row
            places[k] = shard * most + filled[shard]
            filled[shard] += 1
        return rows.reshape(-1), places

    def compile(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """Return a training step compiled for the mesh; its state is donated.

        Args:
            step: `(state, batch, ids, key, rate, network) -> (state, loss [A])` for
                the members and images of one device; `network` is everywhere.
        """
        if self.mesh.size == 1:
            return jax.jit(step, donate_argnums=0)

        def sharded(
            state: Any, batch: Any, ids: Any, key: Any, rate: Any, network: Any = None
        ) -> Any:
            return jax.shard_map(
                step,
                mesh=self.mesh,
                in_specs=(
                    P(FOLD),
                    self._specs(batch, P(FOLD)),
                    P(FOLD),
                    P(),
                    P(),
                    P(),
                ),
                out_specs=(P(FOLD), P(FOLD)),
                # The sums along `batch` are written out in the step.
                check_vma=False,
            )(state, batch, ids, key, rate, network)

        return jax.jit(sharded, donate_argnums=0)

    def compile_validation(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """Return a validation step compiled for the devices of this process.

        Args:
            step: `(params, mean, scale, batch, network) -> ([B], [B])` for one member.
        """

        def specs(params: Any, mean: Any, scale: Any, batch: Any, network: Any) -> Any:
            return P(), P(), P(), self._specs(batch, P()), P()

        return self.spread.compile(step, specs)

    # --- processes --------------------------------------------------------------------

    @property
    def is_first(self) -> bool:
        """Whether this process writes the run's folder and tells what happens."""
        return self.process == 0

    def sum(self, own: np.ndarray) -> np.ndarray:
        """Return the sum of an array over all processes, exact to its own type."""
        own = np.asarray(own)
        if self.n_processes == 1:
            return own
        parts = multihost_utils.process_allgather(
            np.ascontiguousarray(own).reshape(-1).view(np.uint8)
        )
        typed = np.ascontiguousarray(parts).view(own.dtype)
        by_process = typed.reshape(self.n_processes, *own.shape)
        return np.asarray(by_process.sum(axis=0, dtype=own.dtype))

    def share(self, values: Any) -> Any:
        """Return the first process's arrays on every process; shapes agree."""

        def of_first(leaf: np.ndarray) -> np.ndarray:
            leaf = np.asarray(leaf)
            return self.sum(leaf if self.is_first else np.zeros_like(leaf))

        return jax.tree.map(of_first, values)

    def share_text(self, text: str) -> str:
        """Return the first process's text on every process."""
        data = np.frombuffer(text.encode(), np.uint8)
        size = int(self.share(np.array(len(data))))
        own = data if self.is_first else np.zeros(size, np.uint8)
        return self.share(own).tobytes().decode()

    def first_does(self, work: Callable[[], None]) -> None:
        """Return when the first process has done something; all raise what it raises.

        Raises:
            DeepGazeError: of the first process.
        """
        error, told = None, ""
        if self.is_first:
            try:
                work()
            except DeepGazeError as raised:
                error, told = raised, str(raised)
        told = self.share_text(told)
        if error is not None:
            raise error
        if told:
            raise TrainingError(f"the first process of the run has stopped: {told}")


def place(
    n_members: int,
    batch_size: int,
    devices: Sequence[jax.Device] | None = None,
    *,
    features_in_step: bool = False,
) -> Placement:
    """Return the placement of a run on the devices of all processes.

    Args:
        n_members: folds times seeds.
        batch_size: images of a step.
        devices: all that there are, by default.
        features_in_step: whether a step computes the features of its images.
    """
    devices = jax.devices() if devices is None else devices
    n_processes = len({device.process_index for device in devices})
    by_process = sorted(devices, key=lambda device: (device.process_index, device.id))
    images = -(-batch_size // n_processes)
    folds, columns = grid_of(
        len(devices) // n_processes, n_members, images, features_in_step
    )
    blocks = np.array(by_process).reshape(n_processes, folds, columns)
    mesh = Mesh(
        np.concatenate(list(blocks), axis=1),
        (FOLD, BATCH),
        axis_types=(AxisType.Auto, AxisType.Auto),
    )
    process = jax.process_index() if n_processes > 1 else 0
    return Placement(mesh, n_members, process, n_processes)


def _rows(array: jax.Array) -> np.ndarray:
    """Return an array that is cut along its first axis, from this process's devices."""
    if array.is_fully_addressable:
        return np.asarray(array)
    parts = {
        shard.index[0].start or 0: shard.data for shard in array.addressable_shards
    }
    return np.concatenate([np.asarray(parts[start]) for start in sorted(parts)])
