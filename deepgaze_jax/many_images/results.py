"""The files of each picture: how they are written, and which are ready."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from deepgaze_jax.files import make_folder, replacing
from deepgaze_jax.images import as_bytes
from deepgaze_jax.journal import Journal
from deepgaze_jax.many_images.settings import Kinds, Settings
from deepgaze_jax.many_images.targets import Target
from deepgaze_jax.plotting import overlay, write_png

__all__ = ["JOURNAL_FILE", "PictureFiles", "Results", "Stamp", "stamp"]

#: Lies in the folder of the results: what is ready, a picture a line.
JOURNAL_FILE = "finished.jsonl"

_PNG_BEGIN = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"

#: Bytes of a picture file, and when it was last changed: another one has another stamp.
Stamp = tuple[int, int]


def stamp(image: Path) -> Stamp:
    """Return what tells a picture file from an earlier one of its name.

    Zeros where there is none: what reads it says why.
    """
    try:
        status = image.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


class Results(Protocol):
    """Where results go."""

    #: So many pictures are noted in one step.
    together: int

    def is_finished(self, target: Target) -> bool:
        """Return whether all results of a picture are there, whole and up to date."""

    def write(
        self, target: Target, picture: np.ndarray, log_density: np.ndarray
    ) -> None:
        """Write the results of a picture; called by several threads."""

    def commit(self, finished: Sequence[tuple[Target, Stamp]]) -> None:
        """Note that these are ready, after `write`; called by one thread."""

    def places(self, target: Target) -> dict[str, Any]:
        """Return where the results of a picture are, by kind."""

    def close(self) -> None:
        """End; what is not noted by then is not ready."""


class PictureFiles:
    """One or two files a picture, each of which appears whole or not at all.

    Args:
        kinds: which.
        settings: how they are stored.
        journal: of what is ready; with no file, nothing is known of earlier runs.
    """

    together = 1

    def __init__(self, kinds: Kinds, settings: Settings, journal: Journal) -> None:
        self._kinds = kinds
        self._settings = settings
        self._journal = journal

    def is_finished(self, target: Target) -> bool:
        """Return whether all files of a picture are there, whole and up to date."""
        entry = self._journal[target.name]
        try:
            return (
                entry.get("stamp") == [*stamp(target.image)]
                and entry.get("stem") == _stem(target)
                and (not self._kinds.npy or _is_whole_npy(target.log_density))
                and (not self._kinds.png or _is_whole_png(target.overlay))
            )
        except OSError:
            return False

    def write(
        self, target: Target, picture: np.ndarray, log_density: np.ndarray
    ) -> None:
        """Write the files of a picture.

        Args:
            target: says where.
            picture: RGB 0..255, [height, width, 3].
            log_density: float32 [height, width].
        """
        make_folder(target.log_density.parent)
        if self._kinds.png:
            # As bytes: a picture that is nearly black is no picture scaled to 0..1.
            drawing = overlay(as_bytes(picture), log_density)
        if self._kinds.npy:
            stored = self._settings.stored(log_density)
            with replacing(target.log_density) as temporary:
                with temporary.open("wb") as file:
                    np.save(file, stored)
        if self._kinds.png:
            write_png(target.overlay, drawing)

    def commit(self, finished: Sequence[tuple[Target, Stamp]]) -> None:
        """Note which pictures are ready."""
        for target, known in finished:
            entry = {"stamp": [*known], "stem": _stem(target)}
            self._journal.add(target.name, entry)

    def places(self, target: Target) -> dict[str, Any]:
        """Return the files of a picture, by kind."""
        places = {}
        if self._kinds.npy:
            places["log_density"] = str(target.log_density)
        if self._kinds.png:
            places["overlay"] = str(target.overlay)
        return places

    def close(self) -> None:
        """Return nothing: no file is open between two pictures."""


def _stem(target: Target) -> str:
    """Return by which name a picture's files go; more pictures may change it."""
    return target.log_density.name.removesuffix("_log_density.npy")


def _is_whole_npy(path: Path) -> bool:
    """Return whether a file has as many bytes as its header says."""
    with path.open("rb") as file:
        try:
            version = np.lib.format.read_magic(file)
            if version != (1, 0):
                return False
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        except ValueError:
            return False
        n_bytes = file.tell() + dtype.itemsize * int(np.prod(shape))
        return os.fstat(file.fileno()).st_size == n_bytes


def _is_whole_png(path: Path) -> bool:
    """Return whether a file begins and ends like a PNG."""
    with path.open("rb") as file:
        begin = file.read(len(_PNG_BEGIN))
        if os.fstat(file.fileno()).st_size < len(_PNG_BEGIN) + len(_PNG_END):
            return False
        file.seek(-len(_PNG_END), os.SEEK_END)
        return begin == _PNG_BEGIN and file.read() == _PNG_END
