"""The three stages of DeepGaze II against the literal upsample-first implementation."""

import itertools

import jax
import numpy as np
import oracles
import pytest
from scipy.special import logsumexp

from deepgaze_jax.architectures import deepgaze2
from deepgaze_jax.center_bias import resample_log_density
from deepgaze_jax.grids import pixel_grid
from deepgaze_jax.model import FixationModel, mixture
from deepgaze_jax.readout import fold_feature_scaling
from deepgaze_jax.readout_grid import center_bias_on_grid

TOLERANCE = 1e-5
SIZES = ((97, 131), (33, 47), (64, 96), (31, 200), (5, 7), (1, 1))
# One fold for each combination; every fold has a readout of its own.
SIGMAS, ALPHAS = (0.7, 5.0, 13.0), (0.0, 0.9)
FOLDS = tuple(itertools.product(SIGMAS, ALPHAS))


@pytest.fixture(scope="module")
def model():
    return deepgaze2()


@pytest.fixture(scope="module")
def feature_params():
    return oracles.random_vgg19_params(7)


@pytest.fixture(scope="module")
def readouts(feature_params):
    return random_readouts(feature_params)


@pytest.fixture(scope="module")
def params(readouts):
    """The same parameters in the library's layout: leading fold axis."""
    sigma, alpha = np.array(FOLDS, np.float32).T
    return {
        "readout": jax.tree.map(lambda *folds: np.stack(folds), *readouts),
        "finalizer": {"sigma_grid_px": sigma, "center_bias_weight": alpha},
    }


@pytest.fixture(scope="module", params=SIZES, ids=lambda size: "{}x{}".format(*size))
def case(request, model, feature_params, readouts):
    """Inputs of one size, the oracle's outputs and the library's features."""
    image, center_bias = image_and_bias(request.param)
    finalizers = [
        {"sigma_grid_px": sigma, "center_bias_weight": alpha} for sigma, alpha in FOLDS
    ]
    return {
        "size": request.param,
        "image": image,
        "center_bias": center_bias,
        "oracle": oracles.deepgaze2(
            feature_params, readouts, finalizers, image, center_bias
        ),
        "features": model.features(feature_params, image),
    }


def image_and_bias(size):
    """A random image and an uneven, off-centre log density of the same size."""
    height, width = size
    image = oracles.random_image(11, height, width)
    y, x = (np.mgrid[:height, :width] + 0.5) / np.reshape(size, (2, 1, 1))
    bias = -3 * ((y - 0.4) ** 2 + (x - 0.55) ** 2) / 0.1
    bias = bias + np.random.default_rng(height).normal(size=size)
    return image, oracles.log_normalise(bias).astype(np.float32)


def random_readouts(feature_params):
    """One readout for each fold; the map on the 97x131 image spans 8 nats around 0.

    Deep random features are alike everywhere, and a readout that blows up their small
    differences would blow up float32's rounding too. So the first layer looks mostly
    along directions in which the features of that image differ.
    """
    features = oracles.deepgaze2_features(feature_params, image_and_bias((97, 131))[0])
    features = features.reshape(-1, 2560)
    mean = features.mean(axis=0)
    centred = features - mean
    rng = np.random.default_rng(3)
    out = []
    for _ in FOLDS:
        along = centred.T @ rng.normal(size=(len(centred), 16))
        kernel = along / along.std() + 0.3 * rng.normal(size=(2560, 16))
        kernel /= (centred @ kernel).std(axis=0)
        x = oracles.relu(centred @ kernel + 0.5)
        readout = {"dense0": {"kernel": kernel, "bias": 0.5 - mean @ kernel}}
        for name, n_in, n_out in (("dense1", 16, 32), ("dense2", 32, 2)):
            kernel = rng.normal(size=(n_in, n_out))
            kernel /= (x @ kernel).std(axis=0)
            readout[name] = {
                "kernel": kernel,
                "bias": 1 - (x @ kernel).mean(axis=0),
            }
            x = oracles.relu(x @ kernel + readout[name]["bias"])
        # The last layer has no bias: weigh its two inputs so that the mean is 0.
        last = np.array([[x[:, 1].mean()], [-x[:, 0].mean()]])
        readout["dense3"] = {"kernel": last * 8 / np.ptp(x @ last)}
        out.append(jax.tree.map(np.float32, readout))
    return out


