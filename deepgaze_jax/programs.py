"""Compiled programs of a model: one for each size of picture, of the latest sizes only.

A program takes 10 to 40 MB of memory, and JAX keeps all of them. Whoever predicts for
pictures of any size, as a service does, would run out of memory.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax

from deepgaze_jax.model import FixationModel, mixture

__all__ = ["features_program", "log_density_program"]

Params = Mapping[str, Any]

#: Sizes of pictures whose programs are kept.
N_SIZES = 16


@functools.lru_cache(maxsize=N_SIZES)
def features_program(
    model: FixationModel, model_size: tuple[int, int]
) -> Callable[..., jax.Array]:
    """Return a compiled function from `(params, picture)` to features.

    Args:
        model: the configuration.
        model_size: height and width of the picture; others compile, too, but are not
            forgotten before this one is.

    Returns:
        A function of the feature network's parameters and a picture, RGB 0..255
        [height, width, 3], that returns [h, w, channels].
    """

    def features(params: Params, picture: jax.Array) -> jax.Array:
        return model.features(params, picture)

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
        [h, w, channels]; a center bias of the size of the model's image, or None; and
        `PixelGrid.log_pixels` [rows, columns].
    """

    def log_density(
        params: Params,
        features: jax.Array,
        center_bias: jax.Array | None,
        log_pixels: jax.Array,
    ) -> jax.Array:
        pooled = None if center_bias is None else model.pool_center_bias(center_bias)
        return mixture(
            model.grid_log_density(params, features, pooled, log_pixels, model_size)
        )

    return jax.jit(log_density)
