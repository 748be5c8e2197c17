"""Foreign weight files in: arrays under our names, or one line that says why not."""

import os

import h5py
import numpy as np
import pytest

from deepgaze_jax.conversion import keras_h5, sniff, vgg19
from deepgaze_jax.errors import WeightsError
from deepgaze_jax.vgg import CONVOLUTIONS

CHANNELS = {"conv1_1": 4, "conv1_2": 5, "conv2_1": 6}
RNG = np.random.default_rng(1)


def small_arrays(style="old"):
    """Random weights of a three-layer network under the names of Keras."""
    kernel, bias = {
        "old": ("{0}/{0}_W_1:0", "{0}/{0}_b_1:0"),
        "new": ("{0}/{0}/kernel:0", "{0}/{0}/bias:0"),
        "flat": ("{0}/kernel:0", "{0}/bias:0"),
        "nested": ("{0}/vgg19/{0}/kernel:0", "{0}/vgg19/{0}/bias:0"),
    }[style]
    rng = np.random.default_rng(0)
    arrays, channels_in = {}, 3
    for layer, channels in CHANNELS.items():
        name = layer.replace("conv", "block").replace("_", "_conv")
        shape = (3, 3, channels_in, channels)
        arrays[kernel.format(name)] = rng.standard_normal(shape).astype(np.float32)
        arrays[bias.format(name)] = rng.standard_normal(channels).astype(np.float32)
        channels_in = channels
    return arrays


def write_h5(path, arrays):
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return path


def refused(function, *args, words=()):
    with pytest.raises(WeightsError) as caught:
        function(*args)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


@pytest.mark.parametrize("style", ["old", "new", "flat", "nested"])
def test_every_layout_of_keras_gives_the_same_parameters(tmp_path, style):
    path = write_h5(tmp_path / "w.h5", small_arrays(style))
    params = vgg19.read_keras(path, CHANNELS)
    source = small_arrays("old")
    assert list(params) == list(CHANNELS)
    for layer, parts in params.items():
        name = layer.replace("conv", "block").replace("_", "_conv")
        assert set(parts) == {"kernel", "bias"}
        assert parts["kernel"].dtype == parts["bias"].dtype == np.float32
        np.testing.assert_array_equal(parts["bias"], source[f"{name}/{name}_b_1:0"])
        if layer != "conv1_1":
            expected = source[f"{name}/{name}_W_1:0"]
            np.testing.assert_array_equal(parts["kernel"], expected)


def test_first_layer_gives_keras_values_on_rgb_input():
    """One pixel by the definition: blue, green, red in Keras, red, green, blue here."""
    source = small_arrays()
    params = vgg19.from_keras(source, CHANNELS)
    red, green, blue = RNG.uniform(0, 255, (3, 3, 3))
    keras = source["block1_conv1/block1_conv1_b_1:0"].astype(np.float64)
    ours = params["conv1_1"]["bias"].astype(np.float64)
    for y in range(3):
        for x in range(3):
            bgr = (blue[y, x] - 103.939, green[y, x] - 116.779, red[y, x] - 123.68)
            rgb = (red[y, x] - 123.68, green[y, x] - 116.779, blue[y, x] - 103.939)
            for c in range(3):
                kernel = source["block1_conv1/block1_conv1_W_1:0"]
                keras = keras + bgr[c] * kernel[y, x, c]
                ours = ours + rgb[c] * params["conv1_1"]["kernel"][y, x, c]
    np.testing.assert_allclose(ours, keras, rtol=1e-12)


def test_classifier_is_left_out():
    arrays = small_arrays()
    arrays["fc1/fc1_W_1:0"] = np.zeros((2, 2), np.float32)
    arrays["predictions/predictions/kernel:0"] = np.zeros((2, 2), np.float32)
    assert list(vgg19.from_keras(arrays, CHANNELS)) == list(CHANNELS)


