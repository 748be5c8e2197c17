"""The folder of feature caches: what is in it, whether it is intact, how it goes.

Each cache is a folder named by a hash, with `features.bin` (the maps of all images one
after another), `state.json` (a checksum for each finished image), `about.json` (what
the cache is, for people and for these functions), `key.json` (what it holds, image by
image) and `build.lock`. Caches of earlier versions have no `about.json` or `key.json`
before they are used again.
"""

import dataclasses
import hashlib
import json
import os
import re
import shutil
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deepgaze_jax.datasets.pipeline import read_ahead
from deepgaze_jax.errors import DataError
from deepgaze_jax.file_lock import file_lock
from deepgaze_jax.files import write_text

__all__ = [
    "FEATURES",
    "LOCK",
    "StoredCache",
    "check_space",
    "damaged_images",
    "finished_images",
    "note_use",
    "remove_cache",
    "stored_caches",
    "stored_key",
    "write_state",
]

FEATURES, LOCK = "features.bin", "build.lock"
_ABOUT, _KEY, _STATE = "about.json", "key.json", "state.json"
_NAME = re.compile(r"[0-9a-f]{16}")

#: Threads that compare checksums; it leaves the interpreter free.
_THREADS = 2


@dataclasses.dataclass(frozen=True)
class StoredCache:
    """A feature cache as it lies on the disk.

    Attributes:
        path: its folder, named by the hash of what the cache holds.
        about: what it is; empty where an earlier version made it.
        state: checksum and picture hash of each finished image, by index as text.
        disk_bytes: what it takes up on the disk.
        last_used: when training or evaluation last opened it, in seconds since 1970;
            without `about` when it was last written to.
    """

    path: Path
    about: Mapping[str, Any]
    state: Mapping[str, Any]
    disk_bytes: int
    last_used: float

    @property
    def name(self) -> str:
        """The hash that its folder is named by."""
        return self.path.name

    @property
    def finished_share(self) -> float | None:
        """Share of the images that are finished; None where it is not known."""
        n_images = len(self.about.get("image_bytes", ()))
        return len(self.state) / n_images if n_images else None

    def damaged(self) -> list[int] | None:
        """Return the finished images that are not as written; None where not known."""
        if not self.about:
            return None
        return damaged_images(self.path, self.about["image_bytes"], self.state)


def stored_caches(root: Path) -> list[StoredCache]:
    """Return the caches in a folder, the last used one first.

    Symbolic links and whatever else lies there are passed over.

    Args:
        root: folder of feature caches; it need not exist.

    Example:
        >>> stored_caches(Path("no/such/folder"))
        []
    """
    if not root.is_dir():
        return []
    folders = [path for path in root.iterdir() if _is_cache(path)]
    return sorted(map(_stored, folders), key=lambda cache: -cache.last_used)


def remove_cache(cache: StoredCache) -> None:
    """Return nothing; the cache is gone, and nothing beside it.

    What a removal that was killed has left in the same folder goes too. Runs that have
    the cache open keep what they opened, where the system allows that.

    Raises:
        DataError: it is being built, or its folder is a link or no cache.
    """
    path = cache.path

    def refuse() -> None:
        raise DataError(f"{path} is being written; try again when that has ended")

    if not _is_cache(path):
        raise DataError(f"{path} is not the folder of a feature cache; it stays")
    with file_lock(path / LOCK, refuse):
        (path / _STATE).unlink(missing_ok=True)  # What is left counts as nothing.
    # Under another name first: who looks meanwhile finds all of it or nothing.
    path.rename(path.with_name(f".{path.name}.{os.getpid()}.removed"))
    for gone in path.parent.glob(".*.removed"):
        if _NAME.fullmatch(gone.name.split(".")[1]) and not gone.is_symlink():
            shutil.rmtree(gone)


def note_use(folder: Path, about: Mapping[str, Any], key: str) -> None:
    """Return nothing; `about.json` is there, and its time is now, if that can be.

    Args:
        folder: of the cache.
        about: what it is.
        key: text that its folder is named by the hash of.
    """
    path = folder / _ABOUT
    try:
        if not (folder / _KEY).exists():
            write_text(folder / _KEY, key)
        if _read_about(folder) != about:
            write_text(path, json.dumps(about) + "\n")
        os.utime(path)
    except OSError:
        pass  # Of a cache that others own it is not essential.


def stored_key(cache: StoredCache) -> dict[str, Any]:
    """Return what a cache holds; nothing where it does not say, or another's key."""
    try:
        key = (cache.path / _KEY).read_text(encoding="utf-8")
        own = hashlib.sha256(key.encode()).hexdigest().startswith(cache.name)
        return dict(json.loads(key)) if own else {}
    except (OSError, ValueError, TypeError):
        return {}


