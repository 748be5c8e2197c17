"""TensorFlow checkpoints: the authors' own files, and ones written byte by byte."""

import numpy as np
import pytest
import writers_tf as writer
from fuzzing import WRONG_FILES, damaged, memory_below, refused, stands
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deepgaze_jax.conversion import crc32c, tf_bundle

RNG = np.random.default_rng(3)
ARRAYS = {
    "vgg_19/conv1/conv1_1/weights": RNG.standard_normal((3, 3, 3, 4), np.float32),
    "vgg_19/conv1/conv1_1/biases": RNG.standard_normal(4, np.float32),
    "vgg_19/conv1/conv1_2/weights": RNG.standard_normal((3, 3, 4, 2)),
    "global_step": np.int64(-7),
    "steps": np.arange(5, dtype=np.int32),
    "flags": np.array([True, False]),
    "nothing": np.zeros((0, 3), np.float32),
}
SMALL = {"a/biases": np.float32([1, 2]), "a/weights": np.float32([[3, 4]])}


@pytest.fixture
def bundle(tmp_path):
    return writer.write_bundle(tmp_path / "x.ckpt", ARRAYS)


def index_of(prefix):
    return prefix.with_name(f"{prefix.name}.index")


def data_of(prefix):
    return prefix.with_name(f"{prefix.name}.data-00000-of-00001")


def assert_same(found, expected):
    assert list(found) == sorted(expected)
    for name, array in expected.items():
        assert found[name].dtype == np.asarray(array).dtype, name
        np.testing.assert_array_equal(found[name], array, err_msg=name, strict=True)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 5, 8, 9, 63, 64, 65, 1000])
def test_crc_is_that_of_the_definition(n, monkeypatch):
    data = RNG.bytes(n)
    assert crc32c.crc32c(data) == writer.crc32c(data)
    # Several blocks, as for arrays of more than 4 MB.
    monkeypatch.setattr(crc32c, "_BLOCK_WORDS", 16)
    assert crc32c.crc32c(data) == writer.crc32c(data)
    assert crc32c.masked_crc32c(data).to_bytes(4, "little") == writer.masked(data)


def test_crc_of_published_examples():
    """RFC 3720, B.4."""
    assert crc32c.crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c.crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c.crc32c(bytes(range(32))) == 0x46DD794E


@pytest.mark.parametrize("ending", ["", ".index", ".data-00000-of-00001", ".meta"])
def test_round_trip_from_any_of_the_names(bundle, ending):
    assert_same(tf_bundle.read(f"{bundle}{ending}"), ARRAYS)


@pytest.mark.parametrize(
    "options",
    [
        {"n_shards": 3},
        {"big_endian": True},
        {"per_block": 1},
        {"per_block": 100, "interval": 1},
        {"per_block": 100, "interval": 16},
    ],
)
def test_layouts(tmp_path, options):
    prefix = writer.write_bundle(tmp_path / "x", ARRAYS, **options)
    assert_same(tf_bundle.read(prefix), ARRAYS)


def test_half_precision_becomes_float32(tmp_path):
    arrays = {"half": np.float16([1.5, -2]), "brain": (14, (2,), b"\x80\x3f\x40\xc0")}
    found = tf_bundle.read(writer.write_bundle(tmp_path / "x", arrays))
    assert {array.dtype.name for array in found.values()} == {"float32"}
    assert found["half"].tolist() == [1.5, -2]
    assert found["brain"].tolist() == [1, -3]


def test_texts_are_left_out(tmp_path):
    arrays = {**SMALL, "_CHECKPOINTABLE_OBJECT_GRAPH": (7, (), b"\x05hello")}
    prefix = writer.write_bundle(tmp_path / "x", arrays)
    assert_same(tf_bundle.read(prefix), SMALL)
    assert tf_bundle.read_index(prefix)["_CHECKPOINTABLE_OBJECT_GRAPH"][0] == "string"


def test_index_alone(bundle):
    data_of(bundle).unlink()
    found = tf_bundle.read_index(bundle)
    assert found == {
        name: (np.asarray(ARRAYS[name]).dtype.name, np.shape(ARRAYS[name]))
        for name in sorted(ARRAYS)
    }


