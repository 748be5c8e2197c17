"""Pickles are read and never run; small ones cannot take much memory or time."""

import io
import pickle
import pickletools
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from writers_pickle import Call, Name, Raw, Stored, pickled

from deepgaze_jax.conversion import numpy_pickle, pickles
from deepgaze_jax.conversion.trees import named_arrays
from deepgaze_jax.errors import WeightsError


def load(data, allowed=numpy_pickle.ALLOWED, **kwargs):
    return pickles.load(io.BytesIO(data), "w.pkl", allowed, **kwargs)


def refused(data, *words, allowed=numpy_pickle.ALLOWED):
    with pytest.raises(WeightsError) as caught:
        load(data, allowed)
    message = str(caught.value)
    assert message.startswith("w.pkl: ") and "\n" not in message
    for word in words:
        assert word in message, message


KEYS = st.text(max_size=5) | st.integers(-1000, 1000) | st.binary(max_size=5)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.binary(max_size=300)
)
TREES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(KEYS, inner, max_size=4)
    ),
    max_leaves=8,
)


@settings(max_examples=50)
@given(TREES, st.integers(3, 5))
def test_plain_data_is_what_python_pickled(tree, protocol):
    assert load(pickle.dumps(tree, protocol), {}) == tree


@pytest.mark.parametrize("protocol", range(6))
def test_every_protocol(protocol):
    shared = [1, 2.5, "ä\n'", True, None, -(1 << 70), ("a",), ("a", 2, 3, 4)]
    tree = {"x": shared, "y": shared, 3: {}}
    found = load(pickle.dumps(tree, protocol), {})
    assert found == tree
    assert found["x"] is found["y"]


def test_bytes_of_protocol_2():
    data = pickle.dumps([b"\x00\xff"], 2)
    assert b"_codecs" in data
    assert load(data) == [b"\x00\xff"]
    utf8 = Call(Name("_codecs", "encode"), ("a", "utf-8"))
    refused(pickled(utf8), "encoding that numpy does not write")


def test_bytes_that_python_2_wrote_as_quoted_text():
    assert load(b"S'\\x00\\xff'\n.", {}) == "\x00\xff"
    assert load(b"S'\xff'\n.", {}) == "\xff"
    refused(b"S'\n.", "damaged")
    refused(b"S'\\q'\n.", "unknown escape sequence")
    refused(b"S'\\", "ends within a line")
    refused(b"c\\X\n\\Y\n.", "is unsafe", "\\X.\\\\Y")


# --- what would be run ------------------------------------------------------------


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "it-ran"


def hostile(marker):
    """Pickles that do something when Python's own unpickler reads them."""
    shell = f"echo ran > '{marker}'"
    code = f"open({str(marker)!r}, 'w').close()"
    function = Name("_codecs", "encode")
    return {
        "os.system": Call(Name("os", "system"), (shell,)),
        "posix.system": Call(Name("posix", "system"), (shell,)),
        "builtins.eval": Call(Name("builtins", "eval"), (code,)),
        "builtins.exec": Call(Name("builtins", "exec"), (code,)),
        "subprocess.getoutput": Call(Name("subprocess", "getoutput"), (shell,)),
        "numpy.load": Call(Name("numpy", "load"), ("other.npy", None, True)),
        "numpy.fromfile": Call(Name("numpy", "fromfile"), ("/etc/hostname",)),
        "numpy.memmap": Call(Name("numpy", "memmap"), (str(marker), "u1", "w+", 0, 9)),
        "torch.load": Call(Name("torch", "load"), ("other.pth",)),
        "torch.storage._load_from_bytes": Call(
            Name("torch.storage", "_load_from_bytes"), (b"",)
        ),
        "builtins.getattr": Call(
            Name("builtins", "getattr"), (function, "__globals__")
        ),
        "numpy.core.multiarray._reconstruct.__globals__": Name(
            "numpy.core.multiarray", "_reconstruct.__globals__"
        ),
        # The same by other instructions.
        "os.system ": Raw(f"(ios\nsystem\nS'{shell.replace(chr(39), '')}'\n".encode()),
        "os.popen": Raw(b"\x8c\x02os\x8c\x05popen\x93\x8c\x02ls\x85R"),
    }


@pytest.mark.parametrize("name", hostile("m"))
def test_nothing_is_run_and_the_name_is_told(name, marker):
    tree = {"conv1": [hostile(marker)[name]]}
    words = [name.strip(), "is unsafe", "nothing of it was run"]
    refused(pickled(tree), *words)
    assert not marker.exists()


def test_the_hostile_pickles_are_hostile(marker):
    """So that the test above can fail."""
    for name in ("os.system", "builtins.eval", "builtins.exec", "numpy.memmap"):
        pickle.loads(pickled(hostile(marker)[name]))  # Made here, to be run.
        assert marker.exists(), name
        marker.unlink()


def test_names_that_may_be_mentioned_cannot_be_called():
    call = Call(Name("numpy", "ndarray"), ((1 << 40,),))
    refused(pickled(call), "is unsafe", "a call of numpy.ndarray")
    refused(pickled(Call("text", ())), "no function")
    refused(pickled(Call(Name("numpy", "dtype"), ["f4"])), "no arguments")


def test_other_instructions_are_unsafe():
    refused(pickled(Raw(b"\x82\x01")), "is unsafe", "EXT1")
    refused(pickled(Raw(b"Pname\n")), "is unsafe", "PERSID")
    refused(pickled(Stored(("storage",))), "is unsafe", "BINPERSID")
    refused(pickled(Raw(b"\x97")), "is unsafe", "NEXT_BUFFER")
    refused(pickled(Raw(b"((lo")), "is unsafe", "OBJ")
    refused(pickled(Raw(b"\x8f")), "is unsafe", "EMPTY_SET")


