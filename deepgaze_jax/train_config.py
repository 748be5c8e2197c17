"""What a training run does."""

import dataclasses
import math
from typing import Literal

from deepgaze_jax.architectures import ARCHITECTURES
from deepgaze_jax.errors import ConfigError
from deepgaze_jax.model import FixationModel
from deepgaze_jax.train_step import Optimiser

__all__ = ["TrainConfig"]


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """What a run does; every field changes its result.

    Attributes:
        folds: images for training, validation and test, in tenths; "9/1" stops on
            the test part as the paper does, "all" trains one model on everything.
        n_folds: number of folds.
        only_folds: train only these of them (numbers from 0); all by default.
        architecture: name of the model to train.
        taps: feature maps that the readout sees; the model's own by default.
        widths: output channels of the readout's layers; the model's own by default.
        input_scale: resize of every picture in front of the model.
        pixels_per_dva: pixels per degree of visual angle of the pictures, where the
            data set does not state it.
        epochs: most epochs; the learning rate falls to zero over them.
        patience: a fold stops after this many epochs without a better validation
            score.
        batch_size: images of a step.
        learning_rate: highest learning rate of Adam.
        warmup_steps: steps over which the learning rate rises to it.
        weight_decay: decoupled weight decay on kernels.
        feature_dropout: share of feature channels hidden in a step; by default half
            of VGG-19's, which are many and alike, none of the other networks'.
        average_decay: of the running mean of the parameters, per step.
        seed: of initialisation, order of images and dropout.
        feature_dtype: type of the cached features; float16 halves the cache.
    """

    folds: Literal["8/1/1", "9/1", "all"] = "8/1/1"
    n_folds: int = 10
    only_folds: tuple[int, ...] | None = None
    architecture: Literal["deepgaze2", "deepgaze2-iie-readout", "deepgaze1", "icf"] = (
        "deepgaze2"
    )
    taps: tuple[str, ...] | None = None
    widths: tuple[int, ...] | None = None
    input_scale: float = 35 / 24
    pixels_per_dva: float | None = None
    epochs: int = 20
    patience: int = 8
    batch_size: int = 10
    learning_rate: float = 1e-2
    warmup_steps: int = 50
    weight_decay: float = 0.0
    feature_dropout: float | None = None
    average_decay: float = 0.98
    seed: int = 0
    feature_dtype: Literal["float32", "float16"] = "float32"

    def __post_init__(self) -> None:
        """Refuse values that no run can have."""
        positive = ("epochs", "patience", "batch_size", "input_scale", "learning_rate")
        for name in (*positive, "pixels_per_dva"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ConfigError(f"{name} is {value}; it must be > 0 and finite")
        for name in ("weight_decay", "warmup_steps", "seed"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be >= 0")
        for name in ("feature_dropout", "average_decay"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1:
                raise ConfigError(
                    f"{name} is {getattr(self, name)}; it must be in [0, 1)"
                )
        if self.widths is not None and (not self.widths or self.widths[-1] != 1):
            raise ConfigError(f"widths are {self.widths}; the last must be 1")
        if self.architecture not in ARCHITECTURES:
            raise ConfigError(
                f"architecture is {self.architecture!r}; there are "
                f"{', '.join(ARCHITECTURES)}"
            )

    @property
    def model(self) -> FixationModel:
        """The model to train."""
        own = {
            name: tuple(value)
            for name, value in (("taps", self.taps), ("widths", self.widths))
            if value is not None
        }
        return dataclasses.replace(ARCHITECTURES[self.architecture](), **own)

    @property
    def optimiser(self) -> Optimiser:
        """Settings of the optimiser."""
        dropout = self.feature_dropout
        if dropout is None:
            dropout = 0.5 if self.model.network == "vgg19" else 0.0
        return Optimiser(
            weight_decay=self.weight_decay,
            feature_dropout=dropout,
            average_decay=self.average_decay,
        )

    def rate(self, step: int, n_steps: int) -> float:
        """Return the learning rate of a step: linear rise, then half a cosine to 0."""
        rise = min(1.0, (step + 1) / max(self.warmup_steps, 1))
        return (
            self.learning_rate * rise * 0.5 * (1 + math.cos(math.pi * step / n_steps))
        )
