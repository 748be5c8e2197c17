"""deepgaze_jax.ops against the slow numpy implementation, over sizes."""

import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepgaze_jax import ops

lengths = st.integers(1, 50)
seeds = st.integers(0, 2**32 - 1)
# Every new shape is compiled, so few examples per test and no deadline.
few = settings(max_examples=15, deadline=None)


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def assert_close(ours, expected, tolerance=1e-5):
    ours = np.asarray(ours)
    assert ours.dtype == np.float32
    assert ours.shape == expected.shape
    scale = max(1.0, np.abs(expected).max())
    assert np.abs(ours - expected).max() <= tolerance * scale


@few
@given(lengths, lengths, st.sampled_from([2, 4, 8]), seeds)
def test_pools(height, width, k, seed):
    x = normal(seed, height, width, 2) - 3  # a zero that leaks from padding would win
    assert_close(ops.pool_mean(x, k), oracles.pool_mean(x, k))
    np.testing.assert_array_equal(ops.pool_max(x, k), oracles.pool_max(x, k))


@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize("n", range(1, 10))
def test_pools_of_short_axes(n, k):
    x = normal(n, n, 11 - n, 1) - 3
    assert_close(ops.pool_mean(x, k), oracles.pool_mean(x, k))
    np.testing.assert_array_equal(ops.pool_max(x, k), oracles.pool_max(x, k))


def test_pools_take_leading_axes():
    x = normal(0, 2, 3, 5, 7, 4)
    for name in ("pool_mean", "pool_max"):
        ours, oracle = getattr(ops, name)(x, 4), getattr(oracles, name)
        expected = np.stack([[oracle(x[i, j], 4) for j in range(3)] for i in range(2)])
        assert_close(ours, expected)


@few
@given(lengths, lengths, st.sampled_from([4, 8]), seeds)
def test_upsample_nearest(height, width, factor, seed):
    x = normal(seed, -(-height // factor), -(-width // factor))
    expected = oracles.upsample_nearest(x, factor, height, width)
    ours = ops.upsample_nearest(x, factor, height, width)
    np.testing.assert_array_equal(ours, expected)
    batch = ops.upsample_nearest(np.stack([x, -x]), factor, height, width)
    np.testing.assert_array_equal(batch, [expected, -expected])


@few
@given(lengths, lengths, lengths, lengths, seeds)
def test_resize_image(height, width, new_height, new_width, seed):
    image = np.random.default_rng(seed).uniform(0, 255, (height, width, 3))
    image = image.astype(np.float32)
    expected = oracles.resize_image(image, new_height, new_width)
    assert_close(ops.resize_image(image, new_height, new_width), expected)
    assert_close(ops.resize_pictures(image, new_height, new_width), expected)
    batch = ops.resize_image(np.stack([image, image]), new_height, new_width)
    assert_close(batch[1], expected)


@few
@given(lengths, lengths, st.floats(0.3, 30), seeds)
def test_blur_matrix(height, width, sigma, seed):
    x = normal(seed, height, width)
    rows = np.asarray(ops.blur_matrix(height, sigma))
    columns = np.asarray(ops.blur_matrix(width, sigma))
    assert_close(rows @ x @ columns.T, oracles.blur(x, sigma))


@pytest.mark.parametrize("radius", [0, 1, 7])
def test_blur_matrix_radius(radius):
    x = normal(radius, 23, 5)
    rows = np.asarray(ops.blur_matrix(23, 3.0, radius=radius))
    columns = np.asarray(ops.blur_matrix(5, 3.0, radius=radius))
    assert_close(rows @ x @ columns.T, oracles.blur(x, 3.0, radius=radius))


@few
@given(lengths, lengths, st.sampled_from([0.0, 80.0, -4000.0]), seeds)
def test_log_normalise(height, width, offset, seed):
    x = 3 * normal(seed, 2, height, width) + np.float32(offset)
    ours = np.asarray(ops.log_normalise(x))
    for i in range(2):
        assert_close(ours[i], oracles.log_normalise(x[i]))


@few
@given(lengths, lengths, lengths, lengths, seeds)
def test_nearest_index_maps_back(height, width, new_height, new_width, seed):
    log_density = oracles.log_normalise(normal(seed, height, width))
    rows = ops.nearest_index(height, new_height)
    columns = ops.nearest_index(width, new_width)
    ours = ops.log_normalise(log_density[rows][:, columns].astype(np.float32))
    assert_close(ours, oracles.map_back(log_density, new_height, new_width))


@pytest.mark.parametrize("size_out", [600, 1024, 4032])
@pytest.mark.parametrize("size_in", [75, 293, 768, 2047])
def test_nearest_index_is_exact_for_large_sizes(size_in, size_out):
    expected = [(2 * i + 1) * size_in // (2 * size_out) for i in range(size_out)]
    np.testing.assert_array_equal(ops.nearest_index(size_in, size_out), expected)
