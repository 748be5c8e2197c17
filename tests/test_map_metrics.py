import math

import numpy as np
import oracles_metrics as oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import gaussian_filter
from scipy.special import logsumexp

from deepgaze_jax.errors import InputError
from deepgaze_jax.gaussian_blur import gaussian_blur, gaussian_matrix, reflecting_kernel
from deepgaze_jax.metrics import cc, empirical_density, kldiv, nss, sim, sim_min_max

tied = st.sampled_from([-2.5, 0.0, 0.25, 0.5, 0.75, 3.0])
maps = st.one_of(
    arrays(float, (5, 7), elements=tied),
    arrays(float, (5, 7), elements=st.floats(-1e3, 1e3).map(lambda v: round(v, 3))),
    arrays(np.uint8, (5, 7), elements=st.integers(0, 255)),
)
points = st.lists(
    st.one_of(
        st.tuples(st.floats(0, 6.999), st.floats(0, 4.999)),
        st.sampled_from([(0, 0), (6, 4), (2.5, 3.5)]),
    ),
    min_size=1,
    max_size=20,
)
sigmas = st.sampled_from([0.2, 0.7, 1.5, 4.0, 11.0])


def columns(points):
    return np.array(points, float).reshape(-1, 2).T


def counts(points):
    out = np.zeros((5, 7), np.float32)
    for x, y in points:
        out[int(y), int(x)] += 1
    return out


@given(maps, points)
def test_nss_against_loops(saliency_map, points):
    x, y = columns(points)
    result = nss(saliency_map, x, y)
    assert result.dtype == np.float64 and result.shape == x.shape
    expected = oracles.nss(saliency_map.tolist(), x, y)
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-9)


@given(points, sigmas)
def test_empirical_density_against_loops(points, sigma_px):
    x, y = columns(points)
    density = empirical_density(counts(points), sigma_px)
    expected = oracles.empirical_density(x, y, 5, 7, sigma_px)
    assert density.dtype == np.float64
    np.testing.assert_allclose(density, expected, rtol=0, atol=1e-12)
    assert density.sum() == pytest.approx(1, abs=1e-12)


@given(maps, points, sigmas)
def test_comparisons_with_the_empirical_map_against_loops(
    saliency_map, points, sigma_px
):
    empirical = empirical_density(counts(points), sigma_px)
    arguments = saliency_map.tolist(), empirical.tolist()
    for measure, oracle in (
        (cc, oracles.cc),
        (kldiv, oracles.kldiv),
        (sim, oracles.sim),
    ):
        assert measure(saliency_map, empirical) == pytest.approx(
            oracle(*arguments), rel=1e-9, abs=1e-9
        )
    shifted = saliency_map - min(saliency_map.min(), 0.0)
    assert sim_min_max(saliency_map, empirical) == pytest.approx(
        oracles.sim_min_max(shifted, empirical), abs=1e-9
    )


@pytest.mark.parametrize("n", [1, 2, 5, 75])
@pytest.mark.parametrize("sigma", [0.2, 1.6, 9.0, 40.0])
@pytest.mark.parametrize(
    ("padding", "mode"), [("reflect", "reflect"), ("zero", "constant")]
)
def test_blur_against_scipy(n, sigma, padding, mode):
    values = np.random.default_rng(0).random(n)
    expected = gaussian_filter(values, sigma, mode=mode, truncate=4)
    matrix = gaussian_matrix(n, sigma, padding)
    np.testing.assert_allclose(matrix @ values, expected, rtol=1e-12)
    np.testing.assert_array_equal(matrix, matrix.T)
    if padding == "reflect":
        kernel = reflecting_kernel(n, sigma)
        assert kernel.sum() == pytest.approx(1, abs=1e-12)
        for i in range(n):
            for j in range(n):
                assert matrix[i, j] == kernel[abs(i - j)] + kernel[i + j + 1]


@pytest.mark.parametrize("occupied", [0, 1, 12, 35])
@pytest.mark.parametrize(
    ("padding", "mode"), [("reflect", "reflect"), ("zero", "constant")]
)
def test_blur_of_nearly_empty_and_of_full_maps(occupied, padding, mode):
    rng = np.random.default_rng(0)
    values = np.zeros(35)
    values[rng.permutation(35)[:occupied]] = rng.random(occupied)
    values = values.reshape(5, 7)
    expected = gaussian_filter(values, 1.3, mode=mode, truncate=4)
    np.testing.assert_allclose(
        gaussian_blur(values, 1.3, padding), expected, atol=1e-15
    )