def test_missing_parts_are_named(tmp_path):
    refused(tf_bundle.read, tmp_path / "no.ckpt", words=["no.ckpt.index: no such file"])
    prefix = writer.write_bundle(tmp_path / "x.ckpt", ARRAYS, n_shards=3)
    shards = sorted(tmp_path.glob("*.data-*"))
    shards[1].unlink()
    words = ["x.ckpt.data-00001-of-00003: is not there;", "same folder"]
    refused(tf_bundle.read, prefix, words=words)
    shards[0].unlink()
    refused(tf_bundle.read, prefix, words=["data-00000-of-00003", "nor are 1 others"])
    index_of(prefix).unlink()
    words = ["x.ckpt.index: no such file beside x.ckpt.data-00002-of-00003"]
    refused(tf_bundle.read, shards[2], words=words)
    refused(tf_bundle.read, tmp_path, words=["is a folder"])


@pytest.mark.parametrize("kind", WRONG_FILES)
def test_wrong_files(bundle, kind):
    data, words = WRONG_FILES[kind]
    index = index_of(bundle)
    original = index.read_bytes()
    index.write_bytes(data)
    refused(tf_bundle.read, bundle, words=["x.ckpt.index: is ", words, "expected a"])
    if kind in ("html", "git-lfs", "empty"):
        index.write_bytes(original)
        data_of(bundle).write_bytes(data)
        refused(tf_bundle.read, bundle, words=["x.ckpt.data-00000-of-00001: ", words])


def test_every_changed_byte_of_the_index_is_found(tmp_path):
    prefix = writer.write_bundle(tmp_path / "x", SMALL, per_block=2)
    index = index_of(prefix)
    data = index.read_bytes()
    for at in range(len(data)):
        changed = data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]
        index.write_bytes(changed)
        refused(tf_bundle.read, prefix, words=["x.index"])


def test_index_cut_off_anywhere(tmp_path):
    prefix = writer.write_bundle(tmp_path / "x", SMALL)
    index = index_of(prefix)
    data = index.read_bytes()
    for n in range(0, len(data), 3):
        index.write_bytes(data[:n])
        words = ["cut off or damaged"] if n > 40 else ["x.index: is "]
        refused(tf_bundle.read, prefix, words=words)


def test_every_changed_byte_of_the_data_is_found(tmp_path):
    prefix = writer.write_bundle(tmp_path / "x", SMALL)
    path = data_of(prefix)
    data = path.read_bytes()
    for at in range(len(data)):
        path.write_bytes(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])
        name = "a/biases" if at < 8 else "a/weights"
        words = [f"the values of {name} are damaged", "wrong CRC"]
        refused(tf_bundle.read, prefix, words=words)
    path.write_bytes(data[:-1])
    refused(tf_bundle.read, prefix, words=["cut off: 15 of 16 bytes"])


def test_what_is_not_read_is_told(tmp_path):
    path = tmp_path / "x"
    writer.write_bundle(path, SMALL, kind=1)
    refused(tf_bundle.read, path, words=["compressed (snappy)"])
    one = writer.block_of_bytes(7, b"")
    entry = writer.entry(1, (4,), 0, 0, b"", extra=one)
    writer.write_bundle(path, SMALL, extra=[(b"pieces", entry)])
    refused(tf_bundle.read, path, words=["pieces", "slices (a partitioned variable)"])
    writer.write_bundle(path, {"c": (8, (1,), bytes(8))})
    refused(tf_bundle.read, path, words=["c has type 8 of TensorFlow"])
    writer.write_bundle(path, {})
    refused(tf_bundle.read, path, words=["lists no arrays"])


def test_checkpoints_in_one_file(tmp_path):
    path = tmp_path / "vgg_19.ckpt"
    path.write_bytes(writer.table([(b"", b"\n\x02\x0a\x00")]))
    refused(tf_bundle.read, path, words=["vgg_19.ckpt: is", "old kind", "V1", "V2"])


def test_claims_are_checked_before_anything_is_read(tmp_path):
    path = tmp_path / "x"
    huge = {"a": (1, (1 << 20, 1 << 20), b"1234")}
    writer.write_bundle(path, huge)
    refused(tf_bundle.read, path, words=["damaged", "a, float32", "takes 4 bytes"])
    writer.write_bundle(path, SMALL)
    refused(tf_bundle.read, path, 15, words=["16 bytes; at most 15"])
    assert len(tf_bundle.read(path, 16)) == 2
    # The index itself claims 4 TB that are not there, with the right CRCs.
    claim = writer.number(1, 1) + writer.block_of_bytes(
        2, writer.block_of_bytes(2, writer.number(1, 1 << 40))
    )
    claim += writer.number(4, 16) + writer.number(5, 1 << 42)
    writer.write_bundle(path, SMALL, extra=[(b"claim", claim)])
    with memory_below(5_000_000):
        refused(tf_bundle.read, path, words=["4,398,046,511,1", "at most"])
        refused(
            tf_bundle.read, path, 1 << 50, words=["cut off: 16 of 4,398,046,511,120"]
        )


