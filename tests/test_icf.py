"""ICF against the authors' own tensors and against a slow second implementation."""

import dataclasses

import jax
import numpy as np
import oracles
import oracles_icf
import pytest

from deepgaze_jax.architectures import icf
from deepgaze_jax.errors import InputError
from deepgaze_jax.icf import icf_features
from deepgaze_jax.model import select_folds
from deepgaze_jax.model_files import save_model
from deepgaze_jax.ops import pool_mean
from deepgaze_jax.prediction import load_pretrained
from deepgaze_jax.weight_conversion import convert_weights

TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def release(shared_data, tmp_path_factory):
    """The authors' ten readouts, converted by the command that users have."""
    path = tmp_path_factory.mktemp("release") / "icf.safetensors"
    convert_weights(shared_data / "tf1" / "ICF.ckpt", path)
    return load_pretrained(path)


@pytest.fixture(scope="module")
def golden(shared_data):
    with np.load(shared_data / "tf1" / "icf_golden.npz") as file:
        return {name: np.squeeze(file[name]) for name in file.files}


def difference(ours, theirs):
    assert np.shape(ours) == np.shape(theirs)
    return np.abs(np.asarray(ours, np.float64) - theirs).max()


@pytest.mark.parametrize("case", ["a", "b"])
def test_golden_tensors(release, golden, case):
    """Every stage of the authors' graph, on their own weights."""
    image = np.float32(golden[f"{case}_image"])
    center_bias = golden[f"{case}_centerbias"]
    size = image.shape[:2]
    model = icf()
    assert release.model == model
    assert difference(pool_mean(image, 2), golden[f"{case}_image_half"]) <= TOLERANCE
    features = model.features({}, image)
    assert difference(features, golden[f"{case}_features"]) <= TOLERANCE
    first = select_folds(release.params, [0])
    one = jax.tree.map(lambda leaf: leaf[0], first)
    readout_map = model.readout_map(one["readout"], features, size)
    # The maps lie near -50, where neighbours of float32 are 3.8e-6 apart; the authors'
    # own are 1.0e-5 away from the same layers in float64.
    assert difference(readout_map, golden[f"{case}_readout0"]) <= 2 * TOLERANCE
    pooled = model.pool_center_bias(center_bias)
    assert difference(pooled, golden[f"{case}_cb_small"]) <= TOLERANCE
    # The blur alone has no output of its own: its level is free, so compare shapes.
    grid = model.pixel_grid(*size)
    no_bias = model.grid_log_density(first, features, None, grid.log_pixels, size)
    blurred = golden[f"{case}_blur0"]
    relative = np.asarray(no_bias[0]) - np.asarray(no_bias[0]).max()
    assert difference(relative, blurred - blurred.max()) <= TOLERANCE
    small = model.grid_log_density(
        first, features, pooled, np.zeros(grid.shape, np.float32), size
    )
    assert difference(small[0], golden[f"{case}_logdens0_small"]) <= TOLERANCE
    full = model.log_density(first, features, center_bias)
    assert difference(full[0], golden[f"{case}_logdens0_up"]) <= TOLERANCE


@pytest.mark.parametrize("case", ["a", "b"])
def test_golden_log_densities_through_predict(release, golden, case):
    """The public way, from the picture's bytes to the mixture of ten densities."""
    image, center_bias = golden[f"{case}_image"], golden[f"{case}_centerbias"]
    found = release.predict(image, center_bias=center_bias)
    assert difference(found, golden[f"{case}_log_density"]) <= TOLERANCE
    found = release.predict(image, without_center_bias=True)
    expected = golden[f"{case}_log_density_wo_centerbias"]
    assert difference(found, expected) <= TOLERANCE


@pytest.fixture(scope="module")
def case():
    with np.load(oracles_icf.CASE) as file:
        return dict(file)


@pytest.fixture(scope="module")
def case_params(case):
    return {
        "readout": {
            layer: {
                part: np.stack([case[f"readout_{k}/{layer}/{part}"] for k in (0, 1)])
                for part in ("kernel", "bias")
                if f"readout_0/{layer}/{part}" in case
            }
            for layer in ("dense0", "dense1", "dense2", "dense3")
        },
        "finalizer": {
            name: np.stack([case[f"finalizer_{k}/{name}"] for k in (0, 1)])
            for name in ("sigma_grid_px", "center_bias_weight")
        },
    }


def test_the_kept_case_is_that_of_the_text(case):
    """The file and the slow implementation have not drifted apart."""
    for name, expected in oracles_icf.case().items():
        assert difference(case[name], expected) <= 1e-5, name
    assert np.ptp(case["log_density_without_center_bias"]) > 0.9


def test_kept_case(case, case_params):
    model = icf()
    features = model.features({}, np.float32(case["image"]))
    assert difference(features, case["features"]) <= TOLERANCE
    folds = model.log_density(case_params, features, case["center_bias"])
    assert difference(folds, case["fold_log_densities"]) <= TOLERANCE


def test_kept_case_through_a_model_file(case, case_params, tmp_path):
    """Needs no weights, no cache and no network."""
    tensors = {
        f"{stage}/{layer}/{part}": array
        for stage, layers in case_params.items()
        for layer, parts in layers.items()
        for part, array in (parts.items() if stage == "readout" else ())
    }
    tensors |= {f"finalizer/{n}": a for n, a in case_params["finalizer"].items()}
    uniform = np.full((3, 75, 100), -np.log(7500), np.float32)
    tensors["center_bias/log_density"] = uniform
    card = {"network": "icf", "family": "icf", "model": dataclasses.asdict(icf())}
    card |= {"input_scale": 1.0, "pixels_per_dva": 35.0}
    path = tmp_path / "icf.safetensors"
    save_model(path, tensors, card)
    predictor = load_pretrained(path)
    found = predictor.predict(case["image"], center_bias=case["center_bias"])
    assert difference(found, case["log_density"]) <= TOLERANCE
    found = predictor.predict(case["image"], without_center_bias=True)
    assert difference(found, case["log_density_without_center_bias"]) <= TOLERANCE


@pytest.mark.parametrize("size", [(1, 1), (2, 9), (1210, 18), (30, 1031)])
def test_features_of_any_size(size):
    """From one pixel to axes that are blurred in pieces."""
    image = oracles.random_image(5, *size)
    found = icf().features({}, image)
    assert difference(found, oracles_icf.features(image)) <= TOLERANCE


def test_batches():
    images = np.stack([oracles.random_image(seed, 37, 22) for seed in (1, 2)])
    found = icf_features({}, images[:, None])["icf"]
    assert found.shape == (2, 1, 10, 6, 30)
    for k in (0, 1):
        single = icf_features({}, images[k])["icf"]
        assert difference(found[k, 0], np.asarray(single)) <= 1e-6


def test_memory():
    """Thirty maps of the picture's size never lie side by side."""
    image = jax.ShapeDtypeStruct((300, 400, 3), np.float32)
    compiled = jax.jit(lambda x: icf_features({}, x)).lower(image).compile()
    planes = compiled.memory_analysis().temp_size_in_bytes / (4 * 300 * 400)
    assert planes < 20


def test_wrong_arguments():
    with pytest.raises(InputError, match=r"unknown taps \['conv5_1'\] of ICF"):
        icf_features({}, np.zeros((8, 8, 3)), ["conv5_1"])
    with pytest.raises(InputError, match=r"shape \(8, 8\)"):
        icf_features({}, np.zeros((8, 8)))
