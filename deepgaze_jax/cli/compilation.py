"""Compiled programs are kept from one command to the next."""

import jax

from deepgaze_jax.weights import cache_dir

__all__ = ["keep_compiled_programs"]


def keep_compiled_programs() -> None:
    """Turn on JAX's persistent compilation cache, in our cache folder.

    A library has no business with this setting of the whole process: only the command
    line makes it. Where the folder cannot be written, everything works but slower.
    """
    folder = cache_dir() / "jax"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
