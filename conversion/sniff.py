"""What a weight file really is, told from its first bytes.

Downloads turn out to be web pages, Git-LFS pointers or halves; each gets its own
line here, so that no reader has to guess from a parser's error.
"""

import re
from pathlib import Path

from deepgaze_jax.errors import WeightsError

__all__ = ["file_kind", "require_kind"]

_HDF5 = b"\x89HDF\r\n\x1a\n"
_LFS = b"version https://git-lfs.github.com/spec/"
# A pickled integer with which torch.save began before 1.6, when it wrote no zip.
_TORCH = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."

# The last bytes of a sorted table, and the first of one that begins with the header of
# a checkpoint: an empty key, one shard or more, and a version.
_TABLE_END = bytes.fromhex("57fb808b247547db")
_CHECKPOINT = re.compile(rb"\0\0[\4-\x20]\x08[\1-\x7f](\x10[\0\1])?\x1a[\1-\x10]\x08")
# What a network without a name can begin with: a layer of either kind, of which the
# length follows; the name of an input; a setting.
_CAFFE = re.compile(
    rb"(\x12|\xa2\x06)[\x80-\xff]{0,4}[\1-\x7f][\n\x12\x1a\x22\x28\x32]|"
    rb"\x1a[\1-\x7f][\x20-\x7e]|\x38[\0\1][\x12\xa2]"
)
# What can follow the name with which it usually begins: a layer, inputs, settings.
_CAFFE_FIELDS = b"\x12\x1a\x20\x28\x32\x38\x42\xa2"

_NAMES = {
    "empty": "an empty file (0 bytes)",
    "html": "a web page (HTML)",
    "git-lfs": "a Git-LFS pointer",
    "hdf5": "an HDF5 file",
    "safetensors": "a safetensors file",
    "gzip": "a gzip archive",
    "zip": "a zip archive",
    "tar": "a tar archive",
    "numpy": "a numpy file",
    "matlab": "a MATLAB file",
    "matlab-7.3": "a MATLAB 7.3 file",
    "tensorflow": "a TensorFlow checkpoint's index",
    "tensorflow-data": "the data of a TensorFlow checkpoint",
    "caffe": "a Caffe model",
    "torch-legacy": "a PyTorch file of the layout before 1.6",
    "pickle": "a pickle",
    "text": "a text file",
    "unknown": "a file of unknown kind",
}

_MAGIC = (
    (_HDF5, "hdf5"),
    (b"\x1f\x8b", "gzip"),
    (b"PK\x03\x04", "zip"),
    (b"\x93NUMPY", "numpy"),
    (b"MATLAB 5.0", "matlab"),
    (b"MATLAB 7.3", "matlab-7.3"),
    (_LFS, "git-lfs"),
)


def file_kind(path: Path) -> str:
    """Return the kind of a file, told from its content and never from its name.

    Args:
        path: an existing file.

    Returns:
        `hdf5`, `safetensors`, `gzip`, `zip`, `tar`, `numpy`, `matlab`, `matlab-7.3`,
        `pickle`, `torch-legacy`, `tensorflow`, `tensorflow-data`, `caffe`, `html`,
        `git-lfs`, `text`, `empty` or `unknown`.

    Raises:
        WeightsError: the file is missing or cannot be read.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "vgg19.h5"
        ...     _ = path.write_text("<!DOCTYPE html><title>404</title>")
        ...     file_kind(path)
        'html'
    """
    head = _head(path)
    if not head:
        return "empty"
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    # HDF5 allows a user block of 512, 1024, ... bytes in front.
    if any(head[at : at + 8] == _HDF5 for at in (512, 1024, 2048)):
        return "hdf5"
    if head[257:262] == b"ustar":
        return "tar"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 32:
        return "safetensors"
    if head[:1] == b"\x80" and _TORCH in head[:32]:
        return "torch-legacy"
    if head[:1] == b"\x80" and head[1:2] in (b"\2", b"\3", b"\4", b"\5"):
        return "pickle"
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:200].lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml")):
        return "html"
    if not re.search(rb"[^\t\n\f\r\x20-\x7e\x80-\xff]", head):
        return "text"
    if _tail(path) == _TABLE_END or _CHECKPOINT.match(head):
        return "tensorflow"
    if _is_caffe(head):
        return "caffe"
    return "unknown"


def require_kind(path: Path, *kinds: str) -> str:
    """Return the kind of a complete file, one of `kinds`.

    Args:
        path: the file.
        kinds: what the caller can read, names as `file_kind` returns them.

    Returns:
        The kind found.

    Raises:
        WeightsError: one line with what the file is instead, and what to do; also
            where an HDF5 or safetensors file is shorter than its own header says.
    """
    path = Path(path)
    kind = file_kind(path)
    if kind not in kinds:
        wanted = " or ".join(_NAMES[name] for name in kinds)
        raise WeightsError(f"{path}: is {_describe(path, kind)}; expected {wanted}")
    stated = _stated_bytes(path, kind)
    found = path.stat().st_size
    if stated is not None and found < stated:
        raise WeightsError(
            f"{path}: is cut off: {found:,} of {stated:,} bytes are there; download "
            "or copy it again"
        )
    return kind


def _head(path: Path) -> bytes:
    if not path.exists():
        raise WeightsError(f"{path}: no such file")
    if path.is_dir():
        raise WeightsError(f"{path}: is a folder; expected a weight file")
    if not path.is_file():
        # It is read more than once, and its length has to be known.
        raise WeightsError(
            f"{path}: is a pipe or device; expected a weight file, save it first"
        )
    try:
        with path.open("rb") as file:
            return file.read(4096)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror})") from error


def _tail(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - len(_TABLE_END)))
        return file.read()


def _is_caffe(head: bytes) -> bool:
    """Return whether a file may be a protocol buffer of a network; it has no magic."""
    if head[0] == 0x0A:
        end = 2 + head[1]
        named = head[2:end].isascii() and head[2:end].decode().isprintable()
        return end < len(head) and named and head[end] in _CAFFE_FIELDS
    return bool(_CAFFE.match(head))


def _describe(path: Path, kind: str) -> str:
    name = _NAMES[kind]
    if kind == "html":
        return f"{name}: the download led to an error or login page, not to the file"
    if kind == "git-lfs":
        size = re.search(rb"^size (\d{1,15})$", _head(path), re.MULTILINE)
        size = f" for a file of {int(size[1]):,} bytes" if size else ""
        return f"{name}{size}: run `git lfs pull` where it came from"
    if kind == "matlab-7.3":
        return f"{name} (HDF5 inside): save it again in MATLAB with the option -v7"
    if kind == "text":
        line = _head(path).splitlines()[0][:60].decode("ascii", "replace")
        return f"{name} that begins {line!r}"
    if kind == "unknown":
        return f"{name} (first bytes {_head(path)[:8].hex(' ')})"
    return name


def _stated_bytes(path: Path, kind: str) -> int | None:
    """Return the length that a file's own header states, where it does."""
    head = _head(path)
    if kind == "safetensors":
        # Only the header can be counted here; what follows is the reader's business.
        return 8 + int.from_bytes(head[:8], "little")
    if kind != "hdf5" or not head.startswith(_HDF5):
        return None
    version = head[8] if len(head) > 8 else 0
    # End-of-file address in the superblock, for the usual 8-byte addresses.
    sizes, at = (head[13:14], 40) if version < 2 else (head[9:10], 28)
    at += 4 if version == 1 else 0
    if len(head) < at + 8:
        return at + 8
    if sizes != b"\x08":
        return None
    return int.from_bytes(head[at : at + 8], "little")
