"""Winograd's convolutions against plain ones in float64, and the whole network."""

import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepgaze_jax import vgg, winograd
from deepgaze_jax.winograd import (
    Planes,
    convolve_planes,
    max_pool_planes,
    transform_kernel,
)

TAPS = ("conv1_1", "relu1_2", "pool1", "conv2_1", "relu2_1", "pool2")


def convolved(maps, kernel, bias):
    """Return the 3x3 convolution in float64, tap by tap."""
    height, width, _ = maps.shape
    padded = np.pad(maps.astype(np.float64), ((1, 1), (1, 1), (0, 0)))
    return bias + sum(
        padded[i : i + height, j : j + width] @ kernel[i, j].astype(np.float64)
        for i in range(3)
        for j in range(3)
    )


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(
    height=st.integers(1, 23),
    width=st.integers(1, 23),
    relu=st.booleans(),
    seed=st.integers(0, 99),
)
def test_convolution(height, width, relu, seed):
    rng = np.random.default_rng(seed)
    maps = rng.standard_normal((height, width, 5), np.float32)
    kernel = rng.standard_normal((3, 3, 5, 3), np.float32)
    bias = rng.standard_normal(3, np.float32)
    planes = convolve_planes(
        Planes.of_maps(maps), transform_kernel(kernel), bias, relu=relu
    )
    expected = convolved(maps, kernel, bias)
    expected = np.maximum(expected, 0) if relu else expected
    np.testing.assert_allclose(planes.maps(), expected, atol=1e-4)
    # Whatever is beyond the image is zero, also for the layer that comes next.
    again = Planes.of_maps(planes.maps())
    np.testing.assert_array_equal(planes.values, again.values)


def test_several_strips(monkeypatch):
    # So few bytes that a strip has a handful of cells, and rows are cut anywhere.
    monkeypatch.setattr("deepgaze_jax.winograd._STRIP_BYTES", 8_000)
    rng = np.random.default_rng(0)
    maps = rng.standard_normal((29, 38, 4), np.float32)
    kernel = rng.standard_normal((3, 3, 4, 4), np.float32)
    bias = rng.standard_normal(4, np.float32)
    planes = convolve_planes(
        Planes.of_maps(maps), transform_kernel(kernel), bias, relu=False
    )
    expected = convolved(maps, kernel, bias)
    np.testing.assert_allclose(planes.maps(), expected, atol=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (5, 8), (13, 30)])
def test_pool(size):
    rng = np.random.default_rng(0)
    maps = np.maximum(rng.standard_normal((*size, 3), np.float32), 0)
    pooled = max_pool_planes(Planes.of_maps(maps))
    filled = np.pad(maps, ((0, size[0] % 2), (0, size[1] % 2), (0, 0)))
    blocks = filled.reshape(-(-size[0] // 2), 2, -(-size[1] // 2), 2, 3)
    np.testing.assert_array_equal(pooled.maps(), blocks.max(axis=(1, 3)))
    again = Planes.of_maps(pooled.maps())
    np.testing.assert_array_equal(pooled.values, again.values)


def test_sizes_share_their_programs():
    kernel, bias = transform_kernel(np.ones((3, 3, 2, 2))), np.zeros(2, np.float32)

    def programs(height, width):
        planes = Planes.of_maps(np.ones((height, width, 2), np.float32))
        convolve_planes(planes, kernel, bias, relu=True)
        return winograd._convolve._cache_size()

    before = programs(300, 397)
    assert programs(301, 398) == programs(302, 399) == programs(297, 400) == before


def test_network():
    params = oracles.random_vgg19_params(3)
    images = np.stack([oracles.random_image(seed, 53, 70) for seed in (1, 2)])
    fast = vgg.vgg19_features(vgg.for_cpu(params), images, TAPS)
    usual = vgg.vgg19_features(params, images, TAPS)
    assert list(fast) == list(usual)
    for tap in TAPS:
        a, b = np.asarray(fast[tap]), np.asarray(usual[tap])
        assert a.shape == b.shape
        assert np.abs(a - b).max() <= 1e-5 * np.abs(b).max(), tap
