"""Files that appear whole or not at all."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from deepgaze_jax.errors import InputError

__all__ = ["make_folder", "replacing", "write_text"]


def make_folder(path: str | Path) -> None:
    """Return nothing; the folder is there, and the folders that it lies in.

    Raises:
        InputError: it cannot be made.

    Example:
        >>> make_folder(__file__)
        Traceback (most recent call last):
        deepgaze_jax.errors.InputError: ...files.py is a file; give a folder
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if path.is_file():
            raise InputError(f"{path} is a file; give a folder") from None
        raise InputError(
            f"{path}: the folder cannot be made ({error.strerror}); choose another"
        ) from error


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`; on success it becomes `path`.

    Whatever was at `path` stays until then, and stays where the block raises.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with replacing(Path(folder, "a.txt")) as temporary:
        ...         _ = temporary.write_text("whole")
        ...     print(Path(folder, "a.txt").read_text())
        whole
    """
    path = Path(path)
    # The ending stays last, because some writers choose the format by it.
    temporary = path.with_name(f".{os.getpid()}.tmp.{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file, UTF-8 with the newlines as they are, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")
