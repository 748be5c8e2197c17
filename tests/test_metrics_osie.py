"""What must hold on real fixations, whatever the model."""

import numpy as np
import pytest

from deepgaze_jax.center_bias import fit_center_bias, resample_log_density
from deepgaze_jax.leave_one_out import leave_one_out_center_biases
from deepgaze_jax.metrics import (
    OtherFixations,
    auc,
    averages,
    information_gain,
    log_likelihood,
    sauc,
)


def test_a_center_bias_predicts_nothing_that_the_others_do_not(osie_mini):
    fixations, sizes = osie_mini.fixations, osie_mini.image_sizes
    fitted = fit_center_bias(fixations, sizes)
    center_biases = leave_one_out_center_biases(fixations, sizes, fitted)
    others = OtherFixations(fixations, sizes)
    rows = []
    for image in range(len(osie_mini)):
        own = fixations.of_images(image)
        density = resample_log_density(center_biases[image], *map(int, sizes[image]))
        gain = information_gain(density, density, own.x, own.y)
        np.testing.assert_array_equal(gain, 0)
        shuffled = sauc(density, own.x, own.y, others, image)
        bits = log_likelihood(density, own.x, own.y)
        # The order is all there is in an AUC.
        stretched = np.exp(3 * density.astype(np.float64))
        np.testing.assert_array_equal(
            auc(density, own.x, own.y), auc(stretched, own.x, own.y)
        )
        np.testing.assert_array_equal(
            shuffled, sauc(stretched, own.x, own.y, others, image)
        )
        plain = auc(density, own.x, own.y).mean()
        rows.append([len(own), bits.mean(), plain, shuffled.mean()])
    counts, bits, plain, shuffled = np.array(rows).T
    # Made of exactly the negatives, it ranks these a little higher.
    assert 0.47 < averages(shuffled, counts).per_image < 0.5
    assert averages(plain, counts).per_image > 0.7
    # What the fit says is what its center biases reach.
    found = averages(bits, counts).per_image
    assert found == pytest.approx(fitted.log_likelihood, abs=1e-3)


def test_sauc_of_the_center_bias_on_all_of_osie(osie):
    fixations, sizes = osie.fixations, osie.image_sizes
    density = resample_log_density(
        fit_center_bias(fixations, sizes).log_density, 600, 800
    )
    others = OtherFixations(fixations, sizes)
    means = []
    for image in range(0, len(osie), 5):
        own = fixations.of_images(image)
        means.append(sauc(density, own.x, own.y, others, image).mean())
    assert np.mean(means) == pytest.approx(0.5, abs=0.01)
