"""What a model's card says: its configuration, and which pictures it was trained on."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from deepgaze_jax.errors import ConfigError, InputError, WeightsError
from deepgaze_jax.model import FixationModel

__all__ = [
    "PARTS",
    "ChosenFold",
    "FoldMembership",
    "fold_text",
    "model_of_card",
    "nested",
    "own_center_bias",
    "seeds_of_folds",
]

#: A fold, some folds to be mixed, or all of them.
ChosenFold = int | tuple[int, ...] | Literal["mixture"]

#: Of a fold, in its order.
PARTS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class FoldMembership:
    """Which pictures took part in which fold, by the hashes of their pixels.

    Attributes:
        folds: for each fold `{"train": hashes, "validation": ..., "test": ...}`.
    """

    folds: tuple[Mapping[str, frozenset[str]], ...]

    @classmethod
    def of_card(cls, card: Mapping[str, Any]) -> "FoldMembership":
        """Return the membership that a card lists; a card without lists has none.

        Args:
            card: with `images`, a list of `{"name", "rgb_sha256"}`, and `folds`, one
                `{"train": positions in images, "validation": ..., "test": ...}` each.
                Names are for people.

        Raises:
            WeightsError: the lists have another form.

        Example:
            >>> images = [{"name": "a.jpg", "rgb_sha256": "aa"}]
            >>> images += [{"name": "b.jpg", "rgb_sha256": "bb"}]
            >>> fold = {"train": [0], "validation": [], "test": [1]}
            >>> card = {"images": images, "folds": [fold]}
            >>> membership = FoldMembership.of_card(card)
            >>> membership.unseen("bb"), membership.has_seen("aa")
            (0, True)
        """
        try:
            hashes = [str(image["rgb_sha256"]) for image in card.get("images") or []]
            positions = range(len(hashes))
            return cls(
                tuple(
                    {
                        # Through `range`, so that -1 is an error and not the last.
                        part: frozenset(hashes[positions.index(k)] for k in fold[part])
                        for part in PARTS
                    }
                    for fold in card.get("folds") or []
                )
            )
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise WeightsError(
                "the card's lists of training images cannot be read "
                f"({type(error).__name__}: {error}); expected images with names and "
                f"rgb_sha256, and for each fold {', '.join(PARTS)} as positions in it"
            ) from error

    def unseen(self, rgb_hash: str) -> ChosenFold:
        """Return the first fold that is tested on a picture without having seen it.

        Where it was trained with several seeds, all of them; the mixture, where there
        is no such fold.
        """
        for number, fold in enumerate(self.folds):
            if rgb_hash in fold["test"] and not self.has_seen(rgb_hash, number):
                same = tuple(k for k, other in enumerate(self.folds) if other == fold)
                return number if len(same) == 1 else same
        return "mixture"

    def has_seen(
        self, rgb_hash: str, fold: int | Literal["mixture"] = "mixture"
    ) -> bool:
        """Return whether a picture took part in making a fold's parameters.

        Training and validation parts count. Where one part both ended the training
        and is the test part ("9/1", as in the paper), it counts as not seen.

        Args:
            rgb_hash: from `rgb_sha256`.
            fold: number of a fold, or "mixture": any of them.
        """
        folds = self.folds if fold == "mixture" else self.folds[fold : fold + 1]
        return any(
            rgb_hash in parts["train"]
            or (rgb_hash in parts["validation"] and rgb_hash not in parts["test"])
            for parts in folds
        )


def fold_text(fold: ChosenFold) -> str:
    """Return what a fold, or several that are mixed, are called in results.

    Example:
        >>> fold_text(3), fold_text((0, 10)), fold_text("mixture")
        ('3', '0+10', 'mixture')
    """
    return "+".join(map(str, fold)) if isinstance(fold, tuple) else str(fold)


def own_center_bias(fold: ChosenFold) -> str:
    """Return what the center bias is called that a model has for a fold.

    Example:
        >>> own_center_bias(3), own_center_bias("mixture")
        ('fold 3', 'pooled')
    """
    return "pooled" if fold == "mixture" else f"fold {fold_text(fold)}"


def seeds_of_folds(card: Mapping[str, Any]) -> dict[int, list[int]]:
    """Return which members of a model are the seeds of each fold, by its number.

    Example:
        >>> seeds_of_folds({"folds": [{"fold": 0}, {"fold": 3}, {"fold": 0}]})
        {0: [0, 2], 3: [1]}
    """
    seeds: dict[int, list[int]] = {}
    for member, fold in enumerate(card["folds"]):
        seeds.setdefault(fold["fold"], []).append(member)
    return seeds


def model_of_card(
    card: Mapping[str, Any], params: Mapping[str, Any], path: str | Path
) -> FixationModel:
    """Return the configuration in a card, if it agrees with the parameters.

    Args:
        card: with `model` (fields of `FixationModel`; those left out have their
            defaults), `network`, `input_scale` and `pixels_per_dva`.
        params: `{"readout": {"dense0": {"kernel": [F, in, out], ...}, ...},
            "finalizer": {"sigma_grid_px": [F], ...}}`.
        path: named in errors.

    Raises:
        WeightsError: settings that no model can have, another network, a readout with
            other channels, or a blur that is wider than its taps.
    """
    fields = {field.name for field in dataclasses.fields(FixationModel)}
    settings = card.get("model")
    if not isinstance(settings, Mapping) or not set(settings) <= fields:
        found = sorted(settings) if isinstance(settings, Mapping) else settings
        raise WeightsError(
            f"{path}: its card describes the model as {found}; expected the settings "
            f"{', '.join(sorted(fields))}: update deepgaze-jax, or export it again"
        )
    if not _positive(card.get("input_scale")) or not (
        card.get("pixels_per_dva") is None or _positive(card["pixels_per_dva"])
    ):
        raise WeightsError(
            f"{path}: its card has input_scale {card.get('input_scale')!r} and "
            f"pixels_per_dva {card.get('pixels_per_dva')!r}; expected positive numbers "
            "(pixels_per_dva may be null): export it again"
        )
    settings = {
        # JSON has lists where a configuration, to be hashable, has tuples.
        name: tuple(value) if isinstance(value, list) else value
        for name, value in settings.items()
    }
    try:
        model = FixationModel(**settings)
    except (ConfigError, InputError) as error:
        raise WeightsError(
            f"{path}: its card describes no model ({error}); export it again"
        ) from error
    if card.get("network") != model.network:
        raise WeightsError(
            f"{path}: its card names the network {ascii(card.get('network'))[:40]}, "
            f"its model stands on {model.network}; the two do not belong together: "
            "export it again"
        )
    readout, expected = params["readout"], (model.channels, *model.widths)
    n_layers = sum(name.startswith("dense") for name in readout)
    kernels = [readout[f"dense{k}"]["kernel"].shape for k in range(n_layers)]
    if model.layer_norm != (n_layers < len(readout)):
        raise WeightsError(
            f"{path}: its card says layer_norm {model.layer_norm}, its readout has "
            f"{len(readout) - n_layers} of them; the two do not belong together: "
            "export it again"
        )
    found = (kernels[0][1], *(shape[2] for shape in kernels))
    if found != expected:
        raise WeightsError(
            f"{path}: its readout has the channels {found}, its card says {expected}; "
            "the two do not belong together: export it again"
        )
    sigma = float(np.max(params["finalizer"]["sigma_grid_px"]))
    # A mean of values at the limit may be rounded to one above it.
    if model.blur_truncate and sigma > model.max_sigma_grid_px * (1 + 1e-4):
        raise WeightsError(
            f"{path}: its blur has sigma {sigma:g}; at most "
            f"{model.max_sigma_grid_px:g} cells are computed"
        )
    return model


def _positive(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and 0 < value < float("inf")


def nested(tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return a tree of arrays from names with slashes.

    Example:
        >>> nested({"a/b": 1, "a/c": 2})
        {'a': {'b': 1, 'c': 2}}
    """
    tree: dict[str, Any] = {}
    for name, array in tensors.items():
        *folders, last = name.split("/")
        branch = tree
        for folder in folders:
            branch = branch.setdefault(folder, {})
        branch[last] = array
    return tree
