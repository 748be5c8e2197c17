"""How a picture goes through VGG-19 on a CPU: in which bands, for how much memory."""

import dataclasses
import os
from collections.abc import Iterator

import jax
import numpy as np

from deepgaze_jax import vgg_rows
from deepgaze_jax.errors import InputError
from deepgaze_jax.memory import available_memory, resident_memory
from deepgaze_jax.model import FixationModel
from deepgaze_jax.ops import pooled_size

__all__ = [
    "BandPlan",
    "goes_by_rows",
    "plan_bands",
]

#: Pixels of a band: fewer wait for one another, more fall out of the cache (measured).
_BAND_PIXELS = 144_000

#: Below this many pixels the plain network is fast enough, and compiled sooner.
_FEWEST_PIXELS = 20_000

_WORKERS = 2

#: What a prediction may take without being asked for less, the process apart.
_MODEST_BYTES = 495_000_000


@dataclasses.dataclass(frozen=True)
class BandPlan:
    """How an image goes through the network.

    Attributes:
        model_size: height and width of the model's image.
        size: those of the network's input.
        band: its rows that go through together.
        workers: bands that are under way at a time.
        n_bytes: about how much memory the process then takes at its peak.
        own_bytes: of these, those of the bands.
        lowered: whether faster bands would have taken too much.
    """

    model_size: tuple[int, int]
    size: tuple[int, int]
    band: int
    workers: int
    n_bytes: int
    own_bytes: int = 0
    lowered: bool = False

    @property
    def n_bands(self) -> int:
        """Number of bands."""
        return -(-self.size[0] // self.band)


def goes_by_rows(model: FixationModel, model_size: tuple[int, int]) -> bool:
    """Return whether images take VGG-19 by bands of rows: large ones on a CPU.

    Args:
        model: the configuration.
        model_size: height and width of the model's image.
    """
    return (
        model.network == "vgg19"
        and model.sampling == "mean"
        # Of wider means, the padding is on both sides of the image.
        and model.downsample <= 2
        and np.prod(_input_size(model, model_size)) >= _FEWEST_PIXELS
        and jax.default_backend() == "cpu"
    )


def plan_bands(
    model: FixationModel,
    model_size: tuple[int, int],
    other_bytes: int,
    what: str,
    max_memory: float | None = None,
    spare_bytes: int = 0,
) -> BandPlan:
    """Return the fastest plan that fits into memory.

    Args:
        model: the configuration.
        model_size: height and width of the model's image.
        other_bytes: what the prediction takes beside the network.
        what: takes all of that, for the message.
        max_memory: bytes that the whole process may take; by default what the machine
            has.
        spare_bytes: that the process has, and that bands will use again.

    Raises:
        InputError: not even the lowest bands fit.

    Example:
        >>> plan = plan_bands(FixationModel(), (1120, 1493), 0, "it", 4e9)
        >>> plan.size, plan.band
        ((560, 747), 192)
    """
    resident = resident_memory() or 0
    available = available_memory()
    limit = float("inf") if available is None else available + resident
    limit = limit if max_memory is None else max_memory
    size = _input_size(model, model_size)
    step = vgg_rows.BAND_STEP
    most_rows = max(step, round(_BAND_PIXELS / size[1]))
    # Bands of equal height: a low last one would keep nobody busy.
    n_bands = -(-size[0] // most_rows)
    fast = step * -(-size[0] // (n_bands * step))
    most = min(_WORKERS, os.cpu_count() or 1, -(-size[0] // fast))
    least = first_fitting = None
    lowered = False
    for band, workers in _from_fast_to_small(fast, most):
        own = vgg_rows.bytes_by_rows(size, model.taps, band, workers)
        n_bytes = max(own - spare_bytes, 0) + other_bytes + resident
        lowered |= n_bytes > limit
        plan = BandPlan(model_size, size, band, workers, n_bytes, own, lowered)
        if n_bytes > limit:
            least = plan if least is None or n_bytes < least.n_bytes else least
            continue
        # Of its own, whatever the process has already: the same picture has the same
        # plan again, and the same programs.
        if own <= _MODEST_BYTES - other_bytes:
            return plan
        first_fitting = first_fitting or plan
    if first_fitting is not None:
        return first_fitting
    allowed = "are available" if max_memory is None else "are allowed"
    raise InputError(
        f"{what} needs about {least.n_bytes / 1e9:.1f} GB of memory even in bands "
        f"of {least.band} rows, {limit / 1e9:.1f} GB {allowed}; shrink it, or give "
        "its pixels per degree of visual angle (--pixels-per-dva); those of a large "
        "photograph are usually more"
    )


def _from_fast_to_small(band: int, workers: int) -> Iterator[tuple[int, int]]:
    """Yield heights of bands, and numbers of workers, the fastest first."""
    step = vgg_rows.BAND_STEP
    while True:
        for fewer in range(workers, 0, -1):
            yield band, fewer
        if band == step:
            return
        band = step * -(-band // (2 * step))


def _input_size(model: FixationModel, model_size: tuple[int, int]) -> tuple[int, int]:
    """Return height and width of the network's input."""
    height, width = (pooled_size(n, model.downsample) for n in model_size)
    return height, width
