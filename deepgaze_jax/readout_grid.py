"""From features to the log density of a picture, by way of the readout grid.

What is as large as the picture is made once, at the end: the center bias is brought to
the grid, and the density is normalised there.
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from deepgaze_jax.grids import shrink_matrix
from deepgaze_jax.memory import give_back_memory
from deepgaze_jax.model import FixationModel
from deepgaze_jax.ops import nearest_index
from deepgaze_jax.programs import log_density_program

__all__ = ["behind_first_layer", "center_bias_on_grid", "log_density"]

Params = Mapping[str, Any]

#: Cells of a grid whose arrays leave much scattered memory behind.
_LARGE = 500_000


def center_bias_on_grid(
    model: FixationModel, log_density: np.ndarray, model_size: tuple[int, int]
) -> np.ndarray:
    """Return a center bias on the readout grid of a model's image.

    As if it were resampled to the image (`resample_log_density`) and pooled then.

    Args:
        model: the configuration.
        log_density: [h, w], natural log, at any size.
        model_size: height and width of the model's image.

    Returns:
        float32 [rows, columns].
    """
    values = np.asarray(log_density, np.float64)
    index = [nearest_index(*n) for n in zip(values.shape, model_size, strict=True)]
    counts = [
        np.bincount(own, minlength=n)
        for own, n in zip(index, values.shape, strict=True)
    ]
    top = values.max()
    total = top + np.log(counts[0] @ np.exp(values - top) @ counts[1])
    rows, columns = (
        shrink_matrix(own, model.readout_stride, n, model.sampling)
        for own, n in zip(index, values.shape, strict=True)
    )
    # Minus infinity times zero is no number.
    finite = np.isfinite(values)
    grid = rows @ np.where(finite, values, 0) @ columns.T - total
    if not finite.all():
        grid[rows @ ~finite @ columns.T > 0] = -np.inf
    return grid.astype(np.float32)


def log_density(
    model: FixationModel,
    params: Params,
    features: Any,
    center_bias: np.ndarray | None,
    image_size: tuple[int, int],
    model_size: tuple[int, int],
) -> np.ndarray:
    """Return the log density of a picture, the mixture of folds.

    Args:
        model: the configuration.
        params: of the folds to be mixed.
        features: [h, w, channels], what the parameters' first layer takes.
        center_bias: [h, w], natural log, at any size; None leaves it out.
        image_size: height and width of the picture.
        model_size: those of the model's image.

    Returns:
        float32 [height, width], log-sum-exp 0.
    """
    if center_bias is not None:
        center_bias = center_bias_on_grid(model, center_bias, model_size)
    # Each density is normalised, and all are mixed, on the picture that the model
    # sees; only the result is brought to the size of the user's picture.
    log_pixels = model.pixel_grid(*model_size).log_pixels
    program = log_density_program(model, model_size)
    grid = np.asarray(program(params, jnp.asarray(features), center_bias, log_pixels))
    back = model.pixel_grid(*image_size, model_size=model_size)
    density = back.normalise_and_expand(grid)
    if grid.size > _LARGE:
        give_back_memory()
    return density


def behind_first_layer(params: Params) -> dict[str, Any]:
    """Return readout parameters that start from the products of the first layer.

    Args:
        params: `{"readout": {"dense0": {"kernel": [F, channels, n], ...}, ...}, ...}`.

    Returns:
        The same; the first kernel, [F, F * n, n], picks the fold's own products.
    """
    first = params["readout"]["dense0"]
    n_folds, _, width = first["kernel"].shape
    pick = np.eye(n_folds * width, dtype=np.float32)
    pick = pick.reshape(-1, n_folds, width).transpose(1, 0, 2)
    return {
        **params,
        "readout": {**params["readout"], "dense0": {**first, "kernel": pick}},
    }
