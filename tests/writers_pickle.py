"""Writers of pickles, `.pth` files and `.npy` files, byte by byte.

They know nothing of the readers, need no PyTorch, and can write what no honest program
would.
"""

import io
import struct
import zipfile
from dataclasses import dataclass

import numpy as np

TORCH_MAGIC = 0x1950A86A20F9469CFC6C


@dataclass(frozen=True)
class Name:
    """`module.attribute`, imported by a plain unpickler."""

    module: str
    attribute: str


@dataclass(frozen=True)
class Call:
    """`function(*arguments)`, called by a plain unpickler, then its state set."""

    function: object
    arguments: tuple
    state: object = None


@dataclass(frozen=True)
class Stored:
    """An object that is looked up by its persistent identity."""

    identity: tuple


@dataclass(frozen=True)
class Raw:
    """Instructions as they are."""

    code: bytes


def pickled(value, protocol=2):
    return b"\x80" + bytes([protocol]) + _code(value) + b"."


def _code(value):
    match value:
        case Raw():
            return value.code
        case None:
            return b"N"
        case bool():
            return b"\x88" if value else b"\x89"
        case int() if -(1 << 31) <= value < 1 << 31:
            return b"J" + struct.pack("<i", value)
        case int():
            data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
            return b"\x8a" + bytes([len(data)]) + data
        case float():
            return b"G" + struct.pack(">d", value)
        case str():
            data = value.encode()
            return b"X" + struct.pack("<I", len(data)) + data
        case bytes():
            return b"B" + struct.pack("<I", len(value)) + value
        case tuple():
            return b"(" + b"".join(map(_code, value)) + b"t"
        case list():
            return b"](" + b"".join(map(_code, value)) + b"e"
        case dict():
            items = b"".join(_code(k) + _code(v) for k, v in value.items())
            return b"}(" + items + b"u"
        case Name():
            return f"c{value.module}\n{value.attribute}\n".encode()
        case Call():
            call = _code(value.function) + _code(value.arguments) + b"R"
            return call if value.state is None else call + _code(value.state) + b"b"
        case Stored():
            return _code(value.identity) + b"Q"
    raise TypeError(type(value))


#: A tuple of itself twice, forty times over: tiny, but endless when it is printed.
ENDLESS = Raw(b")" + b"q\x00h\x00\x86" * 40)

STORAGES = {"f4": "Float", "f8": "Double", "f2": "Half", "i8": "Long", "u1": "Byte"}


def _state_dict(arrays, legacy):
    """The tensors of a state dict, and the values of each storage by key."""
    values, tensors = {}, {}
    for key, (name, array) in enumerate(arrays.items()):
        array = np.ascontiguousarray(array).reshape(np.shape(array))
        kind = Name("torch", STORAGES[array.dtype.str[1:]] + "Storage")
        identity = ("storage", kind, str(key), "cpu", array.size)
        identity += (None,) if legacy else ()
        strides = tuple(step // array.itemsize for step in array.strides)
        hooks = Call(Name("collections", "OrderedDict"), ())
        arguments = (Stored(identity), 0, array.shape, strides, False, hooks)
        rebuild = Name("torch._utils", "_rebuild_tensor_v2")
        tensors[name] = Call(rebuild, arguments)
        values[str(key)] = array.astype(array.dtype.newbyteorder("<")).tobytes()
    return tensors, values


def torch_zip(arrays=None, *, tree=None, values=None, order=b"little", folder="net"):
    """The bytes of a `.pth` since PyTorch 1.6."""
    if arrays is not None:
        tree, values = _state_dict(arrays, legacy=False)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(f"{folder}/data.pkl", pickled(tree))
        archive.writestr(f"{folder}/byteorder", order)
        for key, data in (values or {}).items():
            archive.writestr(f"{folder}/data/{key}", data)
        archive.writestr(f"{folder}/version", b"3\n")
    return buffer.getvalue()


def torch_legacy(arrays=None, *, tree=None, values=None, sizes=None, little=True):
    """The bytes of a `.pth` before PyTorch 1.6."""
    if arrays is not None:
        tree, values = _state_dict(arrays, legacy=True)
        sizes = {str(k): np.size(a) for k, a in enumerate(arrays.values())}
    head = [TORCH_MAGIC, 1001, {"protocol_version": 1001, "little_endian": little}]
    data = b"".join(pickled(part) for part in (*head, tree, list(values or {})))
    for key, raw in (values or {}).items():
        data += struct.pack("<q", sizes[key]) + raw
    return data


def numpy_array(array, core="numpy.core.multiarray", data=None, shape=None):
    """An array as numpy itself pickles it."""
    array = np.asarray(array)
    order, code = array.dtype.str[0], array.dtype.str[1:]
    dtype = Call(
        Name("numpy", "dtype"),
        (code, False, True),
        (3, order, None, None, None, -1, -1, 0),
    )
    values = array.tobytes("A") if data is None else data
    fortran = array.flags.f_contiguous and not array.flags.c_contiguous
    shape = array.shape if shape is None else shape
    return Call(
        Name(core, "_reconstruct"),
        (Name("numpy", "ndarray"), (0,), b"b"),
        (1, shape, dtype, fortran, values),
    )


def npy(tree=None, descr="|O", shape="()", data=None):
    """The bytes of a `.npy` file; by default one that holds a pickled object."""
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"
    header += " " * (-(len(header) + 11) % 64) + "\n"
    data = pickled(tree, 3) if data is None else data
    return (
        b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + data
    )
