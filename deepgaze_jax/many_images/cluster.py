"""Pictures dealt over the processes of a Ray cluster, which may end at any time."""

import collections
import contextlib
import dataclasses
import logging
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax

from deepgaze_jax.errors import ConfigError, DeepGazeError
from deepgaze_jax.journal import Journal
from deepgaze_jax.many_images.results import PictureFiles
from deepgaze_jax.many_images.settings import Kinds, Settings
from deepgaze_jax.many_images.stream import Outcome, predict_pictures
from deepgaze_jax.many_images.targets import Target
from deepgaze_jax.predictor import Predictor

__all__ = ["Cluster", "predict_on_cluster"]

# Pictures of a part: enough that a worker's threads stay busy, few enough that little
# is done twice and that the last parts end at about the same time.
_MOST_PER_PART = 32
_PARTS_PER_WORKER = 8
# Parts that a worker has: the next one waits with it.
_AHEAD = 2
# Ends of workers with the same pictures: then these go one by one, then they fail.
_ENDS_TOGETHER, _ENDS_ALONE = 1, 3
# Ends of workers in a row, for each worker, without a part that was finished.
_ENDS_IN_A_ROW = 6


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Which processes predict.

    Attributes:
        address: of the cluster, as Ray takes it ("auto", "HOST:PORT", "ray://..."), or
            "local" for one on this machine that ends with the run.
        n_workers: processes; None for one per GPU, or per machine where there is none.
    """

    address: str
    n_workers: int | None = None


@dataclasses.dataclass(frozen=True)
class _Part:
    """Pictures that go to a worker together; so many workers have ended with it."""

    targets: tuple[Target, ...]
    n_ends: int = 0


def predict_on_cluster(
    predictor: Predictor,
    targets: Sequence[Target],
    settings: Settings,
    kinds: Kinds,
    cluster: Cluster,
    *,
    say: Callable[[str], None] = lambda text: None,
    prepare: Callable[[], None] = lambda: None,
) -> Iterator[Outcome]:
    """Yield what became of each picture, once each, in the order of finishing.

    Each worker holds the model, reads pictures and writes results; all machines must
    see the same folders under the same names, and have this package. When a worker
    ends, for whatever reason, another one is started and the pictures that it had are
    predicted again: files appear whole or not at all, and have the same bytes whoever
    writes them. A picture with which three workers in a row have ended fails.

    Args:
        predictor: the model.
        targets: pictures, and where their results go.
        settings: for all of them.
        kinds: which files are made; not the HDF5 file, which has one writer.
        cluster: which processes predict.
        say: is told which workers start and end.
        prepare: called first in each worker.

    Raises:
        ConfigError: Ray is not installed, or there is no such cluster.
        DeepGazeError: no worker starts, or they all keep ending.
        OSError: nothing can be written any more.
    """
    if kinds.h5:
        raise ConfigError(
            "one HDF5 file cannot be written by several processes; with --ray give "
            "--files npy, png or both"
        )
    with _connected(cluster) as ray:
        workers = _Workers(ray, cluster, say)
        # As numpy arrays, so that a machine needs no weights of its own.
        params = jax.device_get(predictor.feature_stage.params)
        workers.model = ray.put(dataclasses.replace(predictor, stored_features=params))
        workers.arguments = (settings, kinds, prepare, os.getcwd())
        yield from workers.predict(targets)


class _Worker:
    """A process that holds a model; Ray makes an actor of it."""

    def __init__(
        self,
        predictor: Predictor,
        settings: Settings,
        kinds: Kinds,
        prepare: Callable[[], None],
        folder: str,
    ) -> None:
        # Names of pictures and results are seen from there.
        os.chdir(folder)
        prepare()
        self._predictor = predictor
        self._settings = settings
        # What is ready is noted by the one process that deals the pictures.
        self._results = PictureFiles(kinds, settings, Journal(None))

    def where(self) -> str:
        """Return what people call this process."""
        return f"process {os.getpid()} on {socket.gethostname()}"

    def predict(self, targets: Sequence[Target]) -> list[Outcome]:
        """Return what became of some pictures, after their results were written."""
        return list(
            predict_pictures(
                self._predictor, targets, self._settings, self._results.write
            )
        )


class _Workers:
    """Workers, the parts that they have, and what has not been dealt yet."""

    model: Any
    arguments: tuple[Any, ...]

    def __init__(self, ray: Any, cluster: Cluster, say: Callable[[str], None]) -> None:
        self._ray = ray
        self._say = say
        has = ray.cluster_resources()
        n_gpus = int(has.get("GPU", 0))
        self._n_workers = cluster.n_workers or n_gpus or len(ray.nodes())
        share = min(1.0, n_gpus / self._n_workers)
        self._actor = ray.remote(_Worker).options(
            num_cpus=min(1, has.get("CPU", 0)),
            num_gpus=int(share) or share,
            scheduling_strategy="SPREAD",
        )
        self._left: collections.deque[_Part] = collections.deque()
        self._names: dict[Any, str] = {}  # Of the workers that have started.
        self._starting: dict[Any, Any] = {}  # Awaited answer -> worker.
        self._running: dict[Any, tuple[Any, _Part]] = {}
        self._n_ends = 0  # In a row.

    def predict(self, targets: Sequence[Target]) -> Iterator[Outcome]:
        """Yield what became of each target."""
        size = -(-len(targets) // (self._n_workers * _PARTS_PER_WORKER))
        size = min(max(1, size), _MOST_PER_PART)
        self._left.extend(
            _Part(tuple(targets[start : start + size]))
            for start in range(0, len(targets), size)
        )
        for _ in range(min(self._n_workers, len(self._left))):
            self._start()
        while self._left or self._running:
            self._deal()
            answers = [*self._starting, *self._running]
            (answer,), _ = self._ray.wait(answers, num_returns=1)
            if answer in self._starting:
                self._has_started(answer)
            else:
                yield from self._has_predicted(answer)

    def _start(self) -> None:
        worker = self._actor.remote(self.model, *self.arguments)
        self._starting[worker.where.remote()] = worker

    def _deal(self) -> None:
        """Give parts to the workers that have few."""
        has = collections.Counter(worker for worker, _ in self._running.values())
        for n_parts in range(_AHEAD):
            for worker in self._names:
                if self._left and has[worker] <= n_parts:
                    part = self._left.popleft()
                    has[worker] += 1
                    answer = worker.predict.remote(part.targets)
                    self._running[answer] = worker, part

    def _has_started(self, answer: Any) -> None:
        worker = self._starting.pop(answer)
        try:
            self._names[worker] = self._ray.get(answer)
        except self._ray.exceptions.RayActorError as error:
            if not self._names and not self._starting:
                last = str(error).strip().splitlines()[-1]
                raise DeepGazeError(
                    f"no worker starts ({last.strip()}); all machines need this "
                    "package and the same folders"
                ) from None
            self._n_ends += 1
            return
        self._say(f"worker {len(self._names)}: {self._names[worker]}")

    def _has_predicted(self, answer: Any) -> Iterator[Outcome]:
        worker, part = self._running.pop(answer)
        try:
            outcomes = self._ray.get(answer)
        except self._ray.exceptions.RayActorError:
            yield from self._has_ended(worker, part)
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from None
        else:
            self._n_ends = 0
            yield from outcomes

    def _has_ended(self, worker: Any, part: _Part) -> Iterator[Outcome]:
        """Put the pictures of a worker that ended back; yield those that must fail."""
        # Each of its parts says so; the first one starts another worker.
        name = self._names.pop(worker, None)
        if name is not None:
            self._n_ends += 1
            if self._n_ends > _ENDS_IN_A_ROW * self._n_workers:
                raise DeepGazeError(
                    f"{self._n_ends} workers have ended one after the other; see "
                    "Ray's logs, and go on with the same command and --resume"
                )
            self._say(f"{name} has ended; its pictures are predicted again")
            self._start()
        n_ends = part.n_ends + 1
        if len(part.targets) == 1 and n_ends >= _ENDS_ALONE:
            (target,) = part.targets
            yield Outcome(
                target,
                error=f"{target.image}: {n_ends} workers ended with it, perhaps for "
                "want of memory; shrink it",
            )
        elif n_ends > _ENDS_TOGETHER:
            self._left.extend(_Part((target,), n_ends - 1) for target in part.targets)
        else:
            self._left.appendleft(_Part(part.targets, n_ends))


@contextlib.contextmanager
def _connected(cluster: Cluster) -> Iterator[Any]:
    """Return a context with Ray, which says and sends nothing."""
    # Read when Ray is imported and when it starts processes.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError:
        raise ConfigError(
            "--ray needs Ray, which is not installed; pip install 'deepgaze-jax[ray]'"
        ) from None
    local = cluster.address == "local"
    options = {
        "address": cluster.address,
        "log_to_driver": False,
        "logging_level": logging.ERROR,
    }
    if local:
        n_cpus = max(cluster.n_workers or 1, os.cpu_count() or 1)
        options |= {"num_cpus": n_cpus, "include_dashboard": False}
    try:
        ray.init(**options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"no Ray cluster answers at {cluster.address!r} "
            f"({' '.join(str(error).split())}); give its address, or --ray local"
        ) from None
    try:
        yield ray
    finally:
        ray.shutdown()
