"""VGG-19 on a CPU: an image's rows go through the network band by band.

A band of rows goes through all layers before the next one comes. What a layer cannot
compute yet, because its neighbours below are still missing, waits in front of it
(`windows.Joint`); zeros stand only where the image ends. So the maps are those of the
whole image, nothing is computed twice, and memory depends on the image's width and on
the height of a band alone.

Bands follow each other closely: while one is in the deep layers, the next is in the
shallow ones.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

from deepgaze_jax import windows, winograd, winograd_kernels
from deepgaze_jax.vgg import (
    CONVOLUTIONS,
    MEAN_RGB,
    TAPS,
    tap_channels,
    tap_grid,
    tap_stride,
)
from deepgaze_jax.windows import TILE, Buffers, Joint, Kind, Window, tiles

__all__ = ["BAND_STEP", "bytes_by_rows", "features_by_rows", "prepare"]

#: Heights of bands are multiples of this many rows: then two poolings meet whole cells.
BAND_STEP = 16

Params = Mapping[str, Mapping[str, Any]]
Take = Callable[[str, int, np.ndarray], None]


def prepare(params: Params) -> dict[str, dict[str, Any]]:
    """Return parameters as `features_by_rows` takes them, on the device.

    Args:
        params: of `vgg.vgg19_features`.

    Returns:
        The kernels transformed, four times as large; layer by layer, so that what is
        not held elsewhere goes in between.
    """
    prepared: dict[str, dict[str, Any]] = {}
    params = dict(params)
    for name in list(params):
        values = params.pop(name)
        if name == "conv1_1":
            kernel = winograd_kernels.transform_image_kernel(
                np.asarray(values["kernel"])
            )
        elif name in CONVOLUTIONS:
            kernel = winograd_kernels.transform_kernel(np.asarray(values["kernel"]))
        else:
            prepared[name] = dict(values)
            continue
        prepared[name] = jax.device_put({"kernel": kernel, "bias": values["bias"]})
    return prepared


def features_by_rows(
    params: Params,
    rows: Callable[[int, int], np.ndarray],
    size: tuple[int, int],
    taps: Sequence[str],
    take: Take,
    band: int,
    *,
    workers: int = 1,
    buffers: Buffers | None = None,
) -> None:
    """Hand over the wanted feature maps of one image, row by row; returns nothing.

    Args:
        params: from `prepare`.
        rows: `rows(first, stop)` returns these rows of the image, RGB 0..255, float32
            [stop - first, width, 3].
        size: height and width of the image.
        taps: names from `vgg.TAPS`.
        take: called with a tap, the number of a row of its maps, and the maps from
            that row on, float32 [rows, width, channels]; from top to bottom, for a row
            of an image tap after tap.
        band: rows of the image that go through the network together; a multiple of
            `BAND_STEP`.
        workers: bands that are under way at a time.
        buffers: memory for the maps, used again by the next image.
    """
    mean = np.float32(params.get("input", {}).get("mean_rgb", MEAN_RGB))
    height, width = size
    buffers = buffers or Buffers()
    layers = _layers(params, size, taps, band, buffers)

    def image(first: int, stop: int) -> np.ndarray:
        """Return rows of the image less the mean, zeros beyond it."""
        inside = max(first, 0), min(stop, height)
        image = np.zeros((stop - first, width, 3), np.float32)
        image[inside[0] - first : inside[1] - first] = rows(*inside) - mean
        return image

    failures: list[BaseException] = []

    def run(number: int) -> None:
        first, stop = number * band, min((number + 1) * band, height)
        n_new = tiles(stop - first)
        window: Window | None = None
        for layer in layers:
            # The next bands wait for every turn of this one, also after a failure.
            with layer.turn(number):
                if failures:
                    continue
                try:
                    if layer is layers[0]:
                        part = image(first - 1, first + TILE * n_new + 1)
                        window = layer.begin(part, n_new)
                    elif window is not None:
                        source, window = window, layer.push(window)
                        if window is not None:
                            jax.block_until_ready(window.values)
                        buffers.give(source.values)
                    if window is not None:
                        window = layer.collect(window, take)
                except BaseException as error:
                    failures.append(error)
        if failures:
            raise failures[0]
        if window is not None:
            buffers.give(window.values)

    with ThreadPoolExecutor(workers) as pool:
        try:
            for _ in pool.map(run, range(-(-height // band))):
                pass
        except BaseException as error:
            # An interrupt reaches this thread alone.
            failures.append(error)
            raise


def bytes_by_rows(
    size: tuple[int, int], taps: Sequence[str], band: int, workers: int
) -> int:
    """Return about how much memory `features_by_rows` takes, parameters apart.

    Args:
        size: height and width of the image.
        taps: wanted maps, whose own memory does not count.
        band: see `features_by_rows`.
        workers: see `features_by_rows`.
    """
    names = _names(taps)
    tails = sum(
        TILE**2 * windows.tail_cells(tap_grid(name, *size)[1]) * tap_channels(name)
        for name in names
    )
    # A band reads one window and writes one.
    floats = tails + 2 * workers * _floats(names, size, band)
    # Rows of the image, and for each tile those that it reads.
    floats += workers * (band + 2) * size[1] * (3 * 3 + 54 // 4)
    strip = winograd.strip_bytes(2 * tap_channels(names[-1]))
    return 4 * floats + workers * strip


class _Layer:
    """A convolution or a pool, and the joint behind it."""

    def __init__(
        self, name: str, values: Mapping[str, Any], joint: Joint, taps: Sequence[str]
    ):
        self.name, self.values, self.joint = name, values, joint
        self.raw = name.startswith("conv") and name in taps
        both = dict.fromkeys((name, name.replace("conv", "relu")))
        self.wanted = [tap for tap in both if tap in taps]
        self._ready = threading.Condition()
        self._turn = 0

    @contextlib.contextmanager
    def turn(self, number: int) -> Iterator[None]:
        """Wait until all bands before this one have passed."""
        with self._ready:
            self._ready.wait_for(lambda: self._turn == number)
        try:
            yield
        finally:
            with self._ready:
                self._turn += 1
                self._ready.notify_all()

    def begin(self, image: np.ndarray, n_new: int) -> Window:
        """Return the first layer's window of an image's rows."""
        kernel, bias = self.values["kernel"], self.values["bias"]
        return winograd.convolve_image(
            image, kernel, bias, self.joint, n_new, relu=not self.raw
        )

    def push(self, window: Window) -> Window | None:
        """Return this layer's window."""
        if not self.values:
            return winograd.max_pool(window, self.joint)
        kernel, bias = self.values["kernel"], self.values["bias"]
        return winograd.convolve(window, kernel, bias, self.joint, relu=not self.raw)

    def collect(self, window: Window, take: Take) -> Window:
        """Hand over what is wanted of a window; returns what the next layer sees."""
        if self.wanted:
            first, maps = window.new_maps()
            for tap in self.wanted:
                take(tap, first, maps if tap == self.name else np.maximum(maps, 0))
        return self.joint.relu(window) if self.raw else window