def test_all_problems_are_named_at_once():
    arrays = small_arrays()
    del arrays["block1_conv2/block1_conv2_b_1:0"]
    del arrays["block2_conv1/block2_conv1_W_1:0"]
    arrays["block1_conv1/block1_conv1_W_1:0"] = np.zeros((4, 3, 3, 3))
    arrays["block9_conv1/block9_conv1_W_1:0"] = np.zeros((3, 3, 3, 3))
    arrays["top/gamma:0"] = np.zeros(3)
    arrays["block2_conv1/block2_conv1_b_1:0"] = np.full(6, np.nan)
    refused(
        vgg19.from_keras,
        arrays,
        CHANNELS,
        words=[
            "missing: conv1_2/bias, conv2_1/kernel",
            "unknown: block9_conv1/block9_conv1_W_1:0, top/gamma:0",
            "conv1_1/kernel [4, 3, 3, 3] instead of [3, 3, 3, 4]",
            "conv2_1/bias has values that are not finite",
        ],
    )


def test_an_array_that_is_there_twice_is_refused():
    arrays = small_arrays() | small_arrays("new")
    refused(vgg19.from_keras, arrays, CHANNELS, words=["unknown", "kernel:0"])


def test_parameters_that_the_network_does_not_have_are_refused():
    params = vgg19.from_keras(small_arrays(), CHANNELS)
    params["conv1_1"]["scale"] = np.zeros(4, np.float32)
    params["fc1"] = {"kernel": np.zeros((2, 2), np.float32)}
    words = ["unknown: conv1_1/scale, fc1/kernel"]
    refused(vgg19.check_params, params, CHANNELS, words=words)


def test_default_network_has_the_16_convolutions():
    arrays = small_arrays()
    with pytest.raises(WeightsError, match="16 convolutions") as caught:
        vgg19.from_keras(arrays)
    missing = [f"conv{b}_{n}/kernel" for b in (3, 4, 5) for n in (1, 2, 3, 4)]
    assert len(CONVOLUTIONS) == 16
    assert all(name in str(caught.value) for name in [*missing, "conv2_2/bias"])


def test_whole_saved_models_are_read(tmp_path):
    arrays = {f"model_weights/{k}": v for k, v in small_arrays("new").items()}
    arrays["optimizer_weights/iteration:0"] = np.int64(7)
    found = keras_h5.read(write_h5(tmp_path / "model.h5", arrays))
    layers = [f"block{n}" for n in ("1_conv1", "1_conv2", "2_conv1")]
    assert set(found) == {f"{x}/{part}" for x in layers for part in ("kernel", "bias")}


def test_half_precision_becomes_float32(tmp_path):
    path = write_h5(tmp_path / "w.h5", {"a": np.float16([1.5, -2])})
    array = keras_h5.read(path)["a"]
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, [1.5, -2])


def test_size_is_bounded_before_anything_is_read(tmp_path):
    path = tmp_path / "bomb.h5"
    with h5py.File(path, "w") as file:
        # A few hundred bytes on disk, 4 TB when read.
        file.create_dataset("a", (1 << 20, 1 << 20), "f4", chunks=(1024, 1024))
    assert path.stat().st_size < 1 << 20
    refused(keras_h5.read, path, words=["4,398,046,511,104 bytes", "at most"])
    small = write_h5(tmp_path / "small.h5", {"a": np.zeros(10, np.float32)})
    assert keras_h5.read(small, max_bytes=40)["a"].shape == (10,)
    refused(keras_h5.read, small, 39, words=["40 bytes", "at most 39"])


def test_other_files_are_not_followed(tmp_path):
    write_h5(tmp_path / "secret.h5", {"a": np.zeros(3, np.float32)})
    path = write_h5(tmp_path / "w.h5", {"b": np.zeros(3, np.float32)})
    with h5py.File(path, "a") as file:
        file["link"] = h5py.ExternalLink("secret.h5", "a")
        file["soft"] = h5py.SoftLink("/link")
    assert set(keras_h5.read(path)) == {"b"}
    (tmp_path / "raw.bin").write_bytes(bytes(12))
    with h5py.File(path, "a") as file:
        file.create_dataset("c", (3,), "f4", external=[("raw.bin", 0, 12)])
    refused(keras_h5.read, path, words=["c in another file"])
    virtual = tmp_path / "virtual.h5"
    layout = h5py.VirtualLayout((3,), "f4")
    layout[:] = h5py.VirtualSource("secret.h5", "a", (3,))
    with h5py.File(virtual, "w") as file:
        file.create_virtual_dataset("v", layout)
    refused(keras_h5.read, virtual, words=["v in another file"])


