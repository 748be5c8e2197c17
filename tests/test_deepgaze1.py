"""DeepGaze I against two independent implementations, NumPy and PyTorch."""

import dataclasses

import jax
import numpy as np
import oracles
import oracles_alexnet
import oracles_deepgaze1
import pytest
from PIL import Image
from writers_pickle import torch_zip

from deepgaze_jax.architectures import deepgaze1
from deepgaze_jax.cli import main
from deepgaze_jax.errors import InputError
from deepgaze_jax.model_files import save_model
from deepgaze_jax.ops import blur_matrix
from deepgaze_jax.prediction import load_pretrained

TOLERANCE = 1e-5

# Even and odd, and of all remainders by 4 and by 8.
SIZES = [(64, 96), (97, 131), (130, 99), (101, 258), (66, 67), (62, 71)]


@pytest.fixture(scope="module")
def alexnet():
    return oracles_alexnet.random_params(3)


def params_of(case):
    """One fold, in the layout of the model."""
    return {
        "readout": {"dense0": {"kernel": case["kernel"][None]}},
        "finalizer": {
            "sigma_grid_px": case["sigma"][None],
            "center_bias_weight": case["weight"][None],
        },
    }


def model_file(path, case, alexnet):
    """The same values as a file that carries its own features."""
    tensors = {
        f"features/{layer}/{part}": array
        for layer, parts in alexnet.items()
        for part, array in parts.items()
    }
    tensors["readout/dense0/kernel"] = case["kernel"][None]
    tensors["finalizer/sigma_grid_px"] = case["sigma"][None]
    tensors["finalizer/center_bias_weight"] = case["weight"][None]
    uniform = np.full((2, 75, 100), -np.log(7500), np.float32)
    tensors["center_bias/log_density"] = uniform
    card = {"network": "alexnet", "family": "?", "input_scale": 1.0}
    card |= {"model": dataclasses.asdict(deepgaze1()), "pixels_per_dva": 35.0}
    save_model(path, tensors, card)
    return load_pretrained(path)


def assert_log_density(found, expected):
    assert np.shape(found) == np.shape(expected)
    assert np.abs(np.asarray(found, np.float64) - expected).max() <= TOLERANCE


@pytest.mark.parametrize("size", SIZES)
def test_model_equals_the_slow_one(alexnet, size):
    case = oracles_deepgaze1.random_case(1, *size)
    model = deepgaze1()
    expected_maps = oracles_deepgaze1.features(alexnet, case["image"])
    features = np.asarray(model.features(alexnet, case["image"]))
    assert features.shape == (*model.feature_grid(*size), 256) == expected_maps.shape
    largest = np.abs(expected_maps).max()
    assert np.abs(features - expected_maps).max() <= TOLERANCE * largest
    expected = oracles_deepgaze1.deepgaze1(
        expected_maps,
        case["kernel"],
        case["sigma"],
        case["weight"],
        case["center_bias"],
    )
    assert np.ptp(expected["log_density"]) > 1
    pooled = np.asarray(model.pool_center_bias(case["center_bias"]))
    np.testing.assert_array_equal(pooled, np.float32(expected["center_bias"]))
    found = model.log_density(params_of(case), features, case["center_bias"])
    assert_log_density(found[0], expected["log_density"])


@pytest.mark.torch
@pytest.mark.parametrize("size", [*SIZES, (300, 401)])
def test_model_equals_pytorch(alexnet, size, tmp_path):
    """Through a model file and the public `predict`."""
    pytest.importorskip("torch")
    import torch_deepgaze1

    case = oracles_deepgaze1.random_case(2, *size)
    state = oracles_deepgaze1.state_dict(alexnet, case)
    expected = torch_deepgaze1.torch_log_density(
        state, case["image"], case["center_bias"]
    )
    predictor = model_file(tmp_path / "dg1.safetensors", case, alexnet)
    found = predictor.predict(case["image"], center_bias=case["center_bias"])
    assert_log_density(found, expected)


