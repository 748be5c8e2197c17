"""Cross-validation over images: no image is in two parts of a fold."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from deepgaze_jax.errors import ConfigError, DataError

__all__ = ["Fold", "Scheme", "check_disjoint", "make_folds"]

Scheme = Literal["8/1/1", "9/1", "all"]

_SMALLEST_N_FOLDS = {"8/1/1": 3, "9/1": 2, "all": 1}


@dataclass(frozen=True, eq=False)
class Fold:
    """The three parts of one fold.

    Attributes:
        train: int64 indices of the images that parameters are fitted to, ascending.
        validation: those that choose the best epoch.
        test: those that results are reported on.
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray

    def __post_init__(self) -> None:
        for name in ("train", "validation", "test"):
            part = np.sort(np.asarray(getattr(self, name), np.int64))
            part.setflags(write=False)
            object.__setattr__(self, name, part)


def make_folds(
    n_images: int, scheme: Scheme = "8/1/1", n_folds: int = 10, seed: int = 42
) -> tuple[Fold, ...]:
    """Returns the folds of a data set, each image in exactly one test part.

    The images are shuffled and cut into chunks of ceil(n_images / n_folds), the last
    one shorter. Where that would leave a chunk empty the chunks are as equal as can be
    instead; with fewer images than folds every image is a fold of its own.

    Args:
        n_images: number of images in the data set.
        scheme: "8/1/1": fold k tests on chunk k, validates on chunk k - 1 (the last
            one for k = 0) and trains on the rest. "9/1": validation and test are both
            chunk k, as in the paper, so its test results are optimistic; for
            comparison only. "all": one fold that trains on everything.
        n_folds: number of folds.
        seed: of the shuffle.

    Raises:
        DataError: fewer than 3 images.
        ConfigError: an unknown scheme, or too few folds for it.

    Reference:
        The split of the public PyTorch code; Kümmerer, Wallis & Bethge (2016),
        arXiv 1610.01563, Methods, for ten folds over images.

    Example:
        >>> folds = make_folds(1003)
        >>> [len(fold.test) for fold in folds]
        [101, 101, 101, 101, 101, 101, 101, 101, 101, 94]
        >>> folds[0].test[:3].tolist(), len(folds[0].train), len(folds[0].validation)
        ([10, 23, 30], 808, 94)
    """
    if scheme not in _SMALLEST_N_FOLDS:
        raise ConfigError(
            f"unknown scheme {scheme!r}; expected one of {', '.join(_SMALLEST_N_FOLDS)}"
        )
    if n_folds < _SMALLEST_N_FOLDS[scheme]:
        raise ConfigError(
            f"n_folds is {n_folds}; scheme {scheme} needs "
            f"at least {_SMALLEST_N_FOLDS[scheme]}"
        )
    if n_images < 3:
        raise DataError(
            f"the data set has {n_images} images; cross-validation needs at least 3"
        )
    indices = np.arange(n_images)
    if scheme == "all":
        return (Fold(train=indices, validation=[], test=[]),)
    # PARITY: the legacy generator, because its shuffle defines the published folds.
    np.random.RandomState(seed).shuffle(indices)
    chunks = _chunks(indices, min(n_folds, n_images))
    folds = []
    for k, test in enumerate(chunks):
        # PAPER: the paper stops training on the part that it reports ("9/1").
        k_validation = k if scheme == "9/1" else (k - 1) % len(chunks)
        held_out = {k, k_validation}
        train = [chunk for i, chunk in enumerate(chunks) if i not in held_out]
        folds.append(Fold(np.concatenate(train), chunks[k_validation], test))
    return tuple(folds)


def check_disjoint(
    fold: Fold,
    image_names: Sequence[str] | None = None,
    validation_is_test: bool = False,
) -> None:
    """Returns nothing if no image is in two parts of the fold, else raises.

    Args:
        fold: the fold.
        image_names: for the message; indices are named without.
        validation_is_test: the paper's 9/1 protocol, where the two parts must be the
            same.

    Raises:
        ConfigError: an image is in two parts, or twice in one, with how many and the
            first; or validation and test differ where they should not.

    Example:
        >>> check_disjoint(make_folds(20)[3])
    """

    def first(images: np.ndarray) -> str:
        index = int(images[0])
        name = f" ({image_names[index]})" if image_names is not None else ""
        return f"{len(images)} of them, first image {index}{name}"

    parts = {"train": fold.train, "validation": fold.validation, "test": fold.test}
    for name, part in parts.items():
        values, counts = np.unique(part, return_counts=True)
        if (counts > 1).any():
            raise ConfigError(
                f"images are listed twice in the {name} part, "
                f"{first(values[counts > 1])}; list each image once"
            )
    pairs = [("train", "validation"), ("train", "test")]
    if not validation_is_test:
        pairs.append(("validation", "test"))
    elif not np.array_equal(np.sort(fold.validation), np.sort(fold.test)):
        raise ConfigError(
            "validation and test part differ; in the 9/1 scheme they are the same"
        )
    for a, b in pairs:
        both = np.intersect1d(parts[a], parts[b])
        if len(both):
            raise ConfigError(
                f"images are in the {a} and in the {b} part, {first(both)}; results "
                "would be too good: make the parts disjoint"
            )


def _chunks(indices: np.ndarray, n_chunks: int) -> list[np.ndarray]:
    """Returns the pieces of the shuffled indices, none of them empty."""
    size = -(-len(indices) // n_chunks)
    if size * (n_chunks - 1) >= len(indices):
        return np.array_split(indices, n_chunks)
    return [indices[start : start + size] for start in range(0, len(indices), size)]
