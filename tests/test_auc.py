import numpy as np
import oracles_metrics as oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import logsumexp

from deepgaze_jax import metrics, roc
from deepgaze_jax.errors import DataError, InputError
from deepgaze_jax.fixations import Fixations
from deepgaze_jax.metrics import (
    OtherFixations,
    auc,
    auc_borji,
    auc_judd,
    sauc,
    sauc_mit,
)
from deepgaze_jax.roc import below_and_equal

# Few different values, so that most maps have ties; many fixations share pixels.
tied = st.sampled_from([-2.5, -0.0, 0.0, 1e-30, 0.25, 0.5, 0.75, 3.0, 1e30])
maps = st.one_of(
    arrays(float, (5, 7), elements=tied),
    arrays(float, (5, 7), elements=st.floats(-1e9, 1e9)),
    arrays(np.float32, (5, 7), elements=st.floats(-1, 1, width=32)),
    arrays(np.uint8, (5, 7), elements=st.integers(0, 255)),
    arrays(np.int64, (5, 7), elements=st.integers(-(2**62), 2**62)),
    arrays(bool, (5, 7)),
)
points = st.lists(
    st.one_of(
        st.tuples(st.floats(0, 6.999), st.floats(0, 4.999)),
        st.sampled_from([(0, 0), (6, 4), (2.5, 3.5)]),
    ),
    min_size=1,
    max_size=20,
)


@pytest.fixture(autouse=True, scope="module")
def buckets_for_small_maps_too():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(roc, "_SORTED_AT_ONCE", 0)
        yield


def columns(points):
    return np.array(points, float).reshape(-1, 2).T


@given(maps, points)
def test_auc_against_loops(saliency_map, points):
    x, y = columns(points)
    result = auc(saliency_map, x, y)
    assert result.dtype == np.float64 and result.shape == x.shape
    expected = oracles.auc(saliency_map.tolist(), x, y)
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-12)


@given(maps, points)
def test_auc_judd_against_loops(saliency_map, points):
    x, y = columns(points)
    expected = oracles.auc_judd(saliency_map.tolist(), x, y)
    assert auc_judd(saliency_map, x, y) == pytest.approx(expected, abs=1e-12)


@given(maps, st.data())
def test_sauc_against_loops(saliency_map, data):
    n_images = data.draw(st.integers(2, 5))
    shapes = [(5, 7), (5, 7), (10, 14), (3, 4), (5, 9)][:n_images]
    # More points than pixels count per pixel: both ways must agree.
    table = []
    for image, (height, width) in enumerate(shapes):
        on_image = data.draw(
            st.lists(
                st.one_of(
                    st.tuples(st.integers(0, width - 1), st.integers(0, height - 1)),
                    st.tuples(
                        st.floats(0, width, exclude_max=True),
                        st.floats(0, height, exclude_max=True),
                    ),
                ),
                min_size=1,
                max_size=25,
            )
        )
        table += [(image, x, y) for x, y in on_image]
    image, x, y = map(np.array, zip(*table, strict=True))
    fixations = Fixations(image, 0 * image, np.arange(len(image)), x, y)
    others = OtherFixations(fixations, shapes)
    own = fixations.of_images(0)
    result = sauc(saliency_map, own.x, own.y, others, 0)
    expected = oracles.sauc(saliency_map.tolist(), own.x, own.y, table, shapes, 0)
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-12)

    counts = np.zeros((5, 7), int)
    for px, py in oracles.other_points(table, shapes, 0):
        counts[int(py), int(px)] += 1
    np.testing.assert_array_equal(others.counts(0), counts)
    assert others.number(0) == counts.sum()
    # The order in which images are asked for does not matter.
    others.counts(n_images - 1)
    np.testing.assert_array_equal(sauc(saliency_map, own.x, own.y, others, 0), result)


