"""Training: all members of a run as one program, on features computed once.

Everything random follows from seed, epoch and step, so a run that was killed goes on
bit by bit as if it had not been. What a run leaves in its folder: `runs.py`.
"""

import contextlib
import dataclasses
import functools
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from deepgaze_jax import weights
from deepgaze_jax.checkpoints import Checkpoints
from deepgaze_jax.datasets.features import CachePlan
from deepgaze_jax.datasets.folder import FixationDataset
from deepgaze_jax.datasets.unified_sizes import enlargement, unified
from deepgaze_jax.errors import ConfigError, TrainingError
from deepgaze_jax.fine_tuning import adopt, open_start, start_folds, start_params
from deepgaze_jax.folds import Fold
from deepgaze_jax.members import members_of
from deepgaze_jax.model import select_folds
from deepgaze_jax.model_files import RUN_MODEL
from deepgaze_jax.monitor import scalars
from deepgaze_jax.own_features import own_features, whole_plan
from deepgaze_jax.parallel import Placement, place
from deepgaze_jax.runs import (
    check_run,
    claim_run,
    data_identity,
    export_run,
    image_scales,
    known_pixels_per_dva,
    read_log,
    run_identity,
    save_run_model,
    write_alarm,
    write_log,
)
from deepgaze_jax.step_features import StepNetwork, open_pictures, place_network
from deepgaze_jax.train_config import TrainConfig
from deepgaze_jax.train_epoch import Progress, Session, epoch, score
from deepgaze_jax.train_step import FoldState, init_state, make_steps
from deepgaze_jax.training_data import TrainingData, check_fixations, prepare

__all__ = ["Progress", "TrainConfig", "export_run", "train"]

Report = Callable[[Progress], None]


