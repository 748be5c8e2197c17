"""Seeds of a fold side by side in one readout."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from deepgaze_jax.errors import WeightsError
from deepgaze_jax.model_cards import seeds_of_folds

__all__ = ["join_seeds"]

Tensors = Mapping[str, np.ndarray]


def join_seeds(
    tensors: Tensors, card: Mapping[str, Any], n_seeds: int | None = None
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return a model whose readout of a fold is that of several seeds side by side.

    Its readout map is the mean of theirs, so its density is the geometric mean of
    theirs, normalised (but for the blur, whose sigma is the mean of theirs). A mixture
    of densities takes a finalizer and a center bias in the file for each seed; this
    takes one of each.

    Args:
        tensors: from `load_model`, of a run with several seeds.
        card: of the same model.
        n_seeds: how many of each fold, the first ones; by default all.

    Returns:
        Tensors and card for `save_model`, folds in the order of the first seed.

    Raises:
        WeightsError: there are fewer seeds, or the readout has layer norms, which see
            the channels of all seeds at once.
    """
    if card["model"].get("layer_norm"):
        raise WeightsError("a readout with layer norms cannot be joined from seeds")
    seeds = seeds_of_folds(card)
    fewest = min(map(len, seeds.values()))
    n_seeds = fewest if n_seeds is None else n_seeds
    if not 1 <= n_seeds <= fewest:
        raise WeightsError(f"the model has {fewest} seeds of a fold, not {n_seeds}")
    members = np.array([own[:n_seeds] for own in seeds.values()])
    last = sum(name.endswith("/kernel") for name in tensors) - 1
    joined = {name: array for name, array in tensors.items() if "features/" in name}
    for layer in range(last + 1):
        kernel, bias = (f"readout/dense{layer}/{part}" for part in ("kernel", "bias"))
        blocks = [tensors[kernel][own] for own in members]
        if last == 0:
            parts = [block.mean(axis=0) for block in blocks]
        elif layer == 0:
            parts = [np.concatenate(block, axis=1) for block in blocks]
        elif layer == last:
            parts = [np.concatenate(block, axis=0) / n_seeds for block in blocks]
        else:
            parts = [_block_diagonal(block) for block in blocks]
        joined[kernel] = np.stack(parts)
        if bias in tensors:
            joined[bias] = tensors[bias][members].reshape(len(members), -1)
    for name in ("finalizer/sigma_grid_px", "finalizer/center_bias_weight"):
        joined[name] = tensors[name][members].mean(axis=1)
    first = members[:, 0]
    name = "center_bias/log_density"
    joined[name] = tensors[name][[*first, -1]]
    widths = (*(n_seeds * w for w in card["model"]["widths"][:-1]), 1)
    more = {
        "model": {**card["model"], "widths": list(widths)},
        "folds": [
            {name: value for name, value in card["folds"][k].items() if name != "seed"}
            for k in first
        ],
        "joined_seeds": n_seeds,
    }
    if "best_epoch" in card:
        more["best_epoch"] = [[card["best_epoch"][k] for k in own] for own in members]
    return joined, {**card, **more, "scores": {}}


def _block_diagonal(blocks: Sequence[np.ndarray]) -> np.ndarray:
    """Return [n * in, n * out] from n kernels of [in, out]."""
    n, rows, columns = np.shape(blocks)
    result = np.zeros((n, rows, n, columns), np.float32)
    for k, block in enumerate(blocks):
        result[k, :, k] = block
    return result.reshape(n * rows, n * columns)
