import numpy as np
import oracles_gaze
import pytest
import writers_gaze
from hypothesis import given
from hypothesis import strategies as st

from deepgaze_jax.datasets.fixation_detection import DetectionConfig, detect_fixations
from deepgaze_jax.errors import InputError


def same_as_oracle(path):
    found = np.array(detect_fixations(path[:, 0], path[:, 1])).T
    expected = np.array(oracles_gaze.detect_fixations(path[:, 0], path[:, 1]))
    np.testing.assert_array_equal(found, expected.reshape(-1, 4))
    return found


@pytest.mark.parametrize("seed", range(12))
def test_detection_is_that_of_the_slow_one(seed):
    found = same_as_oracle(writers_gaze.gaze(seed))
    assert len(found) > 3


@given(st.integers(0, 2**32 - 1), st.integers(1, 300))
def test_detection_of_any_gaze(seed, n):
    rng = np.random.default_rng(seed)
    jumps = rng.random(n) < rng.choice([0.01, 0.05, 0.3])
    path = np.cumsum(rng.normal(0, 60, (n, 2)) * jumps[:, None], axis=0)
    # Rounded to eighths: sums and differences are then exact in either order.
    same_as_oracle(np.round(8 * (path + rng.normal(0, 1.5, path.shape))) / 8)


def test_places_times_and_blinks():
    path = np.full((300, 2), 100.0)
    for k in range(6):
        path[100 + k] = 100 + (k + 1) * 50
    path[106:] = 400
    path[200:220] = -32768
    x, y, first, length = detect_fixations(path[:, 0], path[:, 1])
    np.testing.assert_array_equal(x[:2], [100, 400])
    np.testing.assert_array_equal(x, y)
    assert first[0] == 0
    assert abs(first[1] - 106) < 8
    assert (first[1:] > first[:-1] + length[:-1]).all()


def test_still_gaze_is_one_fixation():
    x, y, first, length = detect_fixations(np.full(50, 3.0), np.full(50, 4.0))
    assert (x.tolist(), y.tolist()) == ([3.0], [4.0])
    assert (first.tolist(), length.tolist()) == ([0], [50])


def test_unknown_samples_do_not_count():
    path = np.array([1.0, np.nan, 3.0, 3.0])
    x, _, _, length = detect_fixations(path, np.zeros(4))
    assert (x.tolist(), length.tolist()) == ([3.0], [4])


def test_no_samples_and_wrong_shapes():
    assert [len(v) for v in detect_fixations(np.zeros(0), np.zeros(0))] == [0] * 4
    with pytest.raises(InputError, match="one length"):
        detect_fixations(np.zeros(3), np.zeros(4))


def test_thresholds_matter():
    path = writers_gaze.gaze(1)
    n = len(detect_fixations(path[:, 0], path[:, 1])[0])
    deaf = DetectionConfig(threshold_dva_per_s=1e6)
    assert len(detect_fixations(path[:, 0], path[:, 1], deaf)[0]) == 1 < n
    joining = DetectionConfig(max_gap_samples=200)
    assert len(detect_fixations(path[:, 0], path[:, 1], joining)[0]) < n
