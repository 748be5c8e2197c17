import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import logsumexp

from deepgaze_jax import summaries
from deepgaze_jax.errors import InputError
from deepgaze_jax.metrics import bootstrap_interval, information_gain, log_likelihood

maps = arrays(float, (5, 7), elements=st.floats(-20, 20)).map(
    lambda m: m - logsumexp(m)
)
points = st.lists(st.tuples(st.floats(0, 6.999), st.floats(0, 4.999)), max_size=20)


def columns(points):
    return np.array(points, float).reshape(-1, 2).T


@given(maps, points)
def test_log_likelihood_against_a_loop(log_density, points):
    bits = log_likelihood(log_density, *columns(points))
    assert bits.dtype == np.float64 and bits.shape == (len(points),)
    for value, (x, y) in zip(bits, points, strict=True):
        p = math.exp(log_density[math.floor(y)][math.floor(x)])
        assert value == pytest.approx(math.log2(p) + math.log2(35), abs=1e-9)


@given(maps, maps, points)
def test_information_gain_against_a_loop(log_density, baseline, points):
    x, y = columns(points)
    bits = information_gain(log_density, baseline, x, y)
    for value, px, py in zip(bits, x, y, strict=True):
        i, j = math.floor(py), math.floor(px)
        expected = (log_density[i, j] - baseline[i, j]) / math.log(2)
        assert value == pytest.approx(expected, abs=1e-9)
    np.testing.assert_array_equal(information_gain(baseline, baseline, x, y), 0 * x)
    difference = log_likelihood(log_density, x, y) - log_likelihood(baseline, x, y)
    np.testing.assert_allclose(bits, difference, atol=1e-9)


def test_duplicates_count_each_and_borders_belong_to_the_pixel_right_of_them():
    log_density = np.log([[0.5, 0.25], [0.125, 0.125]])
    bits = log_likelihood(log_density, [0, 0, 1, 0.999], [0, 0, 0, 1])
    np.testing.assert_allclose(bits, [1, 1, 0, -1])


def test_probability_zero():
    log_density = np.array([[-np.inf, 0.0]])
    assert log_likelihood(log_density, [0, 1], [0, 0]).tolist() == [-np.inf, 1]
    half = np.log([[0.5, 0.5]])
    assert information_gain(log_density, half, [0], [0]).tolist() == [-np.inf]
    with pytest.raises(InputError, match=r"probability 0 at 1 of 2"):
        information_gain(half, log_density, [0, 1], [0, 0])


@pytest.mark.parametrize(
    ("x", "y"), [(7, 0), (0, 5), (-0.1, 0), (0, -1e-9), (np.nan, 0), (0, np.inf)]
)
def test_points_outside_are_refused(x, y):
    uniform = np.full((5, 7), -np.log(35))
    for measure in (
        lambda *xy: log_likelihood(uniform, *xy),
        lambda *xy: information_gain(uniform, uniform, *xy),
    ):
        with pytest.raises(InputError, match=r"1 of 2 fixations are outside .* 7 x 5"):
            measure([1, x], [1, y])


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.full((5, 7), 1 / 35), r"not a log density"),
        (np.full((5, 7), -np.log(35) + 1.1e-3), r"log-sum-exp is 0.0011"),
        (np.full((5, 7), -np.log(35) - 1.1e-3), r"log-sum-exp is -0.0011"),
        (np.full((5, 7), -np.inf), r"log-sum-exp is -inf"),
        (np.full((5, 7), np.nan), r"NaN"),
        (np.zeros((1, 5, 7)), r"shape \[1, 5, 7\]"),
        (np.zeros((0, 7)), r"empty"),
        (np.zeros((5, 7), bool), r"type bool"),
    ],
)
def test_what_is_not_a_log_density_is_refused(bad, message):
    good = np.full((5, 7), -np.log(35))
    for measure in (
        lambda: log_likelihood(bad, [1], [1]),
        lambda: information_gain(bad, good, [1], [1]),
        lambda: information_gain(good, bad, [1], [1]),
    ):
        with pytest.raises(InputError, match=message):
            measure()


def test_a_log_sum_exp_within_the_tolerance_passes():
    almost = np.full((5, 7), -np.log(35) + 9e-4, np.float32)
    assert log_likelihood(almost, [1], [1])[0] == pytest.approx(9e-4 / np.log(2), 1e-3)


def test_sizes_must_agree():
    with pytest.raises(InputError, match=r"\[1, 2\], the baseline \[2, 1\]"):
        information_gain(np.log([[0.5, 0.5]]), np.log([[0.5], [0.5]]), [0], [0])
    with pytest.raises(InputError, match="equal length"):
        log_likelihood(np.log([[0.5, 0.5]]), [0, 1], [0])


def test_bootstrap_against_a_loop(monkeypatch):
    values = np.random.default_rng(5).gamma(2.0, size=40)
    weights = np.arange(1, 41)
    rng = np.random.default_rng(9)
    plain, weighted = [], []
    for _ in range(300):
        drawn = rng.integers(40, size=40)
        plain.append(sum(values[i] for i in drawn) / 40)
        weighted.append(
            sum(weights[i] * values[i] for i in drawn) / sum(weights[i] for i in drawn)
        )
    for at_once in (2**21, 1000, 1):
        monkeypatch.setattr(summaries, "_VALUES_AT_ONCE", at_once)
        interval = bootstrap_interval(values, 0.9, 300, 9)
        np.testing.assert_allclose(interval, np.quantile(plain, [0.05, 0.95]))
        interval = bootstrap_interval(values, 0.9, 300, 9, weights)
        np.testing.assert_allclose(interval, np.quantile(weighted, [0.05, 0.95]))


def test_bootstrap_covers_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(200):
        low, high = bootstrap_interval(rng.normal(3, 1, 100), 0.8, 400, seed)
        covered += low <= 3 <= high
    assert 0.7 < covered / 200 < 0.9


def test_bootstrap_seed_and_one_value():
    values = np.arange(30.0)
    assert bootstrap_interval(values) == bootstrap_interval(values)
    assert bootstrap_interval(values) != bootstrap_interval(values, seed=1)
    assert bootstrap_interval([2.5]) == (2.5, 2.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([],), "at least one value"),
        (([[1.0]],), "one dimension"),
        (([1.0, np.nan, np.inf],), r"2 of 3 values are not finite"),
        (([1.0], 1.0), "level is 1.0"),
        (([1.0], 0.95, 0), "n_resamples 0"),
        (([1.0, 2.0], 0.95, 10, 0, [1, 0]), "positive"),
        (([1.0, 2.0], 0.95, 10, 0, [1]), "weights"),
    ],
)
def test_bootstrap_refuses(arguments, message):
    with pytest.raises(InputError, match=message):
        bootstrap_interval(*arguments)
