"""Training: all folds of a data set as one program, on features computed once.

A run is a folder: `config.json` (what was asked for), `log.jsonl` and `log.csv` (an
epoch a line), `checkpoints/`, and at the end `model.safetensors`. Everything random
follows from seed, epoch and step, so a run that was killed goes on bit by bit as if
it had not been.
"""

import csv
import dataclasses
import hashlib
import io
import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

import deepgaze_jax
from deepgaze_jax import weights
from deepgaze_jax.checkpoints import Checkpoints
from deepgaze_jax.datasets.features import (
    CachePlan,
    FeatureCache,
    build_cache,
    plan_cache,
)
from deepgaze_jax.datasets.folder import FixationDataset
from deepgaze_jax.errors import ConfigError, TrainingError
from deepgaze_jax.files import write_text
from deepgaze_jax.folds import Fold, check_disjoint, make_folds
from deepgaze_jax.model import FixationModel, select_folds
from deepgaze_jax.model_files import load_model, save_model
from deepgaze_jax.train_step import (
    FoldState,
    Optimiser,
    init_state,
    make_steps,
    raw_params,
)
from deepgaze_jax.training_data import TrainingData, prepare

__all__ = ["Progress", "TrainConfig", "export_run", "train"]


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """What a run does; every field changes its result.

    Attributes:
        folds: images for training, validation and test, in tenths; "9/1" stops on
            the test part as the paper does, "all" trains one model on everything.
        n_folds: number of folds.
        only_folds: train only these of them (numbers from 0); all by default.
        taps: feature maps that the readout sees.
        widths: output channels of the readout's layers.
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
        feature_dropout: share of feature channels hidden in a step.
        average_decay: of the running mean of the parameters, per step.
        seed: of initialisation, order of images and dropout.
        feature_dtype: type of the cached features; float16 halves the cache.
    """

    folds: Literal["8/1/1", "9/1", "all"] = "8/1/1"
    n_folds: int = 10
    only_folds: tuple[int, ...] | None = None
    taps: tuple[str, ...] = FixationModel.taps
    widths: tuple[int, ...] = FixationModel.widths
    input_scale: float = 35 / 24
    pixels_per_dva: float | None = None
    epochs: int = 12
    patience: int = 5
    batch_size: int = 10
    learning_rate: float = 3e-3
    warmup_steps: int = 50
    weight_decay: float = 0.0
    feature_dropout: float = 0.5
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
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(
                    f"{name} is {getattr(self, name)}; it must be in [0, 1)"
                )
        if not self.widths or self.widths[-1] != 1:
            raise ConfigError(f"widths are {self.widths}; the last must be 1")

    @property
    def model(self) -> FixationModel:
        """The model to train."""
        return FixationModel(taps=tuple(self.taps), widths=tuple(self.widths))

    @property
    def optimiser(self) -> Optimiser:
        """Settings of the optimiser."""
        return Optimiser(
            weight_decay=self.weight_decay,
            feature_dropout=self.feature_dropout,
            average_decay=self.average_decay,
        )

    def rate(self, step: int, n_steps: int) -> float:
        """Return the learning rate of a step: linear rise, then half a cosine to 0."""
        rise = min(1.0, (step + 1) / max(self.warmup_steps, 1))
        return (
            self.learning_rate * rise * 0.5 * (1 + math.cos(math.pi * step / n_steps))
        )


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
        _image_scales(dataset, config),
        config.feature_dtype,
    )
    folds, fold_ids = _folds(len(dataset), config)
    identity = _identity(config, plan, dataset)
    _check_run(run, identity, resume)
    size = f"feature cache: {plan.n_bytes / 1e9:.2f} GB in {plan.folder}"
    report(Progress("features", 0, len(dataset), message=size))
    cache = build_cache(
        plan,
        dataset,
        model,
        weights.load_features(model.network),
        max_bytes=max_cache_bytes,
        progress=lambda done, total: report(Progress("features", done, total)),
    )
    data = prepare(dataset, cache, model, folds, fold_ids)
    # Only now: a run that could not start leaves nothing to go on with.
    _claim(run, identity)
    with Checkpoints(run / "checkpoints") as checkpoints:
        state, log = _start(run, data, config, fold_ids, checkpoints)
        steps = make_steps(model, config.optimiser)
        while len(log) < config.epochs and bool(state.active.any()):
            state, record = _epoch(
                state, data, config, fold_ids, len(log), steps, report
            )
            log.append(record)
            # The log first: a checkpoint must never be ahead of it.
            _write_log(run, log)
            checkpoints.save(len(log), {"state": state})
    tensors = _tensors(state, data.center_biases)
    card = _card(dataset, config, cache, data, state, features_card, fold_ids)
    path = run / "model.safetensors"
    save_model(path, tensors, card)
    return path


