"""VGG-16 against the slow numpy layers and PyTorch."""

import dataclasses

import numpy as np
import oracles
import pytest

from deepgaze_jax import vgg16
from deepgaze_jax.architectures import deepgaze2_vgg16
from deepgaze_jax.errors import InputError
from deepgaze_jax.feature_networks import NETWORKS
from deepgaze_jax.weights import cached_path, load_features

BLOCKS = (2, 2, 3, 3, 3)
TOLERANCE = 1e-5  # max|a - b| / max|b| per tap
TAPS = ("conv1_1", "pool2", "conv3_3", "pool4", "conv5_1", "relu5_1", "relu5_3")


@pytest.fixture(scope="module")
def params():
    """Of VGG-19, whose lower layers of each block have the same shapes."""
    return oracles.random_vgg19_params(7)


def normalised(image):
    """What torchvision does to pictures."""
    x = np.asarray(image, np.float64) / 255
    return (x - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]


def by_numpy(params, image):
    out, x = {}, normalised(image)
    for block, depth in enumerate(BLOCKS, start=1):
        for layer in range(1, depth + 1):
            values = params[f"conv{block}_{layer}"]
            x = oracles.conv3x3_same(x, values["kernel"], values["bias"])
            out[f"conv{block}_{layer}"] = x
            x = out[f"relu{block}_{layer}"] = oracles.relu(x)
        x = out[f"pool{block}"] = oracles.pool_max(x, 2)
    return out


def assert_close(found, expected):
    assert list(found) == list(TAPS)
    for tap, ours in found.items():
        values = expected[tap]
        assert ours.shape == values.shape, tap
        error = np.abs(np.asarray(ours) - values).max() / np.abs(values).max()
        assert error <= TOLERANCE, tap


def test_library_agrees_with_numpy(params):
    image = oracles.random_image(3, 33, 47)
    expected = by_numpy(params, image)
    found = vgg16.vgg16_features(params, image, TAPS)
    assert_close(found, expected)
    assert set(vgg16.TAPS) == set(expected)
    both = vgg16.vgg16_features(params, np.stack([image, image[::-1]]), TAPS)
    for tap, values in both.items():
        grid = vgg16.tap_grid(tap, 33, 47)
        assert values.shape == (2, *grid, vgg16.tap_channels(tap))
        np.testing.assert_allclose(values[0], found[tap], rtol=1e-4, atol=1e-3)


@pytest.mark.torch
@pytest.mark.weights
def test_library_agrees_with_torch():
    """With the real values, on a picture as people have them."""
    torch = pytest.importorskip("torch")
    if cached_path("vgg16") is None:
        pytest.skip("VGG-16 is not in the cache: deepgaze weights fetch vgg16")
    params = load_features("vgg16")
    image = oracles.random_image(3, 65, 98)
    out = {}
    x = torch.from_numpy(np.float32(normalised(image))).permute(2, 0, 1)[None]
    with torch.no_grad():
        for block, depth in enumerate(BLOCKS, start=1):
            for layer in range(1, depth + 1):
                values = params[f"conv{block}_{layer}"]
                kernel = torch.from_numpy(np.array(values["kernel"]))
                bias = torch.from_numpy(np.array(values["bias"]))
                x = torch.nn.functional.conv2d(
                    x, kernel.permute(3, 2, 0, 1), bias, padding=1
                )
                out[f"conv{block}_{layer}"] = x
                x = out[f"relu{block}_{layer}"] = torch.relu(x)
            x = torch.nn.functional.max_pool2d(x, 2, 2, ceil_mode=True)
            out[f"pool{block}"] = x
    expected = {tap: out[tap][0].permute(1, 2, 0).numpy() for tap in TAPS}
    assert_close(vgg16.vgg16_features(params, image, TAPS), expected)


def test_configuration(params):
    model = deepgaze2_vgg16()
    assert model.feature_network is NETWORKS["vgg16"]
    image = oracles.random_image(3, 66, 94)
    assert (
        model.features(params, image).shape
        == (3, 3, 2560)
        == (
            *model.feature_grid(66, 94),
            model.channels,
        )
    )


@pytest.mark.parametrize("tap", ["conv5_4", "relu3_4", "nothing"])
def test_taps_that_only_the_other_has(tap):
    for refuse in (vgg16.tap_channels, vgg16.tap_stride):
        with pytest.raises(InputError, match="unknown VGG-16 taps"):
            refuse(tap)
    with pytest.raises(InputError, match="unknown VGG-16 taps"):
        dataclasses.replace(deepgaze2_vgg16(), taps=(tap,))


def test_shapes_that_are_no_image(params):
    with pytest.raises(InputError, match="VGG-16 takes RGB"):
        vgg16.vgg16_features(params, np.zeros((4, 4)), TAPS)
