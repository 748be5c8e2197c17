"""What a reader has to stand: any damage, and it may only say so in one line."""

import tracemalloc
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import strategies as st

from deepgaze_jax.errors import WeightsError

WEB_PAGE = b"\n<!DOCTYPE html>\n<html><title>404</title></html>"
LFS_POINTER = (
    b"version https://git-lfs.github.com/spec/v1\noid sha256:bde7da0d\nsize 80134624\n"
)
#: What turns up in place of weights: bytes, and what the message has to say.
WRONG_FILES = {
    "html": (WEB_PAGE, "web page"),
    "git-lfs": (LFS_POINTER, "Git-LFS pointer for a file of 80,134,624 bytes"),
    "empty": (b"", "empty file"),
    "wrong magic": (b"\x00\x01\x02\x03" * 40, "unknown kind"),
    "text": (b"Not found: no such object\n", "Not found"),
}


@st.composite
def damaged(draw, data):
    """Valid bytes with some of: bytes changed, a piece moved or taken out, an end."""
    out = bytearray(data)
    places = st.integers(0, len(data) - 1)
    for _ in range(draw(st.integers(0, 4))):
        out[draw(places)] = draw(
            st.sampled_from([0, 1, 2, 127, 128, 255]) | st.integers(0, 255)
        )
    kind = draw(st.sampled_from(["keep", "keep", "cut", "drop", "insert", "copy"]))
    at, n = draw(places), draw(st.integers(1, 64))
    if kind == "cut":
        del out[at:]
    elif kind == "drop":
        del out[at : at + n]
    elif kind == "insert":
        out[at:at] = draw(st.binary(min_size=1, max_size=12))
    elif kind == "copy":
        to = draw(places)
        out[to : to + n] = out[at : at + n]
    return bytes(out)


def refused(function, *args, words=()):
    """Check that a call raises WeightsError in one line with these words."""
    with pytest.raises(WeightsError) as caught:
        function(*args)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


def stands(read, path):
    """Check that reading gives arrays or one line; returns the arrays or None."""
    try:
        arrays = read(path)
    except WeightsError as error:
        assert "\n" not in str(error)
        return None
    assert all(isinstance(array, np.ndarray) for array in arrays.values())
    return arrays


@contextmanager
def memory_below(n_bytes):
    """Check how much memory is taken on the way."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < n_bytes
    finally:
        tracemalloc.stop()
