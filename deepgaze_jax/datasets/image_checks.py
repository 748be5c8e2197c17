"""Checks of the pictures of a recording: there, whole, of the stated size."""

import contextlib
from collections.abc import Callable

import numpy as np

from deepgaze_jax.datasets.axis_evidence import contrast_map
from deepgaze_jax.datasets.pipeline import DECODERS, read_ahead
from deepgaze_jax.datasets.recording import Recording
from deepgaze_jax.datasets.validation_report import Check
from deepgaze_jax.datasets.wording import counted, part, some
from deepgaze_jax.errors import DeepGazeError
from deepgaze_jax.images import load_image

__all__ = ["Progress", "check_images"]

_MAX_CONTRAST_MAPS = 200

Progress = Callable[[int, int], None]


def check_images(
    recording: Recording, progress: Progress | None
) -> tuple[list[Check], dict[int, np.ndarray], tuple[int, ...]]:
    """Returns checks, contrast maps of some pictures, and which cannot be read.

    Every picture is read and decoded once, by several threads: one that is cut off has
    a sound header, and only decoding tells.

    Args:
        recording: with its pictures.
        progress: called as `progress(done, total)`.
    """
    names, files = recording.image_names, recording.image_files
    there = [index for index, file in enumerate(files) if file is not None]
    looked_at = np.bincount(recording.fixations.image, minlength=len(names)) > 0
    used = [index for index in there if looked_at[index]]
    step = max(1, -(-len(used) // _MAX_CONTRAST_MAPS))
    mapped = set(used[::step])

    def look(index: int) -> tuple[tuple[int, int] | None, np.ndarray | None, str]:
        """Returns the size, the contrast map if wanted, or what is wrong."""
        try:
            image = load_image(files[index](), name=names[index])
        except DeepGazeError as error:
            line = str(error).partition(";")[0]
            named = line.startswith(names[index])
            return None, None, line if named else f"{names[index]} ({line})"
        height, width = image.shape[:2]
        return (height, width), contrast_map(image) if index in mapped else None, ""

    unreadable, other_size, maps = {}, [], {}
    with contextlib.closing(read_ahead(look, there, DECODERS, DECODERS)) as looks:
        for done, (index, found) in enumerate(zip(there, looks, strict=True), start=1):
            size, contrast, error = found
            stated = tuple(recording.image_sizes[index].tolist())
            if size is None:
                unreadable[index] = error
            elif size != stated and stated[0] > 0:
                other_size.append(
                    f"{names[index]} ({size[1]} x {size[0]}, stated "
                    f"{stated[1]} x {stated[0]})"
                )
            elif contrast is not None:
                maps[index] = contrast
            if progress is not None:
                progress(done, len(there))
    checks = [
        _missing(recording),
        Check(
            "images_unreadable",
            "problem" if unreadable else "ok",
            f"{len(unreadable):,} of {counted(len(there), 'picture')} cannot be read"
            + (f": {some(list(unreadable.values()))}" if unreadable else ""),
            len(unreadable),
            "restore them, or --allow-missing-images",
        ),
        _sizes(recording, other_size),
    ]
    return checks, maps, tuple(unreadable)


def _missing(recording: Recording) -> Check:
    names, files = recording.image_names, recording.image_files
    missing = [name for name, file in zip(names, files, strict=True) if file is None]
    return Check(
        "images_missing",
        "problem" if missing else "ok",
        part(len(missing), len(names), "image", "has|have", "no picture")
        + (f": {some(missing)}" if missing else ""),
        len(missing),
        "--images DIR if they are elsewhere, or --allow-missing-images",
    )


def _sizes(recording: Recording, other_size: list[str]) -> Check:
    unknown = [
        name
        for name, size in zip(recording.image_names, recording.image_sizes, strict=True)
        if (size <= 0).any()
    ]
    if unknown:
        of_images = counted(
            len(unknown), "image has no known size", "images have no known size"
        )
        text = f"{of_images}: {some(unknown)}"
        remedy = "give the pictures, or their size with --image-size WIDTHxHEIGHT"
        return Check("image_sizes", "problem", text, len(unknown), remedy)
    if other_size:
        of_pictures = counted(
            len(other_size), "picture has another size", "pictures have another size"
        )
        text = f"{of_pictures}: {some(other_size)}"
        remedy = "restore the pictures that the data was recorded on"
        return Check("image_sizes", "problem", text, len(other_size), remedy)
    sizes = np.unique(recording.image_sizes, axis=0)
    shown = [f"{width} x {height}" for height, width in sizes]
    return Check(
        "image_sizes", "ok", f"all known: {some(shown)}" if shown else "no images"
    )
