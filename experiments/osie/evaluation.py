"""Every metric of every model on OSIE, and of what other people reach.

    python experiments/osie/evaluation.py --data ../shared/data/osie

Scores each image by the fold that has not seen it; center bias and gold standard are
fitted on the other images. Writes `results/osie_evaluation.csv` (a row per image and
model), `.json` (means, intervals, paired differences, how it was computed) and the
table of metrics in README.md. An interrupted run goes on where it stopped.

Time on 2 cores: 15 to 30 minutes, with the feature caches that training leaves.
"""

import argparse
import json
from typing import Any

from _osie import RESULTS, ROOT

from deepgaze_jax.cli import main as deepgaze

MODELS = {
    "gold-standard": "gold standard (other people)",
    "deepgaze2-osie": "DeepGaze II",
    "deepgaze2-osie-paper": "DeepGaze II, the paper's readout",
    "deepgaze1-osie": "DeepGaze I",
    "icf-osie": "ICF",
    "center-bias": "center bias",
}
METRICS = {
    "ig": "IG",
    "ig_explained": "IG explained",
    "auc": "AUC",
    "sauc": "sAUC",
    "nss": "NSS",
    "cc": "CC",
    "kldiv": "KLDiv",
    "sim": "SIM",
}
MARKS = ("<!-- metrics:begin -->\n", "<!-- metrics:end -->")


def number(metric: str, value: float) -> str:
    """Return a mean as text."""
    return f"{100 * value:.1f} %" if metric == "ig_explained" else f"{value:.3f}"


def cell(metric: str, one: dict[str, Any], per_fixation: dict[str, Any]) -> str:
    """Return a mean, its interval, and the mean over fixations."""
    if metric not in one:
        return ""
    mean, low, high = (number(metric, one[metric][k]) for k in ("mean", "low", "high"))
    text = f"**{mean}**<br>{low} to {high}"
    if metric in per_fixation:
        text += f"<br>*{number(metric, per_fixation[metric]['mean'])}*"
    return text


def table(models: dict[str, Any]) -> str:
    """Return the table as Markdown."""
    lines = [
        "| model | " + " | ".join(METRICS.values()) + " |",
        "|---" * (len(METRICS) + 1) + "|",
    ]
    for name, title in MODELS.items():
        summary = models[name]
        cells = [
            cell(metric, summary["per_image"], summary["per_fixation"])
            for metric in METRICS
        ]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Evaluate, and write the table into README.md."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    arguments = parser.parse_args()
    output = RESULTS / "osie_evaluation.csv"
    command = ["evaluate", "--data", arguments.data, "-o", str(output), "--model"]
    if code := deepgaze([*command, *reversed(MODELS)]):
        raise SystemExit(code)
    summary = json.loads(output.with_suffix(".json").read_text(encoding="utf-8"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    before, rest = readme.split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    text = before + MARKS[0] + table(summary["models"]) + MARKS[1] + after
    (ROOT / "README.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
