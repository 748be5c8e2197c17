"""A trained model in memory, and what it predicts."""

import dataclasses
import functools
import numbers
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
from scipy.special import logsumexp

from deepgaze_jax.center_bias import (
    check_center_bias,
    resample_log_density,
    uniform_log_density,
)
from deepgaze_jax.errors import ConfigError, InputError
from deepgaze_jax.images import MAX_PIXELS, load_image, rgb_sha256
from deepgaze_jax.memory import require_memory
from deepgaze_jax.model import FixationModel, mixture
from deepgaze_jax.model_cards import FoldMembership
from deepgaze_jax.model_files import check_family
from deepgaze_jax.named_center_bias import center_bias_names, load_center_bias
from deepgaze_jax.ops import resize_image, scaled_size
from deepgaze_jax.weights import features_card, load_features

__all__ = ["CenterBias", "FoldRule", "Predictor"]

Params = Mapping[str, Any]
_FEWEST = 8  # pixels of a side; a larger picture that shrinks below is a mistake
_PICTURE_BYTES = 40  # of memory per pixel, beside what the network takes; measured
#: Which folds predict: one, all mixed, or the one that has not seen the picture.
FoldRule = int | Literal["mixture", "auto"]

#: A fold, some folds to be mixed, or all of them.
Chosen = int | tuple[int, ...] | Literal["mixture"]

