"""Picture files of data sets: which there are and how large they are, not decoded."""

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from deepgaze_jax.errors import DataError
from deepgaze_jax.images import picture_formats
from deepgaze_jax.pillow_warnings import no_pillow_warnings

__all__ = [
    "PictureHeader",
    "is_picture",
    "picture_header",
    "picture_names",
    "picture_size",
]

_PICTURE_SUFFIXES = frozenset(
    ".avif .bmp .gif .jp2 .jpeg .jpg .pgm .png .ppm .tif .tiff .webp".split()
)
_EXIF_ORIENTATION = 0x0112
_ON_ITS_SIDE = (5, 6, 7, 8)
_TURNED = (2, 3, 4, *_ON_ITS_SIDE)


def is_picture(name: str) -> bool:
    """Returns whether a file's name is that of a picture; hidden ones are not.

    Example:
        >>> is_picture("a/b.JPG"), is_picture("a/._b.jpg"), is_picture("b.mat")
        (True, False, False)
    """
    file = name.rpartition("/")[2]
    return Path(file).suffix.lower() in _PICTURE_SUFFIXES and file[0] != "."


def picture_names(images: Path) -> list[str]:
    """Returns the names of picture files below a folder, sorted bytewise."""
    names = []
    for folder, subfolders, files in os.walk(images):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        for file in files:
            if is_picture(file):
                names.append(Path(folder, file).relative_to(images).as_posix())
    return sorted(names, key=os.fsencode)


@dataclass(frozen=True)
class PictureHeader:
    """What the beginning of a picture's file says.

    Attributes:
        height: in pixels, of the upright picture.
        width: in pixels, of the upright picture.
        n_bands: numbers per pixel in the file; 1 for grey and for palettes.
        is_upright: whether the pixels are stored as they are to be seen.
    """

    height: int
    width: int
    n_bands: int
    is_upright: bool


def picture_size(source: Path | bytes | BinaryIO, name: str = "") -> tuple[int, int]:
    """Returns height and width of the upright picture without decoding it.

    Args:
        source: a file by its name or opened, or the bytes of one; of files only the
            beginning is read.
        name: how errors call it; the name of the file if left out.

    Raises:
        DataError: it is not a readable picture.
    """
    header = picture_header(source, name)
    return header.height, header.width


def picture_header(source: Path | bytes | BinaryIO, name: str = "") -> PictureHeader:
    """Returns size, bands and orientation of a picture without decoding it.

    Args:
        source: as in `picture_size`.
        name: as in `picture_size`.

    Raises:
        DataError: it is not a readable picture.
    """
    try:
        # Odd metadata and large pictures: reading the header is safe, and loading has
        # limits of its own.
        with no_pillow_warnings():
            file = io.BytesIO(source) if isinstance(source, bytes) else source
            with Image.open(file, formats=picture_formats()) as picture:
                width, height = picture.size
                n_bands = len(picture.getbands())
                orientation = None
                # Pillow would decode a PNG in search of EXIF behind the pixels.
                if picture.format != "PNG" or "exif" in picture.info:
                    orientation = picture.getexif().get(_EXIF_ORIENTATION)
    except Exception as error:  # Each plugin of Pillow has its own for damaged files.
        raise DataError(
            f"{name or source}: is not a readable picture ({type(error).__name__}); "
            "restore it, or remove it with its fixations"
        ) from error
    if orientation in _ON_ITS_SIDE:
        width, height = height, width
    is_upright = orientation not in _TURNED
    return PictureHeader(height, width, n_bands, is_upright)
