import numpy as np
import pytest
from scipy.special import logsumexp

from deepgaze_jax import sampling
from deepgaze_jax.errors import InputError
from deepgaze_jax.sampling import sample_fixations


def test_pixels_have_their_probabilities():
    rng = np.random.default_rng(0)
    density = rng.random((5, 7)) ** 3
    density[1, 2] = density[0, 0] = density[4, 6] = 0
    density /= density.sum()
    n = 200_000
    with np.errstate(divide="ignore"):
        x, y = sample_fixations(np.log(density), n)
    assert x.shape == y.shape == (n,) and x.dtype == y.dtype == np.float64
    counts = np.zeros((5, 7))
    np.add.at(counts, (y.astype(int), x.astype(int)), 1)
    assert (counts[density == 0] == 0).all()
    deviation = np.sqrt(n * density * (1 - density))
    assert (np.abs(counts - n * density) <= 5 * deviation).all()
    # Uniform within a pixel, and the two directions independent.
    for inside in (x % 1, y % 1):
        assert np.histogram(inside, 10, (0, 1))[0] == pytest.approx(n / 10, rel=0.05)
    assert abs(np.corrcoef(x % 1, y % 1)[0, 1]) < 0.01


def test_seed():
    uniform = np.full((50, 60), -np.log(3000))
    one, same = sample_fixations(uniform, 9, seed=4), sample_fixations(uniform, 9, 4)
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, sample_fixations(uniform, 9, 5))
    assert sample_fixations(uniform, 0)[0].shape == (0,)


def test_points_stay_inside_where_numbers_are_rounded(monkeypatch):
    class Highest:
        def random(self, shape):
            return np.full(shape, np.nextafter(1.0, 0))

    monkeypatch.setattr(sampling.np.random, "default_rng", lambda seed: Highest())
    log_density = np.full((3, 5000), -np.inf)
    log_density[1, 4990:4999] = -np.log(9)
    x, y = sample_fixations(log_density, 2)
    assert np.floor(x).tolist() == [4998] * 2 and np.floor(y).tolist() == [1] * 2


def test_the_lowest_draw_passes_over_pixels_without_probability(monkeypatch):
    class Lowest:
        def random(self, shape):
            return np.zeros(shape)

    monkeypatch.setattr(sampling.np.random, "default_rng", lambda seed: Lowest())
    log_density = np.array([[-np.inf, -np.inf, 0.0]])
    assert sample_fixations(log_density, 2)[0].tolist() == [2, 2]


def test_refusals():
    log_density = np.zeros((2, 2)) - logsumexp(np.zeros(4))
    with pytest.raises(InputError, match="not a log density"):
        sample_fixations(np.exp(log_density), 3)
    with pytest.raises(InputError, match="n is -1"):
        sample_fixations(log_density, -1)