#: A name, a `.npy` file or an array.
CenterBias = str | Path | np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Predictor:
    """A trained model.

    Attributes:
        name: what results call it.
        model: the configuration.
        params: `{"readout": ..., "finalizer": ...}` with a leading fold axis F.
        center_biases: log densities [F + 1, 75, 100]; one per fold, the pooled last.
        card: what the model is and what it was trained on. Used here: `pixels_per_dva`
            of pictures as users hold them (None where unknown), `input_scale`,
            `network`, `family`, and `images` with `folds` (see `FoldMembership`).
        stored_features: parameters of the feature network, where the file has them.
        sha256: of the model file, empty for a model in memory.
    """

    name: str
    model: FixationModel
    params: Params
    center_biases: np.ndarray
    card: Mapping[str, Any]
    stored_features: Params | None = None
    sha256: str = ""

    def __repr__(self) -> str:
        return (
            f"Predictor({self.name!r}, network={self.model.network!r}, "
            f"n_folds={self.n_folds}, "
            f"pixels_per_dva={self.card.get('pixels_per_dva')})"
        )

    @property
    def n_folds(self) -> int:
        """Number of folds F."""
        return len(self.center_biases) - 1

    @functools.cached_property
    def feature_params(self) -> Params:
        """Parameters of the feature network, read when they are first needed.

        Raises:
            WeightsError: they have not been fetched, or are of another family than
                the readout was trained on.
        """
        params = self.stored_features
        if params is None:
            check_family(self.card, features_card(self.model.network))
            params = load_features(self.model.network)
        return jax.device_put(params)

    def predict(
        self,
        image: Any,
        *,
        center_bias: CenterBias | None = None,
        pixels_per_dva: float | None = None,
        fold: FoldRule = "mixture",
        without_center_bias: bool = False,
    ) -> np.ndarray:
        """Return the log density of fixations on a picture, at its own size.

        Args:
            image: what `load_image` takes, or an array [B, H, W, 3].
            center_bias: where people look whatever the picture shows. By default the
                one that belongs to the fold (the pooled one for the mixture); or
                "uniform", a name in `center_bias_names()`, a `.npy` file or an array
                [H, W] with a natural-log density of the picture's own size.
            pixels_per_dva: pixels per degree of visual angle, as people see the
                picture; by default that of the pictures that the model knows.
            fold: "mixture" of all folds, one fold by its number, or "auto": the fold
                that has not seen this picture in training (recognised by its pixels),
                the mixture for a picture that is in no fold's test part.
            without_center_bias: leave the center bias out, for measures that must not
                reward it.

        Returns:
            float32 [H, W] or [B, H, W]: natural logarithm of the probability of each
            pixel; log-sum-exp 0.

        Raises:
            InputError: not a picture, or a center bias that does not fit it.
            ConfigError: no such fold or center bias, or pixels_per_dva without a
                meaning for this model.
            WeightsError: the feature weights are missing or of another family.

        Reference:
            Kümmerer, Wallis & Bethge 2016, arXiv 1610.01563, section 3.
        """
        options = {
            "center_bias": center_bias,
            "pixels_per_dva": pixels_per_dva,
            "without_center_bias": without_center_bias,
        }
        # Files, bytes and Pillow pictures are single; arrays may be batches.
        single = isinstance(image, str | os.PathLike | bytes | Image.Image)
        if not single and np.ndim(image) == 4:
            parts = [self.predict(one, fold=fold, **options) for one in image]
            if not parts:
                raise InputError("the batch has no picture; give at least one")
            return np.stack(parts)
        picture = load_image(image)
        fold = self.fold_for(picture, fold)
        size = picture.shape[:2]
        features = self.features(picture, pixels_per_dva=pixels_per_dva)
        return self.log_density_of_features(features, size, fold=fold, **options)

    def fold_for(self, picture: np.ndarray, fold: FoldRule) -> Chosen:
        """Return the fold that a rule means for a picture, or all seeds of that fold.

        Args:
            picture: RGB 0..255, float32 [H, W, 3], as `load_image` returns it.
            fold: see `predict`.

        Raises:
            ConfigError: no such fold.
        """
        if fold != "auto":
            return self._checked(fold)
        return self.unseen(rgb_sha256(picture))

    def unseen(self, rgb_hash: str) -> Chosen:
        """Return what has not seen a picture: a fold, its seeds, or the mixture.

        Args:
            rgb_hash: from `rgb_sha256`.
        """
        folds = self.membership.unseen_folds(rgb_hash)
        if not folds:
            return "mixture"
        return folds[0] if len(folds) == 1 else folds

    def features(
        self, picture: np.ndarray, *, pixels_per_dva: float | None = None
    ) -> jax.Array:
        """Return a picture's features on the network's grid.

        Args:
            picture: RGB 0..255, float32 [H, W, 3], as `load_image` returns it.
            pixels_per_dva: see `predict`.

        Returns:
            float32 [h, w, channels], for `log_density_of_features`.

        Raises:
            ConfigError: pixels_per_dva without a meaning for this model.
            InputError: there is not enough memory for it.
            WeightsError: the feature weights are missing or of another family.
        """
        height, width = self.model_size(picture.shape[:2], pixels_per_dva)
        # Other devices say for themselves that their memory is full.
        if jax.default_backend() == "cpu":
            rows, columns = picture.shape[:2]
            require_memory(
                self.model.peak_bytes(height, width) + _PICTURE_BYTES * rows * columns,
                f"a picture of {rows}x{columns} pixels",
                "shrink it, or give its pixels per degree of visual angle "
                "(--pixels-per-dva); those of a large photograph are usually more",
            )
        params = self.feature_params
        return _features(self.model, params, resize_image(picture, height, width))

    def log_density_of_features(
        self,
        features: Any,
        image_size: tuple[int, int],
        *,
        center_bias: CenterBias | None = None,
        pixels_per_dva: float | None = None,
        fold: Chosen = "mixture",
        without_center_bias: bool = False,
    ) -> np.ndarray:
        """Return the log density of a picture whose features are known.

        Args:
            features: [h, w, channels], from `features` or a feature cache.
            image_size: height and width of the picture.
            center_bias: see `predict`.
            pixels_per_dva: with which the features were computed.
            fold: "mixture", the number of a fold, or the numbers of some to be mixed.
            without_center_bias: see `predict`.

        Returns:
            float32 [H, W], log-sum-exp 0.

        Raises:
            InputError: features of another grid than the picture's, or a center bias
                that does not fit.
            ConfigError: no such fold or center bias, or pixels_per_dva without a
                meaning for this model.
        """
        size = self.model_size(image_size, pixels_per_dva)
        expected = (*self.model.feature_grid(*size), self.model.channels)
        if np.shape(features) != expected:
            raise InputError(
                f"features of shape {list(np.shape(features))} do not belong to a "
                f"picture of {image_size[0]}x{image_size[1]} pixels, which the model "
                f"sees at {size[0]}x{size[1]}: expected {list(expected)}"
            )
        params = {"readout": self.params["readout"]}
        params["finalizer"] = self.params["finalizer"]
        if self._checked(fold) != "mixture":
            own = np.array(fold).reshape(-1)
            params = jax.tree.map(lambda leaf: leaf[own], params)
        bias = None
        if not without_center_bias:
            bias = self._center_bias(center_bias, fold, image_size, size)
        # Each density is normalised, and all are mixed, on the picture that the model
        # sees; only the result is brought to the size of the user's picture.
        log_pixels = self.model.pixel_grid(*size).log_pixels
        grid = _log_density(
            self.model, params, jnp.asarray(features), bias, log_pixels, size
        )
        back = self.model.pixel_grid(*image_size, model_size=size)
        log_density = back.expand(np.asarray(grid, np.float64))
        return (log_density - logsumexp(log_density)).astype(np.float32)

    def center_bias_log_density(
        self,
        image_size: tuple[int, int],
        *,
        center_bias: CenterBias | None = None,
        fold: Chosen = "mixture",
    ) -> np.ndarray:
        """Return the center bias that a prediction uses, at the picture's own size.

        Args:
            image_size: height and width of the picture.
            center_bias: see `predict`.
            fold: "mixture", the number of a fold, or the seeds of one.

        Returns:
            float32 [H, W], log-sum-exp 0.

        Raises:
            InputError: a center bias that does not fit the picture.
            ConfigError: no such fold or center bias.
        """
        self._checked(fold)
        return self._center_bias(center_bias, fold, image_size, image_size)

    def image_scale(self, pixels_per_dva: float | None = None) -> float:
        """Return the factor from a picture's size to that of the model's image.

        Args:
            pixels_per_dva: of the picture; by default that of the card.

        Raises:
            ConfigError: not a positive number, or the card does not say which value
                the model was trained at.
        """
        scale = float(self.card["input_scale"])
        if pixels_per_dva is None:
            return scale
        known = self.card.get("pixels_per_dva")
        if known is None:
            raise ConfigError(
                f"the card of {self.name} does not say how many pixels per degree of "
                "visual angle it was trained at, so pixels_per_dva cannot be used; "
                "leave it out"
            )
        number = isinstance(pixels_per_dva, numbers.Real)
        if not (number and np.isfinite(pixels_per_dva) and pixels_per_dva > 0):
            raise ConfigError(
                f"pixels_per_dva is {pixels_per_dva!r}; expected a positive number "
                f"({known:g} is what {self.name} was trained at)"
            )
        return scale * float(known) / float(pixels_per_dva)

    def model_size(
        self, image_size: tuple[int, int], pixels_per_dva: float | None = None
    ) -> tuple[int, int]:
        """Return height and width of the image that the model sees.

        Args:
            image_size: height and width of the picture.
            pixels_per_dva: of the picture; by default that of the card.

        Raises:
            ConfigError: see `image_scale`.
            InputError: an image too large to be computed, or too small to show much.
        """
        scale = self.image_scale(pixels_per_dva)
        seen = [float(size) * scale for size in image_size]
        # Of the product, which may be infinite, before anything is rounded to it.
        large = seen[0] * seen[1] > MAX_PIXELS
        if large or (pixels_per_dva and min(seen) < _FEWEST <= min(image_size)):
            raise InputError(
                f"a picture of {image_size[0]}x{image_size[1]} pixels would be seen at "
                f"{seen[0]:.7g}x{seen[1]:.7g} (scale {scale:g}); "
                f"{'shrink it, or ' * large}check pixels_per_dva"
            )
        height, width = scaled_size(*image_size, scale)
        try:
            self.model.feature_grid(height, width)
        except InputError as error:
            raise InputError(
                f"a picture of {image_size[0]}x{image_size[1]} pixels is too small for "
                f"{self.name} ({error})"
            ) from error
        return height, width

    @functools.cached_property
    def membership(self) -> FoldMembership:
        """Which pictures took part in which fold."""
        return FoldMembership.of_card(self.card)

    def _checked(self, fold: Any) -> Any:
        """Return the fold if there is such a one."""
        if fold == "mixture":
            return fold
        if isinstance(fold, tuple) and fold:
            return tuple(self._checked(one) for one in fold)
        whole = isinstance(fold, int | np.integer) and not isinstance(fold, bool)
        if not whole or not 0 <= fold < self.n_folds:
            raise ConfigError(
                f"fold is {fold!r}; {self.name} has the folds 0 to {self.n_folds - 1}; "
                "give one of them, mixture or auto"
            )
        return fold

    def _center_bias(
        self,
        center_bias: CenterBias | None,
        fold: Chosen,
        image_size: tuple[int, int],
        model_size: tuple[int, int],
    ) -> np.ndarray:
        """Return the wanted center bias at the size of the model's image."""
        if center_bias is None:
            # Seeds of a fold have the same one.
            first = fold[0] if isinstance(fold, tuple) else fold
            own = self.center_biases[-1 if fold == "mixture" else first]
            return resample_log_density(own, *model_size)
        if isinstance(center_bias, str) and center_bias == "uniform":
            return uniform_log_density(*model_size)
        named = isinstance(center_bias, str | os.PathLike)
        values = load_center_bias(center_bias) if named else center_bias
        if not (named and str(center_bias) in center_bias_names()):
            values = check_center_bias(values, *image_size)
        return resample_log_density(values, *model_size)


@functools.partial(jax.jit, static_argnums=0)
def _features(model: FixationModel, params: Params, picture: jax.Array) -> jax.Array:
    """Compiled once for each size of picture."""
    return model.features(params, picture)


@functools.partial(jax.jit, static_argnums=(0, 5))
def _log_density(
    model: FixationModel,
    params: Params,
    features: jax.Array,
    center_bias: jax.Array | None,
    log_pixels: jax.Array,
    model_size: tuple[int, int],
) -> jax.Array:
    """Return the mixture of folds on the readout grid, log per pixel [rows, columns].

    Args:
        model: the configuration.
        params: of the folds to be mixed.
        features: [h, w, channels].
        center_bias: at the size of the model's image, or None.
        log_pixels: [rows, columns].
        model_size: height and width of the model's image.
    """
    pooled = None if center_bias is None else model.pool_center_bias(center_bias)
    return mixture(
        model.grid_log_density(params, features, pooled, log_pixels, model_size)
    )
