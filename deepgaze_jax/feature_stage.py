"""The first stage of a prediction: a picture's features, within a limit of memory."""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from deepgaze_jax import vgg_rows
from deepgaze_jax.band_plan import BandPlan, goes_by_rows, plan_bands
from deepgaze_jax.memory import give_back_memory, require_memory
from deepgaze_jax.model import FixationModel
from deepgaze_jax.ops import FeaturePrecision, resize_image, resize_weights
from deepgaze_jax.programs import features_program
from deepgaze_jax.windows import Buffers, stepped

__all__ = ["FeatureStage"]

Params = Mapping[str, Any]

# Bytes of memory that a prediction and its drawing take beside the network, per pixel
# of the picture and at any size; measured. As a whole, per pixel alone.
_PICTURE_BYTES, _OTHER_BYTES = 8, 150_000_000
_WHOLE_PICTURE_BYTES = 40
# Bands of pictures with fewer pixels than these leave their memory to the next one.
_KEPT_PIXELS = 3_000_000
_LARGE = (1000, 1000)


class FeatureStage:
    """A feature network with its parameters, which are read when they are needed.

    Large pictures take VGG-19 by bands of rows on a CPU, and all other ones a compiled
    program for each size. Each way has parameters of its own.

    Args:
        model: the configuration.
        read: returns the parameters of the network.
        precision: of its products, see `ops.convolution`.
    """

    def __init__(
        self,
        model: FixationModel,
        read: Callable[[], Params],
        precision: FeaturePrecision = "float32",
    ):
        self._model, self._read, self._precision = model, read, precision
        self._buffers = Buffers()

    @functools.cached_property
    def params(self) -> Params:
        """Parameters as the network's own function takes them, on the device."""
        return jax.device_put(self._read())

    @functools.cached_property
    def _row_params(self) -> Params:
        return vgg_rows.prepare(self._read())

    def prepare(self) -> None:
        """Read the parameters that a large picture takes; returns nothing."""
        _ = self._row_params if self._goes_by_rows(_LARGE) else self.params

    def _goes_by_rows(self, model_size: tuple[int, int]) -> bool:
        return self._precision == "float32" and goes_by_rows(self._model, model_size)

    def on(self, device: jax.Device) -> "FeatureStage":
        """Return the network with its parameters on a device."""
        # Bands of rows are the work of this process's threads, whatever the device.
        if self._goes_by_rows(_LARGE):
            return self
        params = jax.device_put(self.params, device)
        return FeatureStage(self._model, lambda: params, self._precision)

    def plan(
        self,
        image_size: tuple[int, int],
        model_size: tuple[int, int],
        max_memory: float | None = None,
        *,
        whole: bool = True,
        n_pictures: int = 1,
    ) -> BandPlan | None:
        """Return in which bands a picture goes through the network; None: as a whole.

        Args:
            image_size: height and width of the picture.
            model_size: height and width of the model's image.
            max_memory: bytes that this process may take.
            whole: whether all features are to be there in the end.
            n_pictures: of this size that are there together.

        Raises:
            InputError: there is not enough memory.
        """
        what = f"a picture of {image_size[0]}x{image_size[1]} pixels"
        if self._goes_by_rows(model_size):
            # What is there already is counted with the process.
            self.prepare()
            others = _OTHER_BYTES + _PICTURE_BYTES * math.prod(image_size)
            if whole:
                grid = self._model.feature_grid(*model_size)
                others += 4 * math.prod(grid) * self._model.channels * n_pictures
            return plan_bands(
                *(self._model, model_size, others, what, max_memory),
                spare_bytes=self._buffers.n_bytes,
            )
        # Other devices say for themselves that their memory is full.
        if jax.default_backend() == "cpu":
            require_memory(
                self._model.peak_bytes(*model_size) * n_pictures
                + _WHOLE_PICTURE_BYTES * math.prod(image_size) * n_pictures,
                what,
                "shrink it, or give its pixels per degree of visual angle "
                "(--pixels-per-dva); those of a large photograph are usually more",
                max_memory,
            )
        return None

    def features(
        self,
        picture: np.ndarray,
        model_size: tuple[int, int],
        max_memory: float | None = None,
    ) -> jax.Array | np.ndarray:
        """Return a picture's features, as `FixationModel.features` does.

        Args:
            picture: RGB 0..255, [H, W, 3], or several of one size [B, H, W, 3].
            model_size: height and width of the model's image.
            max_memory: bytes that this process may take.

        Returns:
            float32 [h, w, channels] or [B, h, w, channels].

        Raises:
            InputError: there is not enough memory.
        """
        n_pictures = math.prod(picture.shape[:-3])
        plan = self.plan(
            picture.shape[-3:-1], model_size, max_memory, n_pictures=n_pictures
        )
        if plan is None:
            program = features_program(self._model, model_size, self._precision)
            return program(self.params, resize_image(picture, *model_size))
        if picture.ndim > 3:
            parts = [self.features(one, model_size, max_memory) for one in picture]
            return np.stack(parts)
        grid = self._model.feature_grid(*model_size)
        features = np.empty((*grid, self._model.channels), np.float32)
        channels = _tap_slices(self._model)

        def take(tap: str, first: int, maps: np.ndarray) -> None:
            features[first : first + len(maps), :, channels[tap]] = maps

        self._by_rows(picture, plan, take)
        return features

    def first_layer(
        self, picture: np.ndarray, plan: BandPlan, kernel: np.ndarray
    ) -> np.ndarray:
        """Return the products of a picture's features with a readout's first layer.

        The features of a large picture are never there as a whole.

        Args:
            picture: RGB 0..255, [H, W, 3].
            plan: for it.
            kernel: of the first layer of F folds, [F, channels, n].

        Returns:
            float32 [h, w, F * n].
        """
        kernel = np.concatenate(list(np.asarray(kernel)), axis=1)
        grid = self._model.feature_grid(*plan.model_size)
        products = np.zeros((*grid, kernel.shape[1]), np.float32)
        kernels = {
            tap: jax.device_put(kernel[channels])
            for tap, channels in _tap_slices(self._model).items()
        }

        def take(tap: str, first: int, maps: np.ndarray) -> None:
            cells = _product(maps.reshape(-1, maps.shape[-1]), kernels[tap])
            products[first : first + len(maps)] += cells.reshape(*maps.shape[:2], -1)

        self._by_rows(picture, plan, take)
        return products

    def _by_rows(
        self, picture: np.ndarray, plan: BandPlan, take: vgg_rows.Take
    ) -> None:
        """Hand over a picture's maps.

        The picture is resized and shrunk in one step, and no more of it at a time than
        a band needs.
        """
        down, across = (
            resize_weights(size, wanted, self._model.downsample)
            for size, wanted in zip(picture.shape[:2], plan.model_size, strict=True)
        )

        def rows(first: int, stop: int) -> np.ndarray:
            old, weights = down.part(first, stop)
            return across.apply(weights.apply(picture[old], 0), 1)

        vgg_rows.features_by_rows(
            self._row_params,
            rows,
            plan.size,
            self._model.taps,
            take,
            plan.band,
            workers=plan.workers,
            buffers=self._buffers,
        )
        if math.prod(picture.shape[:2]) > _KEPT_PIXELS:
            self._buffers.clear()
            give_back_memory()


def _product(maps: np.ndarray, kernel: jax.Array) -> np.ndarray:
    """Return the product of cells [n, channels] with a kernel [channels, out].

    By XLA: threads of NumPy's would go on running beside those of the next layer.
    """
    padded = np.zeros((stepped(len(maps)), maps.shape[1]), np.float32)
    padded[: len(maps)] = maps
    return np.asarray(_multiply(padded, kernel))[: len(maps)]


@jax.jit
def _multiply(maps: jax.Array, kernel: jax.Array) -> jax.Array:
    return maps @ kernel


def _tap_slices(model: FixationModel) -> dict[str, slice]:
    """Return which channels of the features each tap is."""
    slices, start = {}, 0
    for tap in model.taps:
        stop = start + model.feature_network.tap_channels(tap)
        slices[tap], start = slice(start, stop), stop
    return slices
