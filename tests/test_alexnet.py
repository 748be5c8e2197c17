"""AlexNet against a slow numpy implementation and PyTorch; with the real values too."""

import numpy as np
import oracles
import oracles_alexnet
import pytest

from deepgaze_jax import alexnet
from deepgaze_jax.errors import InputError
from deepgaze_jax.weights import cached_path, load_features

TOLERANCE = 1e-5  # max|a - b| / max|b| per tap
# The borders of every window fall differently; 31 is the smallest.
SIZES = ((97, 131), (64, 96), (31, 31), (62, 35))


@pytest.fixture(scope="module")
def params():
    return oracles_alexnet.random_params(5)


def errors(found, expected):
    assert list(found) == list(expected)
    result = {}
    for tap, values in expected.items():
        ours = np.asarray(found[tap])
        assert ours.dtype == np.float32 and ours.shape == values.shape, tap
        result[tap] = np.abs(ours - values).max() / np.abs(values).max()
    return result


def assert_close(found, expected):
    above = {t: e for t, e in errors(found, expected).items() if not e <= TOLERANCE}
    assert not above


def size_name(size):
    return "{}x{}".format(*size)


@pytest.mark.parametrize("size", SIZES, ids=size_name)
def test_library_agrees_with_the_oracle(params, size):
    image = oracles.random_image(2, *size)
    expected = oracles_alexnet.alexnet(params, image, oracles_alexnet.TAPS)
    assert expected["conv1"].min() < 0 and expected["conv5"].min() < 0
    assert_close(alexnet.alexnet_features(params, image, alexnet.TAPS), expected)


@pytest.mark.parametrize("tap", ["conv1", "pool1", "relu3", "conv5"])
def test_the_comparison_can_fail(params, tap):
    image = oracles.random_image(2, 97, 131)
    expected = oracles_alexnet.alexnet(params, image, oracles_alexnet.TAPS)
    found = dict(alexnet.alexnet_features(params, image, alexnet.TAPS))
    found[tap] = np.roll(found[tap], 1, axis=1)
    wrong = {t for t, e in errors(found, expected).items() if e > TOLERANCE}
    assert wrong == {tap}


def torch_features(params, image):
    import torch
    from torch.nn import functional

    mean, std = (
        torch.tensor(values).view(1, 3, 1, 1)
        for values in (oracles_alexnet.MEAN_RGB, oracles_alexnet.STD_RGB)
    )
    x = torch.from_numpy(np.array(image, np.float32)).permute(2, 0, 1)[None]
    x = (x / 255 - mean) / std
    out = {}
    for name, _, stride, padding, _, _ in oracles_alexnet.LAYERS:
        kernel, bias = (
            torch.from_numpy(np.array(params[name][part], np.float32))
            for part in ("kernel", "bias")
        )
        x = functional.conv2d(
            x, kernel.permute(3, 2, 0, 1), bias, stride=stride, padding=padding
        )
        out[name] = x
        x = out[f"relu{name[-1]}"] = functional.relu(x)
        if name in ("conv1", "conv2"):
            x = out[f"pool{name[-1]}"] = functional.max_pool2d(x, 3, 2)
    return {tap: values[0].permute(1, 2, 0).numpy() for tap, values in out.items()}


@pytest.mark.torch
@pytest.mark.parametrize(
    "size", [*SIZES, (33, 46), (66, 67), (192, 256)], ids=size_name
)
def test_library_agrees_with_torch(params, size):
    pytest.importorskip("torch")
    image = oracles.random_image(3, *size)
    expected = torch_features(params, image)
    assert_close(alexnet.alexnet_features(params, image, list(expected)), expected)


@pytest.fixture(scope="module")
def real_params():
    if cached_path("alexnet") is None:
        pytest.skip("AlexNet is not cached: deepgaze weights fetch alexnet")
    return load_features("alexnet")


@pytest.mark.weights
def test_real_values_agree_with_the_oracle(real_params):
    image = oracles.random_image(4, 97, 131)
    expected = oracles_alexnet.alexnet(real_params, image, oracles_alexnet.TAPS)
    assert_close(alexnet.alexnet_features(real_params, image, alexnet.TAPS), expected)


@pytest.mark.weights
@pytest.mark.torch
def test_real_values_agree_with_torch_on_a_photograph(real_params, osie_mini):
    pytest.importorskip("torch")
    image = osie_mini.image(0)
    expected = torch_features(real_params, image)
    found = alexnet.alexnet_features(real_params, image, list(expected))
    assert_close(found, expected)
    # Before its ReLU the last convolution is mostly below zero: another tap than relu5.
    assert (np.asarray(found["conv5"]) < 0).mean() > 0.5


