"""Training: all members of a run as one program, on features computed once.

Everything random follows from seed, epoch and step, so a run that was killed goes on
bit by bit as if it had not been. What a run leaves in its folder: `runs.py`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from deepgaze_jax import weights
from deepgaze_jax.checkpoints import Checkpoints
from deepgaze_jax.datasets.features import CachePlan
from deepgaze_jax.datasets.folder import FixationDataset
from deepgaze_jax.members import Members, members_of
from deepgaze_jax.model import select_folds
from deepgaze_jax.own_features import own_features, whole_plan
from deepgaze_jax.parallel import Placement, place
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
from deepgaze_jax.train_epoch import Progress, Session, epoch
from deepgaze_jax.train_step import FoldState, init_state, make_steps
from deepgaze_jax.training_data import TrainingData, check_fixations, prepare

__all__ = ["Progress", "TrainConfig", "export_run", "train"]

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

    Uses all devices: members of the run lie along one axis of their mesh, images of a
    step along the other. A run can go on with another number of devices.

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
    config = config.resolved()
    members = members_of(len(dataset), config)
    check_fixations(dataset, members.all_folds, members.fold_ids)
    model = config.model
    features_card = weights.features_card(model.network)
    scales = image_scales(dataset, config)
    plan = whole_plan(dataset, model, scales, config.feature_dtype)
    identity = run_identity(config, plan, dataset)
    check_run(run, identity, resume)
    if resume and not (run / "config.json").exists():
        new = f"{run} holds no run yet: this one begins at the start"
        report(Progress("features", 0, len(dataset), message=new))
    placement = place(len(members.ids), config.batch_size)
    data = _data(dataset, config, members, placement, plan, max_cache_bytes, report)
    # Only now: a run that could not start leaves nothing to go on with.
    with (
        claim_run(run, identity, resume),
        Checkpoints(run / "checkpoints") as checkpoints,
    ):
        state, log = _start(run, data, config, members, checkpoints)
        session = Session(
            config=config,
            members=members,
            data=data,
            stop_data=data,
            placement=placement,
            steps=make_steps(model, config.optimiser, placement),
            report=report,
        )
        while len(log) < config.epochs and state.active.any():
            state, record = epoch(session, state, log)
            log.append(record)
            # The log first: a checkpoint must never be ahead of it.
            write_log(run, log)
            checkpoints.save(len(log), {"state": state})
        return save_run_model(run, dataset, config, members, data, state, features_card)


def _data(
    dataset: FixationDataset,
    config: TrainConfig,
    members: Members,
    placement: Placement,
    plan: CachePlan,
    max_cache_bytes: int | None,
    report: Report,
) -> TrainingData:
    """Return the data set with its features, which are computed where missing."""
    in_unit, unit = (1e9, "GB") if plan.n_bytes > 1e8 else (1e6, "MB")
    size = f"feature cache: {plan.n_bytes / in_unit:.2f} {unit} in {plan.folder}"
    report(Progress("features", 0, len(dataset), message=size))
    cache = own_features(
        plan,
        dataset,
        config.model,
        placement,
        max_bytes=max_cache_bytes,
        progress=lambda done, total: report(Progress("features", done, total)),
    )
    return prepare(
        dataset,
        cache,
        config.model,
        members.all_folds,
        members.fold_ids,
        placement=placement,
    )


def _start(
    run: Path,
    data: TrainingData,
    config: TrainConfig,
    members: Members,
    checkpoints: Checkpoints,
) -> tuple[FoldState, list[dict[str, Any]]]:
    """Return the state to begin with, on the host, and the log up to there."""
    params = config.model.init(config.seed, max(members.ids) + 1)
    params = select_folds(params, members.ids)
    shape = (len(members.ids), config.model.channels)
    plain = jnp.zeros(shape), jnp.ones(shape)
    if checkpoints.latest is None:
        # A layer norm scales the features itself.
        mean, std = plain if config.model.layer_norm else data.moments()
        return jax.device_get(init_state(params, mean, 1 / std, config.optimiser)), []
    like = init_state(params, *plain, config.optimiser)
    state = jax.device_get(checkpoints.load({"state": like})["state"])
    return state, read_log(run, checkpoints.latest)
