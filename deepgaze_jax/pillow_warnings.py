"""Pillow's warnings of odd metadata and large pictures, silenced in any thread."""

import contextlib
import re
import threading
import warnings
from collections.abc import Iterator

__all__ = ["no_pillow_warnings"]

# What `warnings.filterwarnings("ignore", module=...)` makes.
_FILTER = ("ignore", None, Warning, re.compile(r"PIL\."), 0)
_lock = threading.Lock()
_inside = 0


@contextlib.contextmanager
def no_pillow_warnings() -> Iterator[None]:
    """Yield nothing; until the last thread has left, Pillow's warnings are not shown.

    `warnings.catch_warnings` exchanges the filters of the whole process: of two threads
    that are in it at once, one puts back what the other has set. Here one filter, which
    only concerns Pillow, is added by the first thread and taken out by the last one;
    all others stay as they are.

    Example:
        >>> before = list(warnings.filters)
        >>> with no_pillow_warnings():
        ...     len(warnings.filters) - len(before)
        1
        >>> warnings.filters == before
        True
    """
    global _inside
    with _lock:
        _inside += 1
        # Also where the first thread's has been buried below those of somebody else.
        if warnings.filters[:1] != [_FILTER]:
            warnings.filters.insert(0, _FILTER)
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            while not _inside and _FILTER in warnings.filters:
                warnings.filters.remove(_FILTER)