def train(
    dataset: FixationDataset,
    config: TrainConfig,
    run_folder: str | Path,
    *,
    start_from: str | Path | None = None,
    stop_on: FixationDataset | None = None,
    resume: bool = False,
    max_cache_bytes: int | None = None,
    tensorboard: bool = False,
    progress: Report | None = None,
) -> Path:
    """Return the model file of a finished run.

    Uses all devices: members of the run lie along one axis of their mesh, images of a
    step along the other. A run can go on with another number of devices.

    Args:
        dataset: pictures and fixations.
        config: what to do.
        run_folder: folder of the run; must not hold one unless `resume`.
        start_from: a model to go on from: name, file or run folder. The test parts are
            scored before and after, for its card.
        stop_on: other data that say when to stop, where all images are trained on.
        resume: go on from its newest checkpoint, or begin where there is none.
        max_cache_bytes: bound for each feature cache, see `build_cache`.
        tensorboard: write event files into `run_folder/tensorboard` as well.
        progress: called with what happens.

    Returns:
        `run_folder/model.safetensors`.

    Raises:
        ConfigError: the folder holds a run already, or one with another configuration
            (all differences are listed); or options that contradict one another.
        TrainingError: a loss, parameter or validation score is not finite; the folder
            says so in `alarms.txt`.
        WeightsError: the feature network's weights are not there.
        DataError: data and folds do not fit.
    """
    run = Path(run_folder)
    if config.unify_sizes:
        dataset = unified(dataset)
        stop_on = None if stop_on is None else unified(stop_on)
    start = None if start_from is None else open_start(start_from)
    known = known_pixels_per_dva(dataset, config)
    if start is not None:
        config = adopt(config, start, known, enlargement(dataset))
        if known is None:
            known = start.card.get("pixels_per_dva")
            config = dataclasses.replace(config, pixels_per_dva=known)
    config = config.resolved(start is not None, jax.default_backend() != "cpu")
    if config.features_in_step and max_cache_bytes is not None:
        raise ConfigError(
            "a bound for the feature cache was given, and with features_in_step there "
            "is none; leave one of them out"
        )
    members = members_of(len(dataset), config)
    check_fixations(dataset, members.all_folds, members.fold_ids)
    model = config.model
    features_card = weights.features_card(model.network)
    plan = _plan(dataset, config)
    identity = run_identity(config, plan, dataset)
    identity["start_from"] = None if start is None else start.identity
    stop_plan = None
    if stop_on is not None:
        if config.folds != "all":
            raise ConfigError(
                f"folds is {config.folds}, whose validation parts say when to stop; "
                "--stop-on needs --folds all"
            )
        stop_plan = _plan(stop_on, config, known)
        identity["stop_on"] = data_identity(stop_on, stop_plan)
    placement = place(
        len(members.ids), config.batch_size, features_in_step=config.features_in_step
    )
    # One process tells and writes.
    report = progress if progress and placement.is_first else lambda _: None
    placement.first_does(lambda: check_run(run, identity, resume))
    if resume and not (run / "config.json").exists():
        new = f"{run} holds no run yet: this one begins at the start"
        report(Progress("features", 0, len(dataset), message=new))
    network = StepNetwork()
    if config.features_in_step:
        network = place_network(model, config.feature_dtype, placement)
    read = functools.partial(
        _data, config, placement, network, max_bytes=max_cache_bytes, report=report
    )
    data = read(dataset, plan, members.all_folds, members.fold_ids)
    stop_data = data
    if stop_on is not None:
        fold = Fold([], np.arange(len(stop_on)), [])
        check_fixations(stop_on, [fold], [0])
        same = [0] * len(members.ids)
        stop_data = read(stop_on, stop_plan, [fold], same, data.center_biases)
        _check_apart(data, stop_data, stop_on)

    from_folds = (
        []
        if start is None
        else start_folds(start, members, dataset.image_names, data.cache.rgb_sha256)
    )

    def begin(mean: np.ndarray, scale: np.ndarray) -> dict[str, Any]:
        """Return the parameters before the first step."""
        if start is not None:
            params = start_params(start, from_folds, mean, scale)
        else:
            params = model.init(config.seed, max(members.ids) + 1)
            params = select_folds(params, members.ids)
        for name, value in config.switched_off().items():
            finalizer = params["finalizer"]
            finalizer[name] = np.full_like(np.asarray(finalizer[name]), value)
        return params

    session = Session(
        config=config,
        members=members,
        data=data,
        stop_data=stop_data,
        placement=placement,
        steps=make_steps(model, config.optimiser, placement),
        report=report,
    )
    # Only now: a run that could not start leaves nothing to go on with.
    names = [members.name(k) for k in range(len(members.ids))]
    events = run / "tensorboard" if tensorboard and placement.is_first else None
    with (
        _folder(run, identity, resume, placement) as checkpoints,
        scalars(events, names) as show,
    ):
        state, log = _start(run, session, begin, checkpoints)
        if start is not None and not log:
            # What the model reaches as it is; a member that never gets better keeps it.
            scores = score(session, state)
            scores = np.where(np.isfinite(scores), scores, -np.inf)
            state = state.replace(best_score=np.float32(scores))
        while len(log) < config.epochs and state.active.any():
            try:
                state, record = epoch(session, state, log)
            except TrainingError as error:
                if placement.is_first:
                    write_alarm(run, log, str(error))
                raise
            log.append(record)
            # The log first: a checkpoint must never be ahead of it.
            if placement.is_first:
                write_log(run, log)
                show(record)
            checkpoints.save(len(log), {"state": state})
        more: dict[str, Any] = {}
        if stop_on is not None:
            more["stop_on"] = {"name": stop_on.name, "n_images": len(stop_on)}
        if start is not None:
            more["start_from"] = start.identity
            before = state.replace(average=begin(state.mean, state.scale))
            more["scores"] = {
                "test_information_gain_before": _listed(score(session, before, "test")),
                "test_information_gain_after": _listed(
                    score(session, state, "test", "best")
                ),
            }
        if placement.is_first:
            save_run_model(
                run, dataset, config, members, data, state, features_card, more
            )
    return run / RUN_MODEL


