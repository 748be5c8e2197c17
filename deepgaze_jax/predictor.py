"""A trained model in memory, and what it predicts."""

import dataclasses
import functools
import math
import numbers
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from deepgaze_jax import vgg_rows
from deepgaze_jax.band_plan import BandPlan, goes_by_rows, plan_bands, row_features
from deepgaze_jax.center_bias import check_center_bias, resample_log_density
from deepgaze_jax.errors import ConfigError, InputError
from deepgaze_jax.images import MAX_PIXELS, load_image, rgb_sha256
from deepgaze_jax.memory import require_memory
from deepgaze_jax.model import FixationModel
from deepgaze_jax.model_cards import FoldMembership
from deepgaze_jax.model_files import check_family
from deepgaze_jax.named_center_bias import center_bias_names, load_center_bias
from deepgaze_jax.ops import resize_image, scaled_size
from deepgaze_jax.programs import features_program, log_density_program
from deepgaze_jax.weights import features_card, load_features
from deepgaze_jax.winograd import Buffers

__all__ = ["CenterBias", "FoldRule", "Predictor"]

Params = Mapping[str, Any]
_FEWEST = 8  # pixels of a side; a larger picture that shrinks below is a mistake
_PICTURE_BYTES = 40  # of memory per pixel, beside what the network takes; measured
# Memory that is kept from one picture to the next, at most.
_KEPT_BYTES = 400_000_000
_LARGE = (1000, 1000)
#: Which folds predict: one, all mixed, or the one that has not seen the picture.
FoldRule = int | Literal["mixture", "auto"]

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
        return jax.device_put(self._read_feature_params())

    @functools.cached_property
    def _row_params(self) -> Params:
        """The same, as bands of rows take them."""
        return vgg_rows.prepare(self._read_feature_params())

    @functools.cached_property
    def _buffers(self) -> Buffers:
        return Buffers(_KEPT_BYTES)

    def _read_feature_params(self) -> Params:
        params = self.stored_features
        if params is None:
            check_family(self.card, features_card(self.model.network))
            params = load_features(self.model.network)
        return params

    def prepare(self) -> None:
        """Read the parameters of the feature network now; returns nothing.

        Raises:
            WeightsError: see `feature_params`.
        """
        _ = self._row_params if self._by_rows(_LARGE) else self.feature_params

    def on(self, device: jax.Device) -> "Predictor":
        """Return the model with the parameters of its feature network on a device."""
        # Bands of rows are the work of this process's threads, whatever the device.
        if self._by_rows(_LARGE):
            return self
        params = jax.device_put(self.feature_params, device)
        return dataclasses.replace(self, stored_features=params)

    def _by_rows(self, model_size: tuple[int, int]) -> bool:
        return goes_by_rows(self.model, model_size)

    def predict(
        self,
        image: Any,
        *,
        center_bias: CenterBias | None = None,
        pixels_per_dva: float | None = None,
        fold: FoldRule = "mixture",
        without_center_bias: bool = False,
        max_memory: float | None = None,
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
            max_memory: bytes that this process may take at its peak, on a CPU; by
                default what the machine has. A large picture goes through VGG-19 in
                lower bands then.

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
            parts = [
                self.predict(one, fold=fold, max_memory=max_memory, **options)
                for one in image
            ]
            if not parts:
                raise InputError("the batch has no picture; give at least one")
            return np.stack(parts)
        picture = load_image(image)
        fold = self.fold_for(picture, fold)
        size = picture.shape[:2]
        features = self.features(
            picture, pixels_per_dva=pixels_per_dva, max_memory=max_memory
        )
        return self.log_density_of_features(features, size, fold=fold, **options)

    def fold_for(self, picture: np.ndarray, fold: FoldRule) -> int | Literal["mixture"]:
        """Return the fold that a rule means for a picture.

        Args:
            picture: RGB 0..255, float32 [H, W, 3], as `load_image` returns it.
            fold: see `predict`.

        Raises:
            ConfigError: no such fold.
        """
        if fold != "auto":
            return self._checked(fold)
        unseen = self.membership.unseen_fold(rgb_sha256(picture))
        return "mixture" if unseen is None else unseen

    def features(
        self,
        picture: np.ndarray,
        *,
        pixels_per_dva: float | None = None,
        max_memory: float | None = None,
    ) -> jax.Array | np.ndarray:
        """Return a picture's features on the network's grid.

        Args:
            picture: RGB 0..255, float32 [H, W, 3], as `load_image` returns it, or
                several of one size [B, H, W, 3].
            pixels_per_dva: see `predict`.
            max_memory: see `predict`.

        Returns:
            float32 [h, w, channels], for `log_density_of_features`; or [B, h, w,
            channels].

        Raises:
            ConfigError: pixels_per_dva without a meaning for this model.
            InputError: there is not enough memory for it.
            WeightsError: the feature weights are missing or of another family.
        """
        image_size = picture.shape[-3:-1]
        size = self.model_size(image_size, pixels_per_dva)
        n_pictures = math.prod(picture.shape[:-3])
        plan = self.plan(image_size, pixels_per_dva, max_memory, n_pictures)
        if plan is None:
            program = features_program(self.model, size)
            return program(self.feature_params, resize_image(picture, *size))
        found = [
            row_features(self.model, self._row_params, one, size, plan, self._buffers)
            for one in picture.reshape(-1, *picture.shape[-3:])
        ]
        return found[0] if picture.ndim == 3 else np.stack(found)

    def plan(
        self,
        image_size: tuple[int, int],
        pixels_per_dva: float | None = None,
        max_memory: float | None = None,
        n_pictures: int = 1,
    ) -> BandPlan | None:
        """Return in which bands a picture will go through its network.

        Args:
            image_size: height and width of the picture.
            pixels_per_dva: see `predict`.
            max_memory: see `predict`.
            n_pictures: of this size that go through together.

        Returns:
            The plan, or None where it goes through as a whole.

        Raises:
            ConfigError: pixels_per_dva without a meaning for this model.
            InputError: there is not enough memory for it.
        """
        size = self.model_size(image_size, pixels_per_dva)
        rows, columns = image_size
        what = f"a picture of {rows}x{columns} pixels"
        others = _PICTURE_BYTES * rows * columns * n_pictures
        if self._by_rows(size):
            _ = self._row_params
            others += (
                2
                * 4
                * self.model.channels
                * math.prod(self.model.feature_grid(*size))
                * n_pictures
            )
            return plan_bands(self.model, size, others, what, max_memory)
        # Other devices say for themselves that their memory is full.
        if jax.default_backend() == "cpu":
            require_memory(
                self.model.peak_bytes(*size) * n_pictures + others,
                what,
                "shrink it, or give its pixels per degree of visual angle "
                "(--pixels-per-dva); those of a large photograph are usually more",
                max_memory,
            )
        return None

    def log_density_of_features(
        self,
        features: Any,
        image_size: tuple[int, int],
        *,
        center_bias: CenterBias | None = None,
        pixels_per_dva: float | None = None,
        fold: int | Literal["mixture"] = "mixture",
        without_center_bias: bool = False,
    ) -> np.ndarray:
        """Return the log density of a picture whose features are known.

        Args:
            features: [h, w, channels], from `features` or a feature cache.
            image_size: height and width of the picture.
            center_bias: see `predict`.
            pixels_per_dva: with which the features were computed.
            fold: "mixture" or the number of a fold.
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
            params = jax.tree.map(lambda leaf: leaf[fold : fold + 1], params)
        bias = None
        if not without_center_bias:
            bias = self.model.center_bias_on_grid(
                self._center_bias(center_bias, fold, image_size), size
            )
        # Each density is normalised, and all are mixed, on the picture that the model
        # sees; only the result is brought to the size of the user's picture.
        log_pixels = self.model.pixel_grid(*size).log_pixels
        program = log_density_program(self.model, size)
        grid = program(params, jnp.asarray(features), bias, log_pixels)
        back = self.model.pixel_grid(*image_size, model_size=size)
        return back.normalised(np.asarray(grid))

    def center_bias_log_density(
        self,
        image_size: tuple[int, int],
        *,
        center_bias: CenterBias | None = None,
        fold: int | Literal["mixture"] = "mixture",
    ) -> np.ndarray:
        """Return the center bias that a prediction uses, at the picture's own size.

        Args:
            image_size: height and width of the picture.
            center_bias: see `predict`.
            fold: "mixture" or the number of a fold.

        Returns:
            float32 [H, W], log-sum-exp 0.

        Raises:
            InputError: a center bias that does not fit the picture.
            ConfigError: no such fold or center bias.
        """
        self._checked(fold)
        return resample_log_density(
            self._center_bias(center_bias, fold, image_size), *image_size
        )

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
        fold: int | Literal["mixture"],
        image_size: tuple[int, int],
    ) -> np.ndarray:
        """Return the wanted center bias at whatever size it has."""
        if center_bias is None:
            return self.center_biases[-1 if fold == "mixture" else fold]
        if isinstance(center_bias, str) and center_bias == "uniform":
            return np.zeros((1, 1), np.float32)
        named = isinstance(center_bias, str | os.PathLike)
        values = load_center_bias(center_bias) if named else center_bias
        if not (named and str(center_bias) in center_bias_names()):
            values = check_center_bias(values, *image_size)
        return values
