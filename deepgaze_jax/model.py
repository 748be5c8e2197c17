"""A fixation model: features -> readout -> finalizer, with a fold axis behind.

`FixationModel` is a description; its methods are pure functions of parameters. The
fold axis exists only in readout and finalizer parameters (leading axis F of every
leaf); features have none and are computed once per image.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp

from deepgaze_jax.errors import InputError
from deepgaze_jax.finalizer import Finalizer, PixelGrid, pixel_grid
from deepgaze_jax.ops import pool_mean
from deepgaze_jax.readout import Readout
from deepgaze_jax.vgg import tap_channels, tap_stride, vgg19_features

__all__ = ["FixationModel", "deepgaze2", "mixture", "select_folds"]

Params = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class FixationModel:
    """Configuration of a model that predicts a fixation density.

    Attributes:
        network: feature network.
        taps: feature maps that the readout sees, in the order of its input channels.
        downsample: mean pooling of the image in front of the network.
        readout_stride: pixels of the image for one cell of the readout grid.
        widths: output channels of the readout's layers.
        blur_radius: taps of the blur on each side, in grid cells.
        sigma_grid_px: start of the learned blur, in grid cells.
    """

    network: str = "vgg19"
    taps: tuple[str, ...] = ("conv5_1", "relu5_1", "relu5_2", "conv5_3", "relu5_4")
    downsample: int = 2
    readout_stride: int = 4
    widths: tuple[int, ...] = (16, 32, 2, 1)
    blur_radius: int = 20
    sigma_grid_px: float = 5.0

    @property
    def channels(self) -> int:
        """Feature channels that the readout sees."""
        return sum(tap_channels(tap) for tap in self.taps)

    @property
    def feature_stride(self) -> int:
        """Pixels of the image for one cell of the feature maps."""
        strides = {tap_stride(tap) for tap in self.taps}
        if len(strides) != 1:
            raise InputError(
                f"the taps {', '.join(self.taps)} have strides {sorted(strides)}; all "
                "taps of a readout must lie on one grid"
            )
        stride = self.downsample * strides.pop()
        if stride % self.readout_stride:
            raise InputError(
                f"the taps {', '.join(self.taps)} have one cell for {stride} pixels of "
                f"the image, the readout grid one for {self.readout_stride}; choose "
                "taps whose cells are whole multiples of the grid's"
            )
        return stride

    @property
    def readout(self) -> Readout:
        """The readout module of one fold."""
        return Readout(self.widths)

    @property
    def finalizer(self) -> Finalizer:
        """The finalizer module of one fold."""
        return Finalizer(
            upscale=self.feature_stride // self.readout_stride,
            blur_radius=self.blur_radius,
            sigma_grid_px=self.sigma_grid_px,
        )

    def init(self, seed: int, n_folds: int) -> dict[str, Any]:
        """Return fresh readout and finalizer parameters.

        Args:
            seed: of the random numbers; fold k of n is the same for every n > k.
            n_folds: length F of the leading axis.

        Returns:
            `{"readout": {"dense0": {"kernel": [F, C, 16], ...}}, "finalizer": {...}}`.

        Example:
            >>> deepgaze2().init(0, 2)["readout"]["dense0"]["kernel"].shape
            (2, 2560, 16)
        """

        def one(fold: jax.Array) -> dict[str, Any]:
            key = jax.random.fold_in(jax.random.key(seed), fold)
            grid = jnp.zeros((self.finalizer.upscale,) * 2)
            return {
                "readout": self.readout.init(key, jnp.zeros((1, 1, self.channels)))[
                    "params"
                ],
                "finalizer": self.finalizer.init(key, jnp.zeros((1, 1)), None, grid)[
                    "params"
                ],
            }

        return jax.jit(jax.vmap(one))(jnp.arange(n_folds))

    def features(self, params: Params, image: jax.Array) -> jax.Array:
        """Return the features of images on the network's own grid.

        The readout's layers and the nearest upscaling commute, so the features are
        never enlarged: the result is the same for 64 times less work.

        Args:
            params: feature parameters, see `vgg19_features`.
            image: RGB 0..255, `*batch height width 3`, at the model's scale.

        Returns:
            `*batch ceil(height/32) ceil(width/32) channels` for DeepGaze II.
        """
        image = pool_mean(jnp.asarray(image, jnp.float32), self.downsample)
        maps = vgg19_features(params, image, self.taps)
        return jnp.concatenate([maps[tap] for tap in self.taps], axis=-1)

    def readout_map(self, params: Params, features: jax.Array) -> jax.Array:
        """Return the readout maps of every fold, `F *batch h w`."""

        def one(readout: Params) -> jax.Array:
            return self.readout.apply({"params": readout}, features)

        return jax.vmap(one)(params["readout"])

    def pool_center_bias(self, center_bias: jax.Array) -> jax.Array:
        """Return a log density `*batch H W` averaged onto the readout grid."""
        return pool_mean(center_bias[..., None], self.readout_stride)[..., 0]

    def pixel_grid(
        self, height: int, width: int, model_size: tuple[int, int] | None = None
    ) -> PixelGrid:
        """Return which grid cell each output pixel reads (`finalizer.pixel_grid`)."""
        return pixel_grid(height, width, self.readout_stride, model_size)

    def grid_log_density(
        self,
        params: Params,
        features: jax.Array,
        center_bias: jax.Array | None,
        log_pixels: jax.Array,
    ) -> jax.Array:
        """Return log densities per pixel on the readout grid, one for every fold.

        Args:
            params: readout and finalizer parameters with a leading fold axis F.
            features: `*batch h w channels`.
            center_bias: on the readout grid, broadcastable to `*batch rows columns`,
                or None.
            log_pixels: [rows, columns], see `PixelGrid.log_pixels`.

        Returns:
            `F *batch rows columns`.
        """

        def one(fold: Params) -> jax.Array:
            readout_map = self.readout.apply({"params": fold["readout"]}, features)
            return self.finalizer.apply(
                {"params": fold["finalizer"]}, readout_map, center_bias, log_pixels
            )

        return jax.vmap(one)({name: params[name] for name in ("readout", "finalizer")})

    def log_density(
        self,
        params: Params,
        features: jax.Array,
        center_bias: jax.Array | None = None,
        *,
        image_size: tuple[int, int] | None = None,
    ) -> jax.Array:
        """Return the log density of every fold at the size of the model's image.

        Args:
            params: readout and finalizer parameters with a leading fold axis F.
            features: `*batch h w channels`, from `features`.
            center_bias: natural-log density `*batch height width`; None leaves the
                center bias out (then `image_size` says how large the output is).
            image_size: height and width of the image; needed without a center bias.

        Returns:
            `F *batch height width`; log-sum-exp over the pixels is zero.

        Raises:
            InputError: the sizes of features, center bias and image disagree.
        """
        if center_bias is None and image_size is None:
            raise InputError("log_density needs a center bias or image_size; give one")
        if center_bias is not None:
            center_bias = jnp.asarray(center_bias)
        height, width = image_size or center_bias.shape[-2:]
        if center_bias is not None and center_bias.shape[-2:] != (height, width):
            raise InputError(
                f"the center bias is {center_bias.shape[-2:]} but the image is "
                f"{(height, width)}; resample it with resample_log_density"
            )
        stride = self.feature_stride
        expected = (-(-height // stride), -(-width // stride))
        if features.shape[-3:-1] != expected:
            raise InputError(
                f"features of grid {features.shape[-3:-1]} do not belong to an image "
                f"of {height}x{width}, whose grid is {expected}"
            )
        grid = self.pixel_grid(height, width)
        pooled = None if center_bias is None else self.pool_center_bias(center_bias)
        return grid.expand(
            self.grid_log_density(
                params, features, pooled, jnp.asarray(grid.log_pixels)
            )
        )


def mixture(log_densities: jax.Array) -> jax.Array:
    """Return the log of the mean of densities along the leading axis.

    Example:
        >>> two = np.log([[[0.5, 0.5]], [[0.9, 0.1]]])
        >>> [round(float(p), 2) for p in np.exp(mixture(two))[0]]
        [0.7, 0.3]
    """
    log_densities = jnp.asarray(log_densities)
    return logsumexp(log_densities, axis=0) - float(np.log(log_densities.shape[0]))


def select_folds(params: Params, folds: Sequence[int] | jax.Array) -> dict[str, Any]:
    """Return the parameters of some folds, in the order given; the axis stays."""
    index = jnp.asarray(folds)
    return jax.tree.map(lambda leaf: jnp.asarray(leaf)[index], dict(params))


def deepgaze2() -> FixationModel:
    """Return the configuration of DeepGaze II.

    Reference:
        Kümmerer, Wallis & Bethge 2016, arXiv 1610.01563.

    Example:
        >>> deepgaze2().channels
        2560
    """
    return FixationModel()
