"""Writes vgg19_torch.npz: PyTorch's VGG-19 with seeded random weights.

Run by hand where PyTorch 2.13 and scipy are installed, from the repository root:
``python tests/reference/make_vgg19_reference.py``. Weights and images are those of
``tests/oracles.py``, which regenerates them, so they are not stored.
Contents, for each image size HxW and tap T:

* ``HxW/T/index``: int32 flat positions in the tap's [h, w, c], half of them anywhere,
  half in its last row or column, where the padding rules of pools show;
* ``HxW/T/value``: float32 values there; ``HxW/T/max_abs`` and ``HxW/T/mean`` over all;
  ``HxW/T/shape``;
* ``seed`` of weights and images;
* ``weight_sums``: sum of each kernel, to tell a changed random stream from an error;
* ``torch_version``.
"""

import os
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from oracles import VGG19_TAPS, random_image, random_vgg19_params
from torch_vgg19 import torch_vgg19

SEED = 20
SIZES = ((97, 131), (33, 47))
N_POSITIONS = 200
TARGET = Path(__file__).with_name("vgg19_torch.npz")


def positions(rng, shape):
    """Return sorted flat positions, half of them in the last row or column."""
    index = np.arange(np.prod(shape), dtype=np.int32).reshape(shape)
    border = np.union1d(index[-1], index[:, -1])
    chosen = [
        rng.choice(part, min(N_POSITIONS // 2, part.size), replace=False)
        for part in (index.ravel(), border)
    ]
    return np.unique(np.concatenate(chosen))


def main():
    """Write the file, atomically."""
    params = random_vgg19_params(SEED)
    arrays = {
        "seed": np.int64(SEED),
        "torch_version": np.array(torch.__version__),
        "weight_sums": np.array(
            [values["kernel"].sum(dtype=np.float64) for values in params.values()]
        ),
    }
    rng = np.random.default_rng(SEED)
    for height, width in SIZES:
        image = random_image(SEED, height, width)
        for tap, features in torch_vgg19(params, image, VGG19_TAPS).items():
            key = f"{height}x{width}/{tap}"
            index = positions(rng, features.shape)
            arrays[f"{key}/index"] = index
            arrays[f"{key}/value"] = features.ravel()[index]
            arrays[f"{key}/max_abs"] = np.abs(features).max()
            arrays[f"{key}/mean"] = features.mean(dtype=np.float64)
            arrays[f"{key}/shape"] = np.array(features.shape, np.int32)
    temporary = TARGET.with_suffix(".npz.tmp")
    with open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)
    os.replace(temporary, TARGET)


if __name__ == "__main__":
    main()
