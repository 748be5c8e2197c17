"""Where a run begins that goes on from a trained model."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from deepgaze_jax.architectures import ARCHITECTURES
from deepgaze_jax.errors import ConfigError
from deepgaze_jax.members import Members
from deepgaze_jax.model import FixationModel
from deepgaze_jax.model_cards import FoldMembership, model_of_card, nested
from deepgaze_jax.model_files import check_family, load_model, resolve
from deepgaze_jax.train_config import TrainConfig
from deepgaze_jax.weights import features_card

__all__ = ["StartModel", "adopt", "open_start", "start_folds", "start_params"]


@dataclasses.dataclass(frozen=True, eq=False)
class StartModel:
    """A trained model that a run goes on from.

    Attributes:
        name: what it is called.
        sha256: of its file.
        model: its configuration.
        params: for raw features, with its fold axis.
        card: what it says about itself.
    """

    name: str
    sha256: str
    model: FixationModel
    params: Mapping[str, Any]
    card: Mapping[str, Any]

    @property
    def identity(self) -> dict[str, str]:
        """What tells it from other models."""
        return {"name": self.name, "sha256": self.sha256}


def open_start(name_or_path: str | Path) -> StartModel:
    """Return the model that a run goes on from.

    Args:
        name_or_path: see `model_files.resolve`.

    Raises:
        ConfigError: no such model.
        WeightsError: damaged, or made for feature weights of another family.
    """
    path = resolve(name_or_path)
    tensors, card = load_model(path)
    params = nested(tensors)
    model = model_of_card(card, params, path)
    check_family(card, features_card(model.network))
    return StartModel(
        name=card.get("name") or Path(name_or_path).name,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        model=model,
        params={name: params[name] for name in ("readout", "finalizer")},
        card=card,
    )


def adopt(
    config: TrainConfig,
    start: StartModel,
    pixels_per_dva: float | None,
    enlarged: float = 1.0,
) -> TrainConfig:
    """Return a configuration that is of the model to go on from.

    Args:
        config: as it was asked for.
        start: the model.
        pixels_per_dva: of the new pictures, None where unknown; then they are taken
            for pictures like those that the model knows.
        enlarged: by what factor the pictures were resized already.

    Raises:
        ConfigError: the configuration asks for another model or scale.
    """
    model = start.model
    own = {"taps": model.taps, "widths": model.widths}
    names = [
        name
        for name, make in ARCHITECTURES.items()
        if make().network == model.network
        and dataclasses.replace(make(), **own) == model
    ]
    if not names:
        raise ConfigError(
            f"{start.name} is none of the architectures {', '.join(ARCHITECTURES)}, "
            "so training cannot go on from it"
        )
    known = start.card.get("pixels_per_dva")
    scale = float(start.card["input_scale"]) / enlarged
    if known is not None and pixels_per_dva is not None:
        scale *= float(known) / pixels_per_dva
    wanted = {"architecture": names[0], **own, "input_scale": scale}
    default = TrainConfig()
    asked = [
        f"{name} is {getattr(config, name)}, that of {start.name} is {value}"
        for name, value in wanted.items()
        if getattr(config, name) not in (getattr(default, name), value)
    ]
    if asked:
        raise ConfigError(f"{'; '.join(asked)}; leave these options out")
    return dataclasses.replace(config, **wanted)


def start_folds(
    start: StartModel,
    members: Members,
    image_names: Sequence[str],
    rgb_sha256: Sequence[str],
) -> list[int]:
    """Return the fold of the model that each member goes on from.

    That of its own number, or the next one that was not made with any picture that the
    member holds out.

    Args:
        start: the model.
        members: of the run.
        image_names: of the data set, for messages.
        rgb_sha256: hash of each picture's decoded RGB.

    Raises:
        ConfigError: all of the model's folds have seen what a member holds out.
    """
    n_folds = len(start.params["finalizer"]["sigma_grid_px"])
    membership = FoldMembership.of_card(start.card)
    chosen = []
    for k, fold in zip(members.ids, members.folds, strict=True):
        seen: list[int] = []
        for source in ((k + step) % n_folds for step in range(n_folds)):
            seen = _seen(membership, source, fold.validation, fold.test, rgb_sha256)
            if not seen:
                break
        if seen:
            raise ConfigError(
                f"{start.name} was trained on pictures that {members.name(len(chosen))}"
                f" holds out ({len(seen)} of them, first {image_names[seen[0]]}), so "
                "its results would be too good; leave them out, or go on from a model "
                "that has not seen them"
            )
        chosen.append(source)
    return chosen


def start_params(
    start: StartModel, folds: Sequence[int], mean: np.ndarray, scale: np.ndarray
) -> dict[str, Any]:
    """Return the parameters that each member begins with, for scaled features.

    Args:
        start: the model.
        folds: from `start_folds`.
        mean: [M, C], subtracted from the features.
        scale: [M, C], multiplies the centred features.

    Returns:
        `{"readout": ..., "finalizer": ...}`, float32 with leading axis M.
    """
    folds = list(folds)
    own = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64)[folds], start.params)
    first = dict(own["readout"]["dense0"])
    # The other way round than `fold_feature_scaling`.
    if "bias" in first:
        first["bias"] = first["bias"] + np.einsum("mc,mcw->mw", mean, first["kernel"])
    first["kernel"] = first["kernel"] / np.asarray(scale)[..., None]
    params = {
        "readout": {**own["readout"], "dense0": first},
        "finalizer": dict(own["finalizer"]),
    }
    return jax.tree.map(np.float32, params)


def _seen(
    membership: FoldMembership,
    source: int,
    validation: np.ndarray,
    test: np.ndarray,
    rgb_sha256: Sequence[str],
) -> list[int]:
    """Return the held-out images that made a fold of a model what it is."""
    if source >= len(membership.folds):
        return []
    trained = membership.folds[source]["train"]
    return [int(i) for i in test if membership.has_seen(rgb_sha256[i], source)] + [
        int(i) for i in validation if rgb_sha256[i] in trained
    ]
