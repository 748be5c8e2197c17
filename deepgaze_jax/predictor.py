"""A trained model in memory, and what it predicts."""

import dataclasses
import functools
import os
from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args

import jax
import numpy as np
from PIL import Image

from deepgaze_jax.band_plan import BandPlan
from deepgaze_jax.center_bias import resample_log_density
from deepgaze_jax.errors import ConfigError, InputError
from deepgaze_jax.feature_stage import FeatureStage
from deepgaze_jax.images import load_image, rgb_sha256
from deepgaze_jax.model import FixationModel
from deepgaze_jax.model_cards import ChosenFold, FoldMembership
from deepgaze_jax.model_files import check_family
from deepgaze_jax.named_center_bias import CenterBias, chosen_center_bias
from deepgaze_jax.ops import FeaturePrecision
from deepgaze_jax.picture_scale import image_scale, model_size
from deepgaze_jax.readout_grid import behind_first_layer, log_density
from deepgaze_jax.weights import features_card, load_features

__all__ = ["CenterBias", "FoldRule", "Predictor"]

Params = Mapping[str, Any]
#: Which folds predict: one, all mixed, or the one that has not seen the picture.
FoldRule = int | Literal["mixture", "auto"]


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
        feature_precision: of the feature network's products; see `load_pretrained`.
    """

    name: str
    model: FixationModel
    params: Params
    center_biases: np.ndarray
    card: Mapping[str, Any]
    stored_features: Params | None = None
    sha256: str = ""
    feature_precision: FeaturePrecision = "float32"

    def __post_init__(self) -> None:
        """Refuse a precision that there is not."""
        known = get_args(FeaturePrecision)
        if not self.model.feature_network.has_weights:
            known = known[:1]
        if self.feature_precision not in known:
            raise ConfigError(
                f"feature_precision of {self.name} is {self.feature_precision!r}; "
                f"expected {' or '.join(known)}"
            )

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
    def feature_stage(self) -> FeatureStage:
        """The feature network, whose parameters are read when they are first needed.

        Raises (then):
            WeightsError: they have not been fetched, or are of another family than
                the readout was trained on.
        """
        return FeatureStage(
            self.model, self._read_feature_params, self.feature_precision
        )

    def on(self, device: jax.Device) -> "Predictor":
        """Return the model with the parameters of its feature network on a device."""
        moved = dataclasses.replace(self)
        # As the property itself would keep it.
        moved.__dict__["feature_stage"] = self.feature_stage.on(device)
        return moved

    def _read_feature_params(self) -> Params:
        if self.stored_features is not None:
            return self.stored_features
        check_family(self.card, features_card(self.model.network))
        return load_features(self.model.network)

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
        return self.predict_picture(
            picture, fold=fold, max_memory=max_memory, **options
        )

    def predict_picture(
        self,
        picture: np.ndarray,
        *,
        center_bias: CenterBias | None = None,
        pixels_per_dva: float | None = None,
        fold: ChosenFold = "mixture",
        without_center_bias: bool = False,
        max_memory: float | None = None,
    ) -> np.ndarray:
        """Return the log density of a picture that has been loaded.

        Args:
            picture: RGB 0..255, [H, W, 3], as `load_image` returns it.
            center_bias: see `predict`.
            pixels_per_dva: see `predict`.
            fold: from `fold_for`.
            without_center_bias: see `predict`.
            max_memory: see `predict`.

        Returns:
            float32 [H, W], log-sum-exp 0.

        Raises:
            DeepGazeError: see `predict`.
        """
        image_size = picture.shape[:2]
        size = self.model_size(image_size, pixels_per_dva)
        params = self._folds(fold)
        plan = None
        if not self.model.layer_norm:
            plan = self.plan(image_size, pixels_per_dva, max_memory)
        if plan is None:
            features = self.feature_stage.features(picture, size, max_memory)
        else:
            kernel = params["readout"]["dense0"]["kernel"]
            features = self.feature_stage.first_layer(picture, plan, kernel)
            params = behind_first_layer(params)
        bias = None
        if not without_center_bias:
            bias = self._center_bias(center_bias, fold, image_size)
        return log_density(self.model, params, features, bias, image_size, size)

    def warm_up(self, sizes: Iterable[tuple[int, int]], **options: Any) -> None:
        """Compile the programs for pictures of some sizes; returns nothing.

        A server calls this before the first picture comes. It predicts a black picture
        of each size, so that everything is in place, memory too. Programs of VGG-19 on
        a CPU serve all sizes with about the same width and as many rows in a band.

        Args:
            sizes: height and width of pictures.
            options: of `predict`, as they will be given.

        Raises:
            DeepGazeError: see `predict`.
        """
        for size in sizes:
            # 8-bit, as float arrays without a value above 1 are refused.
            self.predict(np.zeros((*size, 3), np.uint8), **options)

    def fold_for(self, picture: np.ndarray, fold: FoldRule) -> ChosenFold:
        """Return the fold that a rule means for a picture, or all seeds of that fold.

        Args:
            picture: RGB 0..255, float32 [H, W, 3], as `load_image` returns it.
            fold: see `predict`.

        Raises:
            ConfigError: no such fold.
        """
        if fold != "auto":
            return self._checked(fold)
        return self.membership.unseen(rgb_sha256(picture))

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
        size = self.model_size(picture.shape[-3:-1], pixels_per_dva)
        return self.feature_stage.features(picture, size, max_memory)

    def plan(
        self,
        image_size: tuple[int, int],
        pixels_per_dva: float | None = None,
        max_memory: float | None = None,
    ) -> BandPlan | None:
        """Return in which bands `predict` takes a picture through its network.

        Args:
            image_size: height and width of the picture.
            pixels_per_dva: see `predict`.
            max_memory: see `predict`.

        Returns:
            The plan, or None where it goes through as a whole.

        Raises:
            ConfigError: pixels_per_dva without a meaning for this model.
            InputError: there is not enough memory for it.
        """
        size = self.model_size(image_size, pixels_per_dva)
        whole = self.model.layer_norm
        return self.feature_stage.plan(image_size, size, max_memory, whole=whole)

    def log_density_of_features(
        self,
        features: Any,
        image_size: tuple[int, int],
        *,
        center_bias: CenterBias | None = None,
        pixels_per_dva: float | None = None,
        fold: ChosenFold = "mixture",
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
        params, bias = self._folds(fold), None
        if not without_center_bias:
            bias = self._center_bias(center_bias, fold, image_size)
        return log_density(self.model, params, features, bias, image_size, size)

    def _folds(self, fold: ChosenFold) -> dict[str, Any]:
        """Return readout and finalizer parameters of the folds that predict."""
        params = {name: self.params[name] for name in ("readout", "finalizer")}
        if self._checked(fold) == "mixture":
            return params
        own = np.array(fold).reshape(-1)
        return jax.tree.map(lambda leaf: leaf[own], params)

    def center_bias_log_density(
        self,
        image_size: tuple[int, int],
        *,
        center_bias: CenterBias | None = None,
        fold: ChosenFold = "mixture",
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
        values = self._center_bias(center_bias, fold, image_size)
        return resample_log_density(values, *image_size)

    def image_scale(self, pixels_per_dva: float | None = None) -> float:
        """Return the factor from a picture's size to that of the model's image.

        Args:
            pixels_per_dva: of the picture; by default that of the card.

        Raises:
            ConfigError: not a positive number, or the card does not say which value
                the model was trained at.
        """
        return image_scale(self.name, self.card, pixels_per_dva)

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
        size = model_size(image_size, self.image_scale(pixels_per_dva), pixels_per_dva)
        try:
            self.model.feature_grid(*size)
        except InputError as error:
            raise InputError(
                f"a picture of {image_size[0]}x{image_size[1]} pixels is too small for "
                f"{self.name} ({error})"
            ) from error
        return size

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
        fold: ChosenFold,
        image_size: tuple[int, int],
    ) -> np.ndarray:
        """Return the wanted center bias, at a size of its own."""
        if center_bias is None:
            # Seeds of a fold have the same one.
            first = fold[0] if isinstance(fold, tuple) else fold
            return self.center_biases[-1 if fold == "mixture" else first]
        return chosen_center_bias(center_bias, image_size)
