"""VGG-19 against PyTorch: stored values everywhere, live ones where torch is there."""

from pathlib import Path

import numpy as np
import oracles
import pytest

from deepgaze_jax import vgg

TOLERANCE = 1e-5  # max|a - b| / max|b| per tap
SIZES = ((97, 131), (33, 47))


@pytest.fixture(scope="module")
def stored():
    with np.load(Path(__file__).parent / "reference" / "vgg19_torch.npz") as file:
        return {key: file[key] for key in file.files}


@pytest.fixture(scope="module")
def params(stored):
    params = oracles.random_vgg19_params(int(stored["seed"]))
    sums = [values["kernel"].sum(dtype=np.float64) for values in params.values()]
    np.testing.assert_allclose(
        sums, stored["weight_sums"], rtol=1e-6, err_msg="numpy's random stream changed"
    )
    return params


@pytest.fixture(scope="module", params=SIZES, ids=lambda size: "{}x{}".format(*size))
def image(request, stored):
    return oracles.random_image(int(stored["seed"]), *request.param)


@pytest.fixture(scope="module")
def library_features(params, image):
    return vgg.vgg19_features(params, image, oracles.VGG19_TAPS)


def stored_errors(stored, image, features):
    """Relative errors of features against the stored values, by tap."""
    errors = {}
    for tap in oracles.VGG19_TAPS:
        key = f"{image.shape[0]}x{image.shape[1]}/{tap}"
        ours = np.asarray(features[tap], np.float64)
        assert ours.shape == tuple(stored[f"{key}/shape"]), tap
        differences = (
            ours.ravel()[stored[f"{key}/index"]] - stored[f"{key}/value"],
            np.abs(ours).max() - stored[f"{key}/max_abs"],
            ours.mean() - stored[f"{key}/mean"],
        )
        errors[tap] = max(np.abs(d).max() for d in differences)
        errors[tap] /= float(stored[f"{key}/max_abs"])
    return errors


def above_tolerance(errors):
    return {tap: error for tap, error in errors.items() if not error <= TOLERANCE}


def test_library_agrees_with_stored_torch_values(stored, image, library_features):
    assert set(library_features) == set(oracles.VGG19_TAPS)
    assert not above_tolerance(stored_errors(stored, image, library_features))


def test_oracle_agrees_with_stored_torch_values(stored, image, params):
    features = oracles.vgg19(params, image, oracles.VGG19_TAPS)
    assert not above_tolerance(stored_errors(stored, image, features))


@pytest.mark.parametrize("tap", ["conv1_1", "relu2_1", "conv5_1", "pool5"])
def test_stored_values_can_fail(stored, image, library_features, tap):
    features = {t: np.array(library_features[t]) for t in oracles.VGG19_TAPS}
    features[tap] = np.roll(features[tap], 1, axis=1)
    assert list(above_tolerance(stored_errors(stored, image, features))) == [tap]


def test_batch_equals_single_images(params):
    images = np.stack([oracles.random_image(seed, 33, 47) for seed in (1, 2)])
    taps = ("conv1_1", "pool3", "conv5_1", "relu5_4", "pool5")
    batch = vgg.vgg19_features(params, images, taps)
    nested = vgg.vgg19_features(params, images[:, None], taps)
    for tap in taps:
        assert not np.allclose(batch[tap][0], batch[tap][1])
        assert nested[tap].shape == (2, 1, *batch[tap].shape[1:])
        scale = np.abs(batch[tap]).max()
        for i in range(2):
            single = vgg.vgg19_features(params, images[i], taps)[tap]
            assert np.abs(batch[tap][i] - single).max() <= TOLERANCE * scale, tap
            assert np.abs(nested[tap][i, 0] - single).max() <= TOLERANCE * scale, tap


def test_relu_is_not_in_place(params):
    image = oracles.random_image(3, 33, 47)
    features = vgg.vgg19_features(params, image, ("relu5_1", "conv5_1"))
    conv = np.asarray(features["conv5_1"])
    assert conv.min() < 0
    np.testing.assert_array_equal(features["relu5_1"], np.maximum(conv, 0))


def test_features_stop_at_the_deepest_tap(params):
    shallow = {name: params[name] for name in ("conv1_1", "conv1_2", "conv2_1")}
    image = oracles.random_image(4, 9, 6)
    features = vgg.vgg19_features(shallow, image, ("conv2_1",))
    assert features["conv2_1"].shape == (5, 3, 128)


@pytest.mark.torch
def test_library_agrees_with_torch_everywhere(params, image, library_features):
    pytest.importorskip("torch")
    from torch_vgg19 import torch_vgg19

    expected = torch_vgg19(params, image, oracles.VGG19_TAPS)
    errors = {
        tap: np.abs(np.asarray(library_features[tap]) - expected[tap]).max()
        / np.abs(expected[tap]).max()
        for tap in oracles.VGG19_TAPS
    }
    assert not above_tolerance(errors)
