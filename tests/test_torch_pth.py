"""PyTorch's files without PyTorch: the right arrays, or one line that says why not."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from writers_pickle import (
    ENDLESS,
    Call,
    Name,
    Raw,
    Stored,
    pickled,
    torch_legacy,
    torch_zip,
)

from deepgaze_jax.conversion import sniff, torch_pth
from deepgaze_jax.errors import WeightsError

REFERENCE = Path(__file__).parent / "reference"
WRITERS = {"zip": torch_zip, "legacy": torch_legacy}


def small_arrays():
    rng = np.random.default_rng(3)
    return {
        "features.0.weight": rng.standard_normal((2, 3, 3, 1)).astype(np.float32),
        "features.0.bias": rng.standard_normal(2).astype(np.float32),
        "steps": np.int64(7),
    }


def write(tmp_path, data, name="w.pth"):
    path = tmp_path / name
    path.write_bytes(data)
    return path


def refused(path, *words, **kwargs):
    with pytest.raises(WeightsError) as caught:
        torch_pth.read(path, **kwargs)
    message = str(caught.value)
    assert "\n" not in message and message.startswith(str(path))
    for word in words:
        assert word in message, message
    return message


# --- what is right ----------------------------------------------------------------


@pytest.mark.parametrize("layout", ["zip", "legacy"])
def test_files_that_torch_wrote(layout):
    arrays = torch_pth.read(REFERENCE / f"torch_{layout}.pth")
    with np.load(REFERENCE / "torch_tensors.npz") as expected:
        assert set(arrays) == set(expected.files)
        for name, array in arrays.items():
            assert array.dtype == expected[name].dtype
            np.testing.assert_array_equal(array, expected[name], strict=True)
    assert "state_dict.0.weight" in arrays and "tensors.permuted" in arrays


def test_order_of_names_is_that_of_the_file():
    arrays = torch_pth.read(REFERENCE / "torch_zip.pth")
    assert list(arrays)[:3] == [
        f"state_dict.{n}" for n in ("0.weight", "0.bias", "2.weight")
    ]


@pytest.mark.parametrize("layout", WRITERS)
def test_round_trip(tmp_path, layout):
    path = write(tmp_path, WRITERS[layout](small_arrays()))
    found = torch_pth.read(path)
    assert list(found) == list(small_arrays())
    for name, array in small_arrays().items():
        np.testing.assert_array_equal(found[name], np.asarray(array), strict=True)
    kind = "zip" if layout == "zip" else "torch-legacy"
    assert sniff.file_kind(path) == kind


def storage(size, kind="Float", key="0"):
    return Stored(("storage", Name("torch", f"{kind}Storage"), key, "cpu", size))


def tensor(size, offset, shape, strides, kind="Float"):
    return Call(
        Name("torch._utils", "_rebuild_tensor"),
        (storage(size, kind), offset, shape, strides),
    )


def test_big_endian_values(tmp_path):
    tree = {"a": tensor(3, 0, (3,), (1,)), "b": tensor(3, 1, (2,), (1,))}
    data = np.array([1, 2.5, -3], ">f4").tobytes()
    path = write(tmp_path, torch_zip(tree=tree, values={"0": data}, order=b"big"))
    np.testing.assert_array_equal(torch_pth.read(path)["a"], np.float32([1, 2.5, -3]))
    np.testing.assert_array_equal(torch_pth.read(path)["b"], np.float32([2.5, -3]))
    odd = torch_zip(tree=tree, values={"0": data}, order=b"middle")
    refused(write(tmp_path, odd), "byte order")
    refused(write(tmp_path, torch_legacy(small_arrays(), little=False)), "big-endian")


def test_bfloat16_is_widened_exactly(tmp_path):
    tree = {"a": tensor(3, 0, (3,), (1,), "BFloat16")}
    values = {"0": np.array([0x3F80, 0xC000, 0x7F80], "<u2").tobytes()}
    found = torch_pth.read(write(tmp_path, torch_zip(tree=tree, values=values)))["a"]
    np.testing.assert_array_equal(found, np.float32([1, -2, np.inf]), strict=True)


def test_shared_storages_share_memory(tmp_path):
    tree = {"a": tensor(6, 0, (2, 3), (3, 1)), "b": tensor(6, 0, (3, 2), (1, 3))}
    values = {"0": np.arange(6, dtype="<f4").tobytes()}
    found = torch_pth.read(write(tmp_path, torch_zip(tree=tree, values=values)))
    np.testing.assert_array_equal(found["b"], found["a"].T)
    assert np.shares_memory(found["a"], found["b"])


def test_parameters_of_2017(tmp_path):
    """As torchvision's first files: a Parameter around a tensor, with a state."""
    identity = (*storage(4).identity, ("5", 1, 3))
    inner = Call(
        Name("torch._utils", "_rebuild_tensor"), (Stored(identity), 1, (2,), (1,))
    )
    parameter = Call(
        Name("torch.nn.parameter", "Parameter"), (inner,), (True, False, {})
    )
    values = {"0": np.arange(4, dtype="<f4").tobytes()}
    data = torch_legacy(tree={"w": parameter}, values=values, sizes={"0": 4})
    np.testing.assert_array_equal(torch_pth.read(write(tmp_path, data))["w"], [2, 3])
    outside = (*storage(4).identity, ("5", 2, 3))
    inner = Call(
        Name("torch._utils", "_rebuild_tensor"), (Stored(outside), 0, (2,), (1,))
    )
    data = torch_legacy(tree={"w": inner}, values=values, sizes={"0": 4})
    refused(write(tmp_path, data), "outside its storage")


