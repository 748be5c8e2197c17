"""The models that a service has loaded, by name."""

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from deepgaze_jax.errors import ConfigError
from deepgaze_jax.model_files import ALIASES
from deepgaze_jax.predictor import Predictor
from deepgaze_jax.server.problems import Problem

__all__ = ["ServedModels"]

# Lists of the card with an entry for each image that the model was trained on.
_LONG = ("images", "folds")
# Height and width of the picture on which models are warmed.
_WARM_SIZE = (768, 1024)


class ServedModels:
    """Loaded models; the first is the default.

    Args:
        predictors: in the order of the list.

    Raises:
        ConfigError: none, or two of one name.
    """

    def __init__(self, predictors: Sequence[Predictor]):
        self._by_name = {one.name: one for one in predictors}
        if len(self._by_name) != len(predictors) or not predictors:
            names = ", ".join(one.name for one in predictors) or "none"
            raise ConfigError(
                f"the models to be served are {names}; expected one or more of "
                "different names: leave a copy out, or rename its file"
            )
        self._warm: set[str] = set()
        self._lock = threading.Lock()

    @property
    def ready(self) -> bool:
        """Whether all models have been warmed."""
        return len(self._warm) == len(self._by_name)

    @property
    def names(self) -> list[str]:
        """Names and aliases by which models are found."""
        aliases = [short for short, name in ALIASES.items() if name in self._by_name]
        return [*self._by_name, *aliases]

    def find(self, name: str | None) -> Predictor:
        """Return the model of a name or alias; the default one for None.

        Raises:
            Problem: 422; there is no such model.
        """
        if name is None:
            return next(iter(self._by_name.values()))
        found = self._by_name.get(ALIASES.get(name, name)) or self._by_name.get(name)
        if found is None:
            raise Problem(
                422,
                f"there is no model {name[:40]!r}; there are: "
                f"{', '.join(self._by_name)}",
            )
        return found

    def warm(self) -> None:
        """Predict once with each model: loads its features, compiles its programs."""
        for name, predictor in self._by_name.items():
            predictor.predict(np.full((*_WARM_SIZE, 3), 128, np.uint8))
            with self._lock:
                self._warm.add(name)

    def describe(self) -> list[dict[str, Any]]:
        """Return what `/v1/models` says of each model."""
        default = next(iter(self._by_name))
        return [
            {
                "name": name,
                "default": name == default,
                "loaded": name in self._warm,
                "pixels_per_dva": predictor.card.get("pixels_per_dva"),
                "input_scale": predictor.card["input_scale"],
                "network": predictor.model.network,
                "folds": predictor.n_folds,
                "card": {k: v for k, v in predictor.card.items() if k not in _LONG},
            }
            for name, predictor in self._by_name.items()
        ]