@pytest.mark.weights
@pytest.mark.torch
def test_real_alexnet_on_a_photograph_equals_pytorch(osie, tmp_path):
    pytest.importorskip("torch")
    import torch_deepgaze1

    from deepgaze_jax import weights

    if weights.cached_path("alexnet") is None:
        pytest.skip("AlexNet is not cached: deepgaze weights fetch alexnet")
    image = osie.image(3)
    case = oracles_deepgaze1.random_case(4, *image.shape[:2])
    # Trained features are larger than random ones: a readout of a usual range.
    case["kernel"] *= np.float32(0.2)
    params = weights.load_features("alexnet")
    state = oracles_deepgaze1.state_dict(params, case)
    expected = torch_deepgaze1.torch_log_density(state, image, case["center_bias"])
    predictor = model_file(tmp_path / "dg1.safetensors", case, params)
    found = predictor.predict(image, center_bias=case["center_bias"])
    assert np.ptp(expected) > 5
    assert_log_density(found, expected)


def test_log_density_mapped_back_to_another_size(alexnet):
    """A picture that was resized for the model: each pixel reads the one below it."""
    size = (97, 131)
    case = oracles_deepgaze1.random_case(5, *size)
    model = deepgaze1()
    features = model.features(alexnet, case["image"])
    bias = model.pool_center_bias(case["center_bias"])
    full = model.log_density(params_of(case), features, case["center_bias"])[0]
    for original in ((195, 393), (97, 66)):
        grid = model.pixel_grid(*original, model_size=size)
        found = model.grid_log_density(
            params_of(case), features, bias, grid.log_pixels, size
        )
        expected = oracles.map_back(np.asarray(full, np.float64), *original)
        assert_log_density(grid.expand(found[0]), expected)


@pytest.mark.parametrize("sigma", [0.3, 1 / 3, 2.0, 5.5, 19.9, 20.0])
def test_the_fixed_taps_are_those_of_the_rule(sigma):
    """2 ceil(3 sigma) + 1 taps, whatever the shape of the matrix."""
    model = deepgaze1()
    assert sigma <= model.max_sigma_grid_px == 20
    x = np.random.default_rng(6).normal(size=(150, 150))
    found = blur_matrix(150, np.float32(sigma), model.blur_radius, model.blur_truncate)
    found = np.asarray(found, np.float64)
    found = found @ x @ found.T
    assert np.abs(found - oracles_deepgaze1.blur(x, np.float32(sigma))).max() <= 1e-5


def test_gradient_by_sigma():
    """Finite, and that of differences between steps of the tap count."""
    model = deepgaze1()
    x = np.random.default_rng(7).normal(size=(60, 60)).astype(np.float32)

    def blurred(sigma):
        matrix = blur_matrix(60, sigma, model.blur_radius, model.blur_truncate)
        return (matrix @ x @ matrix.T)[20, 30]

    slope = jax.grad(blurred)(np.float32(4.1))
    step = 0.02
    upper, lower = (oracles_deepgaze1.blur(x, 4.1 + s)[20, 30] for s in (step, -step))
    assert float(slope) == pytest.approx((upper - lower) / (2 * step), rel=0.02)


def test_too_small_pictures_are_refused(alexnet, tmp_path):
    case = oracles_deepgaze1.random_case(1, 64, 64)
    predictor = model_file(tmp_path / "dg1.safetensors", case, alexnet)
    with pytest.raises(InputError, match="too small for AlexNet"):
        predictor.predict(np.zeros((61, 80, 3), np.uint8))
    with pytest.raises(InputError, match=r"too small.*keeps one pixel in 2"):
        predictor.predict(np.zeros((1, 1, 3), np.uint8))


def test_a_public_file_predicts_what_the_text_says(alexnet, tmp_path):
    """From the bytes of a state dict, through the commands, to the density."""
    size = (97, 131)
    case = oracles_deepgaze1.random_case(9, *size)
    state = oracles_deepgaze1.state_dict(alexnet, case)
    path, result = tmp_path / "deepgaze1.pth", tmp_path / "dg1.safetensors"
    path.write_bytes(torch_zip(state))
    Image.fromarray(case["image"].astype(np.uint8)).save(tmp_path / "a.png")
    np.save(tmp_path / "bias.npy", case["center_bias"])
    assert main(["weights", "convert", str(path), "-o", str(result)]) == 0
    predict = ["predict", str(tmp_path / "a.png"), "-o", str(tmp_path)]
    predict += ["--model", str(result), "--center-bias", str(tmp_path / "bias.npy")]
    assert main(predict) == 0
    image = np.float32(case["image"].astype(np.uint8))
    expected = oracles_deepgaze1.deepgaze1(
        oracles_deepgaze1.features(alexnet, image),
        *(case[name] for name in ("kernel", "sigma", "weight", "center_bias")),
    )
    found = np.load(tmp_path / "a_log_density.npy")
    assert_log_density(found, expected["log_density"])
