"""What is evaluated: anything that says where people look on a data set's images."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

__all__ = ["Part", "Prediction", "Source"]


@dataclass(frozen=True, eq=False)
class Part:
    """A density, and the fixations that it predicts.

    Attributes:
        log_density: [height, width], natural log, log-sum-exp 0.
        fixations: bool [n], which of the image's fixations are scored by it; None for
            all of them.
    """

    log_density: np.ndarray
    fixations: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model says about one image.

    Attributes:
        parts: one density; or several, where each person is predicted from others.
        scored_by: the fold whose parameters made it (seeds of one as "0+10"), "mixture"
            of all of them, or "" where there are none.
        baseline: [height, width], log density of the center bias that belongs to the
            model; None if it has none of its own.
        of_any_image: whether the same is said of every image, so that the mean of the
            other images' predictions is this one.
    """

    parts: tuple[Part, ...]
    scored_by: int | str = ""
    baseline: np.ndarray | None = None
    of_any_image: bool = False

    @property
    def mean_log_density(self) -> np.ndarray:
        """The log density, or that of the mean of several."""
        if len(self.parts) == 1:
            return self.parts[0].log_density
        densities = [np.exp(part.log_density, dtype=float) for part in self.parts]
        with np.errstate(divide="ignore"):
            return np.log(np.mean(densities, axis=0))


class Source(Protocol):
    """A model and a data set: gives the prediction for each image of the set.

    Attributes:
        name: what tables call the model.
        is_costly: whether a prediction is better kept than made twice.
    """

    name: str
    is_costly: bool

    def identity(self) -> dict[str, Any]:
        """Returns what the model is, at no cost: what differs has another identity."""

    def card(self) -> dict[str, Any]:
        """Returns the identity with all that was fitted, ready for JSON."""

    def predict(self, index: int) -> Prediction | None:
        """Returns the prediction for an image; None if the model was made of it."""
