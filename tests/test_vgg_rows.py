"""VGG-19 band by band against the plain network."""

import numpy as np
import oracles
import pytest

from deepgaze_jax import vgg, vgg_rows
from deepgaze_jax.windows import Buffers

TAPS = ("conv1_1", "relu1_2", "pool1", "conv2_1", "relu2_1", "pool2")


def by_rows(params, image, taps, band, **options):
    """Return the maps of an image [height, width, 3]."""
    size = image.shape[:2]
    maps = {
        tap: np.full((*vgg.tap_grid(tap, *size), vgg.tap_channels(tap)), np.nan)
        for tap in taps
    }

    def take(tap, first, rows):
        # Each row comes once.
        assert np.isnan(maps[tap][first : first + len(rows)]).all()
        maps[tap][first : first + len(rows)] = rows

    vgg_rows.features_by_rows(
        params,
        lambda first, stop: image[first:stop],
        size,
        taps,
        take,
        band,
        **options,
    )
    return maps


def check(params, prepared, size, taps, bands):
    image = np.float32(oracles.random_image(1, *size))
    usual = vgg.vgg19_features(params, image, taps)
    buffers = Buffers()
    for band, workers in bands:
        maps = by_rows(prepared, image, taps, band, workers=workers, buffers=buffers)
        for tap in taps:
            a, b = maps[tap], np.asarray(usual[tap])
            assert np.abs(a - b).max() <= 1e-5 * np.abs(b).max(), (tap, band)


def test_shallow_layers():
    params = oracles.random_vgg19_params(3)
    prepared = vgg_rows.prepare(params)
    check(params, prepared, (53, 70), TAPS, [(16, 2), (64, 1)])


@pytest.mark.slow
def test_the_whole_network():
    params = oracles.random_vgg19_params(4)
    params["input"] = {"mean_rgb": np.float32([90, 100, 110])}
    taps = ("conv5_1", "relu5_1", "relu5_2", "conv5_3", "relu5_4")
    prepared = vgg_rows.prepare(params)
    check(params, prepared, (203, 149), taps, [(16, 2), (48, 1), (208, 1)])


def test_a_failure_in_a_band_ends_all():
    prepared = vgg_rows.prepare(oracles.random_vgg19_params(3))

    def rows(first, stop):
        if first:
            raise OSError("gone")
        return np.zeros((stop - first, 70, 3), np.float32)

    with pytest.raises(OSError, match="gone"):
        vgg_rows.features_by_rows(
            prepared, rows, (90, 70), ("pool1",), lambda *_: None, 16, workers=2
        )


def test_lower_bands_take_less_memory():
    taps = ("relu5_4",)
    sizes = [
        vgg_rows.bytes_by_rows((2188, 2917), taps, band, workers)
        for band, workers in ((128, 2), (32, 2), (32, 1))
    ]
    assert sizes == sorted(sizes, reverse=True)
    # Height costs nothing.
    assert vgg_rows.bytes_by_rows((9000, 2917), taps, 32, 1) <= 1.1 * sizes[-1]