def assert_log_density(ours, expected):
    ours = np.asarray(ours)
    assert ours.dtype == np.float32
    assert ours.shape == expected.shape
    for one in ours.reshape(-1, *ours.shape[-2:]):
        assert abs(oracles.logsumexp(np.float64(one))) <= TOLERANCE
    assert np.abs(ours - expected).max() <= TOLERANCE


def test_cases_are_not_trivial(case):
    """The comparisons below could not see much if the maps were flat or equal."""
    if min(case["size"]) < 31:
        pytest.skip("fewer than two cells of features: the readout is flat")
    sharp = case["oracle"]["fold_log_densities_without_center_bias"]
    assert max(np.ptp(fold) for fold in sharp) > 1
    assert np.ptp(case["oracle"]["log_density"]) > 2
    folds = case["oracle"]["fold_log_densities"]
    for one, other in itertools.combinations(folds, 2):
        assert np.abs(one - other).max() > 1000 * TOLERANCE


def test_features(case):
    expected = case["oracle"]["features"]
    ours = np.asarray(case["features"])
    assert ours.shape == expected.shape
    for tap, start in zip(oracles.DEEPGAZE2_TAPS, range(0, 2560, 512), strict=True):
        block = slice(start, start + 512)
        error = np.abs(ours[..., block] - expected[..., block]).max()
        assert error <= TOLERANCE * np.abs(expected[..., block]).max(), tap


def test_readout_on_the_small_grid_equals_upsample_first(case, model, params):
    expected = case["oracle"]["readout_maps"]
    height, width = expected.shape[1:]
    maps = jax.vmap(model.readout_map, in_axes=(0, None, None))(
        params["readout"], case["features"], case["size"]
    )
    maps = np.asarray(maps)
    for ours, theirs in zip(maps, expected, strict=True):
        ours = oracles.upsample_nearest(ours, 8, height, width)
        scale = max(1.0, np.abs(theirs).max())
        assert np.abs(ours - theirs).max() <= TOLERANCE * scale


def test_log_density(case, model, params):
    ours = model.log_density(params, case["features"], case["center_bias"])
    assert_log_density(ours, case["oracle"]["fold_log_densities"])
    assert_log_density(mixture(ours), case["oracle"]["log_density"])


def test_log_density_without_center_bias(case, model, params):
    ours = model.log_density(params, case["features"], image_size=case["size"])
    expected = case["oracle"]["fold_log_densities_without_center_bias"]
    assert_log_density(ours, expected)
    expected = case["oracle"]["log_density_without_center_bias"]
    assert_log_density(mixture(ours), expected)


