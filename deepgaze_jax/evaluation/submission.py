"""Files for saliency benchmarks: log densities in one HDF5 file, or JPEG maps.

The MIT/Tuebingen benchmark takes one dataset per stimulus, named like its image file,
of exactly the image's size, with a natural-log density whose log-sum-exp is 0 within
0.001, compressed by gzip. Other software reads the same file. What the site would
reject is refused here, before it is written and once more when it is read back.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from PIL import Image
from scipy.special import logsumexp
from scipy.stats import rankdata

from deepgaze_jax.errors import DataError, InputError
from deepgaze_jax.files import replacing

__all__ = [
    "Parts",
    "check_submission",
    "equalised_map",
    "stimulus_names",
    "write_jpeg",
    "write_submission",
]

_MAX_LOG_SUM_EXP = 1e-3
_COMPRESSION = "gzip"


def stimulus_names(images: Sequence[str | Path]) -> tuple[str, ...]:
    """Returns what a benchmark calls each image: its path without the common folder.

    Images of one folder are called by their file names; where a set is sorted into
    folders, these are part of the names.

    Args:
        images: picture files.

    Raises:
        InputError: an image is listed twice.

    Example:
        >>> stimulus_names(["MIT300/i1.jpg", "MIT300/i2.jpg"])
        ('i1.jpg', 'i2.jpg')
        >>> stimulus_names(["Stimuli/Action/001.jpg", "Stimuli/Art/001.jpg"])
        ('Action/001.jpg', 'Art/001.jpg')
    """
    if not images:
        return ()
    paths = [Path(os.path.abspath(image)) for image in images]
    common = os.path.commonpath([path.parent for path in paths])
    names = tuple(path.relative_to(common).as_posix() for path in paths)
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InputError(f"image {name!r} is listed twice; list each image once")
        seen.add(name)
    return names


class Parts:
    """A folder with the densities that are ready: an interrupted export goes on there.

    Each lies in a small HDF5 file of its own that appears whole or not at all, and
    carries a key: what it was made of. A part with another key is made again.

    Args:
        folder: made when the first part is written.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def write(
        self, name: str, log_density: Any, size: tuple[int, int], key: str
    ) -> None:
        """Keeps a density, if the benchmark would take it.

        Args:
            name: of the stimulus.
            log_density: [height, width], natural log; stored in its own precision.
            size: height and width of the image.
            key: says what it was made of.

        Raises:
            InputError: what a benchmark would reject.
        """
        log_density = np.asarray(log_density)
        _check(name, log_density, size)
        self.folder.mkdir(parents=True, exist_ok=True)
        with replacing(self._path(name)) as temporary:
            with h5py.File(temporary, "w") as file:
                file.create_dataset(name, data=log_density, compression=_COMPRESSION)
                file.attrs["key"] = key

    def read(self, name: str, key: str) -> np.ndarray | None:
        """Returns the density of a stimulus; None where none was made of `key`.

        Args:
            name: of the stimulus.
            key: from `write`.
        """
        try:
            with h5py.File(self._path(name), "r") as file:
                return file[name][()] if file.attrs.get("key") == key else None
        except (OSError, KeyError):  # Not there, or not from here.
            return None

    def copy_into(self, name: str, file: h5py.File) -> None:
        """Copies the compressed density of a stimulus into a file."""
        with h5py.File(self._path(name), "r") as part:
            parent, _, last = name.rpartition("/")
            part.copy(name, file.require_group(parent) if parent else file, last)

    def remove(self) -> None:
        """Removes the folder with all parts."""
        for path in self.folder.glob("*.h5"):
            path.unlink()
        if self.folder.is_dir():
            self.folder.rmdir()

    def _path(self, name: str) -> Path:
        return self.folder / f"{hashlib.sha256(name.encode()).hexdigest()[:24]}.h5"