def _image_scales(dataset: FixationDataset, config: TrainConfig) -> np.ndarray:
    """Return the resize factor of each picture in front of the model."""
    scales = np.full(len(dataset), config.input_scale)
    if dataset.pixels_per_dva is None:
        return scales
    return scales * _pixels_per_dva(dataset, config) / dataset.pixels_per_dva


def _pixels_per_dva(dataset: FixationDataset, config: TrainConfig) -> float | None:
    """Return the pixels per degree that `input_scale` is meant for."""
    if dataset.pixels_per_dva is None:
        return config.pixels_per_dva
    stated = float(np.median(dataset.pixels_per_dva))
    if config.pixels_per_dva not in (None, stated):
        raise ConfigError(
            f"pixels_per_dva is {config.pixels_per_dva}, but images.csv states "
            f"{stated}; leave the option out"
        )
    return stated


def _folds(
    n_images: int, config: TrainConfig
) -> tuple[tuple[Fold, ...], tuple[int, ...]]:
    """Return the folds to train and their numbers."""
    folds = make_folds(n_images, config.folds, config.n_folds)
    for fold in folds:
        if config.folds != "all":
            check_disjoint(fold, validation_is_test=config.folds == "9/1")
    chosen = config.only_folds or tuple(range(len(folds)))
    if not set(chosen) <= set(range(len(folds))) or len(set(chosen)) < len(chosen):
        raise ConfigError(f"only_folds is {chosen}; the folds are 0..{len(folds) - 1}")
    return tuple(folds[k] for k in chosen), chosen


def _identity(
    config: TrainConfig, plan: CachePlan, dataset: FixationDataset
) -> dict[str, Any]:
    """Return what makes a run this run and no other, as it is read from JSON."""
    fixations = dataset.fixations
    table = b"".join(
        np.ascontiguousarray(getattr(fixations, name)).tobytes()
        for name in ("image", "subject", "fixation_index", "x", "y")
    )
    identity = {
        **dataclasses.asdict(config),
        "data": {
            "name": dataset.name,
            "features": hashlib.sha256(plan.key.encode()).hexdigest(),
            "fixations": hashlib.sha256(table).hexdigest(),
        },
    }
    return json.loads(json.dumps(identity))


def _check_run(run: Path, identity: dict[str, Any], resume: bool) -> None:
    """Raise ConfigError where the folder holds a run that this one must not touch."""
    path = run / "config.json"
    if not path.exists() and not (run / "checkpoints").exists():
        return
    if not resume:
        raise ConfigError(
            f"{run} already holds a run; go on with --resume or choose another folder"
        )
    try:
        before = dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(
            f"{path} is missing or damaged, so it is unknown what the run is; choose "
            "another folder"
        ) from error
    different = [
        f"{name} was {before.get(name)!r} and is {identity.get(name)!r}"
        for name in sorted({*before, *identity})
        if before.get(name) != identity.get(name)
    ]
    if different:
        raise ConfigError(f"{run} is another run: {'; '.join(different)}")


def _claim(run: Path, identity: dict[str, Any]) -> None:
    """Write what the run is, unless that is already there."""
    if not (run / "config.json").exists():
        run.mkdir(parents=True, exist_ok=True)
        write_text(run / "config.json", json.dumps(identity, indent=2) + "\n")


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
    if checkpoints.latest is None:
        mean, std = data.moments()
        return init_state(params, mean, 1 / std, config.optimiser), []
    shape = (len(fold_ids), config.model.channels)
    like = init_state(params, jnp.zeros(shape), jnp.ones(shape), config.optimiser)
    state = checkpoints.load({"state": like})["state"]
    path = run / "log.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    if len(lines) < checkpoints.latest:
        raise ConfigError(
            f"{path} has {len(lines)} lines, but the newest checkpoint is of epoch "
            f"{checkpoints.latest}; restore the log or start a new run"
        )
    return state, [json.loads(line) for line in lines[: checkpoints.latest]]


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
    previous: tuple[int, jax.Array, np.ndarray] | None = None

    def settle(pending: tuple[int, jax.Array, np.ndarray]) -> None:
        step, loss, baseline = pending
        gains[step] = (-np.asarray(loss) - baseline) / math.log(2)
        where = f"epoch {epoch + 1}, step {step + 1}"
        _require_finite("loss", gains[step], fold_ids, where, config)
        seen = n_images[step] > 0
        mean = float(gains[step][seen].mean()) if seen.any() else None
        report(Progress("epoch", step, n_steps, epoch + 1, config.epochs, mean))

    key = jax.random.fold_in(jax.random.key(config.seed), epoch)
    batches = data.training_batches(config.batch_size, config.seed, epoch)
    for step, (batch, baseline) in enumerate(batches):
        rate = config.rate(epoch * n_steps + step, config.epochs * n_steps)
        step_key = jax.random.fold_in(key, step)
        n_images[step] = batch.weights.sum(axis=1)
        state, loss = train_step(state, batch, ids, step_key, np.float32(rate))
        # One step behind, so that the next is under way while this one is read.
        if previous is not None:
            settle(previous)
        previous = (step, loss, baseline)
    settle(previous)
    trained = time.monotonic()
    scores = _validate(state, data, validate_step)
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
    state: FoldState, data: TrainingData, step: Callable[..., Any]
) -> np.ndarray | None:
    """Return the validation score of each fold, None where there is no such part.

    Bits/fixation over the fold's center bias: mean over an image's fixations, then
    over images.
    """
    n_folds = len(data.folds)
    total, count = np.zeros(n_folds), np.zeros(n_folds)
    fold = np.arange(n_folds)[:, None]
    for batch, images in data.validation_batches():
        nats = np.asarray(step(state.average, state.mean, state.scale, batch))
        gain = (nats - data.baseline[fold, images]) / math.log(2)
        total += (gain * batch.weights).sum(axis=1)
        count += batch.weights.sum(axis=1)
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