@contextlib.contextmanager
def _folder(
    run: Path, identity: dict[str, Any], resume: bool, placement: Placement
) -> Iterator[Checkpoints]:
    """Return a context that holds the run's folder, which all processes see."""
    with contextlib.ExitStack() as stack:
        claim = claim_run(run, identity, resume)
        placement.first_does(lambda: stack.enter_context(claim))
        yield stack.enter_context(Checkpoints(run / "checkpoints"))


def _listed(scores: np.ndarray) -> list[float | None]:
    """Return scores for JSON, None where there is none."""
    return [float(value) if np.isfinite(value) else None for value in scores]


def _plan(
    dataset: FixationDataset, config: TrainConfig, pixels_per_dva: float | None = None
) -> CachePlan:
    """Return the plan of a data set's features; see `image_scales`."""
    scales = image_scales(dataset, config, pixels_per_dva)
    dtype = "float32" if config.features_in_step else config.feature_dtype
    return whole_plan(dataset, config.model, scales, dtype)


def _check_apart(
    data: TrainingData, stop_data: TrainingData, stop_on: FixationDataset
) -> None:
    """Raise ConfigError where a picture is trained on and says when to stop."""
    trained = set(data.cache.rgb_sha256)
    hashes = stop_data.cache.rgb_sha256
    both = [k for k, value in enumerate(hashes) if value in trained]
    if both:
        raise ConfigError(
            f"{len(both)} pictures of {stop_on.name} are trained on as well, first "
            f"{stop_on.image_names[both[0]]}; stop on data without them"
        )


def _data(
    config: TrainConfig,
    placement: Placement,
    network: StepNetwork,
    dataset: FixationDataset,
    plan: CachePlan,
    all_folds: Sequence[Fold],
    fold_ids: Sequence[int],
    center_biases: np.ndarray | None = None,
    *,
    max_bytes: int | None,
    report: Report,
) -> TrainingData:
    """Return a data set with its features, which are computed where missing."""

    def tell(text: str) -> None:
        report(Progress("features", 0, len(dataset), message=text))

    def count(done: int, total: int) -> None:
        report(Progress("features", done, total))

    in_unit, unit = (1e9, "GB") if plan.n_bytes > 1e8 else (1e6, "MB")
    size = f"{plan.n_bytes / in_unit:.2f} {unit}"
    if config.features_in_step:
        tell(
            f"features in every step, {config.feature_dtype}: no cache, which would "
            f"take {size}; every picture is decoded once before"
        )
        cache = open_pictures(plan, dataset, placement, count)
    else:
        tell(f"feature cache: {size} in {plan.folder}")
        cache = own_features(
            plan,
            dataset,
            config.model,
            placement,
            max_bytes=max_bytes,
            progress=count,
            tell=tell,
        )
    return prepare(
        dataset,
        cache,
        config.model,
        all_folds,
        fold_ids,
        placement,
        center_biases,
        network,
        mixed=config.solver == "lbfgs",
    )


def _start(
    run: Path,
    session: Session,
    begin: Callable[[np.ndarray, np.ndarray], dict[str, Any]],
    checkpoints: Checkpoints,
) -> tuple[FoldState, list[dict[str, Any]]]:
    """Return the state to begin with, on the host, and the log up to there."""
    config, placement = session.config, session.placement
    shape = (len(session.members.ids), config.model.channels)
    mean, std = np.zeros(shape, np.float32), np.ones(shape, np.float32)
    latest = checkpoints.latest
    # A layer norm scales the features itself.
    as_is = config.feature_scaling == "off" or config.model.layer_norm
    if latest is None and not as_is:
        own_mean, std = session.data.moments()
        if config.feature_scaling == "standard":
            mean = own_mean
    state = init_state(begin(mean, 1 / std), mean, 1 / std, config.optimiser)
    if latest is None:
        return jax.device_get(state), []
    text = ""

    def read() -> None:
        nonlocal text
        text = json.dumps(read_log(run, latest))

    placement.first_does(read)
    log = json.loads(placement.share_text(text))
    return jax.device_get(checkpoints.load({"state": state})["state"]), log