def test_log_density_mapped_back_to_another_size(case, model, params):
    """Every fold on the original grid of a picture that was resized for the model."""
    size = case["size"]
    for original in ((size[0] * 2 + 1, size[1] * 3), (size[0], -(-size[1] // 2))):
        grid = model.pixel_grid(*original, model_size=size)
        center_bias = model.pool_center_bias(case["center_bias"])
        on_grid = model.grid_log_density(
            params, case["features"], center_bias, grid.log_pixels, size
        )
        folds = case["oracle"]["fold_log_densities"]
        expected = np.stack([oracles.map_back(fold, *original) for fold in folds])
        assert_log_density(grid.expand(on_grid), expected)


def test_jit_and_batches_change_nothing(model, feature_params, params):
    size = (33, 47)
    images = np.stack([oracles.random_image(seed, *size) for seed in (1, 2)])
    biases = np.stack([image_and_bias(size)[1], np.full(size, -np.log(33 * 47))])
    biases = biases.astype(np.float32)

    @jax.jit
    def predict(images, biases):
        features = model.features(feature_params, images)
        return model.log_density(params, features, biases)

    batch = np.asarray(predict(images, biases))
    assert batch.shape == (len(FOLDS), 2, *size)
    for i in range(2):
        features = model.features(feature_params, images[i])
        single = model.log_density(params, features, biases[i])
        assert np.abs(batch[:, i] - single).max() <= TOLERANCE
    assert mixture(batch).shape == (2, *size)


def test_init_layout(model):
    init = model.init(0, 3)
    shapes = jax.tree.map(np.shape, init)
    assert shapes == {
        "readout": {
            "dense0": {"kernel": (3, 2560, 16), "bias": (3, 16)},
            "dense1": {"kernel": (3, 16, 32), "bias": (3, 32)},
            "dense2": {"kernel": (3, 32, 2), "bias": (3, 2)},
            "dense3": {"kernel": (3, 2, 1)},
        },
        "finalizer": {"sigma_grid_px": (3,), "center_bias_weight": (3,)},
    }
    n_values = sum(np.size(leaf) for leaf in jax.tree.leaves(init))
    assert n_values == 3 * 41_590
    np.testing.assert_array_equal(init["finalizer"]["sigma_grid_px"], 5.0)
    np.testing.assert_array_equal(init["finalizer"]["center_bias_weight"], 1.0)
    kernels = np.asarray(init["readout"]["dense0"]["kernel"])
    assert not np.allclose(kernels[0], kernels[1])


def test_init_follows_the_seed(model):
    first, again, other = (
        model.init(seed, 1)["readout"]["dense0"]["kernel"] for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


@pytest.mark.parametrize("offset", [0, 45, 200])
def test_readout_maps_far_from_zero(model, offset):
    """The authors' readout maps lie near -45; a constant must not cost precision."""
    size, grid = (256, 320), (64, 80)
    one, two, three = (np.eye(n)[0] for n in (16, 32, 2))
    # One channel passes through all layers: map = -(channel + offset).
    readout = {
        "dense0": {"kernel": np.zeros((2560, 16)), "bias": offset * one},
        "dense1": {"kernel": np.outer(one, two), "bias": np.zeros(32)},
        "dense2": {"kernel": np.outer(two, three), "bias": np.zeros(2)},
        "dense3": {"kernel": -three[:, None]},
    }
    readout["dense0"]["kernel"][0, 0] = 1
    readout = jax.tree.map(np.float32, readout)
    # Multiples of 2**-10, so that float32 adds the offset without rounding.
    features = np.zeros((8, 10, 2560), np.float32)
    rng = np.random.default_rng(0)
    features[..., 0] = rng.integers(0, 8 * 1024, (8, 10)) / 1024
    finalizers = [
        {"sigma_grid_px": sigma, "center_bias_weight": 1.0} for sigma in SIGMAS
    ]
    readout_map = oracles.readout_upsample_first(readout, features, *grid)
    expected = [oracles.finalize(readout_map, f, None, *size) for f in finalizers]
    params = {
        "readout": jax.tree.map(lambda x: np.stack([x] * len(SIGMAS)), readout),
        "finalizer": {
            "sigma_grid_px": np.array(SIGMAS, np.float32),
            "center_bias_weight": np.ones(len(SIGMAS), np.float32),
        },
    }
    ours = model.log_density(params, features, image_size=size)
    assert_log_density(ours, np.stack(expected))


def test_fold_feature_scaling(readouts):
    """A readout of scaled features equals the folded readout of raw ones."""
    rng = np.random.default_rng(5)
    features = rng.gamma(1.0, 20.0, size=(4, 5, 2560))
    mean = features.mean(axis=(0, 1)).astype(np.float32)
    scale = rng.uniform(0.5, 2, 2560).astype(np.float32)
    readout = readouts[0]
    scaled = (features - mean) * scale
    expected = oracles.readout_upsample_first(readout, scaled, 25, 33)
    folded = jax.tree.map(np.asarray, fold_feature_scaling(readout, mean, scale))
    ours = oracles.readout_upsample_first(folded, features, 25, 33)
    assert np.ptp(expected) > 0.1
    assert np.abs(ours - expected).max() <= TOLERANCE * np.abs(expected).max()


@pytest.mark.parametrize("sampling", ["mean", "nearest"])
@pytest.mark.parametrize("size", [(61, 83), (40, 64), (7, 300)])
@pytest.mark.parametrize("of", [(75, 100), (1, 1), (500, 9)])
def test_center_bias_on_the_grid_is_that_of_the_picture_shrunk(sampling, size, of):
    model = FixationModel(sampling=sampling)
    rng = np.random.default_rng(0)
    values = rng.standard_normal(of)
    if of == (500, 9):
        values[3, 4] = values[-20:, 0] = -np.inf
    values -= logsumexp(values)
    shrunk = model.pool_center_bias(resample_log_density(values, *size))
    found = center_bias_on_grid(model, values, size)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, shrunk, rtol=0, atol=3e-6)


@pytest.mark.parametrize("model_size", [(61, 83), (200, 31)])
def test_normalising_on_the_grid_is_normalising_the_pixels(model_size):
    grid = pixel_grid(50, 70, 4, model_size)
    values = np.random.default_rng(1).standard_normal(grid.shape).astype(np.float32)
    pixels = grid.expand(values.astype(np.float64))
    expected = pixels - logsumexp(pixels)
    np.testing.assert_allclose(
        grid.normalise_and_expand(values), expected, rtol=0, atol=1e-6
    )