def test_files_without_weights(tmp_path):
    refused(keras_h5.read, write_h5(tmp_path / "empty.h5", {}), words=["no arrays"])
    integers = write_h5(tmp_path / "int.h5", {"labels": np.arange(3)})
    refused(keras_h5.read, integers, words=["labels", "int64", "floating-point"])


WRONG_FILES = {
    "html": (b"\n <!DOCTYPE html>\n<html><title>404</title></html>", ["web page"]),
    "html-tag": (b"<HTML><body>login</body></HTML>", ["web page"]),
    "git-lfs": (
        b"version https://git-lfs.github.com/spec/v1\n"
        b"oid sha256:bde7da0d\nsize 80134624\n",
        ["Git-LFS pointer", "80,134,624 bytes", "git lfs pull"],
    ),
    "empty": (b"", ["empty file"]),
    "text": (b"Not found: no such object\n", ["text file", "Not found"]),
    "zip": (b"PK\x03\x04" + bytes(30), ["zip archive"]),
    "gzip": (b"\x1f\x8b\x08" + bytes(30), ["gzip archive"]),
    "pickle": (b"\x80\x04\x95" + bytes(30), ["pickle"]),
    "torch-legacy": (
        b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.",
        ["PyTorch", "before 1.6"],
    ),
    "numpy": (b"\x93NUMPY\x01\x00" + bytes(30), ["numpy file"]),
    "matlab": (b"MATLAB 5.0 MAT-file" + bytes(30), ["MATLAB file"]),
    "safetensors": ((2).to_bytes(8, "little") + b"{}", ["safetensors file"]),
    "unknown": (b"\x00\x01\x02\x03" * 8, ["unknown kind", "00 01 02 03"]),
}


@pytest.mark.parametrize("kind", WRONG_FILES)
def test_each_wrong_file_has_its_own_line(tmp_path, kind):
    data, words = WRONG_FILES[kind]
    path = tmp_path / "vgg19.h5"
    path.write_bytes(data)
    assert sniff.file_kind(path) == kind.removesuffix("-tag")
    refused(keras_h5.read, path, words=["vgg19.h5: is ", "expected an HDF5", *words])


def test_missing_files_and_folders(tmp_path):
    refused(keras_h5.read, tmp_path / "no.h5", words=["no.h5", "no such file"])
    refused(keras_h5.read, tmp_path, words=["is a folder"])
    os.mkfifo(tmp_path / "pipe")
    refused(keras_h5.read, tmp_path / "pipe", words=["is a pipe or device"])
    refused(keras_h5.read, "/dev/zero", words=["is a pipe or device"])


@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize("part", [0.002, 0.3, 0.999])
def test_cut_off_hdf5(tmp_path, libver, part):
    path = tmp_path / "half.h5"
    with h5py.File(path, "w", libver=libver) as file:
        file["a"] = RNG.standard_normal(5000).astype(np.float32)
    data = path.read_bytes()
    path.write_bytes(data[: max(12, int(part * len(data)))])
    refused(keras_h5.read, path, words=["half.h5: is cut off"])
    if part > 0.1:
        refused(sniff.require_kind, path, "hdf5", words=[f"of {len(data):,} bytes"])


def test_hdf5_behind_a_user_block(tmp_path):
    path = tmp_path / "w.h5"
    with h5py.File(path, "w", userblock_size=512) as file:
        file["a"] = np.zeros(3, np.float32)
    assert set(keras_h5.read(path)) == {"a"}


def test_damaged_hdf5_gives_one_line_or_arrays(tmp_path):
    path = write_h5(tmp_path / "w.h5", small_arrays())
    data = path.read_bytes()
    for at in range(0, 4000, 17):
        path.write_bytes(data[:at] + bytes([data[at] ^ 255]) + data[at + 1 :])
        try:
            vgg19.read_keras(path, CHANNELS)
        except WeightsError as error:
            assert "\n" not in str(error)
