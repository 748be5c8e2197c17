"""A training run as a folder: what it is, its log, and the model that it gives.

A run holds `config.json` (what was asked for), `log.jsonl` and `log.csv` (an epoch a
line), `alarms.txt` where something went wrong, `checkpoints/`, and at the end
`model.safetensors`.
"""

import contextlib
import csv
import dataclasses
import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

import deepgaze_jax
from deepgaze_jax.datasets.features import CachePlan
from deepgaze_jax.datasets.folder import FixationDataset
from deepgaze_jax.datasets.unified_sizes import enlargement
from deepgaze_jax.errors import ConfigError
from deepgaze_jax.file_lock import file_lock
from deepgaze_jax.files import make_folder, write_text
from deepgaze_jax.members import Members
from deepgaze_jax.model_files import load_model, save_model
from deepgaze_jax.train_config import TrainConfig
from deepgaze_jax.train_step import FoldState, raw_params
from deepgaze_jax.training_data import TrainingData

__all__ = [
    "check_run",
    "claim_run",
    "data_identity",
    "export_run",
    "image_scales",
    "known_pixels_per_dva",
    "read_config",
    "read_log",
    "run_identity",
    "save_run_model",
    "write_alarm",
    "write_log",
]


def image_scales(
    dataset: FixationDataset, config: TrainConfig, pixels_per_dva: float | None = None
) -> np.ndarray:
    """Return the resize factor of each picture in front of the model, [n_images].

    Args:
        dataset: pictures.
        config: of the run.
        pixels_per_dva: that `input_scale` is meant for; by default that of the data.
    """
    scales = np.full(len(dataset), config.input_scale)
    if dataset.pixels_per_dva is None or config.unify_sizes:
        return scales
    meant = pixels_per_dva or known_pixels_per_dva(dataset, config)
    return scales * meant / dataset.pixels_per_dva


def known_pixels_per_dva(dataset: FixationDataset, config: TrainConfig) -> float | None:
    """Return the pixels per degree of a data set, as it states or as was given.

    Raises:
        ConfigError: the two differ.
    """
    if dataset.pixels_per_dva is None:
        return config.pixels_per_dva
    stated = float(np.median(dataset.pixels_per_dva))
    if config.pixels_per_dva not in (None, stated):
        raise ConfigError(
            f"pixels_per_dva is {config.pixels_per_dva}, but images.csv states "
            f"{stated}; leave the option out"
        )
    return stated


def read_config(run: str | Path) -> TrainConfig:
    """Return what a run was asked to do.

    Raises:
        ConfigError: the folder holds no run, or one of another version.
    """
    path = Path(run) / "config.json"
    fields = {field.name for field in dataclasses.fields(TrainConfig)}
    try:
        stored = dict(json.loads(path.read_text(encoding="utf-8")))
        values = {
            # JSON has lists where a configuration, to be hashable, has tuples.
            name: tuple(value) if isinstance(value, list) else value
            for name, value in stored.items()
            if name in fields
        }
        return TrainConfig(**values)
    except (OSError, ValueError, TypeError, ConfigError) as error:
        raise ConfigError(
            f"{path} is missing, damaged or of another version ({error}); give the "
            "folder of a run"
        ) from error


def data_identity(dataset: FixationDataset, plan: CachePlan) -> dict[str, str]:
    """Return what tells a data set from any other."""
    fixations = dataset.fixations
    table = b"".join(
        np.ascontiguousarray(getattr(fixations, name)).tobytes()
        for name in ("image", "subject", "fixation_index", "x", "y")
    )
    return {
        "name": dataset.name,
        "features": hashlib.sha256(plan.key.encode()).hexdigest(),
        "fixations": hashlib.sha256(table).hexdigest(),
    }


def run_identity(
    config: TrainConfig, plan: CachePlan, dataset: FixationDataset
) -> dict[str, Any]:
    """Return what makes a run this run and no other, as it is read from JSON."""
    identity = {
        **dataclasses.asdict(config),
        "data": {
            **data_identity(dataset, plan),
            "pixels_per_dva": known_pixels_per_dva(dataset, config),
        },
    }
    return json.loads(json.dumps(identity))


def check_run(run: Path, identity: dict[str, Any], resume: bool) -> None:
    """Raise ConfigError where the folder holds a run that this one must not touch."""
    path = run / "config.json"
    if run.exists() and not run.is_dir():
        raise ConfigError(f"{run} is a file; give a folder for the run")
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
    options = [
        f"{name} was {before.get(name)!r} and is {identity.get(name)!r}"
        for name in sorted({*before, *identity} - {"data"})
        if before.get(name) != identity.get(name)
    ]
    if options:
        raise ConfigError(
            f"{run} is another run: {'; '.join(options)}; repeat the options that it "
            "was started with, or choose another folder"
        )
    if before.get("data") != identity["data"]:
        raise ConfigError(
            f"{run} is a run on other data: "
            f"{'; '.join(_differences(before.get('data'), identity['data']))}; give "
            "the data that it was started with, or choose another folder"
        )


