"""Members of a run: what is trained side by side, a fold with a seed each."""

import dataclasses

import numpy as np

from deepgaze_jax.errors import ConfigError
from deepgaze_jax.folds import Fold, check_disjoint, make_folds
from deepgaze_jax.train_config import TrainConfig

__all__ = ["Members", "members_of"]


@dataclasses.dataclass(frozen=True)
class Members:
    """The M members of a run, seed by seed, fold by fold.

    Attributes:
        all_folds: folds of the data set, whichever are trained; behind them one of all
            images, where the configuration asks for it.
        fold_ids: number of each member's fold.
        seeds: number of each member's seed, from 0.
        ids: number that each member draws its random numbers with: that of its fold
            for seed 0, so that it is the same alone and in any company.
    """

    all_folds: tuple[Fold, ...]
    fold_ids: tuple[int, ...]
    seeds: tuple[int, ...]
    ids: tuple[int, ...]

    @property
    def folds(self) -> tuple[Fold, ...]:
        """What each member is trained on."""
        return tuple(self.all_folds[k] for k in self.fold_ids)

    def name(self, member: int) -> str:
        """Return what a member is called in messages."""
        seed = f", seed {self.seeds[member]}" if max(self.seeds) else ""
        return f"fold {self.fold_ids[member]}{seed}"


def members_of(n_images: int, config: TrainConfig) -> Members:
    """Return the members of a run.

    Args:
        n_images: number of images of the data set.
        config: says which folds are trained, and how often.

    Raises:
        ConfigError: there are no such folds.
        DataError: too few images.

    Example:
        >>> members_of(20, TrainConfig(n_folds=4, only_folds=(1, 3), n_seeds=2)).ids
        (1, 3, 6, 8)
    """
    folds = make_folds(n_images, config.folds, config.n_folds)
    for fold in folds:
        if config.folds != "all":
            check_disjoint(fold, validation_is_test=config.folds == "9/1")
    if config.train_share < 1:
        # The same images for all folds, so that these still share their batches.
        order = np.random.default_rng(config.seed).permutation(n_images)
        kept = order[: max(1, round(config.train_share * n_images))]
        folds = tuple(
            dataclasses.replace(fold, train=np.intersect1d(fold.train, kept))
            for fold in folds
        )
    every = range(len(folds))
    chosen = tuple(every) if config.only_folds is None else config.only_folds
    if not chosen or not set(chosen) <= {*every} or len({*chosen}) < len(chosen):
        raise ConfigError(f"only_folds is {chosen}; the folds are 0..{len(folds) - 1}")
    # The place of the fold of all images is kept free where it is not trained.
    step = len(folds) + 1
    if config.all_images:
        folds = (*folds, Fold(np.arange(n_images), [], []))
        chosen = (*chosen, len(folds) - 1)
    return Members(
        all_folds=folds,
        fold_ids=chosen * config.n_seeds,
        seeds=tuple(seed for seed in range(config.n_seeds) for _ in chosen),
        ids=tuple(k + step * seed for seed in range(config.n_seeds) for k in chosen),
    )
