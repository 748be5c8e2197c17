"""Training: all folds of a data set as one program, on features computed once.

Everything random follows from seed, epoch and step, so a run that was killed goes on
bit by bit as if it had not been. What a run leaves in its folder: `runs.py`.
"""

import dataclasses
import math
import operator
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from deepgaze_jax import weights
from deepgaze_jax.checkpoints import Checkpoints
from deepgaze_jax.datasets.features import build_cache, plan_cache
from deepgaze_jax.datasets.folder import FixationDataset
from deepgaze_jax.errors import ConfigError, TrainingError
from deepgaze_jax.folds import Fold, check_disjoint, make_folds
from deepgaze_jax.model import select_folds
from deepgaze_jax.runs import (
    check_run,
    claim_run,
    export_run,
    image_scales,
    read_log,
    run_identity,
    save_run_model,
    write_log,
)
from deepgaze_jax.train_config import TrainConfig
from deepgaze_jax.train_step import Batch, FoldState, init_state, make_steps
from deepgaze_jax.training_data import TrainingData, check_fixations, prepare

__all__ = ["Progress", "TrainConfig", "export_run", "train"]


@dataclasses.dataclass(frozen=True)
class Progress:
    """What a run tells while it works.

    Attributes:
        stage: "features" counts images, "epoch" counts steps.
        done: how many are done.
        total: how many there are.
        epoch: number of the epoch from 1; 0 before the first.
        n_epochs: most epochs.
        information_gain: bits/fixation over the center bias of the fold, mean over
            folds; of the last training step, or of the validation parts where `done`
            equals `total`.
        message: a sentence for the user, where there is one.
    """

    stage: Literal["features", "epoch"]
    done: int
    total: int
    epoch: int = 0
    n_epochs: int = 0
    information_gain: float | None = None
    message: str | None = None


Report = Callable[[Progress], None]


def train(
    dataset: FixationDataset,
    config: TrainConfig,
    run_folder: str | Path,
    *,
    resume: bool = False,
    max_cache_bytes: int | None = None,
    progress: Report | None = None,
) -> Path:
    """Return the model file of a finished run.

    Args:
        dataset: pictures and fixations.
        config: what to do.
        run_folder: folder of the run; must not hold one unless `resume`.
        resume: go on from its newest checkpoint, or begin where there is none.
        max_cache_bytes: bound for the feature cache, see `build_cache`.
        progress: called with what happens.

    Returns:
        `run_folder/model.safetensors`.

    Raises:
        ConfigError: the folder holds a run already, or one with another configuration
            (all differences are listed).
        TrainingError: a loss, parameter or validation score is not finite.
        WeightsError: the feature network's weights are not there.
        DataError: data and folds do not fit.
    """
    report = progress or (lambda _: None)
    run = Path(run_folder)
    model = config.model
    features_card = weights.features_card(model.network)
    plan = plan_cache(
        dataset,
        model,
        features_card["source_sha256"],
        weights.cache_dir() / "features",
        image_scales(dataset, config),
        config.feature_dtype,
    )
    folds, fold_ids = _folds(len(dataset), config)
    check_fixations(dataset, folds, fold_ids)
    identity = run_identity(config, plan, dataset)
    check_run(run, identity, resume)
    if resume and not (run / "config.json").exists():
        new = f"{run} holds no run yet: this one begins at the start"
        report(Progress("features", 0, len(dataset), message=new))
    in_unit, unit = (1e9, "GB") if plan.n_bytes > 1e8 else (1e6, "MB")
    size = f"feature cache: {plan.n_bytes / in_unit:.2f} {unit} in {plan.folder}"
    report(Progress("features", 0, len(dataset), message=size))
    cache = build_cache(
        plan,
        dataset,
        model,
        weights.load_features(model.network),
        max_bytes=max_cache_bytes,
        progress=lambda done, total: report(Progress("features", done, total)),
        tell=lambda text: report(Progress("features", 0, len(dataset), message=text)),
    )
    data = prepare(dataset, cache, model, folds, fold_ids)
    # Only now: a run that could not start leaves nothing to go on with.
    with (
        claim_run(run, identity, resume),
        Checkpoints(run / "checkpoints") as checkpoints,
    ):
        state, log = _start(run, data, config, fold_ids, checkpoints)
        steps = make_steps(model, config.optimiser)
        while len(log) < config.epochs and bool(state.active.any()):
            state, record = _epoch(
                state, data, config, fold_ids, len(log), steps, report
            )
            log.append(record)
            # The log first: a checkpoint must never be ahead of it.
            write_log(run, log)
            checkpoints.save(len(log), {"state": state})
        return save_run_model(run, dataset, config, data, state, features_card)


