"""An independent writer of Caffe models, byte by byte from the format."""

import numpy as np


def varint(n):
    out = bytearray()
    while n > 127:
        out.append(n % 128 + 128)
        n //= 128
    return bytes([*out, n])


def number(field, n):
    return varint(field << 3) + varint(n)


def nested(field, data):
    return varint(field << 3 | 2) + varint(len(data)) + data


def blob(array, old=False, pieces=1):
    """A BlobProto; `old` gives it four axes by name, else it has a BlobShape."""
    if old:
        shape = (1,) * (4 - array.ndim) + array.shape
        out = b"".join(number(i + 1, n) for i, n in enumerate(shape))
    else:
        out = nested(7, nested(1, b"".join(varint(n) for n in array.shape)))
    field = {"float32": 5, "float64": 8}[array.dtype.name]
    for part in np.array_split(array.ravel(), pieces):
        out += nested(field, part.astype(part.dtype.newbyteorder("<")).tobytes())
    return out


def layer(name, arrays, old=False, pieces=1):
    """A layer of a NetParameter: V1LayerParameter or LayerParameter."""
    blobs = [blob(array, old, pieces) for array in arrays]
    if old:
        content = nested(2, b"data") + nested(3, name.encode())
        content += nested(4, name.encode()) + number(5, 4)
        content += b"".join(nested(6, data) for data in blobs)
        # Learning rates, a float for each blob: another wire type.
        content += b"".join(varint(7 << 3 | 5) + b"\0\0\x80\x3f" for _ in blobs)
        return nested(2, content)
    content = nested(1, name.encode()) + nested(2, b"Convolution")
    content += nested(3, b"data") + b"".join(nested(7, data) for data in blobs)
    return nested(100, content)


def write_caffemodel(path, layers, old=False, name="VGG", pieces=1):
    """Write `{"conv1_1": [weights, bias], ...}`; no name of the net if it is empty."""
    out = nested(1, name.encode()) if name else b""
    if old:
        out += nested(3, b"data") + b"".join(number(4, n) for n in (10, 3, 224, 224))
    else:
        out += number(7, 1)
    for layer_name, arrays in layers.items():
        out += layer(layer_name, arrays, old, pieces)
    path.write_bytes(out)
    return path
