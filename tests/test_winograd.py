"""Winograd's convolutions in windows, against plain ones in float64."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepgaze_jax import winograd
from deepgaze_jax.windows import (
    TILE,
    Buffers,
    Joint,
    floats_of_windows,
    tail_cells,
    tiles,
)
from deepgaze_jax.winograd import (
    convolve,
    convolve_image,
    max_pool,
)
from deepgaze_jax.winograd_kernels import transform_image_kernel, transform_kernel


def convolved(maps, kernel, bias):
    """Return the 3x3 convolution in float64, tap by tap."""
    height, width, _ = maps.shape
    padded = np.pad(maps.astype(np.float64), ((1, 1), (1, 1), (0, 0)))
    return bias + sum(
        padded[i : i + height, j : j + width] @ kernel[i, j].astype(np.float64)
        for i in range(3)
        for j in range(3)
    )


def pooled(maps):
    """Return the 2x2 maximum of maps that are nowhere negative, odd borders kept."""
    height, width, channels = maps.shape
    filled = np.pad(maps, ((0, height % 2), (0, width % 2), (0, 0)))
    blocks = filled.reshape(-(-height // 2), 2, -(-width // 2), 2, channels)
    return blocks.max(axis=(1, 3))


def through(image, layers, band, stale=0.0):
    """Return the maps behind layers of windows, a band of rows after the other.

    Args:
        image: [height, width, channels].
        layers: (kernel, bias, relu) of a convolution, or None of a pool; the first is
            a convolution.
        band: rows of a band, a multiple of 4.
        stale: what the memory of windows holds before.
    """
    height, width, channels = image.shape
    buffers, stages, sizes = Buffers(), [], []
    for layer in layers:
        if layer is None:
            height, width = -(-height // 2), -(-width // 2)
        else:
            channels = layer[0].shape[-1]
        sizes.append((height, width, channels))
    n_floats = floats_of_windows([(w, c, tiles(h) + 3, 512) for h, w, c in sizes])
    for size, after in zip(sizes, [*layers[1:], "end"], strict=True):
        to = {True: "pool", False: "convolution"}[after is None]
        to = None if isinstance(after, str) else to
        stages.append(Joint(*size, to, band // TILE, n_floats, buffers))
    if stale:
        for _ in range(len(layers) + 1):
            buffers.give(buffers.take(n_floats) * 0 + stale)
    out = np.full(sizes[-1], np.nan, np.float32)
    for first in range(0, image.shape[0], band):
        stop = min(first + band, image.shape[0])
        n_new = tiles(stop - first)
        rows = np.zeros((TILE * n_new + 2, *image.shape[1:]), np.float32)
        low, high = max(first - 1, 0), min(first + TILE * n_new + 1, image.shape[0])
        rows[low - first + 1 : high - first + 1] = image[low:high]
        kernel, bias, relu = layers[0]
        kernel = transform_image_kernel(kernel)
        window = convolve_image(rows, kernel, bias, stages[0], n_new, relu=relu)
        for layer, joint in zip(layers[1:], stages[1:], strict=True):
            source = window
            if layer is None:
                window = max_pool(window, joint)
            else:
                kernel, bias, relu = layer
                kernel = transform_kernel(kernel)
                window = convolve(window, kernel, bias, joint, relu=relu)
            buffers.give(source.values)
            if window is None:
                break
        if window is not None:
            top, maps = window.new_maps()
            out[top : top + len(maps)] = maps
            buffers.give(window.values)
    return out


def random_layer(rng, channels, outputs, relu=True):
    kernel = rng.standard_normal((3, 3, channels, outputs), np.float32)
    return kernel, rng.standard_normal(outputs, np.float32), relu


def expected(image, layers):
    for layer in layers:
        if layer is None:
            image = pooled(image)
        else:
            kernel, bias, relu = layer
            image = convolved(image, kernel, bias)
            image = np.maximum(image, 0) if relu else image
    return image


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 23),
    band=st.sampled_from([4, 8, 12, 40]),
    relu=st.booleans(),
    seed=st.integers(0, 99),
)
def test_any_size_in_any_bands(height, width, band, relu, seed):
    rng = np.random.default_rng(seed)
    image = rng.standard_normal((height, width, 3), np.float32)
    layers = [
        random_layer(rng, 3, 4),
        random_layer(rng, 4, 4),
        None,
        random_layer(rng, 4, 8, relu),
    ]
    maps = through(image, layers, band, stale=7.0)
    right = expected(image, layers)
    assert np.abs(maps - right).max() <= 1e-5 * np.abs(right).max()


@pytest.mark.parametrize("stale", [0.0, 1e4])
def test_layers_in_bands(stale):
    rng = np.random.default_rng(0)
    image = rng.standard_normal((45, 22, 3), np.float32)
    layers = [random_layer(rng, 3, 4), random_layer(rng, 4, 4), None]
    layers += [random_layer(rng, 4, 4, relu=False)]
    right = expected(image, layers)
    maps = through(image, layers, 16, stale)
    assert np.abs(maps - right).max() <= 1e-5 * np.abs(right).max()


def test_several_strips(monkeypatch):
    # So few cells that rows are cut anywhere.
    monkeypatch.setattr("deepgaze_jax.winograd._STRIP_BYTES", 8_000)
    monkeypatch.setattr("deepgaze_jax.winograd._STRIP_CELLS", 7)
    rng = np.random.default_rng(0)
    image = rng.standard_normal((29, 38, 3), np.float32)
    layers = [random_layer(rng, 3, 4), random_layer(rng, 4, 4)]
    right = expected(image, layers)
    maps = through(image, layers, 16)
    assert np.abs(maps - right).max() <= 1e-5 * np.abs(right).max()


def test_sizes_share_their_programs():
    rng = np.random.default_rng(0)
    layers = [random_layer(rng, 3, 4), random_layer(rng, 4, 4), None]

    def programs(height, width):
        through(np.ones((height, width, 3), np.float32), layers, 32)
        counts = winograd._convolve, winograd._convolve_image, winograd._max_pool
        return [program._cache_size() for program in counts]

    before = programs(100, 397)
    assert programs(101, 398) == programs(102, 399) == programs(97, 400) == before


def test_a_tail_has_room_for_two_rows():
    for width in range(1, 300, 7):
        assert tail_cells(width) > 2 * (tiles(width) + 1)
