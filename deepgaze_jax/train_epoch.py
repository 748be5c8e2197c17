"""One epoch of all members of a run: steps, scores, and which of them go on."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import jax
import numpy as np

from deepgaze_jax.datasets.pipeline import behind
from deepgaze_jax.errors import TrainingError
from deepgaze_jax.members import Members
from deepgaze_jax.monitor import alarms
from deepgaze_jax.parallel import Placement
from deepgaze_jax.train_config import TrainConfig
from deepgaze_jax.train_step import MIN_SIGMA_GRID_PX, Batch, FoldState
from deepgaze_jax.training_data import TrainingData

__all__ = ["ImageTable", "Progress", "Session", "epoch", "image_scores", "score"]


@dataclasses.dataclass(frozen=True)
class Progress:
    """What a run tells while it works.

    Attributes:
        stage: computing features (or looking at pictures), or training for an epoch.
        done: images done; of an epoch those before the last step that is known of.
        total: images in all; of an epoch those that a trained fold learns from.
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


@dataclasses.dataclass(frozen=True)
class Session:
    """What stays the same from epoch to epoch.

    Attributes:
        config: of the run, resolved.
        members: of the run.
        data: what is trained on.
        stop_data: whose validation parts say when to stop; may be `data`.
        placement: devices.
        steps: the compiled steps, see `train_step.make_steps`.
        report: called with what happens.
    """

    config: TrainConfig
    members: Members
    data: TrainingData
    stop_data: TrainingData
    placement: Placement
    steps: tuple[Callable[..., Any], Callable[..., Any]]
    report: Callable[[Progress], None]


def epoch(
    session: Session, state: FoldState, log: Sequence[dict[str, Any]]
) -> tuple[FoldState, dict[str, Any]]:
    """Return the state after one more epoch with its validation, and the log's line.

    Args:
        session: the run.
        state: on the host, `[M, ...]`.
        log: lines of the epochs so far.

    Raises:
        TrainingError: a loss, parameter or validation score is not finite.
    """
    config, number = session.config, len(log)
    started = time.monotonic()
    n_steps, n_images = session.data.n_steps(config.batch_size), session.data.n_images
    state, gain = _train(session, state, number)
    trained = time.monotonic()
    # Before anything is kept: the last step's parameters have not met a loss yet.
    where = f"epoch {number + 1}, after step {n_steps}"
    size = sum(
        np.abs(np.asarray(leaf, np.float64)).reshape(len(gain), -1).sum(axis=1)
        for leaf in jax.tree.leaves((state.params, state.average))
    )
    _require_finite("size of the parameters", size, session, where)
    scores, spread = _scores(session, state, "validation", "average")
    validated = _has_validation(session)
    _require_finite("validation score", scores[validated], session, where)
    state = _keep_best(session, state, scores, log)
    mean = float(scores[validated].mean()) if validated.any() else None
    finalizer = state.average["finalizer"]
    record = {
        "epoch": number + 1,
        "seconds_training": round(trained - started, 3),
        "seconds_validation": round(time.monotonic() - trained, 3),
        "learning_rate": config.rate((number + 1) * n_steps - 1, _all_steps(session)),
        "train_information_gain": float(gain.mean()),
        "validation_information_gain": mean,
        "validation_by_fold": [float(s) if np.isfinite(s) else None for s in scores]
        if validated.any()
        else [],
        "sigma_grid_px": finalizer["sigma_grid_px"].tolist(),
        "center_bias_weight": finalizer["center_bias_weight"].tolist(),
        "active": state.active.tolist(),
    }
    names = [session.members.name(k) for k in range(len(gain))]
    sigma_range = (0.0, math.inf)
    if config.blur == "learned":
        sigma_range = (MIN_SIGMA_GRID_PX, config.model.max_sigma_grid_px)
    record["alarms"] = alarms(record, names, spread, sigma_range)
    for line in record["alarms"]:
        message = f"warning: {line}"
        session.report(
            Progress(
                "epoch", n_images, n_images, number + 1, config.epochs, mean, message
            )
        )
    session.report(
        Progress("epoch", n_images, n_images, number + 1, config.epochs, mean)
    )
    return state, record


def _all_steps(session: Session) -> int:
    config = session.config
    return config.epochs * session.data.n_steps(config.batch_size)


def _train(
    session: Session, state: FoldState, number: int
) -> tuple[FoldState, np.ndarray]:
    """Return the state after an epoch, and each member's training score [M]."""
    config, data, placement = session.config, session.data, session.placement
    n_steps, n_members = data.n_steps(config.batch_size), len(data.folds)
    # Bits/fixation of each step, and of how many images, member by member.
    gains = np.zeros((n_steps, n_members))
    n_images = np.zeros((n_steps, n_members))
    done = 0
    pending: tuple[int, Batch, np.ndarray, jax.Array] | None = None

    def settle(step: int, batch: Batch, baseline: np.ndarray, loss: jax.Array) -> None:
        nats = placement.take_loss(loss, batch.folds)
        found = (-nats - baseline) / math.log(2)
        gains[step, batch.folds] = found
        n_images[step, batch.folds] = batch.weights_of(batch.folds).sum(axis=1)
        where = f"epoch {number + 1}, step {step + 1}"
        _require_finite("loss", gains[step], session, where)
        nonlocal done
        total, mean = data.n_images, float(found.mean())
        session.report(Progress("epoch", done, total, number + 1, config.epochs, mean))
        done += int(batch.weights.sum())

    key = jax.random.fold_in(jax.random.key(config.seed), number)
    ids = placement.put_members(np.asarray(session.members.ids, np.int32))
    placed = placement.put_state(state)
    batches = data.training_batches(config.batch_size, config.seed, number)
    for step, batch, baseline in batches:
        rate = config.rate(number * n_steps + step, _all_steps(session))
        step_key = jax.random.fold_in(key, step)
        placed, loss = session.steps[0](
            placed,
            placement.put_batch(batch),
            ids,
            step_key,
            np.float32(rate),
            data.network.everywhere,
        )
        # One step behind, so that the next is under way while this one is read.
        if pending is not None:
            settle(*pending)
        pending = (step, batch, baseline, loss)
    settle(*pending)
    means = (gains * n_images).sum(axis=0) / n_images.sum(axis=0)
    return placement.take_state(placed), means


