"""Scores of a finished run, image by image, on parts that it was not trained on."""

import dataclasses
import math
from pathlib import Path
from typing import Any, Literal

import numpy as np

from deepgaze_jax.datasets.folder import FixationDataset
from deepgaze_jax.datasets.unified_sizes import unified
from deepgaze_jax.errors import ConfigError, DataError
from deepgaze_jax.folds import Fold
from deepgaze_jax.members import Members
from deepgaze_jax.model_cards import PARTS, nested
from deepgaze_jax.model_files import load_model
from deepgaze_jax.own_features import own_features, whole_plan
from deepgaze_jax.parallel import place
from deepgaze_jax.runs import image_scales, read_config
from deepgaze_jax.step_features import StepNetwork, open_pictures, place_network
from deepgaze_jax.train_epoch import Session, image_scores
from deepgaze_jax.train_step import init_state, make_steps
from deepgaze_jax.training_data import prepare

__all__ = ["ImageScores", "part_scores", "validation_scores"]


@dataclasses.dataclass(frozen=True)
class ImageScores:
    """Scores of images that a run has not been trained on; seeds are averaged.

    Attributes:
        images: int [n], numbers in the data set; those without fixations are left out.
        folds: int [n], the fold that each is scored by.
        log_likelihood: float64 [n], bits per fixation above a uniform density, mean
            over the fixations of an image.
        information_gain: float64 [n], bits per fixation over the fold's center bias.
    """

    images: np.ndarray
    folds: np.ndarray
    log_likelihood: np.ndarray
    information_gain: np.ndarray


def validation_scores(
    run_folder: str | Path,
    dataset: FixationDataset,
    *,
    max_cache_bytes: int | None = None,
) -> ImageScores:
    """Return how good the best epoch of each fold is on each of its validation images.

    An image is in one validation part, so that all images of the data set are scored
    where all folds were trained. Features are read or computed as the run did it.

    Args:
        run_folder: of a finished run.
        dataset: what it was trained on; the fixations may be others.
        max_cache_bytes: bound for the feature cache, see `build_cache`.

    Raises:
        ConfigError: the run has no validation parts of this data set.
        DataError: the pictures are others than those of the run.
        WeightsError: the run has not finished, or the feature weights are not there.

    Example:
        >>> scores = validation_scores("runs/mine", read_folder("mydata"))
        ... # doctest: +SKIP
        >>> scores.information_gain.mean()  # doctest: +SKIP
        1.9234
    """
    return part_scores(
        run_folder, dataset, "validation", max_cache_bytes=max_cache_bytes
    )


def part_scores(
    run_folder: str | Path,
    dataset: FixationDataset,
    part: Literal["validation", "test"],
    *,
    max_cache_bytes: int | None = None,
) -> ImageScores:
    """Return how good the best epoch of each fold is on each image of one of its parts.

    Args:
        run_folder: of a finished run.
        dataset: what it was trained on; the fixations may be others.
        part: of each fold.
        max_cache_bytes: see `validation_scores`.

    Raises:
        ConfigError: the run has no such parts of this data set.
        DataError: see `validation_scores`.
        WeightsError: see `validation_scores`.
    """
    run = Path(run_folder)
    tensors, card = load_model(run)
    config = read_config(run).resolved()
    if config.folds == "all":
        raise ConfigError(
            f"{run} was trained on all images, so it has no {part} parts; score it "
            "on other data with `deepgaze evaluate`"
        )
    if config.unify_sizes:
        dataset = unified(dataset)
    model, members = config.model, _members(card)
    in_step = config.features_in_step
    placement = place(len(members.ids), config.batch_size, features_in_step=in_step)
    dtype = "float16" if config.feature_dtype == "float16" else "float32"
    plan = whole_plan(dataset, model, image_scales(dataset, config), dtype)
    network = StepNetwork()
    if in_step:
        network = place_network(model, config.feature_dtype, placement)
        cache = open_pictures(plan, dataset, placement)
    else:
        cache = own_features(plan, dataset, model, placement, max_bytes=max_cache_bytes)
    if list(cache.rgb_sha256) != [image["rgb_sha256"] for image in card["images"]]:
        raise DataError(
            f"{dataset.name} has other pictures than {run} was trained on; give the "
            "same data set"
        )
    data = prepare(
        dataset,
        cache,
        model,
        members.all_folds,
        members.fold_ids,
        placement,
        tensors["center_bias/log_density"],
        network,
    )
    session = Session(
        config=config,
        members=members,
        data=data,
        stop_data=data,
        placement=placement,
        steps=make_steps(model, config.optimiser, placement),
        report=lambda _: None,
    )
    own = nested(tensors)
    params = {name: own[name] for name in ("readout", "finalizer")}
    # Model files are for raw features.
    zero = np.zeros((len(members.ids), model.channels), np.float32)
    state = init_state(params, zero, zero + 1, config.optimiser)
    table = image_scores(session, state, part, "best")
    per_seed = [np.where(table.seen, a, np.nan) for a in (table.nats, data.baseline)]
    images = np.flatnonzero(table.seen.any(axis=0))
    nats, baseline = (np.nanmean(a[:, images], axis=0) for a in per_seed)
    uniform = np.log(dataset.image_sizes[images].prod(axis=1))
    first = table.seen[:, images].argmax(axis=0)
    return ImageScores(
        images=images,
        folds=np.array([fold["fold"] for fold in card["folds"]])[first],
        log_likelihood=(nats + uniform) / math.log(2),
        information_gain=(nats - baseline) / math.log(2),
    )


def _members(card: dict[str, Any]) -> Members:
    """Return the members of a run as its card lists them; folds are numbered anew."""
    folds = {
        fold["fold"]: Fold(*(np.array(fold[part], int) for part in PARTS))
        for fold in card["folds"]
    }
    numbers = sorted(folds)
    ids = [numbers.index(fold["fold"]) for fold in card["folds"]]
    return Members(
        all_folds=tuple(folds[k] for k in numbers),
        fold_ids=tuple(ids),
        seeds=tuple(fold.get("seed", 0) for fold in card["folds"]),
        ids=tuple(range(len(ids))),
    )
