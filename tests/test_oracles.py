"""The oracles themselves, on cases small enough to be worked out by hand."""

import os
from pathlib import Path

import numpy as np
import oracles
import pytest

SHARED = Path(
    os.environ.get("DEEPGAZE_SHARED", Path(__file__).resolve().parents[2] / "shared")
)
GOLDEN = SHARED / "data" / "tf1" / "icf_golden.npz"

# (length, k): first and last cell of each window
WINDOWS = {
    (1, 2): [(0, 0)],
    (2, 2): [(0, 1)],
    (3, 2): [(0, 1), (2, 2)],
    (4, 2): [(0, 1), (2, 3)],
    (5, 2): [(0, 1), (2, 3), (4, 4)],
    (6, 2): [(0, 1), (2, 3), (4, 5)],
    (7, 2): [(0, 1), (2, 3), (4, 5), (6, 6)],
    (8, 2): [(0, 1), (2, 3), (4, 5), (6, 7)],
    (9, 2): [(0, 1), (2, 3), (4, 5), (6, 7), (8, 8)],
    # 3 cells of padding: 1 before, 2 after; 2: 1 and 1; 1: 0 and 1.
    (1, 4): [(0, 0)],
    (2, 4): [(0, 1)],
    (3, 4): [(0, 2)],
    (4, 4): [(0, 3)],
    (5, 4): [(0, 2), (3, 4)],
    (6, 4): [(0, 2), (3, 5)],
    (7, 4): [(0, 3), (4, 6)],
    (8, 4): [(0, 3), (4, 7)],
    (9, 4): [(0, 2), (3, 6), (7, 8)],
}


@pytest.mark.parametrize(("n", "k"), WINDOWS)
def test_pools_use_the_windows_of_tensorflow(n, k):
    values = np.random.default_rng(n).normal(size=n) - 5  # negative: padding is not 0
    cells = [values[first : last + 1] for first, last in WINDOWS[n, k]]
    column, row = values[:, None, None], values[None, :, None]
    for pool, reduce in ((oracles.pool_mean, np.mean), (oracles.pool_max, np.max)):
        expected = [reduce(c) for c in cells]
        np.testing.assert_allclose(pool(column, k)[:, 0, 0], expected)
        np.testing.assert_allclose(pool(row, k)[0, :, 0], expected)


def test_pool_of_a_small_image():
    x = np.arange(9.0).reshape(3, 3)
    np.testing.assert_array_equal(oracles.pool_mean(x, 2), [[2, 3.5], [6.5, 8]])
    np.testing.assert_array_equal(oracles.pool_max(x, 2), [[4, 5], [7, 8]])


def test_conv3x3_is_a_correlation_with_zero_padding():
    x = np.arange(1.0, 7.0).reshape(2, 3, 1)  # 1 2 3 / 4 5 6
    kernel = np.zeros((3, 3, 1, 2))
    kernel[0, 2, 0, 0] = 1  # the cell above and to the right
    kernel[:, :, 0, 1] = 1
    out = oracles.conv3x3_same(x, kernel, np.array([10.0, 0.0]))
    np.testing.assert_array_equal(out[..., 0], [[10, 10, 10], [12, 13, 10]])
    np.testing.assert_array_equal(out[..., 1], [[12, 21, 16], [12, 21, 16]])


def test_vgg19_has_the_named_taps_and_sizes():
    assert len(oracles.VGG19_CONVOLUTIONS) == 16
    assert len(oracles.VGG19_TAPS) == 37
    params = oracles.random_vgg19_params(0)
    assert list(params) == [f"conv{c}" for c in oracles.VGG19_CONVOLUTIONS]
    assert sum(v["kernel"].size + v["bias"].size for v in params.values()) == 20_024_384
    out = oracles.vgg19(params, oracles.random_image(0, 9, 18), oracles.VGG19_TAPS)
    assert out["conv1_1"].shape == (9, 18, 64)
    assert out["conv3_4"].shape == (3, 5, 256)
    assert out["pool5"].shape == (1, 1, 512)
    assert out["conv5_1"].min() < 0 <= out["relu5_1"].min()


