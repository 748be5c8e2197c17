"""MatConvNet networks; the files are written with scipy and by hand."""

import struct
import zlib

import numpy as np
import pytest
import scipy.io
from fuzzing import WRONG_FILES, damaged, memory_below, refused, stands
from hypothesis import given, settings
from hypothesis import strategies as st

from deepgaze_jax.conversion import mat_file, matconvnet

RNG = np.random.default_rng(5)
WEIGHTS = {
    "conv1_1": (
        RNG.standard_normal((3, 3, 3, 4), np.float32),
        RNG.standard_normal((1, 4), np.float32),
    ),
    "conv1_2": (RNG.standard_normal((3, 3, 4, 2)), RNG.standard_normal((2, 1))),
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "vgg.mat"


def cell(*values):
    out = np.empty((1, len(values)), object)
    out[0, :] = values
    return out


def network(layout, weights=WEIGHTS):
    """The variables of a file; fields come in another order in each layout."""
    layers = []
    for name, (filters, biases) in weights.items():
        pair = cell(filters, biases)
        layers += [
            {
                "oldest": {"type": "conv", "filters": filters, "biases": biases},
                "old": {"weights": pair, "pad": [1.0] * 4, "type": "conv"},
                "new": {"name": name, "type": "conv", "weights": pair, "size": [3.0]},
            }[layout if layout != "net" else "new"]
            | {"name": name},
            {"type": "relu", "name": f"relu_{name}"},
        ]
    layers.append(
        {"type": "softmax", "name": "prob", "weights": np.empty((1, 0), object)}
    )
    mean = np.full((2, 2, 3), 120, np.float32)
    classes = {"description": cell("a cat", "a dog")}
    found = {"layers": cell(*layers)}
    if layout in ("old", "oldest"):
        return {**found, "classes": classes, "normalization": {"averageImage": mean}}
    found["meta"] = {"classes": classes, "normalization": {"averageImage": mean}}
    return {"net": found} if layout == "net" else found


@pytest.mark.parametrize("layout", ["oldest", "old", "new", "net"])
@pytest.mark.parametrize("compressed", [False, True])
def test_round_trip(path, layout, compressed):
    scipy.io.savemat(path, network(layout), do_compression=compressed)
    found = matconvnet.read(path)
    assert list(found) == [f"{name}/{i}" for name in WEIGHTS for i in (0, 1)]
    for name, arrays in WEIGHTS.items():
        for i, array in enumerate(arrays):
            np.testing.assert_array_equal(found[f"{name}/{i}"], array, strict=True)


def test_all_kinds_of_values_agree_with_scipy(path):
    values = {
        "double": RNG.standard_normal((2, 3)),
        "small": np.array([[1.0, 2, 300]]),
        "int": np.int16([[1, -2]]),
        "flags": np.array([[True, False]]),
        "text": "σ and Ω",
        "none": np.zeros((0, 0)),
        "nested": cell(cell(1.0), {"a": cell("b")}),
        "structs": np.array([(1.0, "x"), (2.0, "y")], [("n", object), ("t", object)]),
        "complex": np.array([[1 + 2j]]),
        "empty": np.empty((0, 0), object),
    }
    for compressed in (False, True):
        scipy.io.savemat(path, values, do_compression=compressed)
        found = mat_file.read_variables(path, tuple(values), 10_000)
        assert set(found) == set(values)
        for name in ("double", "small", "int", "none"):
            np.testing.assert_array_equal(found[name], values[name], strict=True)
        assert found["flags"].tolist() == [[1, 0]]
        assert found["nested"] == [[[[1.0]]], [{"a": ["b"]}]]
        assert [row["t"] for row in found["structs"]] == ["x", "y"]
        assert [row["n"].item() for row in found["structs"]] == [1, 2]
        assert found["complex"] is None
        assert found["empty"] == []


def test_numbers_that_matlab_stores_in_a_smaller_type_or_another_byte_order(path):
    def part(kind, data):
        return struct.pack(">2I", kind, len(data)) + data + bytes(-len(data) % 8)

    content = part(6, struct.pack(">2I", 6, 0)) + part(5, struct.pack(">2i", 1, 3))
    # A short name lies within the tag.
    content += struct.pack(">2H", 4, 1) + b"mean" + part(2, bytes([1, 2, 255]))
    header = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x01\x00MI"
    path.write_bytes(header + part(14, content))
    found = mat_file.read_variables(path, ("mean",), 56)["mean"]
    np.testing.assert_array_equal(found, [[1.0, 2, 255]], strict=True)
    refused(mat_file.read_variables, path, ("mean",), 55, words=["at most 55"])


@pytest.mark.parametrize("kind", WRONG_FILES)
def test_wrong_files(path, kind):
    data, words = WRONG_FILES[kind]
    path.write_bytes(data)
    refused(matconvnet.read, path, words=["is ", words, "expected a MATLAB file"])


def test_other_files(path, tmp_path):
    refused(matconvnet.read, tmp_path / "no", words=["no such file"])
    refused(matconvnet.read, tmp_path, words=["is a folder"])
    data = b"MATLAB 7.3 MAT-file".ljust(512) + b"\x89HDF\r\n\x1a\n"
    path.write_bytes(data)
    refused(matconvnet.read, path, words=["MATLAB 7.3 file (HDF5", "-v7"])
    scipy.io.savemat(path, {"fixations": [1.0]})
    refused(matconvnet.read, path, words=["no variable `layers`"])
    scipy.io.savemat(path, {"layers": cell({"type": "relu", "name": "r"})})
    refused(matconvnet.read, path, words=["has no arrays"])
    dag = {"layers": cell({"name": "r"}), "params": cell({"name": "f"})}
    scipy.io.savemat(path, dag)
    refused(matconvnet.read, path, words=["DagNN"])
    twice = network("new")
    twice["layers"] = np.concatenate([twice["layers"]] * 2, axis=1)
    scipy.io.savemat(path, twice)
    refused(matconvnet.read, path, words=["conv1_1/0 is there twice"])


@pytest.mark.parametrize("compressed", [False, True])
def test_cut_off_anywhere(path, compressed):
    # The weights are the last thing in the file.
    layers = {"layers": network("new")["layers"]}
    scipy.io.savemat(path, layers, do_compression=compressed)
    data = path.read_bytes()
    for n in range(130, len(data), 37):
        path.write_bytes(data[:n])
        refused(matconvnet.read, path, words=["cut off or damaged"])


def matrix(kind, shape, content, name=b""):
    def part(kind, data):
        return struct.pack("<2I", kind, len(data)) + data + bytes(-len(data) % 8)

    body = part(6, struct.pack("<2I", kind, 0))
    body += part(5, np.array(shape, "<i4").tobytes()) + part(1, name) + content
    return part(14, body)


def write(path, *elements):
    path.write_bytes(b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM" + b"".join(elements))


def packed(element):
    data = zlib.compress(element)
    return struct.pack("<2I", 15, len(data)) + data


def test_claims_are_checked_before_anything_is_made(path):
    def claim(kind, n):
        return struct.pack("<2I", kind, n)

    with memory_below(5_000_000):
        write(path, matrix(1, (1 << 30, 1), b"", b"layers"))
        refused(matconvnet.read, path, words=["1,073,741,824 values are announced"])
        write(path, matrix(6, (1 << 30, 1), claim(9, 1 << 31), b"layers"))
        refused(matconvnet.read, path, words=["its arrays take too much"])
        write(path, matrix(6, (1 << 20, 1), claim(9, 1 << 23), b"layers"))
        refused(matconvnet.read, path, words=["cut off or damaged"])
        write(path, claim(14, 1 << 20))
        refused(matconvnet.read, path, words=["ends too early"])
        write(path, claim(14, 1 << 31))
        refused(matconvnet.read, path, words=["2,147,483,648 bytes; at most"])
        write(path, packed(claim(14, (1 << 32) - 1)))
        refused(matconvnet.read, path, words=["4,294,967,295 bytes; at most"])
        write(path, packed(claim(14, 1 << 29)))
        refused(matconvnet.read, path, words=["cut off or damaged"])
    deep = matrix(6, (1, 1), claim(9, 8) + bytes(8))
    for _ in range(3000):
        deep = matrix(1, (1, 1), deep)
    write(path, matrix(1, (1, 1), deep, b"layers"))
    refused(matconvnet.read, path, words=["nested too deeply"])
    empty = matrix(1, (0, 0), b"", b"layers")
    write(path, empty, empty)
    refused(matconvnet.read, path, words=["layers is there twice"])


def test_what_is_not_needed_is_not_inflated(path):
    bomb = packed(matrix(9, (1 << 28, 1), bytes(64 << 20), b"bomb"))
    scipy.io.savemat(path, network("new"))
    with path.open("ab") as file:
        file.write(bomb)
    with memory_below(5_000_000):
        assert len(matconvnet.read(path)) == 4
    write(path, packed(matrix(1, (1, 1), bytes(8 << 20), b"layers")))
    with memory_below(5_000_000):
        refused(matconvnet.read, path, words=["an element is not an array"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="module", params=[False, True])
def valid(request, folder):
    small = {"c": (np.float32([[1, 2], [3, 4]]), np.float32([[5, 6]]))}
    path = folder / "valid.mat"
    scipy.io.savemat(path, network("new", small), do_compression=request.param)
    return path.read_bytes()


@settings(max_examples=200)
@given(draw=st.data())
def test_damaged_files(folder, valid, draw):
    path = folder / "x.mat"
    path.write_bytes(draw.draw(damaged(valid)))
    stands(matconvnet.read, path)


def test_files_from_matlab_itself_agree_with_scipy(shared_data):
    for path in sorted(shared_data.glob("raw/osie/100?.mat")):
        expected = scipy.io.loadmat(path)
        names = tuple(name for name in expected if not name.startswith("__"))
        found = mat_file.read_variables(path, names, 1 << 20)
        assert list(found) == list(names)
        assert_agrees(found, {name: expected[name] for name in names})


def assert_agrees(found, expected):
    """Compare our plain values with the nested arrays that scipy makes."""
    if isinstance(found, dict):
        for name, value in found.items():
            assert_agrees(value, expected[name])
    elif isinstance(found, list):
        assert len(found) == expected.size
        for ours, theirs in zip(found, expected.ravel(order="F"), strict=True):
            assert_agrees(ours, theirs)
    elif isinstance(found, str):
        assert found == "".join(np.atleast_1d(expected))
    else:
        np.testing.assert_array_equal(found, expected)
