"""Writes torch_zip.pth, torch_legacy.pth, torch_tensors.npz: the same tensors thrice.

Run by hand where PyTorch 2.13 is installed, from the repository root:
``python tests/reference/make_torch_files.py``. The arrays in the `.npz` are what
PyTorch itself says that the tensors hold, bfloat16 as float32.
"""

from pathlib import Path

import numpy as np
import torch

FOLDER = Path(__file__).parent


def flat(tree, prefix=""):
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        elif isinstance(value, torch.Tensor):
            value = value.detach()
            wide = value.float() if value.dtype == torch.bfloat16 else value
            yield f"{prefix}{key}", wide.numpy()


def main():
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.BatchNorm2d(4)
    )
    row = torch.arange(24, dtype=torch.float32)
    tensors = {
        "transposed": row.reshape(4, 6).t(),
        "part": row[5:11],
        "permuted": torch.randn(2, 3, 4, 5).permute(3, 1, 0, 2)[1:],
        "half": row.half(),
        "bfloat": (row / 7).bfloat16(),
        "double": row.double(),
        "long": torch.arange(5),
        "byte": torch.arange(5, dtype=torch.uint8),
        "bool": torch.tensor([True, False]),
        "scalar": torch.tensor(2.5),
        "parameter": torch.nn.Parameter(torch.randn(3)),
        "empty": torch.zeros(0, 3),
    }
    other = {"epoch": 3, "size": torch.Size([1, 2]), "dtype": torch.float32}
    tree = {"state_dict": net.state_dict(), "tensors": tensors, **other}
    torch.save(tree, FOLDER / "torch_zip.pth")
    torch.save(tree, FOLDER / "torch_legacy.pth", _use_new_zipfile_serialization=False)
    np.savez(FOLDER / "torch_tensors.npz", **dict(flat(tree)))


if __name__ == "__main__":
    main()
