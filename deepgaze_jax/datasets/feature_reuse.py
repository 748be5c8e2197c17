"""Features that another cache has already, for a cache of some of the same pictures."""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from deepgaze_jax.datasets.cache_folder import (
    FEATURES,
    StoredCache,
    stored_caches,
    stored_key,
)

__all__ = ["copy_known"]

#: What says how features were computed; the rest of a key says of what.
_PER_IMAGE = ("images", "model_sizes")


def copy_known(
    key: str,
    folder: Path,
    offsets: np.ndarray,
    cells: np.ndarray,
    checks: Mapping[str, Any],
) -> dict[str, dict]:
    """Return checksum and picture hash of each image copied from another cache.

    Of the caches beside this one, those count that were made by the same network, for
    the same maps and type. A picture is known by the hash of its file and the size at
    which the network saw it; what does not match its checksum is passed over.

    Args:
        key: of the cache to be filled.
        folder: its folder.
        offsets: int [n + 1], first row of each image.
        cells: [rows, channels], its features; filled here.
        checks: the images that it has already.

    Returns:
        What `finished_images` will return of the new ones, by index as text.
    """
    wanted = json.loads(key)
    pictures = _pictures(wanted)
    missing = {
        picture: image
        for image, picture in enumerate(pictures)
        if str(image) not in checks
    }
    copied: dict[str, dict] = {}
    for cache in stored_caches(folder.parent):
        other = stored_key(cache)
        if cache.path == folder or not missing or _how(other) != _how(wanted):
            continue
        source = _features(cache, cells)
        if source is None:
            continue
        ends = np.cumsum(cache.about["image_bytes"]) // cells[:1].nbytes
        for index, picture in enumerate(_pictures(other)):
            known = cache.state.get(str(index))
            if known is None or picture not in missing:
                continue
            image = missing[picture]
            part = cells[offsets[image] : offsets[image + 1]]
            found = source[ends[index] - len(part) : ends[index]]
            if zlib.crc32(found) == known["crc32"]:
                part[:] = found
                copied[str(image)] = dict(known)
                del missing[picture]
    return copied


def _how(key: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in key.items() if name not in _PER_IMAGE}


def _pictures(key: Mapping[str, Any]) -> list[tuple[str, int, int]]:
    sizes = key["model_sizes"]
    return [(name, *size) for name, size in zip(key["images"], sizes, strict=True)]


def _features(cache: StoredCache, like: np.ndarray) -> np.ndarray | None:
    """Return the features of a cache, None where its file is not whole."""
    path = cache.path / FEATURES
    n_bytes = sum(cache.about.get("image_bytes", ()))
    if not n_bytes or not path.is_file() or path.stat().st_size != n_bytes:
        return None
    return np.memmap(path, like.dtype, "r").reshape(-1, like.shape[1])
