"""Pictures in, results out: reading, network, drawing and writing side by side."""

import contextlib
import dataclasses
import errno
import os
import queue
import threading
from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np

from deepgaze_jax.band_plan import BandPlan
from deepgaze_jax.datasets.pictures import picture_size
from deepgaze_jax.datasets.pipeline import read_ahead
from deepgaze_jax.errors import DataError, InputError
from deepgaze_jax.images import as_bytes, load_image
from deepgaze_jax.many_images.batches import Batches
from deepgaze_jax.many_images.results import Stamp, stamp
from deepgaze_jax.many_images.settings import Settings
from deepgaze_jax.many_images.targets import Target
from deepgaze_jax.memory import available_memory
from deepgaze_jax.model_cards import ChosenFold
from deepgaze_jax.predictor import Predictor

__all__ = ["Outcome", "predict_pictures"]

# Bytes of memory per pixel of a picture while it is decoded, drawn and written.
_PICTURE_BYTES = 100
# Threads per device that are inside the network or at what surrounds it: while one
# is on the host, the other keeps the device busy.
_PER_DEVICE = 2
# Threads that decode, draw and write meanwhile: one per core, but at most
_MOST_HELPERS = 16
# Pictures of one size that an accelerator takes at once; a CPU gains nothing by it.
_BATCH = 8

# Nothing can be written any more: going on would compute for nothing.
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a picture.

    Attributes:
        target: the picture and where its results are.
        fold: that predicted it; empty where it failed.
        size: height and width of the upright picture.
        stamp: of the file that was read.
        plan: in which bands it went through the network; None for as a whole.
        error: why there are no results, in one line, else empty.
    """

    target: Target
    fold: ChosenFold | str = ""
    size: tuple[int, int] = (0, 0)
    stamp: Stamp = (0, 0)
    plan: BandPlan | None = None
    error: str = ""


def predict_pictures(
    predictor: Predictor,
    targets: Sequence[Target],
    settings: Settings,
    write: Callable[[Target, np.ndarray, np.ndarray], None],
    devices: Sequence[jax.Device] | None = None,
    max_memory: float | None = None,
    batch_size: int | None = None,
) -> Iterator[Outcome]:
    """Yield what became of each picture, in order, after its results were written.

    Each picture is one thread's from the file to the results, and waits only for a
    free place at a device; so decoding, drawing and compressing go on beside the
    network. The pictures that are under way are bounded in number and in memory.

    Args:
        predictor: the model.
        targets: pictures, and where their results go.
        settings: for all of them.
        write: takes a target, its picture (RGB 0..255, [H, W, 3]) and its log density
            (float32 [H, W]); called by several threads.
        devices: that the pictures are dealt over; by default all of this process.
        max_memory: bytes that this process may take on a CPU, see `Predictor.predict`;
            pictures then come one after another.
        batch_size: pictures of one size that go through the network together, where so
            many are waiting; by default one on a CPU. With more, results depend on
            which these are, to rounding.

    Raises:
        OSError: nothing can be written any more.
        ConfigError: settings that fit no picture.
    """
    devices = jax.local_devices() if devices is None else devices
    if batch_size is None:
        batch_size = 1 if devices[0].platform == "cpu" else _BATCH
    places = _Places(predictor, devices)
    batches = Batches(places.free, batch_size) if batch_size > 1 else None
    room = _Room(alone=max_memory is not None)

    def one(target: Target) -> Outcome:
        try:
            if target.problem:
                raise InputError(target.problem)
            with room.of(_peak_bytes(predictor, target, settings)):
                return _predict_one(
                    places, batches, target, settings, write, max_memory
                )
        except (InputError, OSError, MemoryError, jax.errors.JaxRuntimeError) as error:
            if getattr(error, "errno", None) in _DISK_FULL:
                raise
            line = " ".join(str(error).split()) or type(error).__name__
            name = str(target.image)
            return Outcome(target, error=line if name in line else f"{name}: {line}")

    helpers = min(max(2, os.cpu_count() or 1), _MOST_HELPERS)
    places_and_queue = _PER_DEVICE * len(devices) * batch_size
    threads = min(places_and_queue + helpers, max(1, len(targets)))
    with contextlib.closing(read_ahead(one, targets, threads, threads + 2)) as done:
        yield from done


def _predict_one(
    places: "_Places",
    batches: Batches | None,
    target: Target,
    settings: Settings,
    write: Callable[[Target, np.ndarray, np.ndarray], None],
    max_memory: float | None,
) -> Outcome:
    known = stamp(target.image)
    picture = load_image(target.image)
    size = picture.shape[:2]
    rounded = as_bytes(picture)
    if np.array_equal(rounded, picture):
        # The same in a quarter of the memory.
        picture = rounded
    del rounded
    fold = places.predictor.fold_for(picture, settings.fold)
    scale = settings.pixels_per_dva
    plan = places.predictor.plan(size, scale, max_memory)
    options = {"center_bias": settings.center_bias, "pixels_per_dva": scale}
    if batches is None:
        with places.free() as predictor:
            log_density = predictor.predict_picture(
                picture, fold=fold, max_memory=max_memory, **options
            )
    else:
        features = batches.features(picture, scale)
        log_density = places.predictor.log_density_of_features(
            features, size, fold=fold, **options
        )
    write(target, picture, log_density)
    return Outcome(target, fold, size, known, plan)


class _Places:
    """A model on each device, with a few places at each."""

    def __init__(self, predictor: Predictor, devices: Sequence[jax.Device]) -> None:
        self.predictor = predictor
        self._free: queue.SimpleQueue[tuple[jax.Device, Predictor]] = (
            queue.SimpleQueue()
        )
        on_devices = [(device, predictor.on(device)) for device in devices]
        # By turns, so that a short run uses all of them.
        for place in _PER_DEVICE * on_devices:
            self._free.put(place)

    @contextlib.contextmanager
    def free(self) -> Iterator[Predictor]:
        """Return a context with the model of a device that has a free place."""
        device, predictor = self._free.get()
        try:
            with jax.default_device(device):
                yield predictor
        finally:
            self._free.put((device, predictor))


class _Room:
    """Memory for the pictures that are under way.

    Half of what there is: estimates are rough, and others want some. A picture that
    needs more is let in when no other one is.

    Args:
        alone: for one picture at a time.
    """

    def __init__(self, *, alone: bool = False) -> None:
        available = available_memory()
        self._limit = float("inf") if available is None else available / 2
        if alone:
            self._limit = 0.0
        self._taken = 0.0
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def of(self, n_bytes: float) -> Iterator[None]:
        """Return a context in which so much memory may be used."""
        with self._changed:
            self._changed.wait_for(
                lambda: not self._taken or self._taken + n_bytes <= self._limit
            )
            self._taken += n_bytes
        try:
            yield
        finally:
            with self._changed:
                self._taken -= n_bytes
                self._changed.notify_all()


def _peak_bytes(predictor: Predictor, target: Target, settings: Settings) -> float:
    """Return about how much memory a picture needs; 1 for what is no picture."""
    try:
        height, width = picture_size(target.image)
    except DataError:
        return 1
    n_bytes = _PICTURE_BYTES * height * width
    plan = predictor.plan((height, width), settings.pixels_per_dva)
    if plan is not None:
        return n_bytes + plan.own_bytes
    size = predictor.model_size((height, width), settings.pixels_per_dva)
    return n_bytes + predictor.model.peak_bytes(*size)
