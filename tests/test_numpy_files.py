"""`.npy`, `.npz` and pickles of arrays: nothing runs, nothing grows without bound."""

import io
import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from writers_pickle import ENDLESS, Call, Name, Raw, npy, numpy_array, pickled

from deepgaze_jax.conversion import npy_pickle, numpy_pickle, zips
from deepgaze_jax.errors import WeightsError

RNG = np.random.default_rng(4)
KERNEL = RNG.standard_normal((3, 3, 2, 4)).astype(np.float32)
BIAS = RNG.standard_normal(4).astype(np.float32)
TREE = {"conv1_1": [KERNEL, BIAS], "conv1_2": [KERNEL[:1], BIAS[:2]]}
NAMES = ["conv1_1/0", "conv1_1/1", "conv1_2/0", "conv1_2/1"]


def write(tmp_path, data, name="w.npy"):
    path = tmp_path / name
    path.write_bytes(data)
    return path


def refused(read, path, *words, **kwargs):
    with pytest.raises(WeightsError) as caught:
        read(path, **kwargs)
    message = str(caught.value)
    assert "\n" not in message and message.startswith(str(path))
    for word in words:
        assert word in message, message


def saved(save, *args, **kwargs):
    buffer = io.BytesIO()
    save(buffer, *args, **kwargs)
    return buffer.getvalue()


# --- what is right ----------------------------------------------------------------


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("kind", ["<f4", ">f4", "<f8", "<f2", "<i8", "|u1", "|b1"])
def test_pickles_that_numpy_wrote(tmp_path, protocol, kind):
    array = (10 * KERNEL).astype(kind)
    tree = {
        "net": {"kernel": array, "turned": np.asfortranarray(array)},
        "list": [array[::2], np.array(3, kind), np.dtype(kind).type(1)],
        "epoch": 3,
    }
    path = write(tmp_path, pickle.dumps(tree, protocol), "w.ckpt")
    found = numpy_pickle.read(path)
    expected = {
        "net/kernel": array,
        "net/turned": array,
        "list/0": array[::2],
        "list/1": np.array(3, kind),
        "list/2": np.array(1, kind),
    }
    assert list(found) == list(expected)
    for name, values in expected.items():
        native = np.dtype(kind).newbyteorder("=")
        assert found[name].dtype == native and found[name].dtype.isnative
        np.testing.assert_array_equal(found[name], values.astype(native), strict=True)


@pytest.mark.parametrize("core", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_both_names_of_the_core(tmp_path, core):
    tree = {"a": numpy_array(KERNEL, core), "b": numpy_array(BIAS, core)}
    found = numpy_pickle.read(write(tmp_path, pickled(tree, 3), "w.ckpt"))
    np.testing.assert_array_equal(found["a"], KERNEL, strict=True)
    np.testing.assert_array_equal(found["b"], BIAS, strict=True)


def test_dictionary_in_npy(tmp_path):
    path = write(tmp_path, saved(np.save, TREE, allow_pickle=True))
    found = npy_pickle.read(path)
    assert list(found) == NAMES
    np.testing.assert_array_equal(found["conv1_1/0"], KERNEL, strict=True)
    np.testing.assert_array_equal(found["conv1_2/1"], BIAS[:2], strict=True)


def test_dictionary_that_python_2_wrote(tmp_path):
    """The bytes of arrays are text there, with an instruction of their own."""
    values = KERNEL.tobytes()
    code = b"T" + len(values).to_bytes(4, "little") + values
    tree = {"a": numpy_array(KERNEL, data=Raw(code))}
    found = npy_pickle.read(write(tmp_path, npy(tree)))
    np.testing.assert_array_equal(found["a"], KERNEL, strict=True)


def test_array_of_objects_inside_a_dictionary(tmp_path):
    pair = np.empty(2, object)
    pair[0], pair[1] = KERNEL, BIAS
    path = write(tmp_path, pickle.dumps({"conv": pair}), "w.ckpt")
    assert list(numpy_pickle.read(path)) == ["conv/0", "conv/1"]


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["<f4", ">f8", "|u1"])
def test_plain_arrays(tmp_path, order, kind):
    array = np.asarray((10 * KERNEL).astype(kind), order=order)
    found = npy_pickle.read(write(tmp_path, saved(np.save, array)))
    assert list(found) == ["arr_0"]
    np.testing.assert_array_equal(found["arr_0"], array)
    for save in (np.savez, np.savez_compressed):
        path = write(tmp_path, saved(save, a=array, b=BIAS), "w.npz")
        found = npy_pickle.read(path)
        assert list(found) == ["a", "b"]
        np.testing.assert_array_equal(found["a"], array)
        assert found["a"].dtype.isnative