def test_vgg19_subtracts_the_rgb_mean():
    params = oracles.random_vgg19_params(0)
    image = np.broadcast_to(oracles.RGB_MEAN, (4, 4, 3))
    out = oracles.vgg19(params, image, ["conv1_1"])["conv1_1"]
    np.testing.assert_allclose(
        out, np.broadcast_to(params["conv1_1"]["bias"], out.shape)
    )


def test_random_inputs_are_reproducible_and_not_trivial():
    image = oracles.random_image(1, 33, 47)
    np.testing.assert_array_equal(image, oracles.random_image(1, 33, 47))
    assert image.min() >= 0 and image.max() <= 255 and image.std() > 20
    assert not np.array_equal(image, oracles.random_image(2, 33, 47))


def test_upsample_nearest_crops_at_the_top_left():
    x = np.array([[1.0, 2.0], [3.0, 4.0]])
    expected = [[1, 1, 1, 2, 2], [1, 1, 1, 2, 2], [1, 1, 1, 2, 2], [3, 3, 3, 4, 4]]
    np.testing.assert_array_equal(oracles.upsample_nearest(x, 3, 4, 5), expected)


def test_readout_layers_by_hand():
    readout = {
        "dense0": {"kernel": np.array([[1.0, -1.0]]), "bias": np.array([0.0, 1.0])},
        "dense1": {"kernel": np.array([[1.0], [2.0]]), "bias": np.array([-1.0])},
        "dense2": {"kernel": np.array([[3.0]]), "bias": np.array([0.5])},
        "dense3": {"kernel": np.array([[-2.0]])},
    }
    features = np.array([[[2.0], [-1.0]]])
    # 2: (2, 0) -> 1 -> 3.5 -> -7, kept negative; -1: (0, 2) -> 3 -> 9.5 -> -19.
    out = oracles.readout_upsample_first(readout, features, 3, 9)
    np.testing.assert_array_equal(out, np.tile([-7.0] * 8 + [-19.0], (3, 1)))


def test_blur_keeps_constants_and_replicates_edges():
    for shape in ((1, 1), (3, 50), (45, 2)):
        np.testing.assert_allclose(oracles.blur(np.full(shape, 3.0), 13.0), 3.0)
    # radius 1 and a sigma that makes the taps 1/4, 1/2, 1/4
    sigma = np.sqrt(1 / (2 * np.log(2)))
    out = oracles.blur(np.array([[4.0, 0.0, 8.0]]), sigma, radius=1)
    np.testing.assert_allclose(out, [[3.0, 3.0, 6.0]])


def test_blur_has_41_taps_whatever_sigma_is():
    impulse = np.zeros((1, 101))
    impulse[0, 50] = 1
    out = oracles.blur(impulse, 1000.0)[0]
    np.testing.assert_array_equal(np.nonzero(out)[0], np.arange(30, 71))
    np.testing.assert_allclose(out[30:71], 1 / 41, rtol=1e-3)


def test_mixture_averages_densities():
    log_densities = np.log([[[0.1, 0.9]], [[0.5, 0.5]]])
    np.testing.assert_allclose(np.exp(oracles.mixture(log_densities)), [[0.3, 0.7]])


