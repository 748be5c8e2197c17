"""The files of an evaluation: a tidy table, and beside it how it came about."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import scipy

from deepgaze_jax import __version__
from deepgaze_jax.datasets.folder import FixationDataset
from deepgaze_jax.errors import ConfigError, DataError, InputError
from deepgaze_jax.evaluation.aggregate import (
    add_explained,
    pairs_of_models,
    summary_of_scores,
)
from deepgaze_jax.evaluation.comparison import (
    ImageRow,
    ModelScores,
    ScoreSettings,
    data_sha256,
)
from deepgaze_jax.evaluation.scoring import MAPS
from deepgaze_jax.evaluation.tables import (
    check_table_name,
    companion,
    read_table,
    write_rows,
)
from deepgaze_jax.files import write_text

__all__ = [
    "Report",
    "check_report_names",
    "read_finished",
    "report",
    "write_report",
]

_GOLD = "gold standard"
_AVERAGING = {
    "per_image": "mean over the fixations of each image, then over images",
    "per_fixation": "mean over all fixations (images weighted by their number)",
}


@dataclass(frozen=True, eq=False)
class Report:
    """An evaluation of some models on one data set.

    Attributes:
        models: their scores.
        summaries: name of each model -> its means and intervals, ready for JSON.
        shared: what holds for all of them.
        pairs: paired differences of all pairs of models.
    """

    models: tuple[ModelScores, ...]
    summaries: Mapping[str, dict[str, Any]]
    shared: dict[str, Any]
    pairs: list[dict[str, Any]]

    def as_json(self) -> dict[str, Any]:
        """Returns it ready for JSON; that of a single model is its own summary."""
        if len(self.models) == 1:
            return {**self.summaries[self.models[0].name], **self.shared}
        models = {
            name: {k: v for k, v in summary.items() if k not in self.shared}
            for name, summary in self.summaries.items()
        }
        return {**self.shared, "models": models, "pairs": self.pairs}


def report(
    models: Sequence[ModelScores],
    dataset: FixationDataset,
    settings: ScoreSettings,
    baseline_names: Mapping[str, str],
    seed: int = 0,
) -> Report:
    """Returns means, intervals, shares and differences of models.

    Args:
        models: scores of each on the data set.
        dataset: images and fixations.
        settings: what was computed.
        baseline_names: model -> what its information gain is measured over.
        seed: of all bootstraps.

    Raises:
        InputError: a score that is not finite.
    """
    gold = next((model for model in models if model.card["kind"] == _GOLD), None)
    summaries = {}
    for model in models:
        summary = summary_of_scores(
            [row.image for row in model.rows],
            [row.n_fixations for row in model.rows],
            {
                metric: [row.scores[metric] for row in model.rows]
                for metric in settings.metrics
            },
            baseline_names[model.name],
            seed,
        )
        if gold is not None and "ig" in settings.metrics:
            add_explained(summary, model, gold, seed)
        summaries[model.name] = summary | _origin(model)
    blur = {"px": settings.blur_px, "dva": settings.blur_dva}
    shared = {
        "data": dataset.name,
        "data_sha256": data_sha256(dataset),
        "n_subjects": len(dataset.subject_names),
        "averaging": _AVERAGING,
        "maps": {metric: MAPS[metric] for metric in settings.metrics},
        "blur_of_empirical_map": {k: v for k, v in blur.items() if v is not None},
        "version": __version__,
        "versions": {
            "jax": jax.__version__,
            "numpy": np.__version__,
            "scipy": scipy.__version__,
        },
    }
    over = set(baseline_names.values())
    if len(over) == 1:
        shared["ig_over"] = over.pop()
    return Report(
        models=tuple(models),
        summaries=summaries,
        shared=shared,
        pairs=pairs_of_models(models, seed) if len(models) > 1 else [],
    )


def write_report(path: str | Path, report: Report) -> Path:
    """Writes the table and, beside it, the JSON; returns where the JSON is.

    The table has one row per image and model: image, model, n_fixations and one column
    per metric (empty where it is not defined).

    Args:
        path: of the table, ending in .csv or .parquet.
        report: from `report`.

    Raises:
        ConfigError: see `check_report_names`.
        InputError: what JSON cannot hold.
    """
    path = Path(path)
    check_report_names(path)
    summary = report.as_json()
    try:
        json.dumps(summary, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"the summary cannot be written as JSON: {error}") from error
    metrics = list(report.models[0].rows[0].scores)
    rows = [
        [row.image, model.name, row.n_fixations, *row.scores.values()]
        for model in report.models
        for row in model.rows
    ]
    write_rows(path, ["image", "model", "n_fixations", *metrics], rows)
    beside = companion(path)
    summary["table_sha256"] = _sha256(path)
    write_text(beside, json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
    return beside


def check_report_names(path: str | Path) -> None:
    """Returns nothing if an evaluation may be written there, else raises ConfigError.

    Args:
        path: of the table, which may be there; the JSON beside it, whose name nobody
            has typed, may only be that of another evaluation.
    """
    check_table_name(path)
    beside = companion(path)
    if beside.exists():
        try:
            found = json.loads(beside.read_text(encoding="utf-8"))
            is_ours = bool({"averaging", "ig_over"} & set(found))
        except (OSError, ValueError, TypeError):
            is_ours = False
        if not is_ours:
            raise ConfigError(
                f"{beside}: is no JSON of an evaluation and would be overwritten; call "
                "the table otherwise"
            )


def read_finished(path: str | Path) -> dict[str, ModelScores]:
    """Returns the models of an earlier evaluation by their keys; {} if none is there.

    A table that is not the one that the JSON was written for counts as none: it was
    edited, or a run ended between the two files.

    Args:
        path: of a table that `write_report` may have written.
    """
    path = Path(path)
    try:
        summary = json.loads(companion(path).read_text(encoding="utf-8"))
        if summary["table_sha256"] != _sha256(path):
            return {}
        rows = read_table(path)
        summaries = summary.get("models") or {summary["model"]["label"]: summary}
        return {
            one["model"]["key"]: _finished(name, one, rows)
            for name, one in summaries.items()
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError, DataError):
        # Of another version, or not from here: it is computed anew.
        return {}


def _finished(name: str, summary: dict[str, Any], rows: list[dict]) -> ModelScores:
    own = [
        ImageRow(
            row["image"],
            row["n_fixations"],
            {k: v for k, v in row.items() if k in MAPS},
        )
        for row in rows
        if row["model"] == name
    ]
    scored_by = dict(summary["scored_by_fold"])
    if summary["scored_by_mixture"]:
        scored_by["mixture"] = summary["scored_by_mixture"]
    if summary["scored_without_fold"]:
        scored_by[""] = summary["scored_without_fold"]
    card = {k: v for k, v in summary["model"].items() if k not in ("label", "key")}
    return ModelScores(
        name=name,
        rows=tuple(own),
        refused=tuple(summary["images_refused"]),
        scored_by=scored_by,
        card=card,
        key=summary["model"]["key"],
    )


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _origin(model: ModelScores) -> dict[str, Any]:
    """Returns what the model is, and which of its parameters scored what."""
    by_fold = {k: n for k, n in model.scored_by.items() if k not in ("mixture", "")}
    origin = {
        "model": {**model.card, "label": model.name, "key": model.key},
        "scored_by_fold": by_fold,
        "scored_by_mixture": model.scored_by.get("mixture", 0),
        "scored_without_fold": model.scored_by.get("", 0),
        "n_images_refused": len(model.refused),
        "images_refused": list(model.refused),
    }
    for name in ("fold", "pixels_per_dva"):
        if name in model.card:
            origin[name] = model.card[name]
    return origin
