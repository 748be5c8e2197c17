"""Pictures with odd metadata are read without a word, in as many threads as wanted."""

import contextlib
import io
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from deepgaze_jax.datasets.pictures import picture_size
from deepgaze_jax.images import load_image
from deepgaze_jax.pillow_warnings import no_pillow_warnings


@pytest.fixture
def odd():
    """A TIFF whose resolution is cut off: Pillow reads it, and warns."""
    pixels = np.arange(192, dtype=np.uint8).reshape(8, 8, 3)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="TIFF", dpi=(300, 300))
    data = bytearray(buffer.getvalue())
    tag = data.index(b"\x1a\x01\x05\x00")  # XResolution, of type rational
    data[tag + 8 : tag + 12] = (len(data) + 1000).to_bytes(4, "little")
    with pytest.warns(UserWarning), Image.open(io.BytesIO(data)) as picture:
        picture.load()
    return bytes(data), pixels


def test_threads_that_come_and_go_leave_the_filters_as_they_were():
    before = list(warnings.filters)
    first, second = contextlib.ExitStack(), contextlib.ExitStack()
    first.enter_context(no_pillow_warnings())
    second.enter_context(no_pillow_warnings())
    first.close()
    assert len(warnings.filters) == len(before) + 1  # The second is still at work.
    second.close()
    assert warnings.filters == before


def test_filters_that_others_set_meanwhile_stay_theirs():
    before = list(warnings.filters)
    ours, theirs = contextlib.ExitStack(), contextlib.ExitStack()
    ours.enter_context(no_pillow_warnings())
    theirs.enter_context(warnings.catch_warnings())
    warnings.simplefilter("ignore")
    ours.close()
    assert warnings.filters[0][0] == "ignore"
    theirs.close()
    with no_pillow_warnings():
        pass
    assert warnings.filters == before


def test_only_what_pillow_says_is_silenced():
    with no_pillow_warnings(), pytest.raises(UserWarning):
        warnings.warn("of somebody else", stacklevel=1)


def test_pictures_with_odd_metadata_in_many_threads(odd):
    data, pixels = odd
    before = list(warnings.filters)

    def read(number):
        # As errors, warnings would make the picture a damaged one.
        return picture_size(data) if number % 2 else load_image(data)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(read, range(200)))
    assert all(size == (8, 8) for size in found[1::2])
    for image in found[::2]:
        np.testing.assert_array_equal(image, pixels)
    assert warnings.filters == before