# --- what would run ---------------------------------------------------------------


def payloads(marker):
    shell = Call(Name("os", "system"), (f"echo ran > '{marker}'",))
    code = f"open({str(marker)!r}, 'w').close()"
    return {
        "os.system": shell,
        "builtins.eval": Call(Name("builtins", "eval"), (code,)),
        "numpy.memmap": Call(Name("numpy", "memmap"), (str(marker), "u1", "w+", 0, 9)),
        "torch.storage._load_from_bytes": Call(
            Name("torch.storage", "_load_from_bytes"), (pickled(shell),)
        ),
        "torch.nn.modules.container.Sequential": Call(
            Name("torch.nn.modules.container", "Sequential"), ()
        ),
    }


@pytest.mark.parametrize("layout", [*WRITERS, "first pickle", "pickle"])
@pytest.mark.parametrize("name", payloads("m"))
def test_nothing_of_a_file_is_run(tmp_path, layout, name):
    marker = tmp_path / "it-ran"
    tree = {"features.0.weight": payloads(marker)[name]}
    if layout == "first pickle":
        data = pickled(tree) + torch_legacy(small_arrays())
    else:
        data = {"pickle": lambda tree: pickled(tree), **WRITERS}[layout](tree=tree)
    words = ["is unsafe", name, "nothing of it was run"]
    refused(write(tmp_path, data), *words)
    assert not marker.exists()


def test_in_an_identity_or_behind_the_tensors(tmp_path):
    marker = tmp_path / "it-ran"
    evil = payloads(marker)["os.system"]
    identity = Stored(("storage", evil, "0", "cpu", 3))
    refused(write(tmp_path, torch_zip(tree=identity)), "is unsafe", "os.system")
    data = torch_legacy(tree={})
    data = data.removesuffix(pickled([])) + pickled(evil)
    refused(write(tmp_path, data), "is unsafe", "os.system")
    assert not marker.exists()


# --- what is wrong ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (tensor(3, 0, (4,), (1,)), ["needs more than the 3 values"]),
        (tensor(3, 3, (1,), (1,)), ["needs more than"]),
        (tensor(3, 0, (2, 2), (2, 1)), ["needs more than"]),
        # Bounds that overflow 64 bits, and one value seen a trillion times.
        (tensor(3, 0, (1 << 39, 1 << 39), (1 << 39, 1)), ["needs more than"]),
        (tensor(3, 0, (1 << 20, 1 << 20), (0, 0)), ["needs more than"]),
        (tensor(3, -1, (1,), (1,)), ["place in its storage"]),
        (tensor(3, 0, (-1,), (1,)), ["without a shape"]),
        (tensor(3, 0, (3,), (-1,)), ["without a stride"]),
        (tensor(3, 0, (3,), (1, 1)), ["differ in length"]),
        (tensor(3, 0, (1,) * 33, (1,) * 33), ["differ in length"]),
        (tensor(3, 0, "3", (1,)), ["without a shape"]),
        (tensor(4, 0, (3,), (1,)), ["data/0", "12 bytes", "expected 16"]),
        (tensor(1 << 39, 0, (3,), (1,)), ["data/0", "12 bytes"]),
        (tensor(3, 0, (3,), (1,), "Double"), ["12 bytes", "expected 24"]),
        (tensor(3, 0, (3,), (1,), "QInt8"), ["is unsafe", "torch.QInt8Storage"]),
        (
            [tensor(3, 0, (3,), (1,)), tensor(6, 0, (3,), (1,), "Half")],
            ["two different storages"],
        ),
        (Call(Name("torch._utils", "_rebuild_tensor"), (1, 0, (), ())), ["a storage"]),
        (Call(Name("torch._utils", "_rebuild_parameter"), (1, True)), ["parameter"]),
        (Stored(("module", Name("torch", "FloatStorage"), "0", "", 3)), ["identity"]),
        (Stored("storage"), ["identity"]),
        ({"epoch": 3}, ["no named arrays"]),
    ],
)
def test_tensors_that_do_not_fit(tmp_path, made, words):
    values = {"0": np.arange(3, dtype="<f4").tobytes()}
    tree = made if isinstance(made, dict) else {"w": made}
    refused(write(tmp_path, torch_zip(tree=tree, values=values)), *words)


