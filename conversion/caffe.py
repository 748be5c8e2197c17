"""Caffe models (`.caffemodel`) in, named arrays out; needs no Caffe.

Reference:
    caffe.proto of Caffe 1.0: messages NetParameter, LayerParameter, V1LayerParameter,
    BlobProto.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from deepgaze_jax.conversion.arrays import MAX_BYTES, check_name, check_total
from deepgaze_jax.conversion.protobuf import BYTES, VARINT, Fields, Span
from deepgaze_jax.conversion.sniff import require_kind
from deepgaze_jax.errors import WeightsError

__all__ = ["MAX_BYTES", "read"]

_MAX_ARRAYS = 10_000
_MAX_AXES = 32

_NET = {2: ("old_layer", BYTES), 100: ("layer", BYTES)}
_OLD_LAYER = {1: ("oldest", BYTES), 4: ("name", BYTES), 6: ("blob", BYTES)}
_LAYER = {1: ("name", BYTES), 7: ("blob", BYTES)}
_BLOB = {
    1: ("num", VARINT),
    2: ("channels", VARINT),
    3: ("height", VARINT),
    4: ("width", VARINT),
    5: ("float32", BYTES),
    7: ("shape", BYTES),
    8: ("float64", BYTES),
}
_SHAPE = {1: ("dim", VARINT)}


@dataclass(frozen=True)
class _Blob:
    dtype: str
    shape: tuple[int, ...]
    spans: list[Span]

    @property
    def n_bytes(self) -> int:
        return sum(end - start for start, end in self.spans)


def read(path: str | Path, max_bytes: int = MAX_BYTES) -> dict[str, np.ndarray]:
    """Return all arrays of a Caffe model.

    Args:
        path: a `.caffemodel` file, of the time of `layers` (V1) or of `layer`.
        max_bytes: limit for all arrays together, checked before any is read.

    Returns:
        `{"conv1_1/0": weights, "conv1_1/1": bias, ...}`: the name of the layer and the
        number of its blob. Axes as in the file: kernels are [out, in, height, width],
        old files have four axes everywhere, a bias is [1, 1, 1, out] there.

    Raises:
        WeightsError: another kind of file, cut off, damaged or too large.

    Example:
        >>> read("VGG_ILSVRC_19_layers.caffemodel")["conv1_1/0"].shape
        ... # doctest: +SKIP
        (64, 3, 3, 3)
    """
    path = Path(path)
    require_kind(path, "caffe")
    try:
        with path.open("rb") as file:
            blobs = _blobs(path, file)
            check_total(path, sum(blob.n_bytes for blob in blobs.values()), max_bytes)
            return {name: _array(file, blob) for name, blob in blobs.items()}
    except (ValueError, OSError) as error:
        raise WeightsError(
            f"{path}: is cut off or damaged ({error}); download or copy it again"
        ) from error


def _blobs(path: Path, file: BinaryIO) -> dict[str, _Blob]:
    fields = Fields(file)
    net = fields.read((0, path.stat().st_size), _NET)
    layers = [fields.read(span, _OLD_LAYER) for span in net["old_layer"]]
    if any(layer["oldest"] for layer in layers):
        raise WeightsError(
            f"{path}: has layers of the oldest kind (V0), which are not read; bring it "
            "up to date with Caffe's upgrade_net_proto_binary"
        )
    layers += [fields.read(span, _LAYER) for span in net["layer"]]
    blobs: dict[str, _Blob] = {}
    for layer in layers:
        name = check_name(fields.text(layer["name"][-1])) if layer["name"] else ""
        for number, span in enumerate(layer["blob"]):
            key = f"{name}/{number}"
            if key in blobs:
                raise ValueError(f"{key} is there twice")
            if len(blobs) == _MAX_ARRAYS:
                raise ValueError(f"more than {_MAX_ARRAYS:,} arrays")
            blobs[key] = _blob(fields, key, span)
    if not blobs:
        raise WeightsError(f"{path}: has no arrays; expected the weights of a network")
    return blobs


def _blob(fields: Fields, key: str, span: Span) -> _Blob:
    blob = fields.read(span, _BLOB)
    dtype = "float64" if blob["float64"] else "float32"
    if blob["shape"]:
        dims = fields.read(blob["shape"][-1], _SHAPE)["dim"]
    else:
        # Left out means nothing was set, which for an axis of a blob is 0.
        names = ("num", "channels", "height", "width")
        dims = [(blob[name] or [0])[-1] for name in names]
    if len(dims) > _MAX_AXES or any(size > 1 << 40 for size in dims):
        raise ValueError(f"{key} has an impossible shape")
    found = _Blob(dtype, tuple(dims), blob[dtype])
    if found.n_bytes != math.prod(dims) * np.dtype(dtype).itemsize:
        raise ValueError(f"{key}, {dtype} {list(dims)}, takes {found.n_bytes:,} bytes")
    return found


def _array(file: BinaryIO, blob: _Blob) -> np.ndarray:
    values = np.empty(blob.n_bytes, np.uint8)
    at = 0
    for start, end in blob.spans:
        file.seek(start)
        part = memoryview(values)[at : at + end - start]
        if file.readinto(part) != len(part):
            raise ValueError("it became shorter while it was read")
        at += len(part)
    values = values.view(np.dtype(blob.dtype).newbyteorder("<"))
    return values.reshape(blob.shape).astype(blob.dtype, copy=False)
