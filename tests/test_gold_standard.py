import dataclasses
import json

import numpy as np
import oracles
import oracles_metrics
import pytest
from scipy.optimize import minimize
from scipy.special import logsumexp

from deepgaze_jax import gold_standard as module
from deepgaze_jax import gold_standard_fit
from deepgaze_jax.center_bias import (
    fit_center_bias,
    resample_log_density,
    uniform_log_density,
)
from deepgaze_jax.errors import DataError, InputError
from deepgaze_jax.fixations import Fixations
from deepgaze_jax.gold_standard import (
    GoldStandard,
    gold_standard_log_density,
    gold_standard_log_likelihood,
    joint_log_likelihood,
    kde_at_fixations,
)
from deepgaze_jax.gold_standard_fit import fit_gold_standard
from deepgaze_jax.leave_one_out import leave_one_out_center_biases

HEIGHT, WIDTH = 18, 25
GOLD = GoldStandard(2.2, None, 0.11, 0.03, 0.0, 1)


def one_image(n=23, n_subjects=4, seed=0):
    """Fixations with duplicates, some at the edges, and a center bias."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(0, WIDTH, n), rng.uniform(0, HEIGHT, n)
    x[:3], y[:3] = 0, HEIGHT - 0.01
    x[3] = WIDTH - 0.01
    subject = rng.integers(0, n_subjects, n)
    fixations = Fixations(np.full(n, 7), subject, np.arange(n), x, y)
    center_bias = rng.normal(size=(HEIGHT, WIDTH))
    return fixations, center_bias - logsumexp(center_bias)


def some_images(n_images=6, seed=0):
    rng = np.random.default_rng(seed)
    sizes = np.column_stack(
        [rng.integers(30, 60, n_images), rng.integers(40, 70, n_images)]
    )
    image = np.repeat(np.arange(n_images), np.resize([12, 8, 16], n_images))
    n = len(image)
    subject = np.tile(np.arange(4), n // 4)
    place = rng.uniform(0.2, 0.8, (2, n_images, 2))[:, image, rng.integers(0, 2, n)]
    # A fifth near the middle, whatever the image: work for the center bias.
    astray = rng.random(n) < 0.2
    place = np.where(astray, rng.normal(0.5, 0.1, (2, n)), place)
    y, x = np.clip(place + rng.normal(0, 0.05, (2, n)), 0, 0.999) * sizes[image].T
    return Fixations(image, subject, np.arange(n), x, y), sizes


def literal(fixations, center_bias, subject):
    points = [
        (x, y)
        for x, y, s in zip(fixations.x, fixations.y, fixations.subject, strict=True)
        if s != subject
    ]
    return oracles_metrics.gold_standard_density(
        points, HEIGHT, WIDTH, 2.2, np.exp(center_bias), 0.86, 0.11
    )


def test_maps_against_a_literal_sum_of_gaussians():
    fixations, center_bias = one_image()
    for subject in (None, 0, 3, 99):
        log_density = gold_standard_log_density(
            GOLD, fixations, center_bias, left_out=subject
        )
        expected = literal(fixations, center_bias, subject)
        np.testing.assert_allclose(np.exp(log_density), expected, rtol=1e-9)
        assert logsumexp(log_density) == pytest.approx(0, abs=1e-12)
        assert log_density.dtype == np.float64


@pytest.mark.parametrize("pairs_at_once", [2**22, 60, 1])
def test_likelihoods_are_values_of_the_maps(monkeypatch, pairs_at_once):
    monkeypatch.setattr(module, "_PAIRS_AT_ONCE", pairs_at_once)
    fixations, center_bias = one_image()
    others = gold_standard_log_likelihood(GOLD, fixations, center_bias)
    everyone = joint_log_likelihood(GOLD, fixations, center_bias)
    assert others.shape == everyone.shape == (23,)
    for i in range(23):
        pixel = int(fixations.y[i]), int(fixations.x[i])
        for bits, subject in ((others, fixations.subject[i]), (everyone, None)):
            expected = np.log2(literal(fixations, center_bias, subject)[pixel])
            assert bits[i] == pytest.approx(expected + np.log2(450), abs=1e-9)
    assert everyone.mean() > others.mean() + 0.1


def test_who_has_nobody_else_is_predicted_by_the_rest():
    fixations, center_bias = one_image(5, 1)
    bits = gold_standard_log_likelihood(GOLD, fixations, center_bias)
    rest = literal(fixations, center_bias, 0)
    row, column = fixations.y.astype(int), fixations.x.astype(int)
    np.testing.assert_allclose(bits, np.log2(rest[row, column] * 450), atol=1e-9)
    nobody = fixations.select(slice(0))
    assert gold_standard_log_likelihood(GOLD, nobody, center_bias).shape == (0,)
    alone = gold_standard_log_density(GOLD, nobody, center_bias)
    np.testing.assert_allclose(np.exp(alone), rest, rtol=1e-12)


def test_degrees_are_pixels_times_pixels_per_degree():
    fixations, center_bias = one_image()
    degrees = dataclasses.replace(GOLD, bandwidth_px=None, bandwidth_dva=0.1)
    for measure in (
        gold_standard_log_likelihood,
        joint_log_likelihood,
        gold_standard_log_density,
    ):
        np.testing.assert_allclose(
            measure(degrees, fixations, center_bias, pixels_per_dva=22),
            measure(GOLD, fixations, center_bias),
        )
        with pytest.raises(InputError, match="give pixels_per_dva"):
            measure(degrees, fixations, center_bias)


def test_parameters_are_json():
    assert GoldStandard(**json.loads(json.dumps(dataclasses.asdict(GOLD)))) == GOLD
    assert GOLD.kde_weight == pytest.approx(0.86)
    for both in ((None, None), (1.0, 1.0)):
        with pytest.raises(InputError, match="exactly one"):
            GoldStandard(*both, 0.1, 0.1, 0.0, 1)


def literal_fit(fixations, sizes, images, center_biases, bandwidth, scale=None):
    """The best likelihood of a bandwidth, by another optimiser on literal densities."""
    rows, share = [], []
    for image, center_bias in zip(images, center_biases, strict=True):
        own = fixations.of_images(image)
        height, width = sizes[image]
        cb = np.exp(oracles.map_back(center_bias, height, width))
        sigma = bandwidth * (1 if scale is None else scale[image])
        for x, y, subject in zip(own.x, own.y, own.subject, strict=True):
            points = [
                (a, b)
                for a, b, s in zip(own.x, own.y, own.subject, strict=True)
                if s != subject
            ]
            kde = oracles_metrics.gold_standard_density(
                points, height, width, sigma, cb, 1.0, 0.0
            )
            pixel = int(y), int(x)
            rows.append([kde[pixel], cb[pixel], 1 / (height * width)])
            rows[-1] = [height * width * value for value in rows[-1]]
            share.append(1 / len(own) / len(images))
    rows, share = np.array(rows), np.array(share)

    def loss(z):
        weights = np.exp([*z, 0.0])
        return -(share @ np.log2(rows @ (weights / weights.sum())))

    return -min(minimize(loss, start).fun for start in ([2.0, 0.0], [0.0, 0.0]))


@pytest.mark.parametrize("in_degrees", [False, True])
def test_no_other_parameters_are_better(in_degrees):
    fixations, sizes = some_images()
    scale = np.array([10.0, 20, 30, 20, 15, 25]) if in_degrees else None
    images = [0, 2, 5]
    center_bias = fit_center_bias(fixations, sizes, images)
    center_biases = leave_one_out_center_biases(fixations, sizes, center_bias, images)
    gold = fit_gold_standard(fixations, sizes, images, pixels_per_dva=scale)
    assert gold.n_images == 3
    bandwidth = gold.bandwidth_dva if in_degrees else gold.bandwidth_px
    setting = fixations, sizes, images, center_biases
    at_best = literal_fit(*setting, bandwidth, scale)
    assert gold.log_likelihood == pytest.approx(at_best, abs=1e-5)
    for factor in (0.4, 0.9, 0.97, 1.03, 1.1, 3):
        other = literal_fit(*setting, bandwidth * factor, scale)
        assert other <= gold.log_likelihood + 1e-5
    # What the fit says is what evaluation finds.
    each = [
        gold_standard_log_likelihood(
            gold,
            fixations.of_images(image),
            resample_log_density(density, *sizes[image]),
            None if scale is None else scale[image],
        ).mean()
        for image, density in zip(images, center_biases, strict=True)
    ]
    assert np.mean(each) == pytest.approx(gold.log_likelihood, abs=1e-6)


def test_nothing_of_other_images_is_used():
    fixations, sizes = some_images()
    keep = np.isin(fixations.image, [0, 2, 3])
    x = np.where(keep, fixations.x, 0.0)
    moved = Fixations(
        fixations.image, fixations.subject, np.arange(len(x)), x, fixations.y
    )
    images = [0, 2, 3]
    assert fit_gold_standard(fixations, sizes, images) == fit_gold_standard(
        moved, sizes, images
    )


def test_center_biases_of_ones_own():
    fixations, sizes = some_images()
    uniform = [uniform_log_density(75, 100)] * 6
    gold = fit_gold_standard(fixations, sizes, center_biases=uniform)
    assert gold.log_likelihood < fit_gold_standard(fixations, sizes).log_likelihood
    with pytest.raises(InputError, match="5 center biases for 6 images"):
        fit_gold_standard(fixations, sizes, center_biases=uniform[1:])


def test_weights_reach_the_optimum():
    rng = np.random.default_rng(0)
    share = np.full(400, 1 / 400)
    for kde in (0 * share, np.exp(rng.normal(3, 2, 400)), rng.random(400) * 1e-9):
        rows = np.stack([kde, np.exp(rng.normal(0, 1, 400)), np.ones(400)], axis=1)
        best, weights = gold_standard_fit._best_weights(rows, share)
        assert weights.sum() == pytest.approx(1) and (weights >= 0).all()
        assert weights[2] >= 1e-12
        for other in rng.dirichlet([0.3] * 3, 2000):
            assert share @ np.log(rows @ other + 1e-300) <= best + 1e-6


def test_kde_of_two_people():
    row, column, subject = np.array([4, 4, 9]), np.array([3, 4, 5]), np.array([0, 0, 1])
    density, number = kde_at_fixations(row, column, subject, (20, 30), 2.0)
    assert number.tolist() == [1, 1, 2]
    assert density[2] == pytest.approx((density[0] + density[1]) / 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f, c: gold_standard_log_likelihood(GOLD, f, np.exp(c)), "center_bias_"),
        (
            lambda f, c: gold_standard_log_likelihood(GOLD, f, c[:3, :3] + 9),
            "not a log",
        ),
        (lambda f, c: joint_log_likelihood(GOLD, f, c.T), "outside the map of 18 x 25"),
        (
            lambda f, c: gold_standard_log_density(
                GOLD, Fixations([0, 1], [0, 0], [0, 0], [1, 1], [1, 1]), c
            ),
            "of 2 images",
        ),
    ],
)
def test_refusals(call, message):
    with pytest.raises(InputError, match=message):
        call(*one_image())


def test_fits_that_cannot_be():
    alone = Fixations([0, 0, 1], [0, 0, 1], [0, 1, 0], [1, 2, 3], [1, 2, 3])
    with pytest.raises(DataError, match="on none of 2 images two people looked"):
        fit_gold_standard(alone, [[5, 5]] * 2)
    with pytest.raises(DataError, match="outside their image"):
        fit_gold_standard(alone, [[5, 5], [5, 3]])
    fixations, sizes = some_images()
    with pytest.raises(InputError, match="from 0 to 6"):
        fit_gold_standard(fixations, sizes, [0, 6])
    with pytest.raises(InputError, match="pixels_per_dva has the shape"):
        fit_gold_standard(fixations, sizes, pixels_per_dva=[24.0])


def test_center_biases_without_each_image_against_an_oracle(monkeypatch):
    monkeypatch.setattr("deepgaze_jax.leave_one_out._IMAGES_AT_ONCE", 2)
    fixations, sizes = some_images()
    images = [1, 2, 4, 5]
    fitted = fit_center_bias(fixations, sizes, images)
    result = leave_one_out_center_biases(fixations, sizes, fitted, images)
    assert result.shape == (4, 75, 100) and result.dtype == np.float32
    for image, log_density in zip(images, result, strict=True):
        others = fixations.of_images([i for i in images if i != image])
        cells = oracles.center_bias_cells(others.x, others.y, others.image, sizes)
        expected = oracles.center_bias_log_density(
            cells, fitted.bandwidth_fraction, fitted.uniform_weight
        )
        # The float32 of the result, near ln(1e-16), is what limits this.
        np.testing.assert_allclose(log_density, expected, atol=1e-4)
    with pytest.raises(InputError, match="fewer than two"):
        leave_one_out_center_biases(fixations, sizes, fitted, [3])


def test_osie_mini(osie_mini):
    fixations, sizes = osie_mini.fixations, osie_mini.image_sizes
    gold = fit_gold_standard(fixations, sizes)
    # At half size; of the whole data set at full size it is twice 7.5.
    assert gold.bandwidth_px == pytest.approx(7.60, abs=0.05)
    assert gold.center_bias_weight == pytest.approx(0.072, abs=0.003)
    assert gold.uniform_weight == pytest.approx(0.0073, abs=0.0007)
    assert gold.log_likelihood == pytest.approx(2.7563, abs=1e-3)