def test_storages_of_old_files_that_do_not_fit(tmp_path):
    tree = {"w": tensor(3, 0, (3,), (1,))}
    row = np.arange(3, dtype="<f4").tobytes()
    data = torch_legacy(tree=tree, values={"0": row}, sizes={"0": 4})
    refused(write(tmp_path, data), "a storage has 4 values; expected 3")
    data = torch_legacy(tree=tree, values={"1": row}, sizes={"1": 3})
    refused(write(tmp_path, data), "list of storages")
    huge = {"w": tensor(1 << 39, 0, (3,), (1,))}
    data = torch_legacy(tree=huge, values={"0": row}, sizes={"0": 1 << 39})
    refused(write(tmp_path, data), "is cut off", "2,199,023,255,552 more bytes")


def test_lists_of_storages_that_are_nested_without_end(tmp_path):
    data = torch_legacy(tree={}).removesuffix(pickled([]))
    for keys in (ENDLESS, Raw(b")" + b"\x85" * 50_000), 1, ("0", 1)):
        path = write(tmp_path, data + pickled([keys]))
        refused(path, "list of storages")


def test_a_storage_that_is_missing(tmp_path):
    tree = {"w": tensor(3, 0, (3,), (1,))}
    refused(write(tmp_path, torch_zip(tree=tree)), "'net/data/0' is missing")


def test_size_is_bounded(tmp_path):
    for make in WRITERS.values():
        path = write(tmp_path, make(small_arrays()))
        refused(path, "at most 100", max_bytes=100)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"<!DOCTYPE html><html>", ["web page"]),
        (b"version https://git-lfs.github.com/spec/v1\nsize 5\n", ["Git-LFS"]),
        (b"", ["empty"]),
        (b"\x89HDF\r\n\x1a\n" + bytes(60), ["HDF5"]),
        (b"\x00\x01\x02", ["unknown kind"]),
        (pickled({"a": 1}), ["none that torch.save wrote"]),
        (bytes(257) + b"ustar" + bytes(300), ["tar archive", "0.1.11", "save it"]),
    ],
)
def test_other_files(tmp_path, data, words):
    refused(write(tmp_path, data), *words)
    refused(tmp_path, "is a folder")


def archive(members, method=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (archive({"m/code/a.py": b"", "m/data.pkl": b""}), ["TorchScript"]),
        (archive({"m/constants.pkl": b"", "m/data.pkl": b""}), ["TorchScript"]),
        (archive({"a.txt": b"1"}), ["not one of PyTorch", "a.txt"]),
        (archive({}), ["zip archive"]),
        (archive({"a/data.pkl": b"", "b/data.pkl": b""}), ["not one of PyTorch"]),
        (
            archive({"m/data.pkl": pickled({})}, zipfile.ZIP_DEFLATED),
            ["m/data.pkl", "compressed"],
        ),
    ],
)
def test_other_archives(tmp_path, data, words):
    refused(write(tmp_path, data), *words)


# --- fuzzing ----------------------------------------------------------------------


@pytest.mark.parametrize("layout", WRITERS)
def test_cut_off_at_any_byte(tmp_path, layout):
    data = WRITERS[layout]({"a.b": np.float32([1, 2])})
    for length in range(len(data)):
        refused(write(tmp_path, data[:length]))


FUZZ = settings(
    max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
FLIPS = st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), max_size=4)


@FUZZ
@given(st.sampled_from(sorted(WRITERS)), FLIPS.filter(bool))
def test_flipped_bytes_give_one_line_or_arrays(tmp_path, layout, flips):
    data = bytearray(WRITERS[layout](small_arrays()))
    for place, flip in flips:
        data[int(place * (len(data) - 1))] ^= flip
    path = write(tmp_path, data)
    try:
        torch_pth.read(path)
    except WeightsError as error:
        assert "\n" not in str(error)


def test_raw_instructions_in_the_pickle(tmp_path):
    tree = {"w": Raw(b"\x8e" + b"\xff" * 7 + b"\x00")}
    refused(write(tmp_path, torch_zip(tree=tree)), "cut off or damaged")