def _names(taps: Sequence[str]) -> list[str]:
    """Return the convolutions and pools up to the deepest tap."""
    names = TAPS[: max(map(TAPS.index, taps)) + 1]
    return [name for name in names if not name.startswith("relu")]


def _layers(
    params: Params,
    size: tuple[int, int],
    taps: Sequence[str],
    band: int,
    buffers: Buffers,
) -> list[_Layer]:
    """Return the layers up to the deepest tap."""
    names = _names(taps)
    n_floats = _floats(names, size, band)
    layers = []
    for name in names:
        height, width = tap_grid(name, *size)
        usual = max(1, band // (TILE * tap_stride(name)))
        channels, to = tap_channels(name), _to(names, name)
        joint = Joint(height, width, channels, to, usual, n_floats, buffers)
        layers.append(_Layer(name, params.get(name, {}), joint, taps))
    return layers


def _floats(names: Sequence[str], size: tuple[int, int], band: int) -> int:
    """Return how many floats every window takes."""
    most = _most_rows(names, size[0], band)
    return windows.floats_of_windows(
        [
            (
                tap_grid(name, *size)[1],
                tap_channels(name),
                most[name],
                winograd.most_cells(tap_channels(name)),
            )
            for name in names
        ]
    )


def _most_rows(names: Sequence[str], height: int, band: int) -> dict[str, int]:
    """Return how many rows of cells the largest window behind each layer has."""
    most = dict.fromkeys(names, 0)
    kept = {name: windows.kept_at_first(_to(names, name)) for name in names}
    for first in range(0, height, band):
        finished = first + band >= height
        n_new, n_rows = tiles(min(band, height - first)), 0
        for name in names:
            if name != names[0]:
                n_new = windows.rows_computed(n_rows, finished, _kind(name))
            if n_new == 0:
                break
            n_rows = kept[name] + n_new
            kept[name] = n_rows - windows.rows_done(n_rows, _to(names, name))
            most[name] = max(most[name], n_rows)
    return most


def _kind(name: str) -> Kind:
    """Return what kind of layer a name is."""
    return "convolution" if name.startswith("conv") else "pool"


def _to(names: Sequence[str], name: str) -> Kind | None:
    """Return the kind of layer behind one."""
    after = names[names.index(name) + 1 :]
    return _kind(after[0]) if after else None