@given(
    arrays(float, st.integers(1, 60), elements=st.floats(allow_nan=False)),
    st.data(),
)
def test_counting_over_the_whole_range_of_floats(values, data):
    queries = np.array(
        data.draw(
            st.lists(st.one_of(st.sampled_from(values), st.floats(allow_nan=False)))
        )
    )
    counts = data.draw(st.none() | arrays(int, len(values), elements=st.integers(1, 9)))
    below, equal = below_and_equal(values, queries, counts)
    each = np.ones(len(values)) if counts is None else counts
    for query, b, e in zip(queries, below, equal, strict=True):
        assert b == each[values < query].sum()
        assert e == each[values == query].sum()


@pytest.mark.parametrize("sorted_at_once", [0, 2**20])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("shape", ["normal", "density", "log", "narrow", "blocks"])
def test_counting_in_large_maps(monkeypatch, sorted_at_once, kind, shape):
    monkeypatch.setattr(roc, "_SORTED_AT_ONCE", sorted_at_once)
    rng = np.random.default_rng(0)
    values = rng.normal(size=50_000)
    if shape == "density":
        values = np.exp(5 * values)
    if shape == "log":
        values = -12 + np.minimum(values, 3)
        values[:7] = -np.inf
    if shape == "narrow":
        values = 1e6 + np.round(values, 1)
    if shape == "blocks":
        values = values[:100].repeat(500)
    values = values.astype(kind)
    queries = rng.choice(values, 300)
    ordered = np.sort(values)
    below, equal = below_and_equal(values, queries)
    np.testing.assert_array_equal(below, np.searchsorted(ordered, queries, "left"))
    both = np.searchsorted(ordered, queries, "right")
    np.testing.assert_array_equal(below + equal, both)


@pytest.mark.parametrize("value", [0.0, 3.0, 0.1, -np.inf, 255])
def test_constant_maps_are_chance(value):
    constant = np.full((600, 800), value)
    fixations = Fixations([0, 1], [0, 0], [0, 0], [3, 4], [5, 6])
    others = OtherFixations(fixations, [(600, 800)] * 2)
    assert auc(constant, [1, 2], [3, 4]).tolist() == [0.5, 0.5]
    assert sauc(constant, [3], [5], others, 0).tolist() == [0.5]
    assert auc_judd(constant, [1, 2], [3, 4]) == 0.5
    if np.isfinite(value):
        assert auc_borji(constant, [1, 2], [3, 4]) == 0.5
        assert sauc_mit(constant, [3], [5], others, 0) == 0.5


@given(arrays(float, (5, 7), elements=st.integers(1, 40).map(float)), points)
def test_only_the_order_counts(saliency_map, points):
    x, y = columns(points)
    others = OtherFixations(
        Fixations([0, 1, 1], [0] * 3, [0, 0, 1], [1, 2, 3], [1, 2, 3]), [(5, 7)] * 2
    )
    log_density = np.log(saliency_map) - logsumexp(np.log(saliency_map))
    for same_order in (saliency_map**3, log_density, saliency_map.astype(np.uint8)):
        for measure in (auc, auc_judd, lambda *a: sauc(*a, others, 0)):
            np.testing.assert_array_equal(
                measure(same_order, x, y), measure(saliency_map, x, y)
            )


def test_a_reversed_map_has_the_opposite_auc():
    rng = np.random.default_rng(0)
    saliency_map = rng.integers(0, 9, (5, 7))
    x, y = rng.uniform(0, 5, (2, 30))
    forwards, backwards = auc(saliency_map, x, y), auc(-saliency_map, x, y)
    np.testing.assert_allclose(forwards + backwards, 1, atol=1e-12)


def test_duplicates_count_in_auc_and_not_in_judd():
    saliency_map = [[0.0, 1.0], [2.0, 3.0]]
    assert auc(saliency_map, [1, 1, 0], [1, 1, 0]).mean() == (2 * 0.875 + 0.125) / 3
    once = auc_judd(saliency_map, [1, 0], [1, 0])
    assert auc_judd(saliency_map, [1, 1, 1, 0], [1, 1, 1, 0]) == once


