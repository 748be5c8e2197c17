"""What the experiments on OSIE share: train ten folds, score, release."""

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import numpy as np

from deepgaze_jax.datasets.folder import read_folder
from deepgaze_jax.evaluation import evaluate, find_cache, write_report
from deepgaze_jax.files import replacing
from deepgaze_jax.joined_seeds import join_seeds
from deepgaze_jax.model_files import load_model, save_model
from deepgaze_jax.prediction import load_pretrained
from deepgaze_jax.summaries import bootstrap_interval
from deepgaze_jax.training import TrainConfig, export_run, train

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "experiments/results"


def release(
    name: str,
    results: str,
    config: TrainConfig,
    description: str,
    joined: bool = False,
) -> None:
    """Train on `--data`, score the test parts once, write results and the model.

    Args:
        name: of the model, such as `icf-osie`.
        results: stem of the result files.
        config: chosen on validation parts.
        description: of the command.
        joined: make one readout of a fold's seeds, and store its kernels as float16;
            that file is what is scored.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", required=True)
    parser.add_argument("--run", type=Path, required=True)
    arguments = parser.parse_args()
    dataset = read_folder(arguments.data)

    def tell(progress: Any) -> None:
        if progress.total and progress.done == progress.total:
            print(progress, flush=True)

    train(dataset, config, arguments.run, resume=True, progress=tell)
    model = arguments.run
    if joined:
        model = arguments.run / "joined.safetensors"
        save_model(model, *join_seeds(*load_model(arguments.run)), half_kernels=True)
    predictor = load_pretrained(model)
    cache = find_cache(predictor, dataset)
    scores = evaluate(predictor, dataset, cache=cache, name=name)
    write_report(RESULTS / f"{results}.csv", scores)
    summary = scores.as_json()
    released = ROOT / f"deepgaze_jax/pretrained/{name}.safetensors"
    export_run(model, released, summary, half_kernels=joined)
    print(json.dumps({key: summary[key] for key in ("per_image", "per_fixation")}))


def spread(values: np.ndarray) -> dict[str, float]:
    """Return a mean over images with its 95 % interval."""
    low, high = bootstrap_interval(values)
    return {"mean": float(values.mean()), "low": low, "high": high}


def write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows as CSV, in one step; returns nothing."""
    with replacing(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def seconds_of(log: list[dict[str, Any]]) -> float:
    """Return how long the epochs of a run took."""
    return sum(one["seconds_training"] + one["seconds_validation"] for one in log)


def read_log(run: Path) -> list[dict[str, Any]]:
    """Return the records of a run, one an epoch."""
    lines = (run / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]
