"""The readout: 1x1 layers that turn feature channels into one map.

Every cell of the feature grid is treated alike and alone, so a 1x1 convolution is
written as `Dense`: under `vmap` over folds it stays one matrix product, where a
convolution would become a grouped one.
"""

from collections.abc import Callable, Mapping
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

__all__ = ["JointLayerNorm", "Nonlinearity", "Readout", "fold_feature_scaling"]

Nonlinearity = Literal["relu", "softplus"]

_NONLINEARITIES: Mapping[str, Callable[[jax.Array], jax.Array]] = {
    "relu": lambda x: jnp.maximum(x, 0),
    "softplus": jax.nn.softplus,
}

#: PARITY: the layer norm of the public code; linen's own would be 1e-6.
_EPSILON = 1e-12


class Readout(nn.Module):
    """Readout map: 1x1 layers with a nonlinearity between them.

    As it is, the readout of DeepGaze II: 16, 32, 2 with ReLU, then 1 without. With
    `layer_norm`, softplus and widths 8, 16, 1, 128, 16, 1 it is the later one of the
    public PyTorch code, a readout and a selection network in a row.

    Attributes:
        widths: output channels of each layer; the last must be 1.
        nonlinearity: behind every layer but the last.
        layer_norm: whether every layer but the last stands behind a layer norm over
            all channels and cells of an image together. Predictions then depend on
            global statistics of the image.

    Reference:
        Kümmerer, Wallis & Bethge 2016, section 3; last layer as in the authors'
        release. Layer norm and softplus: Linardos et al. 2021 (DeepGaze IIE).
    """

    widths: tuple[int, ...] = (16, 32, 2, 1)
    nonlinearity: Nonlinearity = "relu"
    layer_norm: bool = False

    @nn.compact
    def __call__(
        self, features: jax.Array, cell_counts: jax.Array | None = None
    ) -> jax.Array:
        """Return the readout map.

        Args:
            features: `*batch height width channels`.
            cell_counts: [height, width], how many cells of the readout grid repeat
                each cell of the features, as weights of the layer norm; equal ones by
                default.

        Returns:
            `*batch height width`.
        """
        x = features
        last = len(self.widths) - 1
        for layer, width in enumerate(self.widths):
            if self.layer_norm and layer < last:
                x = JointLayerNorm(name=f"layer_norm{layer}")(x, cell_counts)
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
                x = _NONLINEARITIES[self.nonlinearity](x)
        return x[..., 0]


class JointLayerNorm(nn.Module):
    """Features normalised over all channels and cells of an image together.

    Reference:
        Public PyTorch code of DeepGaze IIE: one mean and one variance an image, an
        affine map for each channel, epsilon 1e-12.
    """

    @nn.compact
    def __call__(self, x: jax.Array, cell_counts: jax.Array | None) -> jax.Array:
        """Return normalised features.

        Args:
            x: `*batch height width channels`.
            cell_counts: [height, width], weight of each cell, or None for equal ones.

        Returns:
            The same shape.
        """
        channels = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (channels,))
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        if cell_counts is None:
            cell_counts = jnp.ones(x.shape[-3:-1])
        share = (cell_counts / cell_counts.sum())[..., None]
        share = share.reshape((1,) * (x.ndim - 3) + share.shape)

        def mean(values: jax.Array) -> jax.Array:
            by_cell = values.mean(axis=-1, keepdims=True) * share
            return by_cell.sum(axis=(-3, -2), keepdims=True)

        x = x - mean(x)
        # Once more: what rounding left of the mean is not small beside epsilon where
        # the features are constant.
        x = x - mean(x)
        x = x * lax.rsqrt(mean(jnp.square(x)) + _EPSILON)
        per_channel = (1,) * (x.ndim - 1) + (channels,)
        return x * scale.reshape(per_channel) + bias.reshape(per_channel)


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
