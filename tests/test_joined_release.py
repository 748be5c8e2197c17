"""The release of joined seeds, every step of it, on made-up data."""

import importlib
import json
import sys

import numpy as np
import pytest
from published import ROOT
from safetensors.numpy import load_file

from deepgaze_jax.cli import main
from deepgaze_jax.datasets.folder import read_folder
from deepgaze_jax.datasets.home import resolve_dataset
from deepgaze_jax.evaluation import evaluate
from deepgaze_jax.prediction import load_pretrained
from deepgaze_jax.training import TrainConfig


@pytest.mark.slow
def test_what_is_scored_is_what_is_written(tmp_path, monkeypatch):
    """ICF's features in the place of VGG-19's: nothing has to be fetched."""
    monkeypatch.syspath_prepend(str(ROOT / "experiments/osie"))
    osie = importlib.import_module("_osie")
    monkeypatch.setenv("DEEPGAZE_DATA", str(tmp_path / "home"))
    monkeypatch.setenv("DEEPGAZE_CACHE", str(tmp_path / "cache"))
    assert main(["data", "import", "toy_gaze", "--name", "toy"]) == 0
    folder = resolve_dataset("toy")
    monkeypatch.setattr(osie, "ROOT", tmp_path)
    monkeypatch.setattr(osie, "RESULTS", tmp_path)
    released = tmp_path / "deepgaze_jax/pretrained/made-up.safetensors"
    released.parent.mkdir(parents=True)
    argv = ["x", "--data", folder, "--run", tmp_path / "run"]
    monkeypatch.setattr(sys, "argv", list(map(str, argv)))
    config = TrainConfig(architecture="icf", widths=(4, 1), n_seeds=2, epochs=1)
    osie.release("made-up", "osie_made_up", config, "made up", joined=True)

    kernels = {n: a for n, a in load_file(released).items() if n.endswith("kernel")}
    assert {array.dtype for array in kernels.values()} == {np.dtype(np.float16)}
    predictor = load_pretrained(released)
    assert predictor.model.widths == (8, 1) and predictor.n_folds == 10
    card = predictor.card
    assert card["name"] == "made-up" and card["joined_seeds"] == 2
    found = evaluate(predictor, read_folder(folder), name="made-up").as_json()
    stored = json.loads((tmp_path / "osie_made_up.json").read_text())
    assert card["scores"]["evaluation"]["per_image"] == stored["per_image"]
    assert found["per_image"] == stored["per_image"]
    assert stored["per_image"]["ig"]["mean"] != 0
