"""Compiled programs of a model: one for each size of picture, of the latest sizes only.

A program takes 10 to 40 MB of memory, and JAX keeps all of them. Whoever predicts for
pictures of any size, as a service does, would run out of memory.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from deepgaze_jax.model import FixationModel, mixture
from deepgaze_jax.ops import FeaturePrecision

__all__ = ["features_program", "log_density_program"]

Params = Mapping[str, Any]

# Cells of the readout grids of all folds that are computed together, at most.
_MOST_CELLS = 4_000_000

#: Sizes of pictures whose programs are kept.
N_SIZES = 16


@functools.lru_cache(maxsize=N_SIZES)
def features_program(
    model: FixationModel,
    model_size: tuple[int, int],
    precision: FeaturePrecision = "float32",
) -> Callable[..., jax.Array]:
    """Return a compiled function from `(params, picture)` to features.

    Args:
        model: the configuration.
        model_size: height and width of the picture; others compile, too, but are not
            forgotten before this one is.
        precision: of the network's products, see `ops.convolution`.

    Returns:
        A function of the feature network's parameters and a picture, RGB 0..255
        [height, width, 3], that returns [h, w, channels].
    """

    def features(params: Params, picture: jax.Array) -> jax.Array:
        return model.features(params, picture, precision)

    return jax.jit(features)


@functools.lru_cache(maxsize=N_SIZES)
def log_density_program(
    model: FixationModel, model_size: tuple[int, int]
) -> Callable[..., jax.Array]:
    """Return a compiled function that mixes the densities of folds.

    Args:
        model: the configuration.
        model_size: height and width of the model's image.

    Returns:
        A function that returns the log density per pixel on the readout grid, [rows,
        columns]. Its arguments are the parameters of the folds to be mixed; features
        [h, w, channels]; a center bias on the readout grid [rows, columns], or None;
        and `PixelGrid.log_pixels` [rows, columns].
    """

    def log_density(
        params: Params,
        features: jax.Array,
        center_bias: jax.Array | None,
        log_pixels: jax.Array,
    ) -> jax.Array:
        def of(folds: Params) -> jax.Array:
            return model.grid_log_density(
                folds, features, center_bias, log_pixels, model_size
            )

        n_folds = len(jax.tree.leaves(params)[0])
        if n_folds * log_pixels.size <= _MOST_CELLS:
            return mixture(of(params))

        # One fold after another: large grids of all of them would take more memory
        # than the picture.
        def add(total: jax.Array, fold: Params) -> tuple[jax.Array, None]:
            one = jax.tree.map(lambda leaf: leaf[None], fold)
            return jnp.logaddexp(total, of(one)[0]), None

        nothing = jnp.full(log_pixels.shape, -jnp.inf)
        total, _ = lax.scan(add, nothing, params)
        return total - float(np.log(n_folds))

    return jax.jit(log_density)