def test_jitter_breaks_ties_and_has_a_seed():
    rng = np.random.default_rng(0)
    saliency_map = np.round(rng.random((40, 50)) * 3)
    x, y = rng.uniform(0, 40, (2, 30))
    plain = auc_judd(saliency_map, x, y)
    jittered = auc_judd(saliency_map, x, y, jitter=True)
    assert jittered != plain and jittered == pytest.approx(plain, abs=0.1)
    assert jittered == auc_judd(saliency_map, x, y, jitter=True)
    assert jittered != auc_judd(saliency_map, x, y, jitter=True, seed=1)
    # The unit of the map changes nothing, nor do differences above 1e-7 drown.
    assert jittered == pytest.approx(auc_judd(saliency_map * 8, x, y, True), abs=1e-12)
    distinct = rng.permutation(2000).reshape(40, 50)
    assert auc_judd(distinct, x, y, True) == auc_judd(distinct, x, y)


def test_borji_against_loops_and_its_limits():
    rng = np.random.default_rng(0)
    saliency_map = np.round(rng.random((6, 8)), 1) * 7 - 3
    x, y = rng.uniform(0, 6, (2, 11))
    splits = 13
    drawn = np.random.default_rng(5).integers(48, size=(splits, 11))
    scaled = oracles.min_maxed(saliency_map)
    positives = oracles.at_fixations(scaled, x, y)
    each = [oracles.stepped_auc(positives, scaled.ravel()[d].tolist()) for d in drawn]
    result = auc_borji(saliency_map, x, y, splits, seed=5)
    assert result == pytest.approx(np.mean(each), abs=1e-12)
    assert result != auc_borji(saliency_map, x, y, splits, seed=6)
    # With many draws it is the area with all pixels as negatives.
    limit = oracles.stepped_auc(positives, scaled.ravel().tolist())
    assert auc_borji(saliency_map, x, y, 20_000) == pytest.approx(limit, abs=3e-3)


def test_thresholds_include_values_on_them():
    # 0.3 of the range is not 3 * 0.1 in floating point.
    saliency_map = np.arange(11.0)[None]
    x = np.arange(11) + 0.5
    each = oracles.stepped_auc(np.arange(11) / 10, np.arange(11) / 10)
    assert each == 0.5
    many = auc_borji(saliency_map, x, 0 * x, 20_000)
    assert many == pytest.approx(0.5, abs=2e-3)


def test_sauc_mit_draws_from_ten_other_images():
    rng = np.random.default_rng(0)
    n, per_image = 14, 6
    image = np.repeat(np.arange(n), per_image)
    x, y = rng.uniform(0, 8, (2, len(image)))
    fixations = Fixations(image, 0 * image, np.arange(len(image)), x, y)
    others = OtherFixations(fixations, [(8, 8)] * n)
    saliency_map = rng.random((8, 8))
    own = fixations.of_images(4)
    scaled = oracles.min_maxed(saliency_map)
    positives = oracles.at_fixations(scaled, own.x, own.y)
    one = [
        sauc_mit(saliency_map, own.x, own.y, others, 4, 400, 1, seed)
        for seed in range(60)
    ]
    expected = []
    for other in set(range(n)) - {4}:
        there = fixations.of_images(other)
        pool = {(int(b), int(a)) for a, b in zip(there.x, there.y, strict=True)}
        negatives = [scaled[p] for p in pool]
        if len(negatives) <= per_image:
            # All of the pool is drawn, whatever the order.
            expected.append(oracles.stepped_auc(positives, negatives))
    assert {round(v, 9) for v in one} <= {round(v, 9) for v in expected}
    assert len(set(one)) > 5
    result = sauc_mit(saliency_map, own.x, own.y, others, 4)
    assert result == sauc_mit(saliency_map, own.x, own.y, others, 4)
    assert result != sauc_mit(saliency_map, own.x, own.y, others, 4, seed=1)
    assert result == pytest.approx(
        sauc(saliency_map, own.x, own.y, others, 4).mean(), abs=0.15
    )


