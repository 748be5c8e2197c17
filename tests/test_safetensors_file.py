"""Foreign safetensors files: names of other libraries, all widths of floats."""

import json

import numpy as np
import pytest
from fuzzing import WRONG_FILES, damaged, memory_below, refused, stands
from hypothesis import given, settings
from safetensors.numpy import save, save_file

from deepgaze_jax.conversion import safetensors_file

RNG = np.random.default_rng(6)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "vgg19.safetensors"


def raw(header, values=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + values


def entry(dtype, shape, start, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def test_round_trip(path):
    arrays = {
        "features.0.weight": RNG.standard_normal((4, 3, 3, 3), np.float32),
        "features.0.bias": RNG.standard_normal(4, np.float32),
        "head.fc.scale": np.array(2.5, np.float32),
        "empty": np.zeros((0, 2), np.float32),
    }
    save_file(arrays, path, metadata={"format": "pt"})
    found = safetensors_file.read(path)
    assert set(found) == set(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array, strict=True)
    assert safetensors_file.read_header(path).metadata == {"format": "pt"}


def test_all_widths_become_float32(path):
    values = np.float16([1.5, -2]).tobytes() + b"\x80\x3f\x40\xc0"
    values += np.float64([0.1]).tobytes()
    header = {
        "half": entry("F16", [2], 0, 4),
        "brain": entry("BF16", [1, 2], 4, 8),
        "double": entry("F64", [], 8, 16),
    }
    path.write_bytes(raw(header, values))
    found = safetensors_file.read(path)
    assert {array.dtype.name for array in found.values()} == {"float32"}
    assert found["half"].tolist() == [1.5, -2]
    assert found["brain"].tolist() == [[1, -3]]
    assert found["double"] == np.float32(0.1)


def test_what_float32_cannot_hold_becomes_infinite(path):
    values = np.float64([1e300, -1e300, np.nan]).tobytes()
    path.write_bytes(raw({"a": entry("F64", [3], 0, 24)}, values))
    np.testing.assert_array_equal(
        safetensors_file.read(path)["a"], [np.inf, -np.inf, np.nan]
    )


def test_other_types_are_named(path):
    save_file({"ids": np.arange(3), "a": np.zeros(1, np.float32)}, path)
    refused(safetensors_file.read, path, words=["floating-point", "ids (I64)"])
    path.write_bytes(raw({"q": entry("F8_E4M3", [2], 0, 2)}, b"12"))
    refused(safetensors_file.read, path, words=["q (F8_E4M3)"])


@pytest.mark.parametrize("kind", WRONG_FILES)
def test_wrong_files(path, kind):
    data, words = WRONG_FILES[kind]
    path.write_bytes(data)
    words = ["is ", words, "expected a safetensors file"]
    refused(safetensors_file.read, path, words=words)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({"a": entry("F32", [1], 0, 4), "b": entry("F32", [1], 0, 4)}, "b does not"),
        ({"a": entry("F32", [1], 4, 8)}, "a does not follow"),
        ({"a": entry("F32", [2], 0, 4)}, "a, F32 [2], takes 4 bytes"),
        ({"a": entry("F32", [1 << 40, 1 << 40], 0, 4)}, "takes 4 bytes"),
        ({"a": entry("F32", [-1], 0, 4)}, "impossible"),
        ({"a": entry("F32", [True], 0, 4)}, "impossible"),
        ({"a": entry("F32", [1.0], 0, 4)}, "impossible"),
        ({"a": entry("F32", [1], 4, 0)}, "takes -4 bytes"),
        ({"a": entry("F32", [1] * 33, 0, 4)}, "impossible"),
        ({"a": {**entry("F32", [1], 0, 4), "data_offsets": [0]}}, "impossible"),
        ({"a": {**entry("F32", [1], 0, 4), "dtype": []}}, "no type, shape"),
        ({"a": [1]}, "no type, shape"),
        ({"a": entry("F32\n\x1b[2J", [0], 0, 0)}, "a type 'F32\\n\\x1b[2J'"),
        ({"a": entry("X" * 100_000, [0], 0, 0)}, "a type 'XXXXXXXXXXXXXXXXXXXX', "),
        ({"a\nb": entry("F32", [1], 0, 4)}, "'a\\nb'"),
        ({"__metadata__": {"a": 1}}, "not texts"),
        ({"__metadata__": []}, "not texts"),
        (b'{"a":1,"a":1}', "twice"),
        (b"{", "damaged"),
        (b'{"\xff":1}', "damaged"),
        (b'{"a":' + b"[" * 10_000, "damaged"),
        (b'{"a":' + b"[" * 300_000, "too many parts"),
    ],
)
def test_headers_that_do_not_fit(path, header, words):
    path.write_bytes(raw(header, bytes(4)))
    with memory_below(30_000_000):
        refused(safetensors_file.read, path, words=["damaged", words])


def test_sizes_are_bounded(path):
    path.write_bytes(raw({"a": entry("F16", [8], 0, 16)}, bytes(16)))
    # Twice as much as in the file, since it is widened.
    refused(safetensors_file.read, path, 31, words=["32 bytes; at most 31"])
    assert safetensors_file.read(path, 32)["a"].shape == (8,)
    claim = raw({"a": entry("F32", [1 << 40], 0, 1 << 42)})
    path.write_bytes(claim)
    refused(safetensors_file.read, path, words=["cut off: 0 of 4,398,046,511,104"])
    path.write_bytes((1 << 31).to_bytes(8, "little") + b"{")
    refused(safetensors_file.read, path, words=["cut off"])
    path.write_bytes(raw({}, b"1234"))
    refused(safetensors_file.read, path, words=["4 bytes at its end belong to no"])


def test_cut_off_anywhere(path):
    data = save({"a": RNG.standard_normal(5, np.float32), "b": np.float32([1, 2])})
    for n in range(len(data)):
        path.write_bytes(data[:n])
        refused(safetensors_file.read, path, words=["cut off"] if n > 40 else [])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


VALID = save({"a": np.float32([1, 2]), "b": np.float16([[3]]), "c": np.float64([4])})


@settings(max_examples=200)
@given(data=damaged(VALID))
def test_damaged_files(folder, data):
    path = folder / "x.safetensors"
    path.write_bytes(data)
    stands(safetensors_file.read, path)
