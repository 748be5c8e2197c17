"""One process at a time, on one machine, also after another one was killed."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

__all__ = ["file_lock"]

_POLL_S = 0.1


@contextlib.contextmanager
def file_lock(
    path: str | Path, waiting: Callable[[], None] | None = None
) -> Iterator[None]:
    """Return a context that only one process at a time is inside of.

    The lock belongs to the open file, so the operating system releases it when its
    process ends in whatever way; the empty file stays and means nothing by itself.

    Args:
        path: the lock file; its folder must exist.
        waiting: called once if another process holds the lock.

    Yields:
        Nothing.

    Raises:
        OSError: the lock file cannot be opened.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with file_lock(Path(folder) / "download.lock"):
        ...         pass  # nobody else is here
    """
    with open(path, "a+b") as file:
        if not _try_lock(file.fileno()):
            if waiting is not None:
                waiting()
            while not _try_lock(file.fileno()):
                time.sleep(_POLL_S)
        try:
            yield
        finally:
            _unlock(file.fileno())


if os.name == "nt":
    import msvcrt

    def _try_lock(descriptor: int) -> bool:
        os.lseek(descriptor, 0, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _unlock(descriptor: int) -> None:
        os.lseek(descriptor, 0, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _try_lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _unlock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