def _write_log(run: Path, log: Sequence[dict[str, Any]]) -> None:
    """Write the log as JSON lines and, without the per-fold lists, as CSV."""
    write_text(run / "log.jsonl", "".join(json.dumps(line) + "\n" for line in log))
    columns = [name for name, value in log[0].items() if not isinstance(value, list)]
    table = io.StringIO()
    writer = csv.DictWriter(table, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(log)
    write_text(run / "log.csv", table.getvalue())


def _tensors(state: FoldState, center_biases: np.ndarray) -> dict[str, np.ndarray]:
    """Return the tensors of a model file from the best parameters of each fold."""
    params = raw_params(state.best, state.mean, state.scale)
    leaves = jax.tree.leaves_with_path(params)
    tensors = {
        "/".join(key.key for key in path): np.asarray(leaf, np.float32)
        for path, leaf in leaves
    }
    return {**tensors, "center_bias/log_density": np.float32(center_biases)}


def _card(
    dataset: FixationDataset,
    config: TrainConfig,
    cache: FeatureCache,
    data: TrainingData,
    state: FoldState,
    features_card: dict[str, Any],
    fold_ids: Sequence[int],
) -> dict[str, Any]:
    """Return what the model file says about itself."""
    hashes = cache.rgb_sha256
    return {
        "name": "",
        "network": config.model.network,
        "family": features_card["family"],
        "features_sha256": features_card["source_sha256"],
        "model": dataclasses.asdict(config.model),
        "input_scale": config.input_scale,
        "pixels_per_dva": _pixels_per_dva(dataset, config),
        "data": {
            "name": dataset.name,
            "n_images": len(dataset),
            "n_subjects": len(dataset.subject_names),
            "n_fixations": len(dataset.fixations),
        },
        "images": [
            {"name": name, "rgb_sha256": value}
            for name, value in zip(dataset.image_names, hashes, strict=True)
        ],
        # Positions in `images`.
        "folds": [
            {
                "fold": int(k),
                "train": fold.train.tolist(),
                "validation": fold.validation.tolist(),
                "test": fold.test.tolist(),
            }
            for k, fold in zip(fold_ids, data.folds, strict=True)
        ],
        "training": dataclasses.asdict(config),
        "best_epoch": np.asarray(state.best_epoch).tolist(),
        "scores": {
            "validation_information_gain": _finite(state.best_score),
        },
        "code_version": deepgaze_jax.__version__,
        "licence": "MIT",
    }


def _finite(values: jax.Array) -> list[float | None]:
    """Return numbers for JSON, None where there is none."""
    return [float(v) if np.isfinite(v) else None for v in np.asarray(values)]


def export_run(
    run_folder: str | Path,
    path: str | Path,
    evaluation: dict[str, Any] | None = None,
) -> Path:
    """Return the model file made from a finished run.

    Args:
        run_folder: folder of the run.
        path: file to write, ending in `.safetensors`.
        evaluation: summary of an evaluation for the card, see `evaluation.summarise`.

    Raises:
        WeightsError: the run has not finished.
    """
    path = Path(path)
    tensors, card = load_model(Path(run_folder))
    card["name"] = path.stem
    if evaluation is not None:
        card["scores"] = {**card["scores"], "evaluation": evaluation}
    save_model(path, tensors, card)
    return path
