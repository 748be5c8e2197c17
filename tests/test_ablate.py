"""The ablation experiment on a tiny data set, as the command that it is."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny

from deepgaze_jax.summaries import bootstrap_interval, paired_interval

SCRIPT = Path(__file__).parents[1] / "experiments" / "ablate.py"


def ablate(cache, data, root, *more):
    command = [sys.executable, "-W", "error", SCRIPT, "--data", data]
    command += ["--runs", root / "runs", "-o", root / "results", "--epochs", "1"]
    result = subprocess.run(
        [*command, *more],
        env={**os.environ, "DEEPGAZE_CACHE": str(cache)},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert result.returncode == 0, result.stderr
    with open(root / "results" / "ablation.csv", newline="") as file:
        return list(csv.DictReader(file)), result.stdout


@pytest.mark.study
def test_ablation_of_two_factors(tiny_weights, tmp_path):
    data = tiny.write_folder(tmp_path / "data", [tiny.WIDE] * 12, 8)
    fewer = ["--only-folds", "0", "1", "2"]
    levels = ["--factors", "depth_and_width", "subjects", "--levels", "linear", "1"]
    alone, _ = ablate(tiny_weights[0], data, tmp_path, *fewer, *levels)
    assert [row["level"] for row in alone] == ["linear", "1"]
    assert {row["difference"] for row in alone} == {""}
    # The released one afterwards: the others are not trained again.
    runs = tmp_path / "runs"
    before = (runs / "depth_and_width-linear" / "log.jsonl").stat().st_mtime_ns
    levels = ["--factors", "reference", "--levels", "released"]
    rows, told = ablate(tiny_weights[0], data, tmp_path, *fewer, *levels)
    assert (runs / "depth_and_width-linear" / "log.jsonl").stat().st_mtime_ns == before
    assert [row["level"] for row in rows] == ["released", "linear", "1"]
    assert len(told.splitlines()) == 3

    def scores(run):
        return json.loads((runs / run / "validation_scores.json").read_text())

    first = scores("reference-released")
    bias = np.array(first["log_likelihood"]) - first["information_gain"]
    for row, run in zip(
        rows,
        ("reference-released", "depth_and_width-linear", "subjects-1"),
        strict=True,
    ):
        # Validation parts of 1, 2 and 2 images; all people's fixations in all variants.
        assert int(row["n_images"]) == 5 and int(row["n_folds"]) == 3
        own = scores(run)
        assert own["images"] == first["images"]
        gain = np.array(own["log_likelihood"]) - bias
        assert float(row["validation_information_gain"]) == pytest.approx(gain.mean())
        ends = float(row["low"]), float(row["high"])
        assert ends == pytest.approx(bootstrap_interval(gain))
        ends = float(row["difference_low"]), float(row["difference_high"])
        assert ends == pytest.approx(paired_interval(gain, first["information_gain"]))
    assert float(rows[0]["difference"]) == pytest.approx(0, abs=1e-12)
    pictures = {path.name for path in (tmp_path / "results").glob("*.png")}
    assert pictures == {
        "ablation_reference.png",
        "ablation_depth_and_width.png",
        "ablation_subjects.png",
    }