def test_arrays_over_one_another(tmp_path):
    entries = [(name, writer.entry(1, (4,), 0, 0, bytes(16))) for name in (b"p", b"q")]
    path = writer.write_bundle(tmp_path / "x", SMALL, extra=entries)
    refused(tf_bundle.read, path, words=["lies over another array"])


def test_names_that_cannot_be_shown(tmp_path):
    path = writer.write_bundle(tmp_path / "x", {"a\nb": np.float32([1])})
    refused(tf_bundle.read, path, words=["damaged", "'a\\nb'"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


VALUES = st.lists(
    st.integers(0, 3)
    | st.sampled_from([127, 128, 1 << 31, (1 << 32) - 1, 1 << 62, (1 << 64) - 1]),
    max_size=4,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    shape=VALUES, numbers=VALUES, kind=st.integers(0, 30), rest=st.binary(max_size=9)
)
def test_entries_with_right_crcs_and_wrong_claims(folder, shape, numbers, kind, rest):
    """What lies behind the CRCs has to be checked too."""
    content = writer.number(1, kind) + writer.block_of_bytes(
        2, b"".join(writer.block_of_bytes(2, writer.number(1, n)) for n in shape)
    )
    content += b"".join(writer.number(i + 3, n) for i, n in enumerate(numbers[:3]))
    path = writer.write_bundle(folder / "x", SMALL, extra=[(b"b", content + rest)])
    stands(tf_bundle.read, path)


INDEX = writer.table(
    [(b"", writer.header())]
    + [(b"a%d" % i, writer.entry(1, (), 0, 4 * i, bytes(4))) for i in range(3)]
)


@settings(max_examples=150)
@given(data=damaged(INDEX))
def test_damaged_index(folder, data):
    folder.joinpath("y.index").write_bytes(data)
    folder.joinpath("y.data-00000-of-00001").write_bytes(bytes(12))
    arrays = stands(tf_bundle.read, folder / "y")
    if arrays is not None:
        assert data == INDEX


@pytest.fixture
def tf1(shared_data):
    return shared_data / "tf1"


def test_icf_checkpoint_of_the_authors(tf1):
    arrays = tf_bundle.read(tf1 / "ICF.ckpt")
    shapes = {"conv1/biases": (16,), "conv1_part0/weights": (1, 1, 30, 16)}
    shapes |= {"conv2/biases": (32,), "conv2/weights": (1, 1, 16, 32)}
    shapes |= {"conv3/biases": (2,), "conv3/weights": (1, 1, 32, 2)}
    shapes |= {"conv4/weights": (1, 1, 2, 1)}
    expected = {
        f"readout_network_{k}/{name}": shape
        for k in range(10)
        for name, shape in shapes.items()
    }
    expected |= {
        f"saliency_map_{k}/{name}": () for k in range(10) for name in ("alpha", "sigma")
    }
    assert len(arrays) == 90
    assert {name: array.shape for name, array in arrays.items()} == expected
    assert {array.dtype.name for array in arrays.values()} == {"float32"}
    assert sum(array.nbytes for array in arrays.values()) == 44_400
    assert all(np.isfinite(array).all() for array in arrays.values())
    listed = tf_bundle.read_index(tf1 / "ICF.ckpt.index")
    assert listed == {name: ("float32", shape) for name, shape in expected.items()}


def test_a_changed_value_of_icf_is_found(tf1, tmp_path):
    for path in tf1.glob("ICF.ckpt.*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    path = tmp_path / "ICF.ckpt.data-00000-of-00001"
    data = bytearray(path.read_bytes())
    data[12_345] ^= 1
    path.write_bytes(data)
    refused(tf_bundle.read, tmp_path / "ICF.ckpt", words=["wrong CRC"])


def test_index_of_deepgaze2(tf1):
    listed = tf_bundle.read_index(tf1 / "DeepGazeII.ckpt.index")
    assert len(listed) == 162
    assert sum(int(np.prod(shape)) for _, shape in listed.values()) == 20_440_284
    assert {dtype for dtype, _ in listed.values()} == {"float32"}
    assert listed["features1/conv5/conv5_4/weights"][1] == (3, 3, 512, 512)
    for part in range(5):
        name = f"readout_network_9/conv1_part{part}/weights"
        assert listed[name][1] == (1, 1, 512, 16)
    words = ["DeepGazeII.ckpt.data-00000-of-00001: is not there", "162 arrays"]
    refused(tf_bundle.read, tf1 / "DeepGazeII.ckpt", words=words)
