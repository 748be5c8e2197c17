import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.special import logsumexp

from deepgaze_jax import center_bias as module
from deepgaze_jax.center_bias import (
    CENTER_BIAS_SHAPE,
    check_center_bias,
    fit_center_bias,
    fit_center_biases,
    resample_log_density,
    uniform_log_density,
)
from deepgaze_jax.errors import DataError, InputError
from deepgaze_jax.fixations import Fixations
from deepgaze_jax.folds import make_folds


def some_fixations(n_images=7, seed=0):
    """Fixations around the middle, sizes and numbers differing by image."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(90, 300, (n_images, 2))
    image = np.repeat(np.arange(n_images), rng.integers(5, 40, n_images))
    height, width = sizes[image].T
    x = np.clip(rng.normal(0.45, 0.15, len(image)), 0, 0.9999) * width
    y = np.clip(rng.normal(0.55, 0.1, len(image)), 0, 0.9999) * height
    return Fixations(image, 0 * image, np.arange(len(image)), x, y), sizes


def literal_histogram(fixations, sizes, images):
    histogram = np.zeros(CENTER_BIAS_SHAPE)
    for image, x, y in zip(fixations.image, fixations.x, fixations.y, strict=True):
        if image in images:
            height, width = sizes[image]
            histogram[int(y / height * 75), int(x / width * 100)] += 1
    return histogram


def literal_density(histogram, bandwidth, uniform_weight):
    density = gaussian_filter(
        histogram, [bandwidth * 75, bandwidth * 100], mode="reflect", truncate=4
    )
    return (1 - uniform_weight) * density / density.sum() + uniform_weight / 7500


def literal_leave_one_out(fixations, sizes, images, bandwidth, uniform_weight):
    """Bits per fixation over uniform: mean over fixations, then over images."""
    histograms = {i: literal_histogram(fixations, sizes, [i]) for i in images}
    total = sum(histograms.values())
    per_image = []
    for own in histograms.values():
        if own.sum():
            density = literal_density(total - own, bandwidth, uniform_weight)
            bits = np.log2(density * 7500)
            per_image.append((own * bits).sum() / own.sum())
    return np.mean(per_image)


def test_likelihood_and_density_against_literal_leave_one_out():
    fixations, sizes = some_fixations()
    fitted = fit_center_bias(fixations, sizes)
    setting = (fitted.bandwidth_fraction, fitted.uniform_weight)
    expected = literal_leave_one_out(fixations, sizes, range(7), *setting)
    np.testing.assert_allclose(fitted.log_likelihood, expected, rtol=1e-9)
    histogram = literal_histogram(fixations, sizes, range(7))
    np.testing.assert_allclose(
        fitted.log_density, np.log(literal_density(histogram, *setting)), atol=1e-5
    )


def test_no_other_setting_is_better():
    fixations, sizes = some_fixations(seed=1)
    fitted = fit_center_bias(fixations, sizes)
    for bandwidth in np.geomspace(0.004, 0.4, 25):
        for weight in (1e-6, 1e-3, 0.01, 0.03, 0.1, 0.3):
            bits = literal_leave_one_out(fixations, sizes, range(7), bandwidth, weight)
            assert bits <= fitted.log_likelihood + 1e-4


def test_uniform_fixations_need_the_uniform_part():
    rng = np.random.default_rng(3)
    image = np.repeat(np.arange(40), 5)
    x, y = rng.uniform(0, 100, (2, 200))
    fixations = Fixations(image, 0 * image, np.arange(200), x, y)
    fitted = fit_center_bias(fixations, [[100, 100]] * 40)
    assert abs(fitted.log_likelihood) < 0.1
    # Nobody looked at the same place twice: only the uniform part predicts anything.
    image = np.arange(4)
    fixations = Fixations(image, image, image, [1, 1, 99, 99], [1, 99, 1, 99])
    assert fit_center_bias(fixations, [[100, 100]] * 4).log_likelihood > -1


def test_the_image_itself_is_left_out():
    # All look at one place, but a different one on each image: the others mislead.
    image = np.repeat(np.arange(4), 20)
    x, y = np.array([[10, 90, 10, 90], [10, 10, 90, 90]])[:, image]
    fixations = Fixations(image, 0 * image, np.arange(80), x, y)
    assert fit_center_bias(fixations, [[100, 100]] * 4).log_likelihood < 0.05


def test_only_the_chosen_images_count():
    fixations, sizes = some_fixations()
    chosen = [0, 2, 5]
    keep = fixations.of_images(chosen)
    for other in (fit_center_bias(keep, sizes), fit_center_bias(keep, sizes, chosen)):
        fitted = fit_center_bias(fixations, sizes, chosen)
        np.testing.assert_array_equal(fitted.log_density, other.log_density)
        assert fitted.log_likelihood == pytest.approx(other.log_likelihood, rel=1e-12)
    # Held-out images may even be broken.
    broken = Fixations(
        *(
            np.append(getattr(fixations, name), value)
            for name, value in zip(
                ("image", "subject", "fixation_index", "x", "y"),
                (3, 0, 0, np.nan, 1e9),
                strict=True,
            )
        )
    )
    again = fit_center_bias(broken, sizes, chosen)
    np.testing.assert_array_equal(fitted.log_density, again.log_density)
    with pytest.raises(
        DataError, match=r"1 of .* outside their image, first on image 3"
    ):
        fit_center_bias(broken, sizes)


def test_many_sets_at_once_equal_one_by_one(monkeypatch):
    fixations, sizes = some_fixations(12)
    monkeypatch.setattr(module, "_IMAGES_AT_ONCE", 5)
    sets = [fold.train for fold in make_folds(12)]
    for together, images in zip(
        fit_center_biases(fixations, sizes, sets), sets, strict=True
    ):
        alone = fit_center_bias(fixations, sizes, images)
        np.testing.assert_allclose(
            together.log_density, alone.log_density, rtol=0, atol=1e-6
        )
        assert together.bandwidth_fraction == alone.bandwidth_fraction
        assert together.log_likelihood == pytest.approx(alone.log_likelihood, rel=1e-9)
    assert fit_center_biases(fixations, sizes, []) == ()


def test_log_density_is_one_and_read_only():
    fixations, sizes = some_fixations()
    log_density = fit_center_bias(fixations, sizes).log_density
    assert log_density.dtype == np.float32 and log_density.shape == (75, 100)
    assert abs(logsumexp(log_density.astype(np.float64))) < 1e-5
    assert np.isfinite(log_density).all()
    with pytest.raises(ValueError, match="read-only"):
        log_density[0, 0] = 0


def test_images_without_fixations_are_passed_over():
    fixations, sizes = some_fixations()
    more = np.vstack([sizes, [[100, 100]] * 3])
    a, b = fit_center_bias(fixations, sizes), fit_center_bias(fixations, more)
    assert a.log_likelihood == b.log_likelihood


def test_too_little_or_wrong_images():
    fixations, sizes = some_fixations()
    with pytest.raises(DataError, match=r"1 of 1 images have fixations.*at least 2"):
        fit_center_bias(fixations, sizes, [3])
    with pytest.raises(DataError, match=r"0 of 7 images"):
        fit_center_bias(fixations.select(slice(0, 0)), sizes)
    with pytest.raises(InputError, match="twice"):
        fit_center_bias(fixations, sizes, [3, 3, 4])
    with pytest.raises(InputError, match=r"from 0 to 7.*indices from 0 to 6"):
        fit_center_bias(fixations, sizes, [0, 7])
    with pytest.raises(InputError, match="expected image indices"):
        fit_center_bias(fixations, sizes, np.ones(7, bool))


# The figures below are of the whole data set, each image predicted from the others.


def test_osie_mini(osie_mini):
    fitted = fit_center_bias(osie_mini.fixations, osie_mini.image_sizes)
    # The data's own note says 0.445; that is its likelihood at the bandwidth that is
    # best for the full data set, seven times as many images. Its own best is wider.
    data = (osie_mini.fixations, osie_mini.image_sizes, range(100))
    narrow = literal_leave_one_out(*data, 0.027, 0.035)
    assert narrow == pytest.approx(0.445, abs=0.01)
    assert fitted.log_likelihood == pytest.approx(0.466, abs=0.003)
    setting = (fitted.bandwidth_fraction, fitted.uniform_weight)
    assert fitted.log_likelihood == pytest.approx(
        literal_leave_one_out(*data, *setting), abs=1e-8
    )


def test_osie(osie):
    fitted = fit_center_bias(osie.fixations, osie.image_sizes)
    assert fitted.log_likelihood == pytest.approx(0.57, abs=0.01)
    assert 0.02 < fitted.bandwidth_fraction < 0.04


def test_osie_test_parts(osie):
    folds = make_folds(len(osie))
    sets = [fold.train for fold in folds]
    fitted = fit_center_biases(osie.fixations, osie.image_sizes, sets)
    per_image = []
    for fold, center_bias in zip(folds, fitted, strict=True):
        bits = resample_log_density(center_bias.log_density, 600, 800) / np.log(2)
        for image in fold.test:
            counts = osie.fixations.counts(image, 600, 800)
            per_image.append((counts * bits).sum() / counts.sum() + np.log2(480000))
    assert np.mean(per_image) == pytest.approx(0.57, abs=0.01)


# --- resampling and checks ------------------------------------------------------------


@pytest.mark.parametrize(
    ("height", "width"), [(75, 100), (600, 800), (97, 131), (33, 47), (1, 1), (80, 3)]
)
def test_resampling_against_a_loop(height, width):
    log_density = np.random.default_rng(0).normal(size=CENTER_BIAS_SHAPE)
    expected = np.empty((height, width))
    for i in range(height):
        for j in range(width):
            row = int(np.floor((i + 0.5) * 75 / height))
            column = int(np.floor((j + 0.5) * 100 / width))
            expected[i, j] = log_density[row, column]
    expected -= logsumexp(expected)
    resampled = resample_log_density(log_density, height, width)
    assert resampled.dtype == np.float32
    np.testing.assert_allclose(resampled, expected, rtol=1e-6)


def test_resampling_of_many():
    many = np.random.default_rng(0).normal(size=(2, 3, 5, 7))
    resampled = resample_log_density(many, 9, 4)
    assert resampled.shape == (2, 3, 9, 4)
    np.testing.assert_array_equal(
        resampled[1, 2], resample_log_density(many[1, 2], 9, 4)
    )


@pytest.mark.parametrize("shape", [(3,), (0, 3), (3, 0)])
def test_resampling_of_nothing(shape):
    with pytest.raises(InputError, match="cannot resample"):
        resample_log_density(np.zeros(shape), 4, 4)
    with pytest.raises(InputError, match="cannot resample"):
        resample_log_density(np.zeros((2, 2)), 0, 4)


def test_uniform():
    uniform = uniform_log_density(33, 47)
    assert uniform.dtype == np.float32 and uniform.shape == (33, 47)
    assert logsumexp(uniform.astype(np.float64)) == pytest.approx(0, abs=1e-6)


def test_center_bias_that_fits_is_unchanged():
    given = np.random.default_rng(0).normal(size=(6, 8))
    given -= logsumexp(given) - 9e-4
    checked = check_center_bias(given, 6, 8)
    assert checked.dtype == np.float32
    np.testing.assert_array_equal(checked, given.astype(np.float32))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((6, 9)), r"\[6, 9\], the image \[6, 8\].*resample_log_density"),
        (np.zeros((8, 6)), r"axes are swapped"),
        (np.zeros((1, 6, 8)), r"shape \[1, 6, 8\]"),
        (np.full((6, 8), 1 / 48), r"looks like a density: take its natural log"),
        (np.full((6, 8), -np.log(48) + 2e-3), r"log-sum-exp is 0.002, expected 0"),
        (np.full((6, 8), -np.log(48) - 2e-3), r"log-sum-exp is -0.002"),
        (np.full((6, 8), np.nan), r"48 values that are not finite, first nan"),
        (np.where(np.arange(48) == 9, -np.inf, -np.log(47)).reshape(6, 8), "row 1"),
        (np.array([["a"] * 8] * 6), r"type <U1"),
    ],
)
def test_center_bias_that_does_not_fit(array, message):
    with pytest.raises(InputError, match=message):
        check_center_bias(array, 6, 8)