@pytest.mark.parametrize("value", [0.0, 0.1, 3, 255, -1.5, 1e-300, 1e300])
def test_constant_maps(value):
    # Of 0.1 the mean is one ulp off at many sizes.
    constant = np.full((60, 83), value)
    empirical = np.zeros((60, 83))
    empirical[0, 0], empirical[3, 3] = 1, 3
    assert nss(constant, [1, 2], [3, 4]).tolist() == [0, 0]
    assert cc(constant, empirical) == 0 == cc(empirical, constant + 1e-3)
    share = 1 / constant.size
    assert sim(constant, empirical) == pytest.approx(2 * share)
    assert sim_min_max(constant, empirical) == pytest.approx(2 * share)
    expected = 0.25 * math.log(0.25 / share) + 0.75 * math.log(0.75 / share)
    assert kldiv(constant, empirical) == pytest.approx(expected, abs=1e-9)


@given(maps, points)
def test_what_changes_nothing(saliency_map, points):
    x, y = columns(points)
    saliency_map = saliency_map.astype(float)
    empirical = empirical_density(counts(points), 1.0)
    for scale in (4.0, 1e-310, 2.0**900):
        moved = saliency_map * scale
        if scale > 1e-300:
            np.testing.assert_allclose(
                nss(moved, x, y), nss(saliency_map, x, y), atol=1e-9
            )
            assert cc(moved, empirical) == pytest.approx(
                cc(saliency_map, empirical), abs=1e-9
            )
            assert sim(moved, empirical) == pytest.approx(
                sim(saliency_map, empirical), abs=1e-9
            )
        for value in (nss(moved, x, y), cc(moved, empirical), sim(moved, empirical)):
            assert np.isfinite(value).all()
        assert np.isfinite(kldiv(moved, empirical))
    assert sim(empirical, empirical) == pytest.approx(1)
    assert kldiv(empirical, empirical) == pytest.approx(0, abs=1e-9)
    assert cc(-empirical, empirical) == pytest.approx(-1)


def test_negative_values_are_shifted_and_others_are_not():
    empirical = np.array([[0.25, 0.75]])
    assert sim([[-1.0, 2.0]], empirical) == 0.75
    assert sim([[1.0, 2.0]], empirical) == pytest.approx(0.25 + 2 / 3)
    assert sim_min_max([[1.0, 2.0]], empirical) == 1.0


def test_kldiv_where_the_map_is_zero():
    # q log(q / eps) where p is 0.
    result = kldiv([[1.0, 0.0]], [[0.5, 0.5]])
    expected = 0.5 * math.log(0.5) + 0.5 * math.log(0.5 / 2.2204e-16)
    assert result == pytest.approx(expected, abs=1e-12)


def test_duplicates_count():
    once, twice = np.zeros((5, 7)), np.zeros((5, 7))
    once[1, 2] = once[3, 3] = twice[3, 3] = 1
    twice[1, 2] = 2
    assert empirical_density(twice, 0.5)[1, 2] > empirical_density(once, 0.5)[1, 2]
    saliency_map = np.arange(35).reshape(5, 7)
    assert len(nss(saliency_map, [1, 1], [1, 1])) == 2


GOOD = np.arange(35.0).reshape(5, 7)
LOG = GOOD - logsumexp(GOOD)
WITH_ZERO = np.where(GOOD > 3, LOG, -np.inf)
WITH_ZERO = WITH_ZERO - logsumexp(WITH_ZERO)


@pytest.mark.parametrize("log_density", [LOG, WITH_ZERO, LOG.astype(np.float32)])
def test_a_log_density_is_refused(log_density):
    for measure in (
        lambda: nss(log_density, [1], [1]),
        lambda: cc(log_density, GOOD),
        lambda: kldiv(log_density, GOOD),
        lambda: sim(log_density, GOOD),
        lambda: sim_min_max(log_density, GOOD),
        lambda: sim(GOOD, log_density),
        lambda: empirical_density(log_density, 1.0),
    ):
        with pytest.raises(InputError, match=r"is a log density .* its exponential"):
            measure()
    # Log maps that are no densities, and the density itself, are maps.
    nss(LOG + 1, [1], [1])
    nss(np.exp(LOG), [1], [1])


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        (lambda: nss(GOOD * np.nan, [1], [1]), "NaN"),
        (lambda: nss(np.where(GOOD > 3, GOOD, -np.inf), [1], [1]), "4 of 35 values"),
        (lambda: nss(GOOD, [7], [1]), "outside"),
        (lambda: cc(GOOD, GOOD.T), r"\[5, 7\], empirical_map \[7, 5\]"),
        (lambda: sim(GOOD, -GOOD), "empirical_map has values from -34 to"),
        (lambda: kldiv(GOOD, GOOD * 0), "empirical_map has values from 0 to 0"),
        (lambda: empirical_density(GOOD * 0, 1.0), "no fixations"),
        (lambda: empirical_density(-GOOD, 1.0), "negative values, lowest -34"),
        (lambda: empirical_density(GOOD, 0.0), "sigma is 0.0"),
        (lambda: empirical_density(GOOD, np.nan), "sigma is nan"),
        (lambda: gaussian_blur(GOOD, 1.0, "mirror"), "padding is 'mirror'"),
    ],
)
def test_refusals(measure, message):
    with pytest.raises(InputError, match=message):
        measure()
