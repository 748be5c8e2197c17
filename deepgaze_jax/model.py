"""A fixation model: features -> readout -> finalizer, with a fold axis behind.

`FixationModel` is a description; its methods are pure functions of parameters. The
fold axis exists only in readout and finalizer parameters (leading axis F of every
leaf); features have none and are computed once per image.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp

from deepgaze_jax.errors import ConfigError, InputError
from deepgaze_jax.feature_networks import NETWORKS, FeatureNetwork
from deepgaze_jax.finalizer import Finalizer
from deepgaze_jax.grids import (
    PixelGrid,
    Sampling,
    map_cells_of_grid,
    pixel_grid,
    shrink,
    shrunk_size,
)
from deepgaze_jax.ops import FeaturePrecision
from deepgaze_jax.readout import Nonlinearity, Readout

__all__ = ["FixationModel", "mixture", "select_folds"]

Params = Mapping[str, Any]

#: Settings that are one of a few words.
_WORDS = {
    "network": tuple(NETWORKS),
    "sampling": get_args(Sampling),
    "nonlinearity": get_args(Nonlinearity),
}
#: Settings that are whole numbers from 1, with what is far beyond any use.
_WHOLE_NUMBERS = {"downsample": 64, "readout_stride": 64, "blur_radius": 1000}


@dataclasses.dataclass(frozen=True)
class FixationModel:
    """Configuration of a model that predicts a fixation density.

    As it is, that of DeepGaze II. Settings that do not fit one another raise
    ConfigError or InputError at once.

    Attributes:
        network: feature network, a name in `feature_networks.NETWORKS`.
        taps: feature maps that the readout sees, in the order of its input channels.
        downsample: pixels of the image for one of the network's input.
        readout_stride: pixels of the image for one cell of the readout grid.
        sampling: how images and center biases are made smaller and maps larger, see
            `grids`.
        widths: output channels of the readout's layers.
        nonlinearity: between the readout's layers.
        layer_norm: whether they stand behind layer norms, see `Readout`.
        blur_radius: taps of the blur on each side, in grid cells.
        blur_truncate: taps of the blur end at this many sigma; None for none.
        sigma_grid_px: start of the learned blur, in grid cells.
    """

    network: str = "vgg19"
    taps: tuple[str, ...] = ("conv5_1", "relu5_1", "relu5_2", "conv5_3", "relu5_4")
    downsample: int = 2
    readout_stride: int = 4
    sampling: Sampling = "mean"
    widths: tuple[int, ...] = (16, 32, 2, 1)
    nonlinearity: Nonlinearity = "relu"
    layer_norm: bool = False
    blur_radius: int = 20
    blur_truncate: float | None = None
    sigma_grid_px: float = 5.0

    def __post_init__(self) -> None:
        """Refuse settings that no model can have."""
        for name, words in _WORDS.items():
            if getattr(self, name) not in words:
                self._refuse(name, f"one of {', '.join(words)}")
        for name, largest in _WHOLE_NUMBERS.items():
            if not _whole(getattr(self, name), largest):
                self._refuse(name, f"a whole number from 1 to {largest}")
        if not _positive(self.sigma_grid_px):
            self._refuse("sigma_grid_px", "a number above 0")
        if self.blur_truncate is not None and not _positive(self.blur_truncate):
            self._refuse("blur_truncate", "a number above 0, or none")
        if not isinstance(self.layer_norm, bool):
            self._refuse("layer_norm", "true or false")
        widths = self.widths if isinstance(self.widths, tuple) else ()
        if not all(map(_whole, widths)) or widths[-1:] != (1,):
            self._refuse("widths", "whole numbers from 1, of which the last is 1")
        if self.layer_norm and len(widths) < 2:
            self._refuse("widths", "two or more, as every layer norm needs a layer")
        taps = self.taps if isinstance(self.taps, tuple) else ()
        if not taps or not all(isinstance(tap, str) for tap in taps):
            self._refuse("taps", "one or more names")
        # Unknown taps, and taps of different grids.
        _ = self.feature_stride

    def _refuse(self, name: str, expected: str) -> None:
        found = ascii(getattr(self, name))[:60]
        raise ConfigError(f"{name} of a model is {found}; expected {expected}")

    @property
    def feature_network(self) -> FeatureNetwork:
        """The feature network."""
        return NETWORKS[self.network]

    @property
    def channels(self) -> int:
        """Feature channels that the readout sees."""
        return sum(self.feature_network.tap_channels(tap) for tap in self.taps)

    @property
    def feature_stride(self) -> int:
        """Pixels of the image for one cell of the feature maps."""
        strides = {self.feature_network.tap_stride(tap) for tap in self.taps}
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

    def feature_grid(self, height: int, width: int) -> tuple[int, int]:
        """Return rows and columns of the feature maps of an image of height x width.

        Raises:
            InputError: the image is too small for the network.
        """
        shrunk = (
            shrunk_size(size, self.downsample, self.sampling)
            for size in (height, width)
        )
        return self.feature_network.tap_grid(self.taps[0], *shrunk)

    def peak_bytes(self, height: int, width: int) -> int:
        """Return about how much memory an image of height x width takes on a CPU.

        Example:
            >>> f"{FixationModel().peak_bytes(3000, 4000) / 1e9:.1f} GB"
            '3.1 GB'
        """
        rows, columns = (
            shrunk_size(size, self.downsample, self.sampling)
            for size in (height, width)
        )
        return rows * columns * self.feature_network.peak_bytes_per_pixel

    def map_cells(self, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Return which row and column of the feature map each grid cell reads.

        Args:
            height: rows of the model's image.
            width: its columns.
        """
        rows, columns = (
            map_cells_of_grid(
                size, cells, self.readout_stride, self.feature_stride, self.sampling
            )
            for size, cells in zip(
                (height, width), self.feature_grid(height, width), strict=True
            )
        )
        return rows, columns

    @property
    def max_sigma_grid_px(self) -> float:
        """The widest blur that the fixed number of taps still shows."""
        return self.blur_radius / (self.blur_truncate or 1.0)

    @property
    def readout(self) -> Readout:
        """The readout module of one fold."""
        return Readout(self.widths, self.nonlinearity, self.layer_norm)

    @property
    def finalizer(self) -> Finalizer:
        """The finalizer module of one fold."""
        return Finalizer(
            blur_radius=self.blur_radius,
            blur_truncate=self.blur_truncate,
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
            >>> FixationModel().init(0, 2)["readout"]["dense0"]["kernel"].shape
            (2, 2560, 16)
        """

        def one(fold: jax.Array) -> dict[str, Any]:
            key = jax.random.fold_in(jax.random.key(seed), fold)
            cell = np.zeros(1, int)
            one_cell = jnp.zeros((1, 1))
            return {
                "readout": self.readout.init(key, jnp.zeros((1, 1, self.channels)))[
                    "params"
                ],
                "finalizer": self.finalizer.init(
                    key, one_cell, (cell, cell), None, one_cell
                )["params"],
            }

        return jax.jit(jax.vmap(one))(jnp.arange(n_folds))

    def features(
        self,
        params: Params,
        image: jax.Array,
        precision: FeaturePrecision = "float32",
    ) -> jax.Array:
        """Return the features of images on the network's own grid.

        The readout's layers and the nearest upscaling commute, so the features are
        never enlarged: the result is the same for 64 times less work.

        Args:
            params: parameters of the feature network, see its own function.
            image: RGB 0..255, `*batch height width 3`, at the model's scale.
            precision: of the network's products, see `ops.convolution`; networks
                without weights have float32 alone.

        Returns:
            `*batch rows columns channels`, see `feature_grid`; for DeepGaze II
            ceil(height/32) x ceil(width/32).
        """
        image = jnp.asarray(image, jnp.float32)
        image = shrink(image, self.downsample, self.sampling)
        return self.features_of_input(params, image, precision)

    def features_of_input(
        self,
        params: Params,
        image: jax.Array,
        precision: FeaturePrecision = "float32",
    ) -> jax.Array:
        """Return what `features` does for an image that is shrunk already."""
        options = {} if precision == "float32" else {"precision": precision}
        maps = self.feature_network.features(params, image, self.taps, **options)
        return jnp.concatenate([maps[tap] for tap in self.taps], axis=-1)

    def readout_map(
        self, params: Params, features: jax.Array, model_size: tuple[int, int]
    ) -> jax.Array:
        """Return the readout map of one fold, on the grid of the features.

        Args:
            params: of the readout, without a fold axis.
            features: `*batch h w channels`.
            model_size: height and width of the model's image.

        Returns:
            `*batch h w`.
        """
        if not self.layer_norm:
            return self.readout.apply({"params": params}, features)
        # The layer norm sees every cell as often as the readout grid repeats it.
        counts = np.outer(
            *(
                np.bincount(cells, minlength=size)
                for cells, size in zip(
                    self.map_cells(*model_size), features.shape[-3:-1], strict=True
                )
            )
        )
        return self.readout.apply({"params": params}, features, np.float32(counts))

    def pool_center_bias(self, center_bias: jax.Array) -> jax.Array:
        """Return a log density `*batch H W` brought onto the readout grid."""
        center_bias = jnp.asarray(center_bias)[..., None]
        return shrink(center_bias, self.readout_stride, self.sampling)[..., 0]

    def pixel_grid(
        self, height: int, width: int, model_size: tuple[int, int] | None = None
    ) -> PixelGrid:
        """Return which grid cell each output pixel reads (`grids.pixel_grid`)."""
        return pixel_grid(height, width, self.readout_stride, model_size, self.sampling)

    def grid_log_density(
        self,
        params: Params,
        features: jax.Array,
        center_bias: jax.Array | None,
        log_pixels: jax.Array,
        model_size: tuple[int, int],
    ) -> jax.Array:
        """Return log densities per pixel on the readout grid, one for every fold.

        Args:
            params: readout and finalizer parameters with a leading fold axis F.
            features: `*batch h w channels`.
            center_bias: on the readout grid, broadcastable to `*batch rows columns`,
                or None.
            log_pixels: [rows, columns], see `PixelGrid.log_pixels`.
            model_size: height and width of the model's image.

        Returns:
            `F *batch rows columns`.
        """

        def one(fold: Params) -> jax.Array:
            return self.finalizer.apply(
                {"params": fold["finalizer"]},
                self.readout_map(fold["readout"], features, model_size),
                self.map_cells(*model_size),
                center_bias,
                log_pixels,
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
        expected = self.feature_grid(height, width)
        if features.shape[-3:-1] != expected:
            raise InputError(
                f"features of grid {features.shape[-3:-1]} do not belong to an image "
                f"of {height}x{width}, whose grid is {expected}"
            )
        grid = self.pixel_grid(height, width)
        pooled = None if center_bias is None else self.pool_center_bias(center_bias)
        return grid.expand(
            self.grid_log_density(
                params,
                features,
                pooled,
                jnp.asarray(grid.log_pixels),
                (height, width),
            )
        )


def _whole(value: Any, largest: float = float("inf")) -> bool:
    # bool is an int for Python.
    return type(value) is int and 1 <= value <= largest


def _positive(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value < float("inf")


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
