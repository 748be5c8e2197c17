"""The features that a process has: of all images, or of its share of them."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deepgaze_jax import weights
from deepgaze_jax.datasets.cache_folder import stored_caches, stored_key
from deepgaze_jax.datasets.features import (
    CachePlan,
    FeatureCache,
    build_cache,
    open_cache,
    plan_cache,
)
from deepgaze_jax.datasets.folder import FixationDataset
from deepgaze_jax.model import FixationModel
from deepgaze_jax.parallel import Placement
from deepgaze_jax.read_ahead import Features
from deepgaze_jax.step_features import shared_hashes

__all__ = ["SharedFeatures", "own_features", "whole_plan"]


def whole_plan(
    dataset: FixationDataset,
    model: FixationModel,
    image_scales: np.ndarray,
    dtype: str,
) -> CachePlan:
    """Return the plan of a cache of all images, in the cache folder.

    Args:
        dataset: pictures.
        model: taps and strides.
        image_scales: [n], resize factor of each picture in front of the model.
        dtype: `float32` or `float16`.

    Raises:
        WeightsError: the feature network's weights are not there.
    """
    sha256 = weights.features_card(model.network)["source_sha256"]
    folder: Path = weights.cache_dir() / "features"
    return plan_cache(dataset, model, sha256, folder, image_scales, dtype)


@dataclasses.dataclass(frozen=True)
class SharedFeatures:
    """Features of the images of one process, numbered as in the whole data set.

    Attributes:
        plan: of all images.
        rgb_sha256: hash of each picture's decoded RGB, of all.
        own: a cache of this process's images.
        position: int [n], where an image is in that cache; -1 for other processes'.
        readers: threads that read it.
    """

    plan: CachePlan
    rgb_sha256: tuple[str, ...]
    own: FeatureCache
    position: np.ndarray
    readers: int = 2

    def shape(self, images: Sequence[int], taps: Sequence[str]) -> tuple[int, ...]:
        """Return the shape of the features of some images of one grid size."""
        return self.plan.shape(images, taps)

    def read(
        self, images: Sequence[int], taps: Sequence[str], out: np.ndarray | None = None
    ) -> np.ndarray:
        """Return features as `FeatureCache.read`; zeros for other processes' images."""
        positions = self.position[np.asarray(images)]
        if (positions >= 0).all():
            return self.own.read(positions, taps, out)
        out = (
            np.empty(self.plan.shape(images, taps), np.float32) if out is None else out
        )
        out[:] = 0
        for row, position in zip(out, positions, strict=True):
            if position >= 0:
                self.own.read([position], taps, row[None])
        return out


def own_features(
    plan: CachePlan,
    dataset: FixationDataset,
    model: FixationModel,
    placement: Placement,
    *,
    max_bytes: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    tell: Callable[[str], None] | None = None,
) -> Features:
    """Return the features that this process needs; computes what is missing.

    A process of several computes its own images alone, into a cache of its own; where
    the cache of all images is there already, it reads its images from that. A finished
    cache of more maps of the same pictures serves as well.

    Args:
        plan: of all images.
        dataset: pictures.
        model: the same model.
        placement: says which images are this process's.
        max_bytes: see `build_cache`.
        progress: called with images done and images in all.
        tell: see `build_cache`.

    Raises:
        DataError: see `build_cache`.
        WeightsError: the feature network's weights are not there.
    """
    options: dict[str, Any] = {
        "max_bytes": max_bytes,
        "progress": progress,
        "tell": tell,
        "spread": placement.spread,
    }
    everything = np.arange(len(dataset))
    own = everything[placement.owner(everything) == placement.process]
    larger = _in_a_larger_cache(plan, dataset, model)
    if larger is not None:
        return larger
    if len(own) == len(dataset):
        params = weights.load_features(model.network)
        return build_cache(plan, dataset, model, params, **options)
    whole = open_cache(plan)
    if whole is not None:
        cache, position = whole, everything
    else:
        part = dataset.select(own)
        scales = plan.image_scales[own]
        part_plan = whole_plan(part, model, scales, plan.dtype)
        params = weights.load_features(model.network)
        cache = build_cache(part_plan, part, model, params, **options)
        position = np.full(len(dataset), -1)
        position[own] = np.arange(len(own))
    hashes = [cache.rgb_sha256[position[image]] for image in own]
    return SharedFeatures(
        plan=plan,
        rgb_sha256=shared_hashes(own, hashes, len(dataset), placement),
        own=cache,
        position=position,
    )


def _in_a_larger_cache(
    plan: CachePlan, dataset: FixationDataset, model: FixationModel
) -> FeatureCache | None:
    """Return a finished cache that has the maps of a plan among others, if any."""
    wanted = json.loads(plan.key)
    maps = set(wanted.pop("maps"))
    for stored in stored_caches(plan.folder.parent):
        key = stored_key(stored)
        more = key.pop("maps", ())
        if key != wanted or not maps < set(more):
            continue
        larger = dataclasses.replace(model, taps=tuple(more))
        plan_of_all = whole_plan(dataset, larger, plan.image_scales, plan.dtype)
        if (found := open_cache(plan_of_all)) is not None:
            return found
    return None
