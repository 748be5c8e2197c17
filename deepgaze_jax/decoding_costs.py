"""Small picture files that would take minutes or gigabytes to decode."""

import re

from PIL import Image

from deepgaze_jax.errors import InputError

__all__ = ["check_decoding_costs"]

# Every scan of a progressive JPEG goes over the whole picture, and may have 34 bytes: a
# file of 20 MB can take a quarter of an hour. Photographs have about ten.
_MAX_SCANS = 100

# Tiles of a TIFF are decoded as a whole, however small the picture is.
_TILE_WIDTH, _TILE_LENGTH = 322, 323
# More pixels than any program writes in a tile.
_MAX_TILE = 4096 * 4096

# A marker, but neither a filling byte nor one of those without a length.
_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd8\xff])", re.DOTALL)
_START_OF_SCAN, _END_OF_IMAGE = b"\xda", b"\xd9"


def check_decoding_costs(image: Image.Image, name: str) -> None:
    """Return nothing if a picture takes about as much as its pixels to decode.

    Args:
        image: opened, not decoded.
        name: how errors call it.

    Raises:
        InputError: a JPEG of very many scans, or a TIFF of enormous tiles.
    """
    file = getattr(image, "fp", None)
    if image.format in ("JPEG", "MPO") and file is not None:
        place = file.tell()
        file.seek(0)
        n_scans = _n_scans(file.read())
        file.seek(place)
        if n_scans > _MAX_SCANS:
            raise InputError(
                f"{name}: has more than {_MAX_SCANS} scans, which would take very long "
                "to decode; photographs have about ten: save it anew"
            )
    tags = getattr(image, "tag_v2", {})
    width, height = tags.get(_TILE_WIDTH), tags.get(_TILE_LENGTH)
    tiled = isinstance(width, int) and isinstance(height, int)
    if image.format == "TIFF" and tiled and width * height > _MAX_TILE:
        raise InputError(
            f"{name}: has tiles of {width}x{height} pixels, which are too large to be "
            "decoded; save it in strips, or in tiles of 256x256"
        )


def _n_scans(data: bytes) -> int:
    """Return the number of scans of a JPEG file; if there are too many, any such one.

    In the data of a scan 0xff is followed by 0 or by a marker without a length.
    """
    n_scans, at = 0, 2
    while n_scans <= _MAX_SCANS and (found := _MARKER.search(data, at)):
        if found[1] == _END_OF_IMAGE:
            break
        n_scans += found[1] == _START_OF_SCAN
        at = found.end() + int.from_bytes(data[found.end() : found.end() + 2])
    return n_scans