def test_finalize_by_hand():
    # Grid 1 x 2 of a 2 x 5 image: 8 pixels of the first cell, 2 of the second. The
    # 5 columns have 3 cells of padding, so the center bias pools 3 + 2 of them.
    center_bias = np.log([[0.4, 0.4, 0.4, 0.1, 0.1]] * 2)
    finalizer = {"sigma_grid_px": 1e-3, "center_bias_weight": 0.5}
    readout_map = np.log([[1.0, 3.0]])
    out = oracles.finalize(readout_map, finalizer, center_bias, 2, 5)
    weights = np.array([[1 * 0.4**0.5] * 4 + [3 * 0.1**0.5]] * 2)
    np.testing.assert_allclose(np.exp(out), weights / weights.sum())
    out = oracles.finalize(readout_map, finalizer, None, 2, 5)
    np.testing.assert_allclose(np.exp(out), [[1 / 14] * 4 + [3 / 14]] * 2)


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (33, 47)])
def test_densities_sum_to_one(size):
    rng = np.random.default_rng(0)
    readouts = [
        {
            "dense0": {"kernel": rng.normal(size=(2560, 16)), "bias": np.ones(16)},
            "dense1": {"kernel": rng.normal(size=(16, 32)), "bias": np.ones(32)},
            "dense2": {"kernel": rng.normal(size=(32, 2)), "bias": np.ones(2)},
            "dense3": {"kernel": rng.normal(size=(2, 1)) / 1e4},
        }
        for _ in range(2)
    ]
    finalizers = [
        {"sigma_grid_px": sigma, "center_bias_weight": 0.9} for sigma in (0.7, 5.0)
    ]
    image = oracles.random_image(0, *size)
    center_bias = oracles.log_normalise(rng.normal(size=size))
    params = oracles.random_vgg19_params(0)
    out = oracles.deepgaze2(params, readouts, finalizers, image, center_bias)
    for name in ("log_density", "log_density_without_center_bias"):
        assert out[name].shape == size
        assert abs(oracles.logsumexp(out[name])) < 1e-12
    np.testing.assert_allclose(
        oracles.mixture(out["fold_log_densities"]), out["log_density"]
    )


def test_resize_by_hand():
    x = np.array([[0.0, 3.0, 6.0]])
    # Shrinking 3 to 2: cells cover [0, 1.5) and [1.5, 3).
    np.testing.assert_allclose(oracles.resize_image(x, 1, 2), [[1.0, 5.0]])
    # Enlarging 3 to 6: positions -0.25, 0.25, 0.75, 1.25, 1.75, 2.25.
    np.testing.assert_allclose(
        oracles.resize_image(x, 1, 6), [[0, 0.75, 2.25, 3.75, 5.25, 6]]
    )
    np.testing.assert_array_equal(oracles.resize_image(x, 1, 3), x)
    # One axis shrinks while the other grows; channels stay apart.
    tall = np.array([[[0.0, 1.0]], [[4.0, 2.0]]])
    np.testing.assert_allclose(
        oracles.resize_image(tall, 1, 2), [[[2.0, 1.5], [2.0, 1.5]]]
    )


def test_map_back_by_hand():
    log_density = np.log([[0.25, 0.75]])
    # (x + .5) * 2 / 3: 0.33, 1, 1.67; each row the same
    out = oracles.map_back(log_density, 2, 3)
    np.testing.assert_allclose(np.exp(out), np.array([[0.25, 0.75, 0.75]] * 2) / 3.5)
    # and to fewer cells: (x + .5) * 4 / 2 = 1, 3
    log_density = np.log([[0.1, 0.2, 0.3, 0.4]])
    out = oracles.map_back(log_density, 1, 2)
    np.testing.assert_allclose(np.exp(out), [[1 / 3, 2 / 3]])


def test_center_bias_leaves_out_the_own_image():
    sizes = np.array([[75, 100], [150, 100], [600, 800]])
    x, y = [10.0, 10.5, 90.0, 799.9], [20.0, 41.0, 140.9, 599.9]
    image = [0, 1, 1, 2]
    cells = oracles.center_bias_cells(x, y, image, sizes)
    assert cells == [(20, 10), (20, 10), (70, 90), (74, 99)]
    # With no blur the first fixation finds one of three others in its own cell.
    values = oracles.center_bias_loo_log_likelihood(x, y, image, sizes, 1e-9, 0.1)
    share = 0.1 / 7500
    expected = [0.9 / 3 + share, 0.9 / 2 + share, share, share]
    np.testing.assert_allclose(values, np.log2(np.array(expected) * 7500))
    # Alone, an image is scored by the uniform density.
    alone = oracles.center_bias_loo_log_likelihood([1.0], [2.0], [0], sizes, 0.02, 0.1)
    np.testing.assert_allclose(alone, [0.0], atol=1e-12)


