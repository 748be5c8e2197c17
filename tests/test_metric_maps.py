import numpy as np
import oracles
import oracles_metrics
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import logsumexp

from deepgaze_jax import metric_maps
from deepgaze_jax.errors import InputError
from deepgaze_jax.fixations import Fixations
from deepgaze_jax.metric_maps import (
    PredictionSum,
    auc_map,
    cc_map,
    nss_map,
    sauc_map,
    sim_map,
)
from deepgaze_jax.metrics import OtherFixations, auc, cc, nss, sauc, sim
from deepgaze_jax.sampling import sample_fixations

log_densities = arrays(float, (5, 7), elements=st.sampled_from([-3.0, -1, 0, 0.5])).map(
    lambda m: m - logsumexp(m)
)


def blobs(height, width, seed=0, margin=0.1):
    """A log density with three narrow peaks."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    density = np.full((height, width), 0.05 / (height * width))
    for _ in range(3):
        cy, cx = rng.uniform(margin, 1 - margin, 2) * (height, width)
        density += np.exp(-0.5 * ((y - cy) ** 2 + (x - cx) ** 2) / (width / 20) ** 2)
    return np.log(density / density.sum())


@given(log_densities)
def test_ranks_against_loops(log_density):
    ranks = auc_map(log_density)
    every = log_density.ravel().tolist()
    for rank, value in zip(ranks.ravel(), every, strict=True):
        assert rank == pytest.approx(oracles_metrics.share_below(value, every))
    x, y = np.arange(7.0), np.array([0.0, 1, 2, 3, 4, 0, 1])
    np.testing.assert_array_equal(auc(ranks, x, y), auc(log_density, x, y))
    assert ranks.mean() == pytest.approx(0.5)


def test_shuffled_maps_rank_the_ratio():
    rng = np.random.default_rng(0)
    predictions = [blobs(12, 16, seed) for seed in range(4)]
    total = PredictionSum.empty(12, 16)
    for log_density in predictions:
        total = total.plus(log_density)
    assert total.n_images == 4
    for i, log_density in enumerate(predictions):
        others = [np.exp(p) for j, p in enumerate(predictions) if j != i]
        log_mean = total.log_mean_without(log_density)
        np.testing.assert_allclose(log_mean, np.log(np.mean(others, 0)), atol=1e-9)
        ratio = np.exp(log_density) / np.mean(others, axis=0)
        x, y = rng.uniform(0, 12, (2, 20))
        np.testing.assert_allclose(
            auc(sauc_map(log_density, log_mean), x, y), auc(ratio, x, y), atol=1e-12
        )


def test_shuffled_maps_win_sauc_and_ranks_win_auc():
    # Everybody looks at the middle, and a little at a place of each image.
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:40, :50]
    middle = np.exp(-0.5 * ((y - 20) ** 2 + (x - 25) ** 2) / 6**2)
    total, predictions, columns = PredictionSum.empty(40, 50), [], []
    for image in range(12):
        cy, cx = rng.uniform(5, 35, 2)
        own = np.exp(-0.5 * ((y - cy) ** 2 + (x - cx) ** 2) / 3**2)
        density = middle / middle.sum() + 0.5 * own / own.sum() + 1e-4
        predictions.append(np.log(density / density.sum()))
        total = total.plus(predictions[-1])
        columns.append((np.full(200, image), *sample_fixations(predictions[-1], 200)))
    image, px, py = map(np.concatenate, zip(*columns, strict=True))
    fixations = Fixations(image, 0 * image, np.arange(2400), px, py)
    others = OtherFixations(fixations, [(40, 50)] * 12)
    scores = []
    for i, log_density in enumerate(predictions):
        own = fixations.of_images(i)
        relative = sauc_map(log_density, total.log_mean_without(log_density))
        scores.append(
            [
                sauc(relative, own.x, own.y, others, i).mean(),
                sauc(auc_map(log_density), own.x, own.y, others, i).mean(),
                auc(relative, own.x, own.y).mean(),
                auc(auc_map(log_density), own.x, own.y).mean(),
            ]
        )
    means = np.mean(scores, axis=0)
    assert means[0] > means[1] + 0.01 and means[3] > means[2] + 0.05


def test_sums_over_images_of_several_sizes():
    wide, narrow = blobs(12, 16), blobs(12, 8, 1)
    total = PredictionSum.empty(12, 16).plus(wide).plus(narrow)
    expected = oracles.map_back(narrow, 12, 16)
    np.testing.assert_allclose(total.log_mean_without(wide), expected, atol=1e-5)
    back = total.log_mean_without(narrow)
    assert back.shape == (12, 8) and back.dtype == np.float64
    np.testing.assert_allclose(back, oracles.map_back(wide, 12, 8), atol=1e-5)


def test_probability_zero_ranks_lowest():
    with np.errstate(divide="ignore"):
        some, other = np.log([[0.0, 0.5, 0.5]]), np.log([[0.0, 1.0, 0.0]])
    total = PredictionSum.empty(1, 3).plus(some).plus(other)
    log_mean = total.log_mean_without(some)
    np.testing.assert_array_equal(sauc_map(some, log_mean), [[1 / 6, 0.5, 5 / 6]])


def test_densities_and_their_blur():
    log_density = blobs(30, 40)
    np.testing.assert_array_equal(nss_map(log_density), np.exp(log_density))
    for sigma_px in (0.5, 3.0, 20.0):
        expected = oracles_metrics.blurred_with_zeros(np.exp(log_density), sigma_px)
        np.testing.assert_allclose(cc_map(log_density, sigma_px), expected, atol=1e-12)


def empirical_maps(log_density, sigma_px, n_fixations, n_maps, seed):
    height, width = log_density.shape
    x, y = sample_fixations(log_density, n_fixations * n_maps, seed)
    return np.array(
        [
            oracles_metrics.empirical_density(a, b, height, width, sigma_px)
            for a, b in zip(x.reshape(n_maps, -1), y.reshape(n_maps, -1), strict=True)
        ]
    )


def expected_sim(saliency_map, maps):
    return np.mean([sim(saliency_map, empirical) for empirical in maps])


def test_the_sim_map_is_the_maximum_over_its_samples():
    log_density = blobs(6, 8)
    rng = np.random.default_rng(0)
    for n_samples in (1, 2, 5, 20):
        best = sim_map(log_density, 1.2, 3, n_samples, seed=4)
        assert best.shape == (6, 8) and best.sum() == pytest.approx(1)
        assert (best >= 0).all()
        maps = empirical_maps(log_density, 1.2, 3, n_samples, 4)
        highest = expected_sim(best, maps)
        candidates = [*maps, maps.mean(0), np.median(maps, 0), np.exp(log_density)]
        # Small moves of mass as well: the problem is concave, so they suffice.
        for _ in range(300):
            moved = best.ravel().copy()
            a, b = rng.choice(48, 2, replace=False)
            mass = moved[a] * rng.random() ** 3
            moved[a] -= mass
            moved[b] += mass
            candidates.append(moved.reshape(6, 8))
        for other in candidates:
            assert expected_sim(other, maps) <= highest + 1e-6


@pytest.mark.parametrize("n_fixations", [5, 40])
def test_the_sim_map_beats_density_and_blur_on_new_samples(n_fixations):
    log_density = blobs(45, 60)
    sigma_px = 4.0
    maps = empirical_maps(log_density, sigma_px, n_fixations, 150, seed=77)
    best = expected_sim(sim_map(log_density, sigma_px, n_fixations), maps)
    density = expected_sim(nss_map(log_density), maps)
    blurred = expected_sim(cc_map(log_density, sigma_px), maps)
    assert best > blurred + 0.003 and best > density + 0.01


def test_the_blurred_density_wins_cc_and_the_density_nss():
    # Away from the edges, where zeros and mirrored maps differ.
    log_density = blobs(45, 60, margin=0.35)
    sigma_px = 4.0
    maps = empirical_maps(log_density, sigma_px, 40, 150, seed=77)
    x, y = sample_fixations(log_density, 20_000, 5)
    density, blurred = nss_map(log_density), cc_map(log_density, sigma_px)
    others = sim_map(log_density, sigma_px, 40), auc_map(log_density)
    best_cc = np.mean([cc(blurred, empirical) for empirical in maps])
    for other in (*others, density):
        assert np.mean([cc(other, empirical) for empirical in maps]) < best_cc
    for other in (*others, blurred):
        assert nss(other, x, y).mean() < nss(density, x, y).mean()


def test_the_grid_of_the_sim_map_is_fine_enough(monkeypatch):
    log_density = blobs(60, 80)
    maps = empirical_maps(log_density, 8.0, 30, 60, seed=3)
    coarse = expected_sim(sim_map(log_density, 8.0, 30), maps)
    monkeypatch.setattr(metric_maps, "_STEPS_PER_SIGMA", 8)
    assert expected_sim(sim_map(log_density, 8.0, 30), maps) == pytest.approx(
        coarse, abs=3e-4
    )


def test_seed_of_the_sim_map():
    log_density = blobs(12, 16)
    one = sim_map(log_density, 2.0, 9, 20)
    np.testing.assert_array_equal(one, sim_map(log_density, 2.0, 9, 20, seed=0))
    assert not np.array_equal(one, sim_map(log_density, 2.0, 9, 20, seed=1))


GOOD = blobs(5, 7)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: auc_map(np.exp(GOOD)), "not a log density"),
        (lambda: nss_map(np.exp(GOOD)), "not a log density"),
        (lambda: cc_map(np.exp(GOOD), 1.0), "not a log density"),
        (lambda: sim_map(np.exp(GOOD), 1.0, 3), "not a log density"),
        (lambda: sauc_map(GOOD, np.exp(GOOD)), "log_mean_of_others is not a log"),
        (lambda: sauc_map(GOOD, blobs(5, 6)), r"\[5, 7\], the mean of the others"),
        (lambda: sim_map(GOOD, 1.0, 0), "n_fixations is 0"),
        (lambda: sim_map(GOOD, 1.0, 1, 0), "n_samples 0"),
        (lambda: sim_map(GOOD, 0.0, 1), "sigma is 0.0"),
        (lambda: PredictionSum.empty(5, 7).plus(np.exp(GOOD)), "not a log density"),
        (
            lambda: PredictionSum.empty(5, 7).plus(GOOD).log_mean_without(GOOD),
            "has 1 predictions",
        ),
    ],
)
def test_refusals(call, message):
    with pytest.raises(InputError, match=message):
        call()
