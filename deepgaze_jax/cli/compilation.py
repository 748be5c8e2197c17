"""Compiled programs are kept from one command to the next, and counted."""

import collections
from typing import Any

import jax

from deepgaze_jax.weights import cache_dir

__all__ = ["compiled", "keep_compiled_programs"]

_COMPILED_OR_FOUND = "/jax/core/compile/backend_compile_duration"
_FOUND = "/jax/compilation_cache/cache_hits"
_events: collections.Counter[str] = collections.Counter()


def keep_compiled_programs() -> None:
    """Turn on JAX's persistent compilation cache, in our cache folder.

    A library has no business with this setting of the whole process: only the command
    line makes it. Where the folder cannot be written, everything works but slower.
    """
    if not _events:
        _events["listening"] = 1
        jax.monitoring.register_event_listener(_count)
        jax.monitoring.register_event_duration_secs_listener(_count)
    folder = cache_dir() / "jax"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    # Small programs, too: there are many of them.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def compiled() -> int:
    """Return how many programs were compiled since `keep_compiled_programs`.

    Those that the cache had do not count.
    """
    return _events[_COMPILED_OR_FOUND] - _events[_FOUND]


def _count(event: str, *_: Any, **__: Any) -> None:
    _events[event] += 1