def test_grids_are_those_of_the_features():
    params = oracles_alexnet.random_params(1)
    small = {
        name: {part: array[..., :2] for part, array in parts.items()}
        for name, parts in params.items()
    }
    small |= {
        name: small[name] | {"kernel": small[name]["kernel"][:, :, :2]}
        for name in ("conv2", "conv3", "conv4", "conv5")
    }
    for height, width in ((31, 78), (47, 46), (62, 63), (79, 31), (126, 127)):
        image = np.zeros((height, width, 3), np.float32)
        features = oracles_alexnet.alexnet(small, image, alexnet.TAPS)
        for tap, values in features.items():
            assert alexnet.tap_grid(tap, height, width) == values.shape[:2], tap


@pytest.mark.parametrize("size", [767, 768, 1023, 1024])
def test_grid_at_full_size(size):
    """Torchvision's arithmetic, written out."""
    conv1 = (size + 4 - 11) // 4 + 1
    pool1 = (conv1 - 3) // 2 + 1
    pool2 = (pool1 - 3) // 2 + 1
    assert alexnet.tap_grid("conv5", size, 31) == (pool2, 1)
    assert alexnet.tap_grid("relu1", 31, size) == (7, conv1)


def test_channels():
    assert {tap: alexnet.tap_channels(tap) for tap in alexnet.TAPS} == {
        **dict.fromkeys(("conv1", "relu1", "pool1"), 64),
        **dict.fromkeys(("conv2", "relu2", "pool2"), 192),
        **dict.fromkeys(("conv3", "relu3"), 384),
        **dict.fromkeys(("conv4", "relu4", "conv5", "relu5"), 256),
    }


def test_images_that_are_too_small():
    assert alexnet.MIN_SIZE == 31
    params = alexnet.init_params(0)
    for size in ((30, 200), (200, 30), (1, 1), (0, 40)):
        with pytest.raises(InputError) as caught:
            alexnet.alexnet_features(params, np.zeros((2, *size, 3)), ["conv5"])
        line = "an image of {}x{} pixels is too small for AlexNet: conv5 ".format(*size)
        assert str(caught.value) == line + "needs at least 31x31; enlarge it"
    # Lower taps need less, each its own.
    for tap, smallest in (("conv1", 7), ("pool1", 15), ("conv2", 15), ("pool2", 31)):
        assert alexnet.tap_grid(tap, smallest, smallest) == (1, 1)
        with pytest.raises(InputError, match=f"at least {smallest}x{smallest};"):
            alexnet.tap_grid(tap, smallest, smallest - 1)
        image = np.zeros((smallest, smallest, 3))
        features = alexnet.alexnet_features(params, image, [tap])
        assert features[tap].shape[:2] == (1, 1)


@pytest.mark.parametrize("taps", [[], ["conv6"], ["pool5"], ["conv1", "conv1_1"]])
def test_unknown_taps(taps):
    with pytest.raises(InputError, match=r"unknown AlexNet taps .*conv1, relu1, pool1"):
        alexnet.alexnet_features({}, np.zeros((40, 40, 3)), taps)
    for function in (alexnet.tap_channels, lambda tap: alexnet.tap_grid(tap, 40, 40)):
        with pytest.raises(InputError, match="unknown AlexNet taps"):
            function("conv5_1")


@pytest.mark.parametrize("shape", [(40, 40), (3, 40, 40), (40, 40, 1), ()])
def test_other_shapes_are_refused(shape):
    with pytest.raises(InputError, match=r"RGB 0..255 of shape \[\*batch, height"):
        alexnet.alexnet_features({}, np.zeros(shape), ["conv1"])


def test_batch_equals_single_images(params):
    images = np.stack([oracles.random_image(seed, 47, 63) for seed in (1, 2)])
    batch = alexnet.alexnet_features(params, images, ("conv1", "conv5"))
    nested = alexnet.alexnet_features(params, images[:, None], ("conv1", "conv5"))
    for tap, values in batch.items():
        assert not np.allclose(values[0], values[1])
        assert nested[tap].shape == (2, 1, *values.shape[1:])
        scale = np.abs(values).max()
        for i in range(2):
            single = alexnet.alexnet_features(params, images[i], (tap,))[tap]
            assert np.abs(values[i] - single).max() <= TOLERANCE * scale
            assert np.abs(nested[tap][i, 0] - single).max() <= TOLERANCE * scale


def test_whole_numbers_are_read_as_such(params):
    image = oracles.random_image(1, 40, 50)
    for dtype in (np.uint8, np.int64):
        found = alexnet.alexnet_features(params, image.astype(dtype), ["conv1"])
        expected = alexnet.alexnet_features(params, image, ["conv1"])
        np.testing.assert_array_equal(found["conv1"], expected["conv1"])


def test_features_stop_at_the_deepest_tap():
    params = alexnet.init_params(3, ["pool1", "relu2"])
    assert list(params) == ["conv1", "conv2"]
    assert params["conv2"]["kernel"].shape == (5, 5, 64, 192)
    features = alexnet.alexnet_features(params, np.zeros((40, 41, 3)), ["conv2"])
    assert features["conv2"].shape == (4, 4, 192)
