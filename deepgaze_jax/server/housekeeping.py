"""Memory that would grow with every new size of picture is given back now and then."""

import gc

import jax

from deepgaze_jax.memory import give_back_memory
from deepgaze_jax.programs import features_program, log_density_program

__all__ = ["Housekeeping"]

# After so many compilations. Each leaves 1 to 2 MB behind: what JAX remembers of
# tracing, and pages that the allocator keeps. Programs of sizes that come again are
# compiled again after it, which is cheap for one in so many.
_NEW_SIZES = 24


class Housekeeping:
    """Counts new sizes of pictures, and gives back what they have left behind."""

    def __init__(self):
        self._seen = self._n_compiled()

    def due(self) -> bool:
        """Return whether there is much to give back."""
        return self._n_compiled() - self._seen >= _NEW_SIZES

    def tidy(self) -> None:
        """Forget all compiled programs; nothing may be computed meanwhile."""
        features_program.cache_clear()
        log_density_program.cache_clear()
        self._seen = 0  # Clearing begins to count anew.
        jax.clear_caches()
        gc.collect()
        give_back_memory()

    @staticmethod
    def _n_compiled() -> int:
        return features_program.cache_info().misses