def test_npz_with_a_dictionary_inside(tmp_path):
    path = write(tmp_path, saved(np.savez, vgg=np.array(TREE, object)), "w.npz")
    assert list(npy_pickle.read(path)) == [f"vgg/{name}" for name in NAMES]


@pytest.mark.parametrize("shape", [(), (0, 3), (5,), (1, 2, 3)])
def test_shapes(tmp_path, shape):
    array = np.ones(shape, np.float32)
    found = npy_pickle.read(write(tmp_path, saved(np.save, array)))["arr_0"]
    np.testing.assert_array_equal(found, array, strict=True)


# --- what would run ---------------------------------------------------------------


def payloads(marker):
    code = f"open({str(marker)!r}, 'w').close()"
    return {
        "os.system": Call(Name("os", "system"), (f"echo ran > '{marker}'",)),
        "builtins.eval": Call(Name("builtins", "eval"), (code,)),
        "numpy.memmap": Call(Name("numpy", "memmap"), (str(marker), "u1", "w+", 0, 9)),
        "numpy.fromfile": Call(Name("numpy", "fromfile"), (str(marker),)),
    }


@pytest.mark.parametrize("where", ["ckpt", "npy", "npz"])
@pytest.mark.parametrize("name", payloads("m"))
def test_nothing_of_a_file_is_run(tmp_path, where, name):
    marker = tmp_path / "it-ran"
    tree = {"a": numpy_array(BIAS), "b": payloads(marker)[name]}
    words = ["is unsafe", name, "nothing of it was run"]
    if where == "ckpt":
        refused(numpy_pickle.read, write(tmp_path, pickled(tree, 3)), *words)
    else:
        data = npy(tree)
        if where == "npz":
            data = archive({"a.npy": data})
        refused(npy_pickle.read, write(tmp_path, data), *words)
    assert not marker.exists()


def test_another_class_of_arrays(tmp_path):
    call = Call(
        Name("numpy.core.multiarray", "_reconstruct"),
        (Name("numpy", "matrix"), (0,), b"b"),
    )
    path = write(tmp_path, pickled({"a": call}, 3))
    refused(numpy_pickle.read, path, "is unsafe", "numpy.matrix")


