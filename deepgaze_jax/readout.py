"""The readout: 1x1 layers that turn feature channels into one map.

Every cell of the feature grid is treated alike and alone, so a 1x1 convolution is
written as `Dense`: under `vmap` over folds it stays one matrix product, where a
convolution would become a grouped one.
"""

from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

__all__ = ["Readout", "fold_feature_scaling"]


class Readout(nn.Module):
    """Readout map of DeepGaze II: 1x1 layers 16, 32, 2 with ReLU, then 1 without.

    Attributes:
        widths: output channels of each layer; the last must be 1.

    Reference:
        Kümmerer, Wallis & Bethge 2016, section 3; last layer as in the authors'
        release.
    """

    widths: tuple[int, ...] = (16, 32, 2, 1)

    @nn.compact
    def __call__(self, features: jax.Array) -> jax.Array:
        """Return the readout map.

        Args:
            features: `*batch height width channels`.

        Returns:
            `*batch height width`.
        """
        x = features
        last = len(self.widths) - 1
        for layer, width in enumerate(self.widths):
            # PAPER: the text has a ReLU after every layer; the release leaves the
            # last layer linear and without bias (a bias would cancel anyway).
            x = nn.Dense(
                width,
                use_bias=layer < last,
                kernel_init=nn.initializers.he_normal(),
                # Slightly positive, so that none of the few units starts dead.
                bias_init=nn.initializers.constant(0.1),
                precision=lax.Precision.HIGHEST,
                name=f"dense{layer}",
            )(x)
            if layer < last:
                x = jnp.maximum(x, 0)
        return x[..., 0]


def fold_feature_scaling(
    readout: Mapping[str, Mapping[str, jax.Array]],
    mean: jax.Array,
    scale: jax.Array,
) -> dict[str, dict[str, jax.Array]]:
    """Return readout parameters for raw features, from ones for scaled features.

    A readout trained on `(features - mean) * scale` gives the same map on the raw
    features with the returned first layer.

    Args:
        readout: parameters of one fold, `{"dense0": {"kernel", "bias"}, ...}`.
        mean: [channels], subtracted from the features.
        scale: [channels], multiplies the centred features.

    Returns:
        Parameters in the same layout.
    """
    first = dict(readout["dense0"])
    first["kernel"] = first["kernel"] * scale[:, None]
    shift = jnp.matmul(mean, first["kernel"], precision=lax.Precision.HIGHEST)
    if "bias" in first:
        first["bias"] = first["bias"] - shift
    return {**{name: dict(layer) for name, layer in readout.items()}, "dense0": first}
