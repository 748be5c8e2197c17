import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepgaze_jax.errors import InputError
from deepgaze_jax.metrics import (
    averages,
    bootstrap_interval,
    information_gain_explained,
    information_gain_explained_interval,
    paired_interval,
)

images = st.lists(st.tuples(st.floats(-5, 9), st.integers(0, 30)), min_size=1)


@given(images.filter(lambda rows: any(count for _, count in rows)))
def test_averages_against_loops(rows):
    scores = [score if count else None for score, count in rows]
    result = averages(scores, [count for _, count in rows])
    used = [(score, count) for score, count in rows if count]
    each = [score for score, count in used for _ in range(count)]
    assert result.per_image == pytest.approx(np.mean([s for s, _ in used]), abs=1e-9)
    assert result.per_fixation == pytest.approx(np.mean(each), abs=1e-9)
    assert result.n_images + result.n_images_without_fixations == len(rows)
    assert (result.n_images, result.n_fixations) == (len(used), len(each))


def test_scores_of_images_without_fixations_never_count():
    for nothing in (None, np.nan, np.inf, 7.0):
        assert averages([1.0, nothing], [2, 0]).per_image == 1.0


@pytest.mark.parametrize(
    ("scores", "counts", "message"),
    [
        ([1.0, np.nan, -np.inf], [1, 0, 1], r"1 of 2 images .* first image 2 \(-inf\)"),
        ([None], [0], "no image has fixations"),
        ([], [], "no image has fixations"),
        ([1.0], [1, 2], r"shape \[1\], n_fixations \[2\]"),
    ],
)
def test_averages_refuse(scores, counts, message):
    with pytest.raises(InputError, match=message):
        averages(scores, counts)


def test_explained_is_a_ratio_of_means():
    model, gold, weights = [1.0, 3.0], [1.0, 4.0], [3, 1]
    assert information_gain_explained(model, gold) == 4 / 5
    assert information_gain_explained(model, gold, weights) == 6 / 7
    with pytest.raises(InputError, match=r"mean information gain of -1 bit"):
        information_gain_explained([1.0], [-1.0])
    with pytest.raises(InputError, match=r"shapes \[2\] and \[1\]"):
        information_gain_explained([1.0, 2.0], [1.0])
    with pytest.raises(InputError, match=r"1 of 2 values are not finite"):
        information_gain_explained([1.0, np.nan], [1.0, np.nan])
    with pytest.raises(InputError, match="no values"):
        information_gain_explained([], [])


def plain_resamples(seed, n, n_resamples):
    return np.random.default_rng(seed).integers(n, size=(n_resamples, n))


def test_intervals_resample_both_together():
    rng = np.random.default_rng(0)
    hard = rng.normal(2, 3, 40)
    first, second = hard + rng.normal(0.3, 0.1, 40), hard + rng.normal(0, 0.1, 40)
    weights = rng.integers(1, 9, 40)
    for w in (None, weights):
        each = np.ones(40) if w is None else w
        drawn = plain_resamples(3, 40, 500)
        differences, ratios = [], []
        for rows in drawn:
            a, b = np.average([first[rows], second[rows]], axis=1, weights=each[rows])
            differences.append(a - b)
            ratios.append(a / b)
        setting = (0.9, 500, 3, w)
        np.testing.assert_allclose(
            paired_interval(first, second, *setting),
            np.quantile(differences, [0.05, 0.95]),
        )
        np.testing.assert_allclose(
            information_gain_explained_interval(first, second + 9, *setting),
            np.quantile(
                [
                    np.average(first[r], weights=each[r])
                    / np.average(second[r] + 9, weights=each[r])
                    for r in drawn
                ],
                [0.05, 0.95],
            ),
        )
    low, high = paired_interval(first, second)
    assert 0.2 < low < high < 0.4
    # Apart, the intervals of the two say nothing.
    assert bootstrap_interval(first)[0] < bootstrap_interval(second)[1]
    assert paired_interval(first, first) == (0, 0)
    assert paired_interval(second, first) == pytest.approx((-high, -low), abs=1e-12)


def test_a_gold_standard_that_fails_in_a_resample_is_refused():
    with pytest.raises(InputError, match="gold standard"):
        information_gain_explained_interval([1.0, 1.0], [5.0, -4.0])