def damaged_images(
    folder: Path, image_bytes: Sequence[int], state: Mapping[str, Any]
) -> list[int]:
    """Return the finished images whose features do not match their checksum.

    Args:
        folder: of the cache.
        image_bytes: size of each image's part of the file.
        state: from `finished_images`.
    """
    ends = np.cumsum(image_bytes, dtype=np.int64)
    done = sorted(map(int, state))
    path = folder / FEATURES
    if not path.is_file() or path.stat().st_size != ends[-1]:
        return done
    content = np.memmap(path, np.uint8, "r")

    def is_damaged(image: int) -> bool:
        part = content[ends[image] - image_bytes[image] : ends[image]]
        return zlib.crc32(part) != state[str(image)]["crc32"]

    found = read_ahead(is_damaged, done, _THREADS, 2 * _THREADS)
    return [image for image, damaged in zip(done, found, strict=True) if damaged]


def check_space(folder: Path, n_bytes: int, max_bytes: int | None = None) -> None:
    """Return nothing if there is room for a cache.

    Args:
        folder: of the cache; it need not exist.
        n_bytes: size of its features.
        max_bytes: largest size allowed; by default what leaves a tenth of the disk's
            free space.

    Raises:
        DataError: it would be larger than allowed.
    """
    path = folder / FEATURES
    parent = next(parent for parent in path.parents if parent.exists())
    # What an interrupted build has written counts as free. Its file has holes, so its
    # length says nothing (and where the blocks are not known, nothing is counted).
    blocks = getattr(path.stat(), "st_blocks", 0) if path.exists() else 0
    free = int(0.9 * (shutil.disk_usage(parent).free + 512 * blocks))
    bound = free if max_bytes is None else min(max_bytes, free)
    if n_bytes > bound:
        raise DataError(
            f"the feature cache needs {n_bytes / 1e9:.2f} GB, {bound / 1e9:.2f} GB are "
            "allowed; use --feature-dtype float16 (half the size), a smaller "
            "--input-scale, make room (deepgaze data cache rm), or set DEEPGAZE_CACHE "
            "to a larger disk"
        )


def finished_images(folder: Path, key_sha256: str, n_bytes: int) -> dict[str, dict]:
    """Return checksum and picture hash of each finished image, by index as text.

    Args:
        folder: of the cache; it need not exist.
        key_sha256: hash of what the cache should hold.
        n_bytes: size that the features should have.

    Raises:
        DataError: the folder holds another cache.
    """
    path = folder / FEATURES
    if not path.exists() or path.stat().st_size != n_bytes:
        return {}
    found, images = _read_state(folder) or (key_sha256, {})
    if found != key_sha256:
        raise DataError(
            f"{folder} belongs to another cache; delete it: deepgaze data cache rm "
            f"{folder.name}"
        )
    return images


def write_state(folder: Path, key_sha256: str, images: Mapping[str, dict]) -> None:
    """Return nothing; what `finished_images` returns is on the disk."""
    text = json.dumps({"key_sha256": key_sha256, "images": images})
    write_text(folder / _STATE, text)


def _read_state(folder: Path) -> tuple[str, dict[str, dict]] | None:
    """Return the hash of a cache's key and what is known of each finished image.

    None where there is no state that can be read: nothing can be trusted then.
    """
    try:
        state = json.loads((folder / _STATE).read_text(encoding="utf-8"))
        return state["key_sha256"], dict(state["images"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _is_cache(path: Path) -> bool:
    return bool(_NAME.fullmatch(path.name)) and path.is_dir() and not path.is_symlink()


def _stored(path: Path) -> StoredCache:
    _, state = _read_state(path) or ("", {})
    files = [file for file in path.iterdir() if not file.is_symlink()]
    about = _read_about(path)
    times = [path / _ABOUT] if about else [path, *files]
    return StoredCache(
        path=path,
        about=about,
        state=state,
        disk_bytes=sum(_disk_bytes(file) for file in files),
        last_used=max(time.stat().st_mtime for time in times),
    )


def _read_about(folder: Path) -> dict[str, Any]:
    """Return what a cache says of itself; nothing where that cannot be relied on."""
    try:
        about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
        sizes = about["image_bytes"]
        good = all(isinstance(size, int) and size > 0 for size in sizes)
        return dict(about) if good and sizes else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _disk_bytes(file: Path) -> int:
    """Return the bytes of a file that are on the disk; it may have holes."""
    found = file.stat()
    return 512 * found.st_blocks if hasattr(found, "st_blocks") else found.st_size
