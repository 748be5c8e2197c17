"""Feature cache: the frozen network's maps of a data set, computed once.

One memory-mapped array holds all images one after another, so that training reads
what it needs and the page cache does the rest. Only maps before the ReLU are stored
(the ones after it follow from them). The file's size is known, stated and bounded
before anything is written; an interrupted build goes on where it stopped. All of a
cache is compared with its checksums when it is opened. Its files: `cache_folder.py`.

Features come from plain convolutions on every device, while predictions on a CPU take
Winograd's: the two differ by up to 7e-6 of a map's largest value.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

import deepgaze_jax
from deepgaze_jax.datasets.cache_folder import (
    FEATURES,
    LOCK,
    check_space,
    damaged_images,
    finished_images,
    note_use,
    write_state,
)
from deepgaze_jax.datasets.extraction import extract
from deepgaze_jax.datasets.feature_reuse import copy_known
from deepgaze_jax.datasets.folder import FixationDataset
from deepgaze_jax.errors import DataError
from deepgaze_jax.file_lock import file_lock
from deepgaze_jax.model import FixationModel
from deepgaze_jax.ops import scaled_size
from deepgaze_jax.spread import Spread

__all__ = [
    "CachePlan",
    "FeatureCache",
    "build_cache",
    "open_cache",
    "plan_cache",
    "stored_maps",
]

FORMAT_VERSION = 1
Progress = Callable[[int, int], None]


def stored_maps(taps: Sequence[str]) -> tuple[str, ...]:
    """Return the maps to store for some taps: each `relu` tap follows from its `conv`.

    Example:
        >>> stored_maps(["conv5_1", "relu5_1", "relu5_2"])
        ('conv5_1', 'conv5_2')
    """
    return tuple(dict.fromkeys(tap.replace("relu", "conv") for tap in taps))


@dataclasses.dataclass(frozen=True)
class CachePlan:
    """What a cache will hold, known before any feature is computed.

    Attributes:
        folder: where its files lie.
        dtype: `float32` or `float16`.
        maps: stored maps, in channel order.
        image_scales: float64 [n], factor from each picture to the model's image.
        model_sizes: int [n, 2], height and width of the model's images.
        grid_sizes: int [n, 2], rows and columns of the feature maps.
        map_channels: channels of each.
        key: text that identifies the contents; the folder is named by its hash.
        data: name of the data set, which does not identify anything.
    """

    folder: Path
    dtype: str
    maps: tuple[str, ...]
    image_scales: np.ndarray
    model_sizes: np.ndarray
    grid_sizes: np.ndarray
    map_channels: tuple[int, ...]
    key: str
    data: str

    @property
    def channels(self) -> int:
        """Channels of one cell."""
        return sum(self.map_channels)

    def tap_channels(self, tap: str) -> int:
        """Return the channels of a tap whose map is stored."""
        (stored,) = stored_maps((tap,))
        return self.map_channels[self.maps.index(stored)]

    def shape(self, images: Sequence[int], taps: Sequence[str]) -> tuple[int, ...]:
        """Return the shape of the features of some images of one grid size."""
        rows, columns = self.grid_sizes[images[0]]
        channels = sum(self.tap_channels(tap) for tap in taps)
        return len(images), int(rows), int(columns), channels

    @property
    def cells(self) -> np.ndarray:
        """Cells of each image, int64 [n]."""
        return self.grid_sizes.astype(np.int64).prod(axis=1)

    @property
    def n_bytes(self) -> int:
        """Size of the feature file in bytes."""
        return int(self.image_bytes.sum())

    @property
    def image_bytes(self) -> np.ndarray:
        """Size of each image's part of the feature file, int64 [n]."""
        return self.cells * self.channels * np.dtype(self.dtype).itemsize

    @property
    def key_sha256(self) -> str:
        """Hash of the key."""
        return hashlib.sha256(self.key.encode()).hexdigest()

    @property
    def about(self) -> dict[str, Any]:
        """What the cache is, for people, ready for JSON."""
        key = json.loads(self.key)
        return {
            "data": self.data,
            "network": key["network"],
            "weights_sha256": key["weights_sha256"],
            "maps": list(self.maps),
            "downsample": key["downsample"],
            "sampling": key.get("sampling", "mean"),
            "image_scales": [self.image_scales.min(), self.image_scales.max()],
            "dtype": self.dtype,
            "code_version": deepgaze_jax.__version__,
            "image_bytes": self.image_bytes.tolist(),
        }


