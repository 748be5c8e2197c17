"""The tutorial, block by block as it stands, and the calls that its tables name."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
TUTORIAL = ROOT / "experiments/tutorial.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks():
    return BLOCK.findall(TUTORIAL.read_text(encoding="utf-8"))


def test_blocks_are_shell_or_python():
    languages = [language for language, _ in blocks()]
    assert set(languages) == {"bash", "python"}
    assert TUTORIAL.read_text(encoding="utf-8").count("```") == 2 * len(languages)


@pytest.mark.parametrize(("language", "text"), blocks())
def test_commands_and_options_exist(language, text, capsys):
    """Without running anything: names of verbs and of their options."""
    from deepgaze_jax.cli import main

    if language != "bash":
        compile(text, "block", "exec")
        return
    for line in text.replace("\\\n", " ").splitlines():
        words = line.split()
        assert words[0] == "deepgaze"
        verb = words[1:3] if words[1] in ("data", "weights") else words[1:2]
        assert main([*verb, "--help"]) == 0
        shown = capsys.readouterr().out
        for option in (word for word in words if re.match(r"--?[a-z]", word)):
            assert re.search(rf"(?<![\w-]){option}\b", shown), f"{verb}: {option}"


@pytest.mark.slow
def test_tutorial_runs_as_it_stands(tmp_path):
    environment = {
        **os.environ,
        "DEEPGAZE_DATA": str(tmp_path / "home"),
        "DEEPGAZE_CACHE": str(tmp_path / "cache"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    work = tmp_path / "work"
    work.mkdir()
    printed = ""
    for language, text in blocks():
        argv = {
            "bash": ["bash", "-euo", "pipefail", "-c", text],
            "python": [sys.executable, "-W", "error", "-c", text],
        }[language]
        done = subprocess.run(
            argv, cwd=work, env=environment, capture_output=True, text=True, timeout=900
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        assert "Warning" not in done.stderr, done.stderr
        printed += done.stdout
    check_results(work, tmp_path / "home/mine", printed)


def check_results(work, data, printed):
    # The recordings came through the import: counted from 1 there, from 0 here.
    with (data / "fixations.csv").open(newline="") as file:
        imported = list(csv.DictReader(file))
    theirs = []
    for path in sorted((work / "recordings").glob("*.tsv")):
        with path.open(newline="") as file:
            theirs += list(csv.DictReader(file, delimiter="\t"))
    key = sorted((r["image"], float(r["x"]), float(r["y"])) for r in imported)
    assert len(key) > 500
    expected = sorted((r["Trial"], float(r["FixX"]), float(r["FixY"])) for r in theirs)
    for (image, x, y), (trial, fix_x, fix_y) in zip(key, expected, strict=True):
        assert image == trial
        assert (x, y) == pytest.approx((fix_x - 1, fix_y - 1), abs=1e-6)
    assert (work / "sheet.png").stat().st_size > 1000
    # Models: what is fitted to the data is better than what is not.
    summary = json.loads((work / "table.json").read_text())["models"]
    gain = {name: one["per_image"]["ig"]["mean"] for name, one in summary.items()}
    others = {"icf-osie", "brightness", "center-bias", "gold-standard"}
    assert set(gain) == {"tuned", *others}
    assert gain["center-bias"] == 0
    assert gain["tuned"] > 0 and gain["brightness"] > 0 and gain["gold-standard"] > 0
    assert re.search(r"test IG [\d.-]+ bit/fixation before, [\d.-]+ after", printed)
    assert "fine-tuning: " in printed
    assert (work / "figures/ig_explained.png").stat().st_size > 1000
    # What was exported.
    log_density = np.load(work / "results/picture_log_density.npy")
    assert log_density.shape == (240, 320)
    assert np.exp(log_density.astype(float)).sum() == pytest.approx(1, abs=1e-5)
    with h5py.File(work / "densities.h5") as file:
        assert len(file) == 20 and "toy000.png" in file
    with h5py.File(work / "for_pysaliency/fixations.hdf5") as file:
        assert np.isfinite(file["train_xs"][()]).sum() == len(imported)


def test_tables_name_what_there_is():
    """Functions, readers and baselines of the right columns."""
    import deepgaze_jax
    from deepgaze_jax import metric_maps, metrics, to_density
    from deepgaze_jax.datasets import readers

    text = TUTORIAL.read_text(encoding="utf-8")
    for name in ("auc", "sauc", "nss", "cc", "sim", "kldiv"):
        assert f"`{name}`" in text and callable(getattr(metrics, name))
    for name in (
        *("load_pretrained", "read_folder", "fit_gold_standard", "fit_center_bias"),
        *("log_likelihood", "information_gain"),
    ):
        assert f"{name}" in text and callable(getattr(deepgaze_jax, name))
    assert callable(to_density.fit_to_density) and metric_maps.__doc__
    for name in re.findall(r"deepgaze data import (\w+)", text):
        assert name in readers.FORMATS