def test_a_name_cannot_break_the_line_of_the_error():
    data = pickled(Raw(b"\x8c\x03a\nb\x8c\x04c\x1b[1\x93"))
    refused(data, "a\\nb.c\\x1b[1")
    refused(pickled(Raw(b"\x8c\x01aK\x01\x93")), "no text")


# --- what would take memory or time -----------------------------------------------


def bounded(data, *words, peak=64 << 20, allowed=numpy_pickle.ALLOWED):
    """Refused within memory and time that suit the few bytes."""
    tracemalloc.start()
    began = time.process_time()
    try:
        refused(data, *words, allowed=allowed)
        assert tracemalloc.get_traced_memory()[1] < peak
        assert time.process_time() - began < 10
    finally:
        tracemalloc.stop()


def test_lengths_that_are_not_there():
    for code in (b"B\xff\xff\xff\x7f", b"\x8e" + b"\xff" * 7 + b"\x00", b"X\0\0\0\x70"):
        bounded(b"\x80\x04" + code + b"ab.", "cut off or damaged", peak=1 << 20)
    # A memo of four billion entries.
    assert load(b"\x80\x02Nr\xff\xff\xff\xff.", {}) is None


def test_the_same_text_encoded_over_and_over():
    text = "a" * 100_000
    encode = Call(Name("_codecs", "encode"), (Raw(b"h\0"), "latin1"))
    tree = (Raw(b"X" + (100_000).to_bytes(4, "little") + text.encode() + b"q\0"),)
    tree += (encode,) * 2000  # 200 MB from 160 kB.
    bounded(pickled(tree), "over and over")


def test_too_many_instructions():
    bounded(b"\x80\x02" + b"N" * 1_000_001 + b".", "1,000,000 instructions")


def test_deep_nesting_does_not_break_the_interpreter():
    data = b"\x80\x02" + b"]" + b"\x85" * 500_000 + b"."
    assert isinstance(load(data, {}), tuple)
    deep = load(b"\x80\x02" + b"}X\1\0\0\0a" * 1000 + b"N" + b"s" * 1000 + b".", {})
    with pytest.raises(WeightsError, match="nested deeper than 32"):
        named_arrays(deep, "w.pkl", "/", lambda value: None, 1)


def named(tree, convert=lambda value: value, max_bytes=1000):
    return named_arrays(tree, "w.pkl", "/", convert, max_bytes)


def test_branches_that_are_mentioned_twice_or_contain_themselves():
    tree = [np.zeros(1)]
    for _ in range(25):
        tree = [tree, tree]
    with pytest.raises(WeightsError, match=r"100,000 entries|more than 1,000 bytes"):
        named(tree)
    with pytest.raises(WeightsError, match="100,000 entries"):
        empty = []
        for _ in range(25):
            empty = [empty, empty]
        named(empty)
    with pytest.raises(WeightsError, match="nested"):
        loop = []
        loop.append(loop)
        named(loop)


def test_keys():
    refused(pickled({("a", 1): 2}), "neither text nor a small integer")
    refused(pickled({1 << 40: 2}), "neither text nor a small integer")
    refused(pickled({"a" * 1001: 2}), "longer than 1000")
    refused(pickled(Call(Name("collections", "OrderedDict"), ([1],))), "pairs")
    pairs = Call(Name("collections", "OrderedDict"), ([("a", 1), ["b", 2]],))
    assert load(pickled(pairs)) == {"a": 1, "b": 2}


def test_names_cannot_be_long_or_unprintable():
    tree = {"n": np.zeros(1)}
    for _ in range(20):
        tree = {"a" * 900: tree}
    for wrong in (tree, {"a\nb": np.zeros(1)}, {"\x1b[2J": np.zeros(1)}):
        with pytest.raises(WeightsError, match="no array is called") as caught:
            named(wrong)
        assert str(caught.value).isprintable()
    # Whatever else is stored beside the weights may be called anything.
    assert list(named({"a": np.zeros(1), "b\n": 3, "c" * 900: {"d": None}})) == ["a"]


def test_names_of_arrays():
    tree = {"a": {b"b": np.zeros(2), 3: np.ones(1)}, "c": [None, np.ones(3)], "d": 1}
    assert list(named(tree)) == ["a/b", "a/3", "c/1"]
    with pytest.raises(WeightsError, match="two arrays named a/b"):
        named({"a/b": np.zeros(1), "a": {"b": np.zeros(1)}})
    with pytest.raises(WeightsError, match="no named arrays"):
        named({"a": 3})
    with pytest.raises(WeightsError, match="no named arrays"):
        named(np.zeros(3))
    with pytest.raises(WeightsError, match="more than 15 bytes"):
        named({"a": np.zeros(2)}, max_bytes=15)
    with pytest.raises(WeightsError, match="a is not readable: bad"):

        def convert(value):
            raise ValueError("bad")

        named({"a": 1}, convert)


@given(st.binary(max_size=200))
def test_random_bytes_give_one_line_or_data(data):
    try:
        load(b"\x80\x04" + data)
    except WeightsError as error:
        assert "\n" not in str(error)


CODES = sorted(ord(op.code) for op in pickletools.opcodes)


@given(st.lists(st.sampled_from(CODES) | st.integers(0, 3), max_size=60))
def test_random_instructions_give_one_line_or_data(codes):
    try:
        load(b"\x80\x04" + bytes(codes) + b".")
    except WeightsError as error:
        assert "\n" not in str(error)
