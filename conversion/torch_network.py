"""A feature network in PyTorch, for reports of conversions; imported only on demand."""

from collections.abc import Sequence

import numpy as np

from deepgaze_jax.conversion.identify import Identity
from deepgaze_jax.conversion.key_maps import Mapped
from deepgaze_jax.conversion.slow_network import network_input

__all__ = ["torch_taps"]


def torch_taps(
    mapped: Mapped, identity: Identity, picture: np.ndarray, taps: Sequence[str]
) -> dict[str, np.ndarray] | None:
    """Return what `slow_taps` returns, computed by PyTorch in float32.

    Returns:
        None where PyTorch is not installed.
    """
    try:
        import torch
        from torch.nn import functional
    except ImportError:
        return None

    def tensor(array: np.ndarray) -> "torch.Tensor":
        return torch.from_numpy(np.array(array, np.float32))

    network = mapped.key_map.network
    x = tensor(network_input(mapped, identity, picture)).permute(2, 0, 1)[None]
    found = {}
    with torch.no_grad():
        for layer in network.channels:
            parts = mapped.layers[layer]
            order = (3, 2, 1, 0) if identity.transposed else (3, 2, 0, 1)
            x = functional.conv2d(
                x,
                tensor(parts["kernel"].transpose(order)),
                tensor(parts["bias"]),
                stride=network.strides.get(layer, 1),
                padding=network.padding(layer),
            )
            if mapped.key_map.batch_norm:
                names = ("running_mean", "running_var", "weight", "bias")
                x = functional.batch_norm(
                    x, *(tensor(parts[f"norm/{name}"]) for name in names)
                )
            found[layer] = x
            x = functional.relu(x)
            found[layer.replace("conv", "relu")] = x
            if layer in network.pooled:
                x = functional.max_pool2d(
                    x, network.pool_size, 2, ceil_mode=network.ceil_mode
                )
    return {tap: found[tap][0].permute(1, 2, 0).numpy() for tap in taps}