def _folds(
    n_images: int, config: TrainConfig
) -> tuple[tuple[Fold, ...], tuple[int, ...]]:
    """Return all folds and the numbers of those to train."""
    folds = make_folds(n_images, config.folds, config.n_folds)
    for fold in folds:
        if config.folds != "all":
            check_disjoint(fold, validation_is_test=config.folds == "9/1")
    every = range(len(folds))
    chosen = tuple(every) if config.only_folds is None else config.only_folds
    if not chosen or not set(chosen) <= {*every} or len({*chosen}) < len(chosen):
        raise ConfigError(f"only_folds is {chosen}; the folds are 0..{len(folds) - 1}")
    return folds, chosen


def _start(
    run: Path,
    data: TrainingData,
    config: TrainConfig,
    fold_ids: Sequence[int],
    checkpoints: Checkpoints,
) -> tuple[FoldState, list[dict[str, Any]]]:
    """Return the state to begin with and the log up to there."""
    params = config.model.init(config.seed, max(fold_ids) + 1)
    params = select_folds(params, fold_ids)
    shape = (len(fold_ids), config.model.channels)
    plain = jnp.zeros(shape), jnp.ones(shape)
    if checkpoints.latest is None:
        # A layer norm scales the features itself.
        mean, std = plain if config.model.layer_norm else data.moments()
        return init_state(params, mean, 1 / std, config.optimiser), []
    like = init_state(params, *plain, config.optimiser)
    state = checkpoints.load({"state": like})["state"]
    return state, read_log(run, checkpoints.latest)


