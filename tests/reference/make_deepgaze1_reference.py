"""Writes deepgaze1_torch.npz: PyTorch's DeepGaze I with seeded random weights.

Run by hand where PyTorch 2.13 and scipy are installed, from the repository root:
``python tests/reference/make_deepgaze1_reference.py``. Weights, images and center
biases are those of ``tests/oracles_deepgaze1.py``, which makes them anew, so they are
not stored. Contents, for each image size HxW:

* ``HxW/index``: int32 flat positions in the log density, half of them anywhere, half in
  its last row or column, where the rounding of sizes shows;
* ``HxW/value``: float32 log densities there;
* ``seed`` of images and values, ``alexnet_seed`` of the network;
* ``weight_sums``: sum of each kernel, to tell a changed random stream from an error;
* ``torch_version``.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import oracles_alexnet
import oracles_deepgaze1
import torch
from torch_deepgaze1 import torch_log_density

SEED, ALEXNET_SEED, N_VALUES = 1, 5, 200
# Odd and even, at all remainders of 4; the readout of an image of 234 pixels is resized
# with an index that float32 rounds down.
SIZES = ((64, 96), (97, 131), (130, 99), (101, 258), (66, 67), (71, 234))


def positions(height, width):
    rng = np.random.default_rng([height, width])
    anywhere = rng.choice(height * width, N_VALUES // 2, replace=False)
    last = [(height - 1) * width + x for x in range(width)]
    last += [y * width + width - 1 for y in range(height - 1)]
    return np.int32([*anywhere, *rng.choice(last, N_VALUES // 2, replace=False)])


def main():
    params = oracles_alexnet.random_params(ALEXNET_SEED)
    sums = [parts["kernel"].sum(dtype=np.float64) for parts in params.values()]
    out = {
        "seed": SEED,
        "alexnet_seed": ALEXNET_SEED,
        "weight_sums": sums,
        "torch_version": torch.__version__,
    }
    for height, width in SIZES:
        case = oracles_deepgaze1.random_case(SEED, height, width)
        arrays = oracles_deepgaze1.state_dict(params, case)
        found = torch_log_density(arrays, case["image"], case["center_bias"])
        index = positions(height, width)
        out[f"{height}x{width}/index"] = index
        out[f"{height}x{width}/value"] = found.ravel()[index]
    np.savez(Path(__file__).with_name("deepgaze1_torch.npz"), **out)


if __name__ == "__main__":
    main()