def write_submission(
    path: str | Path, parts: Parts, sizes: Mapping[str, tuple[int, int]]
) -> None:
    """Writes a benchmark file from its parts, read back and checked; returns nothing.

    Args:
        path: the file; it appears complete and checked, or not at all.
        parts: with a density for each stimulus.
        sizes: name of each stimulus -> height and width of its image.

    Raises:
        DataError: what was written is not what a benchmark takes.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     parts = Parts(Path(folder, "parts"))
        ...     parts.write("i1.jpg", np.log([[0.5, 0.5]]), (1, 2), "key")
        ...     write_submission(Path(folder, "a.h5"), parts, {"i1.jpg": (1, 2)})
        ...     with h5py.File(Path(folder, "a.h5")) as file:
        ...         print(file["i1.jpg"])
        <HDF5 dataset "i1.jpg": shape (1, 2), type "<f8">
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        with h5py.File(temporary, "w") as file:
            for name in sizes:
                parts.copy_into(name, file)
        check_submission(temporary, sizes)


def check_submission(path: str | Path, sizes: Mapping[str, tuple[int, int]]) -> None:
    """Returns nothing if a benchmark file is complete and right, else raises.

    Args:
        path: the file.
        sizes: name of each stimulus -> height and width of its image.

    Raises:
        DataError: stimuli that are missing or unknown, or a dataset of another size
            or type, not compressed, or with a map that is no log density.
    """
    with h5py.File(path, "r") as file:
        found: list[str] = []
        file.visititems(
            lambda name, item: found.append(name) if hasattr(item, "shape") else None
        )
        missing = sorted(set(sizes) - set(found))
        unknown = sorted(set(found) - set(sizes))
        if missing or unknown:
            raise DataError(
                f"{path}: {len(missing)} stimuli are missing and {len(unknown)} "
                f"unknown, first {(missing + unknown)[0]!r}; make the file again"
            )
        for name, size in sizes.items():
            dataset = file[name]
            if dataset.compression != _COMPRESSION:
                raise DataError(
                    f"{path}: {name} is compressed by {dataset.compression}; expected "
                    f"{_COMPRESSION}: make the file again"
                )
            try:
                # The size first: it bounds what is read.
                _check(name, dataset, size)
                _check(name, dataset[()], size)
            except InputError as error:
                raise DataError(f"{path}: {error}; make the file again") from error


def equalised_map(log_density: Any) -> np.ndarray:
    """Returns the ranks of a density as grey values that are all equally frequent.

    This is the 8-bit map that AUC-type measures of image benchmarks are best given:
    every grey value from 0 to 255 covers the same number of pixels, as far as pixels
    of equal density allow.

    Args:
        log_density: [height, width]; only the order of values counts.

    Returns:
        uint8 [height, width].

    Example:
        >>> equalised_map([[-3.0, -1.0, -2.0, -9.0]])
        array([[ 96, 224, 160,  32]], dtype=uint8)
    """
    log_density = np.asarray(log_density)
    # Pixels of equal density get the middle of their ranks.
    rank = rankdata(log_density, method="average").reshape(log_density.shape)
    return (256 * (rank - 0.5) / rank.size).astype(np.uint8)


def write_jpeg(path: str | Path, grey: np.ndarray) -> None:
    """Writes a grey map as JPEG in the highest usual quality, in one step.

    Args:
        path: the file; its folder is made if it is missing.
        grey: uint8 [height, width].
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        Image.fromarray(grey).save(temporary, format="JPEG", quality=100)


def _check(name: str, log_density: Any, size: tuple[int, int]) -> None:
    """Raises InputError for what a benchmark rejects."""
    if log_density.dtype.kind != "f" or log_density.dtype.itemsize not in (4, 8):
        raise InputError(
            f"{name} has the type {log_density.dtype}; expected float32 or float64"
        )
    if log_density.shape != tuple(size):
        raise InputError(
            f"{name} has the shape {list(log_density.shape)}; expected the image's "
            f"{list(size)}"
        )
    if not isinstance(log_density, np.ndarray):
        return
    if not np.isfinite(log_density).all():
        raise InputError(f"{name} has values that are not finite")
    total = float(logsumexp(log_density.astype(np.float64)))
    if not abs(total) < _MAX_LOG_SUM_EXP:
        raise InputError(
            f"{name} is not a log density: its log-sum-exp is {total:.4g}, expected 0 "
            f"within {_MAX_LOG_SUM_EXP:g}"
        )
