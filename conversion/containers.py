"""Any weight file in, its named arrays out: the reader follows from the content."""

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from deepgaze_jax.conversion import (
    caffe,
    keras_h5,
    matconvnet,
    npy_pickle,
    numpy_pickle,
    safetensors_file,
    tf_bundle,
    torch_pth,
)
from deepgaze_jax.conversion.sniff import file_kind, require_kind
from deepgaze_jax.conversion.zips import open_zip
from deepgaze_jax.errors import WeightsError

__all__ = ["WeightFile", "read_any"]

_READERS = {
    "hdf5": ("Keras HDF5", keras_h5.read),
    "safetensors": ("safetensors", safetensors_file.read),
    "torch-legacy": ("PyTorch before 1.6", torch_pth.read),
    "numpy": ("numpy", npy_pickle.read),
    "pickle": ("pickle of numpy arrays", numpy_pickle.read),
    "matlab": ("MatConvNet", matconvnet.read),
    "caffe": ("Caffe", caffe.read),
    "tensorflow": ("TensorFlow checkpoint", tf_bundle.read),
}


@dataclasses.dataclass(frozen=True)
class WeightFile:
    """The arrays of a file, and which file that was.

    Attributes:
        path: as given.
        container: its format, for people.
        sha256: of the file; of a checkpoint that of its index and data, in this order.
        arrays: by the names of the file.
    """

    path: Path
    container: str
    sha256: str
    arrays: Mapping[str, np.ndarray]


def read_any(path: str | Path) -> WeightFile:
    """Return the arrays of a weight file of any known format. Nothing of it is run.

    Args:
        path: the file; of a TensorFlow checkpoint the name that its files share, or
            one of them.

    Raises:
        WeightsError: missing, of an unknown kind, cut off, damaged, too large, unsafe.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "vgg.npy"
        ...     np.save(path, {"conv1_1": [np.ones(2), np.zeros(1)]}, allow_pickle=True)
        ...     read_any(path).container
        'numpy'
    """
    path = Path(path)
    parts = tf_bundle.parts(path)
    if parts or (not path.exists() and path.suffix == ".ckpt"):
        return WeightFile(
            path, "TensorFlow checkpoint", _sha256(parts), tf_bundle.read(path)
        )
    kind = file_kind(path)
    if kind == "zip":
        container, read = _in_zip(path)
    elif kind in _READERS:
        container, read = _READERS[kind]
    else:
        require_kind(path, *_READERS, "zip")  # Says what it is instead.
        raise AssertionError(kind)
    return WeightFile(path, container, _sha256([path]), read(path))


def _in_zip(path: Path) -> tuple:
    with open_zip(path, torch_pth.MAX_BYTES) as members:
        names = list(members)
    if "model.weights.h5" in names:
        raise WeightsError(
            f"{path}: is a whole Keras model; unzip it and give its model.weights.h5"
        )
    if names and all(name.endswith(".npy") for name in names):
        return "numpy, several arrays", npy_pickle.read
    return "PyTorch", torch_pth.read


def _sha256(paths: list[Path]) -> str:
    digest = hashlib.sha256()
    try:
        for path in paths:
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror})") from error
    return digest.hexdigest()