def test_center_bias_blur_is_normalised_and_in_fractions_of_the_sides():
    density = np.exp(oracles.center_bias_log_density([(37, 50)], 0.02, 1e-9))
    assert abs(density.sum() - 1) < 1e-12
    y, x = np.mgrid[:75, :100]
    for coordinate, side in ((y, 75), (x, 100)):
        mean = np.sum(density * coordinate)
        sigma = np.sqrt(np.sum(density * (coordinate - mean) ** 2))
        np.testing.assert_allclose(sigma, 0.02 * side, rtol=0.01)


def test_metrics_by_hand():
    log_density = np.log([[0.5, 0.25], [0.125, 0.125]])
    baseline = np.log([[0.25, 0.25], [0.25, 0.25]])
    x, y = [0.0, 1.99, 0.5], [0.9, 0.0, 1.0]
    np.testing.assert_allclose(oracles.log_likelihood(log_density, x, y), [1, 0, -1])
    gain = oracles.information_gain(log_density, baseline, x, y)
    np.testing.assert_allclose(gain, [1, 0, -1])


def test_bootstrap_interval_matches_the_normal_approximation():
    values = np.random.default_rng(0).normal(2.0, 1.0, 400)
    low, high = oracles.bootstrap_interval(values)
    half = 1.96 * values.std() / np.sqrt(len(values))
    expected = values.mean() - half, values.mean() + half
    np.testing.assert_allclose((low, high), expected, atol=0.02)
    assert oracles.bootstrap_interval([3.0] * 5) == (3.0, 3.0)


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["a", "b"])
def test_pools_and_finalizer_agree_with_the_authors_graph(name):
    """ICF has the pools, blur, center bias and output of DeepGaze II, at factor 8."""
    if not GOLDEN.exists():
        pytest.skip("the shared data folder is absent (../shared or $DEEPGAZE_SHARED)")
    with np.load(GOLDEN) as file:
        golden = {
            key.removeprefix(f"{name}_"): np.float64(file[key]).squeeze()
            for key in file.files
            if key.startswith(f"{name}_")
        }
    size = golden["image"].shape[:2]
    half = oracles.pool_mean(golden["image"], 2)
    np.testing.assert_allclose(half, golden["image_half"], atol=1e-4)
    small = oracles.pool_mean(golden["centerbias"], 8)
    np.testing.assert_allclose(small, golden["cb_small"], atol=1e-5)

    # The learned sigma lies in 3.6..4.8 and is the same for both images.
    def blur_error(sigma):
        return np.abs(oracles.blur(golden["readout0"], sigma) - golden["blur0"]).max()

    low, high = 3.6, 4.8
    for _ in range(60):
        third = (high - low) / 3
        if blur_error(low + third) < blur_error(high - third):
            high -= third
        else:
            low += third
    assert blur_error(low) < 5e-5

    # Up to a constant, log density = blur + alpha * pooled center bias.
    rest = golden["logdens0_small"] - golden["blur0"]
    alpha = np.polyfit(small.ravel(), rest.ravel(), 1)[0]
    assert 0.85 < alpha < 0.9
    finalizer = {"sigma_grid_px": low, "center_bias_weight": alpha}
    out = oracles.finalize(
        golden["readout0"], finalizer, golden["centerbias"], *size, factor=8
    )
    np.testing.assert_allclose(out, golden["logdens0_up"], atol=5e-5)
