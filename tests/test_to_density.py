"""Saliency maps made into densities."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.optimize import approx_fprime

from deepgaze_jax import to_density
from deepgaze_jax.errors import DataError, InputError
from deepgaze_jax.to_density import ToDensity, fit_to_density, sample_map

SHAPE = (48, 64)
UNIFORM = np.full(SHAPE, -np.log(48 * 64))


def center_bias():
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    values = -((y - 24) ** 2 / 400 + (x - 32) ** 2 / 700)
    return values - np.log(np.exp(values).sum())


def drawn(log_density, n, rng):
    pixel = rng.choice(log_density.size, n, p=np.exp(log_density).ravel())
    y, x = np.divmod(pixel, SHAPE[1])
    return x + 0.5, y + 0.5


def made_up(truth, n_images=12, n=150, seed=0):
    """Maps, and fixations that follow `truth(map)`."""
    rng = np.random.default_rng(seed)
    maps, samples = [], []
    for _ in range(n_images):
        saliency_map = gaussian_filter(rng.normal(size=SHAPE), 3)
        maps.append(saliency_map)
        values = truth(saliency_map) + center_bias()
        values -= np.log(np.exp(values).sum())
        # Images count alike, however many fixations are on them.
        n_drawn = n >> (len(maps) % 2)
        samples.append(sample_map(saliency_map, *drawn(values, n_drawn, rng)))
    return maps, samples


def by_hand(fit, saliency_map, bias):
    """The formula, pixel by pixel."""
    if fit.blur_fraction:
        sigma = fit.blur_fraction * max(saliency_map.shape)
        saliency_map = gaussian_filter(saliency_map, sigma, mode="nearest")
    values = np.empty(saliency_map.shape)
    for (row, column), value in np.ndenumerate(saliency_map):
        f = fit.log_factor[0]
        for k in range(1, len(fit.knots)):
            low, high = fit.knots[k - 1], fit.knots[k]
            part = min(max((value - low) / (high - low), 0), 1)
            f += part * (fit.log_factor[k] - fit.log_factor[k - 1])
        values[row, column] = f + fit.center_bias_weight * bias[row, column]
    return values - np.log(np.exp(values).sum())


def test_a_rising_relation_is_found():
    scale = 30.0
    maps, samples = made_up(lambda s: scale * s)
    fit = fit_to_density(samples, [center_bias()] * len(samples))
    assert (np.diff(fit.log_factor) >= 0).all() and fit.n_images == 12
    assert fit.blur_fraction <= 0.005
    assert fit.center_bias_weight == pytest.approx(1, abs=0.2)
    inner = slice(4, -4)
    slope = np.polyfit(fit.knots[inner], fit.log_factor[inner], 1)[0]
    assert slope == pytest.approx(scale, rel=0.2)
    expected = by_hand(fit, maps[0], center_bias())
    ours = fit.log_density(maps[0], center_bias())
    np.testing.assert_allclose(ours, expected, atol=1e-9)


def test_a_falling_relation_is_not():
    # What is dark cannot be said by a monotone function: the map is ignored.
    _, samples = made_up(lambda s: -30 * s)
    fit = fit_to_density(samples, [center_bias()] * len(samples))
    assert np.ptp(fit.log_factor) < 0.5


@pytest.mark.slow
def test_a_noisy_map_is_blurred():
    rng = np.random.default_rng(1)

    samples = []
    for _ in range(12):
        clean = gaussian_filter(rng.normal(size=SHAPE), 4)
        values = 40 * clean + UNIFORM
        values -= np.log(np.exp(values).sum())
        noisy = clean + rng.normal(0, clean.std(), SHAPE)
        samples.append(sample_map(noisy, *drawn(values, 200, rng)))
    assert fit_to_density(samples, [UNIFORM] * 12).blur_fraction > 0.01


def test_two_wider_blurs_that_are_worse_end_the_search(monkeypatch):
    values = [0.1, 0.3, 0.2, 0.4, 0.3, 0.2, 9.0]
    tried = []

    def fit(samples, biases, blur):
        tried.append(blur)
        return ToDensity(to_density.BLURS[blur], (0.0,), (0.0,), 1.0, values[blur], 1)

    monkeypatch.setattr(to_density, "_fit", fit)
    sample = sample_map(np.ones(SHAPE), [1.0], [1.0])
    assert fit_to_density([sample], [UNIFORM]).blur_fraction == to_density.BLURS[3]
    assert tried == [0, 1, 2, 3, 4, 5]


def test_the_fit_is_the_best_of_its_kind():
    _, samples = made_up(lambda s: 20 * np.maximum(s, 0), n_images=3, n=40)
    biases = [(k + 1) * center_bias() for k in range(3)]
    biases = [one - np.log(np.exp(one).sum()) for one in biases]
    best = fit_to_density(samples, biases)
    blur = to_density.BLURS.index(best.blur_fraction)

    def log_likelihood(parameters, anywhere=0.01):
        """On the sampled pixels, as the fit sees it."""
        steps, weight = parameters[:-1], parameters[-1]
        f = np.concatenate([[0], np.cumsum(steps)])
        total = 0.0
        for sample, bias in zip(samples, biases, strict=True):
            at = np.interp(sample.at_fixations[blur], best.knots, f)
            at += weight * bias.ravel()[sample.fixations]
            everywhere = np.interp(sample.at_pixels[blur], best.knots, f)
            everywhere += weight * bias.ravel()[sample.pixels]
            pixels = np.exp(sample.log_pixels)
            assert len(np.unique(sample.pixels)) == len(pixels)
            assert pixels.sum() == pytest.approx(UNIFORM.size)
            mean = (np.exp(everywhere) * pixels).sum() / UNIFORM.size
            evenly = (everywhere * pixels).sum() / UNIFORM.size
            total += (1 - anywhere) * at.mean() + anywhere * evenly - np.log(mean)
        return total / len(samples) / np.log(2)

    found = np.append(np.diff(best.log_factor), best.center_bias_weight)
    assert best.log_likelihood == pytest.approx(log_likelihood(found, 0), abs=1e-9)
    slope = approx_fprime(found, log_likelihood, 1e-6)
    # No step up helps where it is 0, and no step at all elsewhere.
    assert slope.max() < 2e-3
    assert np.abs(slope[found > 1e-6]).max() < 2e-3


def test_maps_that_say_nothing():
    flat = np.ones(SHAPE)
    samples = [sample_map(flat, [30.0, 40.0], [20.0, 21.0])] * 3
    fit = fit_to_density(samples, [center_bias()] * len(samples))
    assert len(fit.knots) == 1
    density = np.exp(fit.log_density(flat, center_bias()))
    assert density.sum() == pytest.approx(1)
    fit = ToDensity(0.0, (0.0, 1.0), (0.0, 2.0), 0.0, 0.0, 1)
    values = np.exp(fit.log_density(np.where(UNIFORM < 0, 1e6, 0), UNIFORM))
    np.testing.assert_allclose(values, np.exp(UNIFORM))


def test_refusals():
    with pytest.raises(DataError, match="no image"):
        fit_to_density([], [])
    sample = sample_map(np.ones((3, 4)), [1], [1])
    with pytest.raises(InputError, match="resize the map"):
        fit_to_density([sample], [UNIFORM])
    with pytest.raises(InputError, match="resize the map"):
        ToDensity(0.0, (0.0,), (0.0,), 1.0, 0.0, 1).log_density(
            np.ones((3, 4)), UNIFORM
        )
    for broken in (np.nan, np.inf, -np.inf):
        saliency_map = np.ones(SHAPE)
        saliency_map[3, 4] = broken
        with pytest.raises(InputError):
            sample_map(saliency_map, [1], [1])
