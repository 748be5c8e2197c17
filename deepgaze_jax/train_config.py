"""What a training run does."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Literal

from deepgaze_jax.architectures import ARCHITECTURES
from deepgaze_jax.errors import ConfigError
from deepgaze_jax.model import FixationModel
from deepgaze_jax.train_step import MIN_SIGMA_GRID_PX, Optimiser

__all__ = ["TrainConfig"]

#: Values of what is left open: of a run from the start, of one that begins with a
#: model, of one by the paper's rule, and of L-BFGS. The later ones count.
_FRESH = {"epochs": 20, "patience": 8, "learning_rate": 1e-2, "warmup_steps": 50}
_FINE_TUNING = {"epochs": 10, "patience": 3, "learning_rate": 1e-3, "warmup_steps": 10}
_PAPER = {"epochs": 800}
_LBFGS = {
    "batch_size": 100,
    "learning_rate": 1.0,
    "warmup_steps": 0,
    "schedule": "constant",
    "average_decay": 0.0,
}

#: PAPER: the rule as we read it; training goes on for at least so many epochs, and
#: stops when each of the last three is worse than the fifth before the newest.
_PAPER_EPOCHS, _PAPER_LAST, _PAPER_BACK = 20, 3, 5

#: Networks with thousands of channels that are much alike.
_DEEP = ("vgg19", "vgg16")

#: Stretches of equal length, each with a tenth of the learning rate before.
_STRETCHES = 5


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """What a run does; every field changes its result.

    Attributes:
        folds: images for training, validation and test, in tenths; "9/1" stops on
            the test part as the paper does, "all" trains one model on everything.
        n_folds: number of folds.
        only_folds: train only these of them (numbers from 0); all by default.
        all_images: also train one on all images, for pictures of no fold.
        n_seeds: readouts of each fold, which differ in initialisation and dropout;
            the model mixes them all.
        architecture: name of the model to train; with --from it is that one's.
        taps: feature maps that the readout sees; the model's own by default.
        widths: output channels of the readout's layers; the model's own by default.
        nonlinearity: between the readout's layers; the model's own by default.
        feature_scaling: each channel less its mean and over its deviation, as they are
            on the fold's training part; over the deviation only; or as it is. It
            conditions training; what the model can express is the same.
        blur: width learned, as it starts, or as good as none.
        center_bias_weight: learned, one, or zero.
        train_share: share of the images that training parts are made of; the same
            ones for all folds. Validation and test parts stay whole.
        input_scale: resize of every picture in front of the model; with --from that
            of the model.
        unify_sizes: resize all pictures to 1024x768, or 768x1024 where they are higher
            than wide, and move their fixations along, as the paper does with MIT1003:
            then all share their batches. In place of scaling by pixels per degree.
        pixels_per_dva: pixels per degree of visual angle of the pictures, where the
            data set does not state it.
        what: all parameters, or only the finalizer and the layers behind the first;
            all by default, last with --from.
        epochs: most epochs; the learning rate falls over them. By default 20, with
            --from 10, with --stopping paper 800.
        stopping: patience, or the paper's rule: after 20 epochs or more, when each of
            the last three is worse than that of five epochs ago.
        patience: a fold stops after this many epochs without a better validation
            score; 8 by default, 3 with --from.
        solver: Adam, or L-BFGS with a line search in every (large) batch, as
            a stand-in for the paper's optimiser. Its batches take images of all folds
            together, so that one can hold all that there are.
        batch_size: images of a step; 10 by default, 100 for L-BFGS.
        learning_rate: highest learning rate; 1e-2 by default, 1e-3 with --from, 1 for
            L-BFGS.
        schedule: half a cosine to zero, the default; constant, that of L-BFGS; or
            steps, five stretches of equal length with a tenth of the rate before (as
            the public code).
        warmup_steps: steps over which the learning rate rises; by default 50, with
            --from 10, for L-BFGS 0.
        weight_decay: decoupled weight decay on kernels, of Adam.
        feature_dropout: share of feature channels hidden in a step; by default half
            of VGG's, which are many and alike, none of the other networks' and none
            where the first layer is not trained or for L-BFGS.
        average_decay: of the running mean of the parameters, per step; 0.98 by
            default, for L-BFGS 0.
        seed: of initialisation, order of images and dropout.
        features_in_step: compute the features of its pictures in every step instead
            of once into a cache, for data whose cache would be too large. Batches of a
            multiple of the devices keep all of them busy.
        feature_dtype: type of the features, float32 by default; float16 halves a cache.
            With --features-in-step what the network computes in: bfloat16 by default on
            accelerators.
    """

    folds: Literal["8/1/1", "9/1", "all"] = "8/1/1"
    n_folds: int = 10
    only_folds: tuple[int, ...] | None = None
    all_images: bool = False
    n_seeds: int = 1
    architecture: Literal[
        "deepgaze2", "deepgaze2-iie-readout", "deepgaze2-vgg16", "deepgaze1", "icf"
    ] = "deepgaze2"
    taps: tuple[str, ...] | None = None
    widths: tuple[int, ...] | None = None
    nonlinearity: Literal["relu", "softplus"] | None = None
    feature_scaling: Literal["standard", "deviation", "off"] = "standard"
    blur: Literal["learned", "fixed", "off"] = "learned"
    center_bias_weight: Literal["learned", "fixed", "off"] = "learned"
    train_share: float = 1.0
    input_scale: float = 35 / 24
    unify_sizes: bool = False
    pixels_per_dva: float | None = None
    what: Literal["all", "last"] | None = None
    epochs: int | None = None
    stopping: Literal["patience", "paper"] = "patience"
    patience: int | None = None
    solver: Literal["adam", "lbfgs"] = "adam"
    batch_size: int | None = None
    learning_rate: float | None = None
    schedule: Literal["cosine", "constant", "steps"] | None = None
    warmup_steps: int | None = None
    weight_decay: float = 0.0
    feature_dropout: float | None = None
    average_decay: float | None = None
    seed: int = 0
    features_in_step: bool = False
    feature_dtype: Literal["float32", "float16", "bfloat16"] | None = None

    def __post_init__(self) -> None:
        """Refuse values that no run can have."""
        positive = ("epochs", "patience", "batch_size", "input_scale", "learning_rate")
        for name in (*positive, "pixels_per_dva", "n_seeds"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ConfigError(f"{name} is {value}; it must be > 0 and finite")
        for name in ("weight_decay", "warmup_steps", "seed"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise ConfigError(f"{name} is {value}; it must be >= 0")
        for name in ("feature_dropout", "average_decay"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1:
                raise ConfigError(
                    f"{name} is {getattr(self, name)}; it must be in [0, 1)"
                )
        if not 0 < self.train_share <= 1:
            raise ConfigError(
                f"train_share is {self.train_share}; it must be in (0, 1]"
            )
        if self.widths is not None and (not self.widths or self.widths[-1] != 1):
            raise ConfigError(f"widths are {self.widths}; the last must be 1")
        if self.architecture not in ARCHITECTURES:
            raise ConfigError(
                f"architecture is {self.architecture!r}; there are "
                f"{', '.join(ARCHITECTURES)}"
            )
        if self.feature_dtype == ("float16" if self.features_in_step else "bfloat16"):
            raise ConfigError(
                f"feature_dtype is {self.feature_dtype}; a cache has float32 or "
                "float16, features in steps are float32 or bfloat16"
            )
        if self.weight_decay and self.solver == "lbfgs":
            raise ConfigError("weight_decay is for Adam; leave it out with L-BFGS")
        if self.all_images and self.folds == "all":
            raise ConfigError(
                "folds is all, so every image is trained on already; leave all_images "
                "out"
            )

    def resolved(
        self, fine_tuning: bool = False, accelerator: bool = False
    ) -> "TrainConfig":
        """Return the configuration with everything decided that was left open.

        Args:
            fine_tuning: whether the run begins with a trained model.
            accelerator: whether the run's devices are no CPUs.

        Example:
            >>> config = TrainConfig(patience=5).resolved()
            >>> config.epochs, config.patience, config.feature_dropout
            (20, 5, 0.5)
            >>> TrainConfig().resolved(fine_tuning=True).what
            'last'
        """
        values: dict[str, Any] = {
            "batch_size": 10,
            "schedule": "cosine",
            "average_decay": 0.98,
            **_FRESH,
        }
        if fine_tuning:
            values |= _FINE_TUNING
        if self.stopping == "paper":
            values |= _PAPER
        if self.solver == "lbfgs":
            values |= _LBFGS
        values["what"] = "last" if fine_tuning else "all"
        # The features of a network without weights are all exact arithmetic.
        fast = self.features_in_step and accelerator and self.architecture != "icf"
        values["feature_dtype"] = "bfloat16" if fast else "float32"
        open_ones = {
            name: value for name, value in values.items() if getattr(self, name) is None
        }
        config = dataclasses.replace(self, **open_ones)
        if config.feature_dropout is None:
            noisy = config.what == "all" and config.solver == "adam"
            share = 0.5 if noisy and config.model.network in _DEEP else 0.0
            config = dataclasses.replace(config, feature_dropout=share)
        return config

    @property
    def model(self) -> FixationModel:
        """The model to train."""
        own: dict[str, Any] = {
            name: tuple(value)
            for name, value in (("taps", self.taps), ("widths", self.widths))
            if value is not None
        }
        if self.nonlinearity is not None:
            own["nonlinearity"] = self.nonlinearity
        return dataclasses.replace(ARCHITECTURES[self.architecture](), **own)

    @property
    def optimiser(self) -> Optimiser:
        """Settings of the optimiser, of a resolved configuration."""
        return Optimiser(
            solver=self.solver,
            what=self.what,
            weight_decay=self.weight_decay,
            feature_dropout=self.feature_dropout,
            average_decay=self.average_decay,
            fixed=tuple(name for name, how in self._finalizer if how != "learned"),
        )

    @property
    def _finalizer(self) -> tuple[tuple[str, str], ...]:
        return (
            ("sigma_grid_px", self.blur),
            ("center_bias_weight", self.center_bias_weight),
        )

    def switched_off(self) -> dict[str, float]:
        """Return the values of what the finalizer goes without.

        Example:
            >>> TrainConfig(center_bias_weight="off").switched_off()
            {'center_bias_weight': 0.0}
        """
        none = {"sigma_grid_px": MIN_SIGMA_GRID_PX, "center_bias_weight": 0.0}
        return {name: none[name] for name, how in self._finalizer if how == "off"}

    def rate(self, step: int, n_steps: int) -> float:
        """Return the learning rate of a step: linear rise, then as `schedule` says.

        Args:
            step: its number.
            n_steps: most steps of the run, whose configuration is resolved.
        """
        rise = min(1.0, (step + 1) / max(self.warmup_steps, 1))
        share = {
            "cosine": 0.5 * (1 + math.cos(math.pi * step / n_steps)),
            "constant": 1.0,
            "steps": 0.1 ** (_STRETCHES * step // n_steps),
        }[self.schedule]
        return self.learning_rate * rise * share

    def stops(self, scores: Sequence[float], best_epoch: int) -> bool:
        """Return whether a fold stops.

        Args:
            scores: of all its epochs so far.
            best_epoch: number of the best one, 0 before the first.

        Example:
            >>> TrainConfig(patience=2).stops([1.0, 0.9, 0.8], best_epoch=1)
            True
            >>> paper = TrainConfig(stopping="paper")
            >>> falling = [-float(n) for n in range(20)]
            >>> paper.stops(falling[:19], 1), paper.stops(falling, 1)
            (False, True)
        """
        epoch = len(scores)
        if self.stopping == "patience":
            return epoch - best_epoch >= self.patience
        if epoch < _PAPER_EPOCHS:
            return False
        earlier = scores[-1 - _PAPER_BACK]
        return all(score < earlier for score in scores[-_PAPER_LAST:])