def _differences(before: Any, data: dict[str, Any]) -> list[str]:
    """Return what is different in the data of a run, in words."""
    before = before if isinstance(before, dict) else {}
    words = {"fixations": "the fixations differ", "features": "the pictures differ"}
    return [
        words.get(name, f"its {name} was {before.get(name)!r} and is {data[name]!r}")
        for name in data
        if before.get(name) != data[name]
    ]


@contextlib.contextmanager
def claim_run(run: Path, identity: dict[str, Any], resume: bool) -> Iterator[None]:
    """Return a context that only one process of a run is inside of.

    Writes what the run is, unless that is already there.

    Raises:
        ConfigError: another process is at work there, or see `check_run`.
    """

    def refuse() -> None:
        raise ConfigError(
            f"another process is training in {run}; wait for it, or choose another "
            "folder"
        )

    make_folder(run)
    with file_lock(run / "run.lock", refuse):
        # Another process may have come and gone since the first look.
        check_run(run, identity, resume)
        if not (run / "config.json").exists():
            write_text(run / "config.json", json.dumps(identity, indent=2) + "\n")
        yield


def write_log(run: Path, log: Sequence[dict[str, Any]]) -> None:
    """Write the log as JSON lines and, without lists, as CSV; alarms as text."""
    write_text(run / "log.jsonl", "".join(json.dumps(line) + "\n" for line in log))
    columns = [name for name, value in log[0].items() if not isinstance(value, list)]
    table = io.StringIO()
    writer = csv.DictWriter(table, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(log)
    write_text(run / "log.csv", table.getvalue())
    write_alarm(run, log)


def write_alarm(run: Path, log: Sequence[dict[str, Any]], last: str = "") -> None:
    """Write all alarms of a run, if there are any, and what ended it."""
    lines = [line for record in log for line in record.get("alarms", [])]
    lines += [last] if last else []
    if lines:
        write_text(run / "alarms.txt", "".join(f"{line}\n" for line in lines))


def read_log(run: Path, n_epochs: int) -> list[dict[str, Any]]:
    """Return the first epochs of a run's log.

    Raises:
        ConfigError: it is shorter than that, or damaged.
    """
    path = run / "log.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    if len(lines) < n_epochs:
        raise ConfigError(
            f"{path} has {len(lines)} lines, but the newest checkpoint is of epoch "
            f"{n_epochs}; restore the log or start a new run"
        )
    try:
        return [json.loads(line) for line in lines[:n_epochs]]
    except ValueError as error:
        raise ConfigError(
            f"{path} is damaged ({error}); restore it or start a new run"
        ) from error


def save_run_model(
    run: Path,
    dataset: FixationDataset,
    config: TrainConfig,
    members: Members,
    data: TrainingData,
    state: FoldState,
    features_card: dict[str, Any],
    more: Mapping[str, Any] | None = None,
) -> Path:
    """Return the model file of a finished run, `run/model.safetensors`.

    Args:
        run: folder of the run.
        dataset: what it was trained on.
        config: of the run.
        members: of the run.
        data: the same data, prepared.
        state: the last state, which holds the best parameters of each fold.
        features_card: of the feature network's weights.
        more: further scores and origins for the card.
    """
    params = raw_params(state.best, state.mean, state.scale)
    tensors = {
        "/".join(key.key for key in path): np.asarray(leaf, np.float32)
        for path, leaf in jax.tree.leaves_with_path(params)
    }
    tensors["center_bias/log_density"] = np.float32(data.center_biases)
    path = run / "model.safetensors"
    card = _card(dataset, config, members, data, state, features_card)
    more = dict(more or {})
    card["scores"] |= more.pop("scores", {})
    save_model(path, tensors, card | more)
    return path


def _card(
    dataset: FixationDataset,
    config: TrainConfig,
    members: Members,
    data: TrainingData,
    state: FoldState,
    features_card: dict[str, Any],
) -> dict[str, Any]:
    """Return what the model file says about itself."""
    hashes = data.cache.rgb_sha256
    return {
        "name": "",
        "network": config.model.network,
        "family": features_card["family"],
        "features_sha256": features_card["source_sha256"],
        "model": dataclasses.asdict(config.model),
        # From pictures as people have them, not as they were unified.
        "input_scale": config.input_scale * enlargement(dataset),
        "pixels_per_dva": known_pixels_per_dva(dataset, config),
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
                **({"seed": seed} if config.n_seeds > 1 else {}),
            }
            for k, fold, seed in zip(
                members.fold_ids, members.folds, members.seeds, strict=True
            )
        ],
        "protocol": {
            "parts": config.folds,
            "n_folds": config.n_folds,
            "split_seed": 42,
        },
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
    half_kernels: bool = False,
) -> Path:
    """Return the model file made from a finished run.

    Args:
        run_folder: folder of the run.
        path: file to write, ending in `.safetensors`.
        evaluation: summary of an evaluation for the card, see `evaluation.Report`.
        half_kernels: see `save_model`.

    Raises:
        WeightsError: the run has not finished.
    """
    path = Path(path)
    tensors, card = load_model(Path(run_folder))
    card["name"] = path.stem
    if evaluation is not None:
        # Without its name for the model, which is this one.
        kept = {name: value for name, value in evaluation.items() if name != "model"}
        card["scores"] = {**card["scores"], "evaluation": kept}
    save_model(path, tensors, card, half_kernels)
    return path