def test_other_images_are_scaled_exactly():
    # 11 of 22 pixels is 15 of 30, not a trace less; the far edge stays inside.
    far = np.nextafter(22.0, 0)
    fixations = Fixations([0, 1, 1], [0] * 3, [0, 0, 1], [1, 11, far], [0, 0, 0])
    others = OtherFixations(fixations, [(1, 30), (1, 22)])
    assert np.flatnonzero(others.counts(0)).tolist() == [15, 29]


GOOD = np.arange(35.0).reshape(5, 7)
LOG = GOOD - logsumexp(GOOD)


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        (lambda: auc(GOOD * np.nan, [1], [1]), "NaN"),
        (lambda: auc(np.full((5, 7), np.inf), [1], [1]), "plus infinity"),
        (lambda: auc(GOOD[None], [1], [1]), r"shape \[1, 5, 7\]"),
        (lambda: auc(GOOD[:0], [], []), "empty"),
        (lambda: auc(GOOD * 1j, [1], [1]), "complex"),
        (lambda: auc(GOOD, [7], [1]), "1 of 1 fixations are outside"),
        (lambda: auc(GOOD, [1], [np.nan]), "1 of 1 fixations are outside"),
        (lambda: auc(GOOD, [1, 2], [1]), "equal length"),
        (lambda: auc_judd(GOOD, [], []), "0 of 35 pixels are fixated"),
        (lambda: auc_judd([[1.0]], [0], [0]), "1 of 1 pixels are fixated"),
        (lambda: auc_judd(LOG, [1], [1], True), "is a log density"),
        (lambda: auc_borji(LOG, [1], [1]), "is a log density"),
        (lambda: auc_borji(GOOD, [], []), "no fixations"),
        (lambda: auc_borji(GOOD, [1], [1], 0), "splits is 0"),
        (lambda: sauc_mit(LOG, [1], [1], OTHERS, 0), "is a log density"),
        (lambda: sauc_mit(GOOD, [1], [1], OTHERS, 0, 1, 0), "1 other images.*0 are"),
        (lambda: sauc_mit(GOOD, [1], [1], LONELY, 0), "0 other images"),
        (lambda: sauc(GOOD, [1], [1], LONELY, 0), "no other image has fixations"),
        (lambda: sauc(GOOD.T, [1], [1], OTHERS, 0), r"\[7, 5\], image 0 \[5, 7\]"),
    ],
)
def test_refusals(measure, message):
    with pytest.raises(InputError, match=message):
        measure()


OTHERS = OtherFixations(
    Fixations([0, 1], [0, 0], [0, 0], [1, 2], [1, 2]), [(5, 7), (5, 7)]
)
LONELY = OtherFixations(Fixations([0], [0], [0], [1], [1]), [(5, 7), (5, 7)])


def test_broken_tables_are_refused():
    out = Fixations([0, 1], [0, 0], [0, 0], [1, 7], [1, 2])
    with pytest.raises(DataError, match=r"1 of 2 fixations are outside .* image 1"):
        OtherFixations(out, [(5, 7), (5, 7)])
    with pytest.raises(DataError, match="images 0 to 1; expected 0 to 0"):
        OtherFixations(out, [(5, 7)])
    with pytest.raises(InputError, match="image_sizes"):
        OtherFixations(out, [5, 7])


def test_no_fixations_no_values():
    assert auc(GOOD, [], []).shape == (0,)
    assert sauc(GOOD, [], [], OTHERS, 0).shape == (0,)


def test_every_metric_is_offered_in_one_place():
    for name in metrics.__all__:
        assert callable(getattr(metrics, name))