def plan_cache(
    dataset: FixationDataset,
    model: FixationModel,
    weights_sha256: str,
    folder: Path,
    image_scales: np.ndarray,
    dtype: str = "float32",
) -> CachePlan:
    """Return the plan of a feature cache.

    Args:
        dataset: pictures.
        model: taps and strides.
        weights_sha256: identifies the network's parameters.
        folder: folder of all feature caches; this one gets a subfolder.
        image_scales: [n], resize factor of each picture in front of the model.
        dtype: `float32`, or `float16` for half the size at a relative error of 5e-4.

    Returns:
        The plan; nothing is written.

    Raises:
        DataError: dtype is none of the two.
    """
    if dtype not in ("float32", "float16"):
        raise DataError(f"feature dtype {dtype!r} is unknown; use float32 or float16")
    maps = stored_maps(model.taps)
    model_sizes = np.array(
        [
            scaled_size(height, width, scale)
            for (height, width), scale in zip(
                dataset.image_sizes, image_scales, strict=True
            )
        ]
    )
    grid_sizes = np.array([model.feature_grid(*size) for size in model_sizes.tolist()])
    # Left out where it is the usual one: caches of earlier versions stay valid.
    sampling = {} if model.sampling == "mean" else {"sampling": model.sampling}
    key = json.dumps(
        {
            "format_version": FORMAT_VERSION,
            "network": model.network,
            "weights_sha256": weights_sha256,
            "maps": maps,
            "downsample": model.downsample,
            "dtype": dtype,
            "model_sizes": model_sizes.tolist(),
            "images": _file_hashes(dataset),
            **sampling,
        }
    )
    return CachePlan(
        folder=Path(folder) / hashlib.sha256(key.encode()).hexdigest()[:16],
        dtype=dtype,
        maps=maps,
        image_scales=np.asarray(image_scales, np.float64),
        model_sizes=model_sizes,
        grid_sizes=grid_sizes,
        map_channels=tuple(model.feature_network.tap_channels(tap) for tap in maps),
        key=key,
        data=dataset.name,
    )


def _file_hashes(dataset: FixationDataset) -> list[str]:
    """Return the sha256 of each picture's file."""
    return [
        hashlib.sha256(dataset.pictures.read_bytes(image)).hexdigest()
        for image in range(len(dataset))
    ]


