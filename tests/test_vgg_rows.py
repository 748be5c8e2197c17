"""VGG-19 in bands of rows: against float64, and against the image as a whole."""

import jax
import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepgaze_jax import vgg, vgg_rows
from deepgaze_jax.vgg import tap_channels, tap_grid

TAPS = ("conv1_1", "relu1_2", "pool1", "conv2_2", "relu3_4", "conv4_1", "pool4")


def by_rows(params, image, taps, band, workers=1):
    height, width, _ = image.shape
    out = {
        tap: np.full((*tap_grid(tap, height, width), tap_channels(tap)), np.nan, "f4")
        for tap in taps
    }

    def rows(first, stop):
        assert 0 <= first < stop <= height
        return image[first:stop]

    vgg_rows.features_by_rows(params, rows, (height, width), out, band, workers=workers)
    return out


def close(found, expected):
    for tap, maps in expected.items():
        largest = np.abs(maps).max()
        assert np.abs(found[tap] - maps).max() <= 1e-5 * largest, tap


def test_taps_are_those_of_float64():
    params = oracles.random_vgg19_params(3)
    image = oracles.random_image(0, 53, 46)
    taps = ("conv1_1", "conv3_2", "relu5_1", "conv5_4")
    expected = oracles.vgg19(params, image, taps)
    close(by_rows(vgg_rows.prepare(params), image, taps, 16), expected)


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(
    height=st.integers(1, 90),
    width=st.integers(1, 70),
    band=st.sampled_from((16, 32, 48)),
    workers=st.sampled_from((1, 2)),
)
def test_bands_are_the_whole_image(height, width, band, workers):
    params = vgg.init_params(0, TAPS)
    image = np.random.default_rng(height).uniform(0, 255, (height, width, 3))
    image = image.astype(np.float32)
    expected = vgg.vgg19_features(params, image, TAPS)
    found = by_rows(vgg_rows.prepare(params), image, TAPS, band, workers)
    close(found, jax.tree.map(np.asarray, expected))
