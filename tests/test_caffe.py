"""Caffe models, written byte by byte."""

import numpy as np
import pytest
import writers_caffe as writer
from fuzzing import WRONG_FILES, damaged, memory_below, refused, stands
from hypothesis import given, settings

from deepgaze_jax.conversion import caffe, sniff

RNG = np.random.default_rng(4)


def random(*shape):
    return RNG.standard_normal(shape, np.float32)


LAYERS = {
    "data": [],
    "conv1_1": [
        RNG.standard_normal((4, 3, 3, 3), np.float32),
        np.float32([1, 2, 3, 4]),
    ],
    "relu1_1": [],
    "fc6": [
        RNG.standard_normal((2, 5), np.float32),
        RNG.standard_normal(2, np.float32),
    ],
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "vgg.caffemodel"


@pytest.mark.parametrize("name", ["VGG_ILSVRC_19_layers", "", "n" * 127])
@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize("pieces", [1, 3])
def test_round_trip(path, name, old, pieces):
    writer.write_caffemodel(path, LAYERS, old, name, pieces)
    assert sniff.file_kind(path) == "caffe"
    found = caffe.read(path)
    assert list(found) == ["conv1_1/0", "conv1_1/1", "fc6/0", "fc6/1"]
    for layer, arrays in LAYERS.items():
        for number, array in enumerate(arrays):
            shape = (1,) * (4 - array.ndim) + array.shape if old else array.shape
            expected = array.reshape(shape)
            key = f"{layer}/{number}"
            np.testing.assert_array_equal(found[key], expected, strict=True)


def test_double_precision(path):
    writer.write_caffemodel(path, {"a": [np.array([[0.1, 2]])]})
    np.testing.assert_array_equal(caffe.read(path)["a/0"], [[0.1, 2]], strict=True)


@pytest.mark.parametrize("kind", WRONG_FILES)
def test_wrong_files(path, kind):
    data, words = WRONG_FILES[kind]
    path.write_bytes(data)
    refused(caffe.read, path, words=["is ", words, "expected a Caffe model"])


def test_other_wrong_files(path, tmp_path):
    path.write_text('name: "VGG"\nlayers {\n  name: "conv1_1"\n}\n')
    refused(caffe.read, path, words=["a text file that begins 'name: \"VGG\"'"])
    refused(caffe.read, tmp_path / "no", words=["no such file"])
    refused(caffe.read, tmp_path, words=["is a folder"])
    writer.write_caffemodel(path, {"data": []})
    refused(caffe.read, path, words=["has no arrays"])
    oldest = writer.nested(2, writer.nested(1, writer.nested(1, b"conv\x01")))
    path.write_bytes(writer.nested(1, b"net") + oldest)
    refused(caffe.read, path, words=["oldest kind (V0)", "upgrade_net_proto_binary"])


@pytest.mark.parametrize("old", [True, False])
def test_cut_off_anywhere(path, old):
    data = writer.write_caffemodel(path, LAYERS, old).read_bytes()
    for n in range(20, len(data), 13):
        path.write_bytes(data[:n])
        # Only between two layers it cannot be seen.
        arrays = stands(caffe.read, path)
        assert arrays is None or set(arrays) == {"conv1_1/0", "conv1_1/1"}
    path.write_bytes(data[:-1])
    refused(caffe.read, path, words=["cut off or damaged", "does not fit in"])


def test_claims_are_checked(path):
    def blob(*shape):
        return writer.nested(7, writer.nested(1, b"".join(map(writer.varint, shape))))

    def write(content, n=1):
        layer = writer.nested(1, b"a") + n * writer.nested(7, content)
        path.write_bytes(writer.nested(1, b"net") + n * writer.nested(100, layer))

    four = writer.nested(5, bytes(16))
    with memory_below(20_000_000):
        write(blob(1 << 40, 1 << 40) + four)
        refused(caffe.read, path, words=["a/0, float32", "takes 16 bytes"])
        write(blob(1 << 41))
        refused(caffe.read, path, words=["a/0 has an impossible shape"])
        write(blob(*[1] * 40) + four)
        refused(caffe.read, path, words=["impossible shape"])
        write(blob(4) + four, 2)
        refused(caffe.read, path, words=["a/0 is there twice"])
        write(writer.nested(7, writer.nested(1, b"\x80" * 11)))
        refused(caffe.read, path, words=["a number does not end"])
        write(blob(4) + four)
        refused(caffe.read, path, 15, words=["16 bytes; at most 15"])
        assert caffe.read(path, 16)["a/0"].tolist() == [0] * 4
    path.write_bytes(writer.nested(1, b"net") + b"\x12\x00" * 120_000)
    refused(caffe.read, path, words=["too many fields"])


def test_names_that_cannot_be_shown(path):
    writer.write_caffemodel(path, {"a\nb": [np.float32([1])]})
    refused(caffe.read, path, words=["'a\\nb'"])
    writer.write_caffemodel(path, {"a" * 2000: [np.float32([1])]})
    refused(caffe.read, path, words=["a name is too long"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


def valid(old):
    layers = {"c": [np.float32([[1, 2]]), np.float32([3])], "d": [np.float64([4])]}
    name = writer.nested(1, b"VGG") + writer.number(7, 1)
    return name + b"".join(writer.layer(n, a, old) for n, a in layers.items())


@settings(max_examples=200)
@given(data=damaged(valid(old=True)) | damaged(valid(old=False)))
def test_damaged_files(folder, data):
    path = folder / "x.caffemodel"
    path.write_bytes(data)
    stands(caffe.read, path)