# --- what is wrong ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (numpy_array(BIAS, data=b"123"), ["a is not readable", "3 bytes"]),
        (numpy_array(BIAS, shape=(1 << 39, 1 << 39)), ["bytes for the shape"]),
        (numpy_array(BIAS, shape=(-4,)), ["no array can have"]),
        (numpy_array(BIAS, shape=(4, True)), ["no array can have"]),
        (numpy_array(BIAS, shape=(1,) * 40), ["no array can have"]),
        (numpy_array(BIAS, shape=(0, 1 << 39, 1 << 39), data=b""), ["not readable"]),
        (numpy_array(BIAS, data=5), ["no values"]),
        (numpy_array(np.array(["text"])), ["type '<U4'", "expected numbers"]),
        (numpy_array(np.array([1j])), ["type '<c16'"]),
        (
            Call(
                Name("numpy.core.multiarray", "_reconstruct"),
                (Name("numpy", "ndarray"), (0,), b"b"),
            ),
            ["no values"],
        ),
        (numpy_array(np.empty(1, object), data=[1, 2]), ["without its objects"]),
        (numpy_array(np.empty(1, object), data=5), ["without its objects"]),
    ],
)
def test_arrays_that_do_not_fit(tmp_path, made, words):
    path = write(tmp_path, pickled({"a": made}, 3))
    refused(numpy_pickle.read, path, *words)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (npy(descr="<f4", shape="(3,)", data=bytes(12)), None),
        (npy(descr="<f4", shape="(4,)", data=bytes(12)), ["is cut off", "16"]),
        (npy(descr="<f4", shape="(2,)", data=bytes(12)), ["is damaged", "12 bytes"]),
        (npy(descr="<f4", shape="(999999999999,)", data=b""), ["is cut off"]),
        (npy(descr="<f4", shape="(0, 999999999999, 999999999999)", data=b""), []),
        (npy(descr="<U4", shape="(1,)", data=bytes(16)), ["'<U4'", "numbers"]),
        (npy(descr="<f4", shape="__import__('os')", data=b""), ["header"]),
        (npy({}) + b"more", ["goes on"]),
        (npy({}), ["no named arrays"]),
        (b"\x93NUMPY\x04\x00" + bytes(100), ["newer format"]),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + bytes(100), ["header"]),
    ],
)
def test_npy_that_does_not_fit(tmp_path, data, words):
    path = write(tmp_path, data)
    if words is None:
        assert npy_pickle.read(path)["arr_0"].shape == (3,)
    else:
        refused(npy_pickle.read, path, *words)


def test_types_that_are_nested_without_end_or_grow(tmp_path):
    kind = Call(Name("numpy", "dtype"), (ENDLESS,))
    made = Call(Name("numpy.core.multiarray", "scalar"), (kind, b"abcd"))
    path = write(tmp_path, pickled({"a": made}, 3))
    refused(numpy_pickle.read, path, "values of type tuple; expected numbers")
    # Each time the state is set, the order would be put in front once more.
    state = (3, "<" * 1000, None, None, None, -1, -1, 0)
    grown = Call(Name("numpy", "dtype"), ("f4",), state)
    path = write(tmp_path, pickled({"a": grown}, 3))
    refused(numpy_pickle.read, path, "without a name or an order")


def test_records_are_refused(tmp_path):
    array = np.zeros(2, [("a", "<f4"), ("b", "<i4")])
    refused(npy_pickle.read, write(tmp_path, saved(np.save, array)), "header")
    path = write(tmp_path, pickle.dumps({"a": array}))
    refused(numpy_pickle.read, path, "records")


def test_more_than_one_pickle(tmp_path):
    path = write(tmp_path, pickled({"a": numpy_array(BIAS)}, 3) * 2)
    refused(numpy_pickle.read, path, "goes on after its pickle")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"<!DOCTYPE html><html>", ["web page"]),
        (b"version https://git-lfs.github.com/spec/v1\nsize 5\n", ["Git-LFS"]),
        (b"", ["empty"]),
        (b"\x1f\x8b\x08" + bytes(30), ["gzip"]),
    ],
)
def test_other_files(tmp_path, data, words):
    path = write(tmp_path, data)
    for read in (numpy_pickle.read, npy_pickle.read):
        refused(read, path, *words)
        refused(read, tmp_path / "none", "no such file")


def test_size_is_bounded(tmp_path):
    path = write(tmp_path, pickle.dumps(TREE))
    refused(numpy_pickle.read, path, "at most 100", max_bytes=100)
    path = write(tmp_path, saved(np.save, KERNEL))
    refused(npy_pickle.read, path, "at most 100", max_bytes=100)
    # The same array under many names takes more than the file has.
    tree = dict.fromkeys("abcdefgh", KERNEL)
    path = write(tmp_path, pickle.dumps(tree))
    limit = path.stat().st_size
    refused(numpy_pickle.read, path, f"more than {limit:,}", max_bytes=limit)


# --- archives ---------------------------------------------------------------------


