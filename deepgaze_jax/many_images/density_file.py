"""All log densities of a run in one HDF5 file, which a kill does not damage."""

import contextlib
import json
import threading
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from deepgaze_jax.errors import InputError
from deepgaze_jax.file_lock import file_lock
from deepgaze_jax.many_images.results import Stamp, stamp
from deepgaze_jax.many_images.settings import Settings
from deepgaze_jax.many_images.stepwise_file import StepwiseFile
from deepgaze_jax.many_images.targets import Target

__all__ = ["DENSITY_FILE", "DensityFile"]

#: Lies in the folder of the results.
DENSITY_FILE = "log_densities.h5"

_LEVEL = 4  # Of gzip: 6 takes twice the time for 4 to 10 % fewer bytes.


class _Compressed(NamedTuple):
    shape: tuple[int, int]
    dtype: np.dtype
    data: bytes


class DensityFile:
    """One dataset [height, width] a picture, under the picture's name, gzip-compressed.

    Pictures are added in steps, each of which happens wholly or not at all; after every
    step the file can be read by other programs. Folders of pictures become groups.

    Args:
        path: of the file; an existing one is added to.
        settings: how densities are stored.
        made_with: what the densities are made with, an attribute of the file.

    Raises:
        InputError: another process writes this file, or it cannot be read.
    """

    together = 32

    def __init__(
        self, path: Path, settings: Settings, made_with: Mapping[str, Any]
    ) -> None:
        self._path = path
        self._settings = settings
        self._waiting: dict[str, _Compressed] = {}
        self._lock = threading.Lock()
        with contextlib.ExitStack() as stack:
            lock = path.with_name(f".{path.name}.lock")
            stack.enter_context(file_lock(lock, self._refuse_to_wait))
            self._steps = stack.enter_context(contextlib.closing(StepwiseFile(path)))
            is_new = path.stat().st_size == 0
            try:
                self._file = h5py.File(self._steps, "w" if is_new else "r+")
            except OSError as error:
                raise InputError(
                    f"{path} is no readable HDF5 file; remove it, or give another "
                    "folder"
                ) from error
            if is_new:
                self._file.attrs["settings"] = json.dumps(dict(made_with))
            self._open = stack.pop_all()

    def is_finished(self, target: Target) -> bool:
        """Return whether the density of a picture is there and up to date."""
        dataset = self._file.get(target.name)
        known = None if dataset is None else dataset.attrs.get("stamp")
        return known is not None and tuple(known) == stamp(target.image)

    def write(
        self, target: Target, picture: np.ndarray, log_density: np.ndarray
    ) -> None:
        """Compress a density; `commit` writes it.

        Args:
            target: whose density it is.
            picture: is not stored.
            log_density: float32 [height, width].
        """
        stored = np.ascontiguousarray(self._settings.stored(log_density))
        # HDF5's own filters, run here: HDF5 does nothing in two threads at once.
        n_bytes = stored.dtype.itemsize
        shuffled = np.ascontiguousarray(stored.view(np.uint8).reshape(-1, n_bytes).T)
        data = zlib.compress(shuffled, _LEVEL)
        with self._lock:
            self._waiting[target.name] = _Compressed(stored.shape, stored.dtype, data)

    def commit(self, finished: Sequence[tuple[Target, Stamp]]) -> None:
        """Add the densities of these pictures to the file, in one step."""
        if not finished:
            return
        for target, known in finished:
            with self._lock:
                found = self._waiting.pop(target.name)
            if target.name in self._file:
                del self._file[target.name]
            dataset = self._file.create_dataset(
                target.name,
                found.shape,
                found.dtype,
                chunks=found.shape,
                compression="gzip",
                compression_opts=_LEVEL,
                shuffle=True,
            )
            dataset.id.write_direct_chunk((0, 0), found.data)
            dataset.attrs["stamp"] = known
        self._file.flush()
        self._steps.commit()

    def places(self, target: Target) -> dict[str, Any]:
        """Return the file and the name of a picture's dataset."""
        return {"log_density": str(self._path), "dataset": target.name}

    def close(self) -> None:
        """Close the file; what was written and not committed is lost."""
        self._file.close()
        self._open.close()

    def _refuse_to_wait(self) -> None:
        raise InputError(
            f"another process writes {self._path}; wait for it, or give another folder"
        )
