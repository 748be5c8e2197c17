"""DeepGaze II on OSIE: trains ten folds, scores the test parts, writes the release.

    python experiments/osie_deepgaze2.py --data ../shared/data/osie --run runs/osie

Writes `experiments/results/osie_deepgaze2.csv` (one row per image) and `.json` (means
and intervals), the table in README.md, and `deepgaze_jax/pretrained/deepgaze2-osie`.
The configuration was chosen on validation parts (`osie_search.py`); the test parts are
scored here, once. An interrupted run goes on where it stopped.

Time on 2 cores: about 20 minutes for the features of the 700 photographs, then about
5 minutes. Disk: 5.9 GB of features in the cache. Memory: 3 GB.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from deepgaze_jax.datasets.folder import read_folder
from deepgaze_jax.evaluation import evaluate, find_cache, write_table
from deepgaze_jax.metrics import bootstrap_interval
from deepgaze_jax.prediction import load_pretrained
from deepgaze_jax.training import TrainConfig, export_run, train

CONFIG = TrainConfig(pixels_per_dva=24.0)
NAME = "deepgaze2-osie"
ROOT = Path(__file__).parents[1]
MARKS = ("<!-- results:begin -->\n", "<!-- results:end -->")


def row(
    name: str, ll: dict[str, float], ig: dict[str, float] | None, ig_fix: float
) -> str:
    """Return one line of the table."""
    gain = "0" if ig is None else f"**{ig['mean']:.3f}**"
    interval = "" if ig is None else f"{ig['low']:.3f} to {ig['high']:.3f}"
    return f"| {name} | {ll['mean']:.3f} | {gain} | {interval} | {ig_fix:.3f} |"


def table(scores: list[Any], summary: dict[str, Any]) -> str:
    """Return the README's table."""
    baseline = np.array([score.ll - score.ig for score in scores if score.n_fixations])
    low, high = bootstrap_interval(baseline)
    bias = {"mean": baseline.mean(), "low": low, "high": high}
    per_image, per_fixation = summary["per_image"], summary["per_fixation"]
    head = (
        "| model | LL | IG over center bias | 95 % interval | IG, per-fixation mean |\n"
        "|---|---|---|---|---|\n"
    )
    lines = [
        row("center bias", bias, None, 0.0),
        row(
            "DeepGaze II (`deepgaze2-osie`)",
            per_image["ll"],
            per_image["ig"],
            per_fixation["ig"]["mean"],
        ),
    ]
    return head + "\n".join(lines) + "\n"


def main() -> None:
    """Train, evaluate on the test parts, export and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--run", type=Path, required=True)
    arguments = parser.parse_args()
    dataset = read_folder(arguments.data)

    def tell(progress: Any) -> None:
        if progress.total and progress.done == progress.total:
            print(progress, flush=True)

    train(dataset, CONFIG, arguments.run, resume=True, progress=tell)
    predictor = load_pretrained(arguments.run)
    scores, summary = evaluate(predictor, dataset, cache=find_cache(predictor, dataset))
    write_table(ROOT / "experiments/results/osie_deepgaze2.csv", scores, summary)
    released = ROOT / f"deepgaze_jax/pretrained/{NAME}.safetensors"
    export_run(arguments.run, released, summary)
    readme = (ROOT / "README.md").read_text()
    before, rest = readme.split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    text = before + MARKS[0] + table(scores, summary) + MARKS[1] + after
    (ROOT / "README.md").write_text(text)
    print(json.dumps({key: summary[key] for key in ("per_image", "per_fixation")}))


if __name__ == "__main__":
    main()