def archive(members, method=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return buffer.getvalue()


def test_zip_bomb(tmp_path):
    zeros = npy(descr="|u1", shape="(40000000,)", data=bytes(40_000_000))
    data = archive({"a.npy": zeros}, zipfile.ZIP_DEFLATED)
    assert len(data) < 100_000
    path = write(tmp_path, data)
    refused(npy_pickle.read, path, "unpacks to 40,000,1", "50 times")
    refused(npy_pickle.read, path, "at most 1,000,000", max_bytes=1_000_000)


def test_a_member_that_is_larger_than_it_says(tmp_path):
    data = bytearray(archive({"a.npy": npy({})}, zipfile.ZIP_DEFLATED))
    at = data.index(b"PK\x01\x02") + 24
    data[at : at + 4] = (10).to_bytes(4, "little")
    refused(npy_pickle.read, write(tmp_path, data), "damaged")


@pytest.mark.parametrize(
    "name", ["../a.npy", "/a.npy", "x/../../a.npy", "..\\a.npy", "C:\\a.npy", "~/a.npy"]
)
def test_members_that_lead_out(tmp_path, name):
    before = set(tmp_path.parent.rglob("a.npy"))
    path = write(tmp_path, archive({name: npy({})}))
    refused(npy_pickle.read, path, "is unsafe", "leads out")
    assert set(tmp_path.parent.rglob("a.npy")) == before


def test_links_doubles_encryption_and_overlaps(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        link = zipfile.ZipInfo("a.npy")
        link.external_attr = 0o120777 << 16
        file.writestr(link, "/etc/passwd")
    refused(npy_pickle.read, write(tmp_path, buffer.getvalue()), "leads out")

    plain = archive({"a.npy": npy({}), "b.npy": npy({})})
    doubled = plain.replace(b"b.npy", b"a.npy")
    refused(npy_pickle.read, write(tmp_path, doubled), "two members")

    locked = bytearray(archive({"a.npy": npy({})}))
    for magic, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        locked[locked.index(magic) + at] |= 1
    refused(npy_pickle.read, write(tmp_path, locked), "member 'a.npy' is encrypted")

    # Two entries of the index for one and the same member.
    shared = bytearray(plain)
    second = shared.rindex(b"PK\x01\x02")
    shared[second + 42 : second + 46] = bytes(4)
    refused(npy_pickle.read, write(tmp_path, shared), "share the same bytes")

    other = archive({"a.npy": npy({})}, zipfile.ZIP_BZIP2)
    refused(npy_pickle.read, write(tmp_path, other), "unusual")
    refused(npy_pickle.read, write(tmp_path, archive({"a.txt": b"1"})), "a.txt")


def test_too_many_members(tmp_path, monkeypatch):
    monkeypatch.setattr(zips, "MAX_MEMBERS", 5)
    data = archive({f"{n}.npy": b"" for n in range(6)})
    refused(npy_pickle.read, write(tmp_path, data), "more than 5 members")


# --- fuzzing ----------------------------------------------------------------------

FILES = {
    "npy": (npy_pickle.read, npy({"a": [numpy_array(BIAS)]})),
    "plain": (npy_pickle.read, saved(np.save, BIAS)),
    "npz": (npy_pickle.read, saved(np.savez_compressed, a=BIAS)),
    "ckpt": (numpy_pickle.read, pickle.dumps({"a": {"b": BIAS}}, 3)),
    "ckpt5": (numpy_pickle.read, pickle.dumps({"a": {"b": BIAS}}, 5)),
}


@pytest.mark.parametrize("kind", FILES)
def test_cut_off_at_any_byte(tmp_path, kind):
    read, data = FILES[kind]
    assert len(read(write(tmp_path, data))) == 1
    for length in range(len(data)):
        refused(read, write(tmp_path, data[:length]))


FLIPS = st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), max_size=4)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(sorted(FILES)), FLIPS.filter(bool))
def test_flipped_bytes_give_one_line_or_arrays(tmp_path, kind, flips):
    read, data = FILES[kind]
    data = bytearray(data)
    for place, flip in flips:
        data[int(place * (len(data) - 1))] ^= flip
    try:
        read(write(tmp_path, data))
    except WeightsError as error:
        assert "\n" not in str(error)