@dataclasses.dataclass(frozen=True)
class FeatureCache:
    """A finished cache, opened for reading.

    Attributes:
        plan: what it holds.
        rgb_sha256: hash of each picture's decoded RGB.
        readers: threads that read it; copying leaves the interpreter free.
    """

    plan: CachePlan
    rgb_sha256: tuple[str, ...]
    _cells: np.ndarray
    _offsets: np.ndarray
    readers: int = 2

    def shape(self, images: Sequence[int], taps: Sequence[str]) -> tuple[int, ...]:
        """Return the shape of the features of some images of one grid size."""
        return self.plan.shape(images, taps)

    def read(
        self, images: Sequence[int], taps: Sequence[str], out: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the features of some images of one grid size.

        The ReLU is applied while copying, so it costs no extra pass over memory.

        Args:
            images: indices; all must have the same grid size.
            taps: channel order of the result.
            out: float32 array of the right shape to fill; a new one by default.

        Returns:
            float32 [B, rows, columns, channels of all taps].
        """
        shape = self.plan.shape(images, taps)
        out = np.empty(shape, np.float32) if out is None else out
        source, start = {}, 0
        for name, channels in zip(self.plan.maps, self.plan.map_channels, strict=True):
            source[name] = slice(start, start + channels)
            start = source[name].stop
        for target, image in zip(out, images, strict=True):
            cells = self._cells[self._offsets[image] : self._offsets[image + 1]]
            cells = cells.reshape(*shape[1:3], -1)
            stop = 0
            for tap in taps:
                start, stop = stop, stop + self.plan.tap_channels(tap)
                (stored,) = stored_maps((tap,))
                part = cells[..., source[stored]]
                if tap.startswith("relu"):
                    np.maximum(part, 0, out=target[..., start:stop], dtype=np.float32)
                else:
                    target[..., start:stop] = part
        return out


def build_cache(
    plan: CachePlan,
    dataset: FixationDataset,
    model: FixationModel,
    feature_params: dict,
    *,
    max_bytes: int | None = None,
    progress: Progress | None = None,
    tell: Callable[[str], None] | None = None,
    spread: Spread | None = None,
) -> FeatureCache:
    """Return the finished cache of a plan; computes what is missing or damaged.

    Args:
        plan: from `plan_cache`.
        dataset: the same data set.
        model: the same model.
        feature_params: parameters of the feature network.
        max_bytes: largest size allowed; by default what leaves a tenth of the disk's
            free space.
        progress: called with images done and images in all.
        tell: called with a sentence where features turned out to be damaged.
        spread: devices, each of which takes an image of a batch; by default all of
            this process. What is stored does not depend on them.

    Returns:
        The opened cache.

    Raises:
        DataError: the size is above the bound, the cache's own files contradict each
            other, or a picture has another size than the data set states.
    """
    checks = finished_images(plan.folder, plan.key_sha256, plan.n_bytes)
    complete = len(checks) == len(plan.cells)
    if not complete or damaged_images(plan.folder, plan.image_bytes, checks):
        if not complete:
            check_space(plan.folder, plan.n_bytes, max_bytes)
        plan.folder.mkdir(parents=True, exist_ok=True)
        # Another process may be at it: then wait, and find it done.
        with file_lock(plan.folder / LOCK):
            note_use(plan.folder, plan.about, plan.key)
            checks = finished_images(plan.folder, plan.key_sha256, plan.n_bytes)
            damaged = damaged_images(plan.folder, plan.image_bytes, checks)
            for image in damaged:
                del checks[str(image)]
            if damaged and tell is not None:
                tell(
                    f"{plan.folder}: the features of {len(damaged)} of "
                    f"{len(plan.cells)} images are damaged; computing them anew"
                )
            # Never opened with truncation: an interrupted build goes on.
            (plan.folder / FEATURES).touch()
            os.truncate(plan.folder / FEATURES, plan.n_bytes)
            if spread is None:
                spread = Spread(tuple(jax.local_devices()))
            _extract(plan, dataset, model, feature_params, spread, checks, progress)
    return _opened(plan, checks)


def open_cache(plan: CachePlan) -> FeatureCache | None:
    """Return the cache of a plan if it is finished and intact, else None.

    Computes no features.

    Args:
        plan: from `plan_cache`.

    Raises:
        DataError: the folder holds another cache.
    """
    checks = finished_images(plan.folder, plan.key_sha256, plan.n_bytes)
    if len(checks) < len(plan.cells):
        return None
    if damaged_images(plan.folder, plan.image_bytes, checks):
        return None
    return _opened(plan, checks)


def _opened(plan: CachePlan, checks: dict[str, dict]) -> FeatureCache:
    """Return a finished cache."""
    note_use(plan.folder, plan.about, plan.key)
    shape = int(plan.cells.sum()), plan.channels
    return FeatureCache(
        plan=plan,
        rgb_sha256=tuple(checks[str(i)]["rgb"] for i in range(len(plan.cells))),
        _cells=np.memmap(plan.folder / FEATURES, plan.dtype, "r", shape=shape),
        _offsets=np.concatenate([[0], np.cumsum(plan.cells)]),
    )


def _extract(
    plan: CachePlan,
    dataset: FixationDataset,
    model: FixationModel,
    feature_params: dict,
    spread: Spread,
    checks: dict[str, dict],
    progress: Progress | None,
) -> None:
    """Store the features of every image that `checks` lacks; fills `checks`.

    Those that another cache in the same folder has are copied, the rest computed.
    """
    offsets = np.concatenate([[0], np.cumsum(plan.cells)])
    shape = int(offsets[-1]), plan.channels
    cells = np.memmap(plan.folder / FEATURES, plan.dtype, "r+", shape=shape)
    if checks_of_copies := copy_known(plan.key, plan.folder, offsets, cells, checks):
        checks |= checks_of_copies
        cells.flush()
        write_state(plan.folder, plan.key_sha256, checks)
    missing = [i for i in range(len(plan.cells)) if str(i) not in checks]
    network = dataclasses.replace(model, taps=plan.maps)
    found = extract(
        dataset, missing, plan.model_sizes, network.features, feature_params, spread
    )
    with contextlib.closing(found):
        for done, one in enumerate(found, start=1):
            with np.errstate(over="ignore"):
                features = one.maps.astype(plan.dtype)
            if not np.isfinite(features).all():
                raise DataError(
                    f"features of {one.name} are not finite in {plan.dtype}; use "
                    "--feature-dtype float32"
                )
            image = one.image
            part = cells[offsets[image] : offsets[image + 1]]
            part[:] = features.reshape(part.shape)
            checks[str(image)] = {"crc32": zlib.crc32(part), "rgb": one.rgb_sha256}
            if done % 20 == 0 or done == len(missing):
                # The state last: what it names is on the disk.
                cells.flush()
                write_state(plan.folder, plan.key_sha256, checks)
            if progress is not None:
                progress(len(checks), len(plan.cells))
