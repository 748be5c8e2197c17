"""The features x readout experiment: its arithmetic, and every step on made-up data."""

import csv
import importlib
import json
import sys

import numpy as np
import pytest
from published import ROOT

from deepgaze_jax.datasets.home import resolve_dataset
from deepgaze_jax.model_files import load_model
from deepgaze_jax.training import TrainConfig


@pytest.fixture
def experiment(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "experiments/osie"))
    return importlib.import_module("features_times_readout")


def test_effects_and_interaction(experiment):
    gain = {
        ("A", "deep"): np.array([5.0, 7.0]),
        ("A", "linear"): np.array([4.0, 4.0]),
        ("B", "deep"): np.array([2.0, 3.0]),
        ("B", "linear"): np.array([1.5, 2.5]),
    }
    found = experiment.effects(gain)
    assert found["information_gain"]["A, deep"]["mean"] == 6
    assert found["deep_minus_linear"]["A"]["mean"] == 2
    assert found["deep_minus_linear"]["B"]["mean"] == 0.5
    assert found["deep_minus_linear"]["B"]["low"] == 0.5
    assert found["features"]["A minus B"]["linear"]["mean"] == 2
    # Image by image: (1 - 0.5, 3 - 0.5).
    assert found["interaction"]["A, B"] == {"mean": 1.5, "low": 0.5, "high": 2.5}


@pytest.mark.study
def test_on_made_up_data(experiment, tmp_path, monkeypatch):
    """Two recipes of ICF in the place of both networks: nothing has to be fetched."""
    from deepgaze_jax.cli import main

    monkeypatch.setenv("DEEPGAZE_DATA", str(tmp_path / "home"))
    monkeypatch.setenv("DEEPGAZE_CACHE", str(tmp_path / "cache"))
    assert main(["data", "import", "toy_gaze", "--name", "toy"]) == 0
    recipes = {
        "ICF": TrainConfig(architecture="icf", learning_rate=3e-2, input_scale=1.0),
        "enlarged": TrainConfig(architecture="icf", learning_rate=3e-2),
    }
    monkeypatch.setattr(experiment, "FEATURES", recipes)
    argv = ["x", "--data", resolve_dataset("toy"), "--runs", tmp_path / "runs"]
    argv += ["--epochs", "2", "--train-all", "-o", tmp_path / "out"]
    monkeypatch.setattr(sys, "argv", list(map(str, argv)))
    experiment.main()
    found = json.loads((tmp_path / "out/osie_features_times_readout.json").read_text())
    with (tmp_path / "out/osie_features_times_readout.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == found["n_images"] == 24
    gain = {
        name: np.array([float(row[name]) for row in rows])
        for name in rows[0]
        if name != "image"
    }
    assert list(gain) == [
        f"{features}, {how}" for features in recipes for how in ("deep", "linear")
    ]
    for name, values in gain.items():
        mean = found["information_gain"][name]["mean"]
        assert mean == pytest.approx(values.mean(), abs=1e-9)
        assert len(np.unique(values)) > 20
    interaction = (gain["ICF, deep"] - gain["ICF, linear"]) - (
        gain["enlarged, deep"] - gain["enlarged, linear"]
    )
    stored = found["interaction"]["ICF, enlarged"]["mean"]
    assert stored == pytest.approx(interaction.mean())
    widths = []
    for how in ("deep", "linear"):
        _, card = load_model(str(tmp_path / f"runs/ICF-{how}"))
        widths.append(len(card["model"]["widths"]))
    assert widths == [4, 1]
    # Again: nothing is trained, and the same numbers come out.
    log = tmp_path / "runs/ICF-deep/log.jsonl"
    before = log.stat().st_mtime_ns
    experiment.main()
    assert log.stat().st_mtime_ns == before
    again = json.loads((tmp_path / "out/osie_features_times_readout.json").read_text())
    assert again == found
