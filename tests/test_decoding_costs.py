"""Small picture files that take minutes or gigabytes to decode are refused at once."""

import io
import struct
import time
import zlib

import numpy as np
import oracles
import pytest
from PIL import Image

from deepgaze_jax.errors import InputError
from deepgaze_jax.images import load_image


def jpeg(height=600, width=900, **options):
    values = oracles.random_image(3, height, width).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(values).save(file, "JPEG", **options)
    return file.getvalue()


def with_scans(data, n):
    """A progressive JPEG file whose second scan comes n times more."""
    starts = [i for i in range(len(data)) if data[i : i + 2] == b"\xff\xda"]
    second = data[starts[1] : starts[2]]
    return data[: starts[2]] + n * second + data[starts[2] :]


def test_pictures_of_many_scans_are_refused_at_once(tmp_path):
    data = jpeg(progressive=True, quality=90)
    # As many as 60 more are decoded, to the same picture.
    few = load_image(with_scans(data, 60))
    np.testing.assert_array_equal(few, load_image(data))
    many = with_scans(data, 60_000)
    begun = time.process_time()
    with pytest.raises(InputError, match="more than 100 scans"):
        load_image(many)
    path = tmp_path / "many.jpg"
    path.write_bytes(many)
    with pytest.raises(InputError, match=r"many\.jpg: has more than 100 scans"):
        load_image(path)
    assert time.process_time() - begun < 2


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart": True}])
def test_what_only_looks_like_scans_is_none(options):
    if "restart" in options:
        options = {"restart_marker_rows": 1}
    start = b"\xff\xda\x00\x08"
    # In a comment, and behind the picture, where telephones put films.
    data = jpeg(comment=200 * start, **options) + 500 * start
    expected = load_image(jpeg(**options))
    np.testing.assert_array_equal(load_image(data), expected)


def tiff(tile):
    """A TIFF of 8x8 pixels in a tile of a certain side, grey, deflated."""
    squeeze = zlib.compressobj(9)
    raw = b"".join(squeeze.compress(bytes(tile)) for _ in range(tile)) + squeeze.flush()
    tags = {256: 8, 257: 8, 258: 8, 259: 8, 262: 1, 277: 1, 322: tile, 323: tile}
    place = 8 + 2 + 12 * (len(tags) + 2) + 4
    tags |= {324: place, 325: len(raw)}
    fields = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items()]
    head = b"II*\0" + struct.pack("<IH", 8, len(tags))
    return head + b"".join(fields) + bytes(4) + raw


def test_tiles_far_larger_than_the_picture_are_refused():
    assert load_image(tiff(256)).shape == (8, 8, 3)
    with pytest.raises(InputError, match="has tiles of 8192x8192 pixels, which are"):
        load_image(tiff(8192))
