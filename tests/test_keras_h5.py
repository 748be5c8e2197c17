"""Names of all versions of Keras, and HDF5 files that are not what they say."""

import h5py
import numpy as np
import pytest
from fuzzing import damaged, memory_below, refused, stands
from hypothesis import given, settings
from hypothesis import strategies as st

from deepgaze_jax.conversion import keras_h5

KERNEL = np.arange(12, dtype=np.float32).reshape(1, 1, 3, 4)
BIAS = np.float32([1, 2, 3, 4])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "vgg.weights.h5"


def write(path, arrays):
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array


@pytest.mark.parametrize("top", ["", "model_weights/"])
@pytest.mark.parametrize(
    ("kernel", "bias"),
    [
        ("b1/b1_W_1:0", "b1/b1_b_1:0"),
        ("b1/b1_W:0", "b1/b1_b:0"),
        ("b1/kernel:0", "b1/bias:0"),
        ("b1/b1/kernel:0", "b1/b1/bias:0"),
        ("b1/b1/kernel", "b1/b1/bias"),
        ("b1/b1_2/kernel:0", "b1/b1_2/bias:0"),
        ("b1/vgg19/b1/kernel:0", "b1/vgg19/b1/bias:0"),
        ("vgg19/b1/kernel:0", "vgg19/b1/bias:0"),
        ("layers/b1/vars/0", "layers/b1/vars/1"),
        ("layers/vgg/layers/b1/vars/0", "layers/vgg/layers/b1/vars/1"),
        (
            "_layer_checkpoint_dependencies/b1/vars/0",
            "_layer_checkpoint_dependencies/b1/vars/1",
        ),
    ],
)
def test_names_of_all_versions(path, top, kernel, bias):
    arrays = {top + kernel: KERNEL, top + bias: BIAS, "optimizer/vars/0": np.int64(3)}
    write(path, arrays)
    found = keras_h5.read(path)
    assert set(found) == {"b1/kernel", "b1/bias"}
    np.testing.assert_array_equal(found["b1/kernel"], KERNEL, strict=True)
    np.testing.assert_array_equal(found["b1/bias"], BIAS, strict=True)


def test_keras3_calls_layers_by_kind_and_order(path):
    with h5py.File(path, "w") as file:
        for group, name in (("conv2d", "block1_conv1"), ("conv2d_1", "block1_conv2")):
            layer = file.create_group(f"layers/{group}/vars")
            layer.attrs["name"] = name
            layer["0"], layer["1"] = KERNEL, BIAS
        file.create_group("layers/max_pooling2d/vars")
    found = keras_h5.read(path)
    layers = ("conv2d", "conv2d_1")
    assert set(found) == {f"{x}/{part}" for x in layers for part in ("kernel", "bias")}


def test_keras3_keeps_the_order(path):
    names = ["conv2d"] + [f"conv2d_{i}" for i in range(1, 16)]
    write(path, {f"layers/{n}/vars/0": np.float32([[i]]) for i, n in enumerate(names)})
    found = keras_h5.read(path)
    assert [name.split("/")[0] for name in found] == names
    assert [array.item() for array in found.values()] == list(range(16))


def test_other_layers_keep_their_numbers(path):
    write(path, {f"layers/batch_normalization/vars/{i}": BIAS for i in range(4)})
    assert set(keras_h5.read(path)) == {f"batch_normalization/{i}" for i in range(4)}
    write(path, {"bn/bn/gamma:0": BIAS})
    assert set(keras_h5.read(path)) == {"bn/bn/gamma:0"}


def test_an_array_under_two_names_is_refused(path):
    write(path, {"b1/b1_W_1:0": KERNEL, "b1/b1/kernel:0": KERNEL})
    refused(keras_h5.read, path, words=["b1/kernel is there twice"])


def test_what_float32_cannot_hold_becomes_infinite(path):
    write(path, {"a/kernel:0": np.float64([1e300])})
    assert keras_h5.read(path)["a/kernel"] == np.inf


def test_names_that_cannot_be_shown(path):
    write(path, {"a\nb": BIAS})
    refused(keras_h5.read, path, words=["'a\\nb'"])


@pytest.mark.parametrize(
    "options",
    [
        {"chunks": (1, 1 << 20), "compression": "gzip"},
        {"chunks": (1, 1 << 20)},
        {"maxshape": (None, 1 << 20)},
    ],
)
def test_arrays_in_pieces_are_refused(path, options):
    """A piece may be a bomb, and damaged ones made the library run for minutes."""
    with h5py.File(path, "w") as file:
        file.create_dataset("a", (2, 1 << 20), "f4", **options)
        file["a"][:1] = 0
    with memory_below(5_000_000):
        refused(keras_h5.read, path, words=["a is stored in pieces", "h5repack"])


def test_arrays_that_were_never_written(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("a", (1 << 24,), "f4")
    assert path.stat().st_size < 10_000
    with memory_below(5_000_000):
        refused(keras_h5.read, path, words=["values of a are not in the file"])


def test_other_files_are_not_opened(path, tmp_path):
    write(tmp_path / "secret.h5", {"a": BIAS})
    with h5py.File(path, "w") as file:
        file["layers/b1/vars/0"] = KERNEL
        file["layers/b1/vars/1"] = h5py.ExternalLink("secret.h5", "a")
        file["again"] = file["layers/b1"]
        file["soft"] = h5py.SoftLink("/layers/b1/vars/1")
    assert len(keras_h5.read(path)) == 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="module", params=["earliest", "latest"])
def valid(request, folder):
    path = folder / "valid.h5"
    with h5py.File(path, "w", libver=request.param) as file:
        file["layers/b1/vars/0"], file["b2/b2/bias:0"] = KERNEL, BIAS
    return path.read_bytes()


@settings(max_examples=150)
@given(draw=st.data())
def test_damaged_files(folder, valid, draw):
    path = folder / "x.h5"
    path.write_bytes(draw.draw(damaged(valid)))
    stands(keras_h5.read, path)