def _epoch(
    state: FoldState,
    data: TrainingData,
    config: TrainConfig,
    fold_ids: Sequence[int],
    epoch: int,
    steps: tuple[Callable[..., Any], Callable[..., Any]],
    report: Report,
) -> tuple[FoldState, dict[str, Any]]:
    """Return the state after one epoch with its validation, and the log's line."""
    train_step, validate_step = steps
    n_steps = data.n_steps(config.batch_size)
    ids = jnp.asarray(fold_ids)
    started = time.monotonic()
    # Bits/fixation of each step, and of how many images, fold by fold.
    gains = np.zeros((n_steps, len(fold_ids)))
    n_images = np.zeros((n_steps, len(fold_ids)))
    pending: tuple[int, Batch, np.ndarray, jax.Array] | None = None

    def settle(step: int, batch: Batch, baseline: np.ndarray, loss: jax.Array) -> None:
        found = (-np.asarray(loss) - baseline) / math.log(2)
        gains[step, batch.folds] = found
        n_images[step, batch.folds] = batch.weights.sum()
        where = f"epoch {epoch + 1}, step {step + 1}"
        _require_finite("loss", gains[step], fold_ids, where, config)
        mean = float(found.mean())
        report(Progress("epoch", step, n_steps, epoch + 1, config.epochs, mean))

    key = jax.random.fold_in(jax.random.key(config.seed), epoch)
    batches = data.training_batches(config.batch_size, config.seed, epoch)
    for step, batch, baseline in batches:
        rate = config.rate(epoch * n_steps + step, config.epochs * n_steps)
        step_key = jax.random.fold_in(key, step)
        state, loss = train_step(state, batch, ids, step_key, np.float32(rate))
        # One step behind, so that the next is under way while this one is read.
        if pending is not None:
            settle(*pending)
        pending = (step, batch, baseline, loss)
    settle(*pending)
    trained = time.monotonic()
    scores = _validate(state, data, validate_step, config.batch_size)
    # Before anything is kept: the last step's parameters have not met a loss yet.
    where = f"epoch {epoch + 1}, after step {n_steps}"
    total = sum(
        np.abs(np.asarray(leaf, np.float64)).reshape(len(fold_ids), -1).sum(axis=1)
        for leaf in jax.tree.leaves((state.params, state.average))
    )
    _require_finite("size of the parameters", total, fold_ids, where, config)
    if scores is not None:
        _require_finite("validation score", scores, fold_ids, where, config)
    state = _keep_best(state, scores, epoch + 1, config.patience)
    record = {
        "epoch": epoch + 1,
        "seconds_training": round(trained - started, 3),
        "seconds_validation": round(time.monotonic() - trained, 3),
        "learning_rate": rate,
        "train_information_gain": float(
            ((gains * n_images).sum(axis=0) / n_images.sum(axis=0)).mean()
        ),
        "validation_information_gain": _mean_or_none(scores),
        "validation_by_fold": [] if scores is None else scores.tolist(),
        "sigma_grid_px": np.asarray(
            state.average["finalizer"]["sigma_grid_px"]
        ).tolist(),
        "center_bias_weight": np.asarray(
            state.average["finalizer"]["center_bias_weight"]
        ).tolist(),
        "active": np.asarray(state.active).tolist(),
    }
    gain = record["validation_information_gain"]
    report(Progress("epoch", n_steps, n_steps, epoch + 1, config.epochs, gain))
    return state, record


def _require_finite(
    what: str,
    values: np.ndarray,
    fold_ids: Sequence[int],
    where: str,
    config: TrainConfig,
) -> None:
    """Raise TrainingError for the first fold whose value is not finite."""
    finite = np.isfinite(values)
    if not finite.all():
        raise TrainingError(
            f"the {what} of fold {fold_ids[int(np.argmin(finite))]} is not finite at "
            f"{where}; lower the learning rate (now {config.learning_rate:g}), then "
            "start a new run"
        )


def _mean_or_none(scores: np.ndarray | None) -> float | None:
    return None if scores is None else float(scores.mean())


def _validate(
    state: FoldState, data: TrainingData, step: Callable[..., Any], batch_size: int
) -> np.ndarray | None:
    """Return the validation score of each fold, None where there is no such part.

    Bits/fixation over the fold's center bias: mean over an image's fixations, then
    over images.
    """
    n_folds = len(data.folds)
    total, count = np.zeros(n_folds), np.zeros(n_folds)
    parts = (state.average, state.mean, state.scale)
    by_fold = [jax.tree.map(operator.itemgetter(k), parts) for k in range(n_folds)]
    for batch, images in data.validation_batches(batch_size):
        k = int(batch.folds)
        nats = np.asarray(step(*by_fold[k], batch))
        gain = (nats - data.baseline[k, images]) / math.log(2)
        total[k] += (gain * batch.weights).sum()
        count[k] += batch.weights.sum()
    return total / count if count.all() else None


def _keep_best(
    state: FoldState, scores: np.ndarray | None, epoch: int, patience: int
) -> FoldState:
    """Return the state with the best average kept; folds without progress stop."""
    if scores is None:
        better = state.active
        scores = np.full(len(better), np.nan)
    else:
        better = state.active & (scores > state.best_score)
    best_epoch = jnp.where(better, epoch, state.best_epoch)

    def choose(new: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old)

    return state.replace(
        best=jax.tree.map(choose, state.average, state.best),
        best_score=jnp.where(better, jnp.float32(scores), state.best_score),
        best_epoch=best_epoch,
        active=state.active & (epoch - best_epoch < patience),
    )