def _require_finite(
    what: str, values: np.ndarray, session: Session, where: str
) -> None:
    """Raise TrainingError for the first member whose value is not finite."""
    finite = np.isfinite(values)
    if not finite.all():
        raise TrainingError(
            f"the {what} of {session.members.name(int(np.argmin(finite)))} is not "
            f"finite at {where}; lower the learning rate (now "
            f"{session.config.learning_rate:g}), then start a new run"
        )


def _has_validation(session: Session) -> np.ndarray:
    """Return which members have a validation part, bool [M]."""
    return np.array([len(fold.validation) > 0 for fold in session.stop_data.folds])


def score(
    session: Session,
    state: FoldState,
    part: Literal["validation", "test"] = "validation",
    which: Literal["average", "best"] = "average",
) -> np.ndarray:
    """Return the score of each member [M], nan where there is no such part.

    Bits/fixation over the member's center bias: mean over an image's fixations, then
    over images.

    Args:
        session: the run.
        state: on the host.
        part: of the folds.
        which: parameters of the state.
    """
    return _scores(session, state, part, which)[0]


def _scores(
    session: Session,
    state: FoldState,
    part: Literal["validation", "test"],
    which: Literal["average", "best"],
) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores, and the largest spread of a readout map, of each member."""
    data = _data_of(session, part)
    table = image_scores(session, state, part, which)
    gains = (table.nats - data.baseline) / math.log(2)
    return tuple(
        np.array(
            [
                reduce(row[own]) if own.any() else np.nan
                for row, own in zip(rows, table.seen, strict=True)
            ]
        )
        for rows, reduce in ((gains, np.mean), (table.spread, np.max))
    )


def _data_of(session: Session, part: Literal["validation", "test"]) -> TrainingData:
    return session.stop_data if part == "validation" else session.data


@dataclasses.dataclass(frozen=True)
class ImageTable:
    """What each member makes of each image of a part; 0 where it is in another part.

    Attributes:
        nats: float32 [M, n_images], mean log density at its fixations, per pixel.
        spread: float32 [M, n_images], standard deviation of the readout map.
        seen: bool [M, n_images], whether there is anything.
    """

    nats: np.ndarray
    spread: np.ndarray
    seen: np.ndarray


def image_scores(
    session: Session,
    state: FoldState,
    part: Literal["validation", "test"] = "validation",
    which: Literal["average", "best"] = "average",
) -> ImageTable:
    """Return the score of each member on each image of a part, for all processes.

    Args:
        session: the run.
        state: on the host.
        part: of the folds.
        which: parameters of the state.
    """
    data = _data_of(session, part)
    values = (getattr(state, which), state.mean, state.scale)
    table = np.zeros((3, *data.baseline.shape), np.float32)

    def computed() -> Iterator[tuple[int, np.ndarray, Any]]:
        """Yield member, images and results; weight 0 is no image."""
        placed: dict[int, Any] = {}
        for batch, images in data.validation_batches(session.config.batch_size, part):
            k = int(batch.folds)
            if k not in placed:
                own = jax.tree.map(lambda leaf, k=k: np.asarray(leaf)[k], values)
                placed = {k: session.placement.spread.put_shared(own)}
            found = session.steps[1](*placed[k], batch, data.network.here)
            yield k, images, (*found, batch.weights)

    for k, images, (nats, spread, weights) in behind(computed()):
        real = weights > 0
        for row, own in enumerate((nats, spread, weights)):
            table[row, k, images[real]] = np.asarray(own)[real]
    nats, spread, seen = session.placement.sum(table)
    return ImageTable(nats, spread, seen > 0)


def _keep_best(
    session: Session,
    state: FoldState,
    scores: np.ndarray,
    log: Sequence[dict[str, Any]],
) -> FoldState:
    """Return the state with the best averages kept; members without progress stop."""
    number, validated = len(log) + 1, _has_validation(session)
    better = state.active & (~validated | (scores > state.best_score))
    best_epoch = np.where(better, number, state.best_epoch).astype(np.int32)

    def choose(new: np.ndarray, old: np.ndarray) -> np.ndarray:
        return np.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old)

    active = state.active.copy()
    for k in np.flatnonzero(validated & active):
        history = [line["validation_by_fold"][k] for line in log] + [float(scores[k])]
        active[k] = not session.config.stops(history, int(best_epoch[k]))
    if validated.any() and not active[validated].any():
        # Nothing says of the others when to stop; they end with those that know.
        active[:] = False
    return state.replace(
        best=jax.tree.map(choose, state.average, state.best),
        best_score=np.where(better, np.float32(scores), state.best_score),
        best_epoch=best_epoch,
        active=active,
    )
