"""The search of readouts: its arithmetic, and every step on made-up data."""

import csv
import importlib
import json
import sys

import numpy as np
import pytest
from published import ROOT

from deepgaze_jax.datasets.folder import read_folder
from deepgaze_jax.datasets.home import resolve_dataset
from deepgaze_jax.metrics import log_likelihood
from deepgaze_jax.prediction import load_pretrained
from deepgaze_jax.training import TrainConfig, train


@pytest.fixture
def experiment(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "experiments/osie"))
    return importlib.import_module("readout_search")


def test_single_seeds_and_their_mean_density(experiment):
    """Image 7 has two fixations, image 4 has one."""
    scores = {
        "image": np.array([7, 4, 7]),
        "log_likelihood": np.log2([[1, 2, 4], [3, 2, 0.5]]),
        "center_bias": np.array([0.5, 0.25, 0.0]),
    }
    images, gain = experiment.image_gains(scores)
    np.testing.assert_array_equal(images, [4, 7])
    seven = (np.log2([1, 4]).sum() + np.log2([3, 0.5]).sum()) / 4 - 0.25
    np.testing.assert_allclose(gain, [0.75, seven])
    _, gain = experiment.image_gains(scores, 2)
    seven = (np.log2(2) + np.log2(2.25)) / 2 - 0.25
    np.testing.assert_allclose(gain, [0.75, seven])


@pytest.mark.study
def test_on_made_up_data(experiment, tmp_path, monkeypatch):
    """ICF's features in the place of VGG-19's: nothing has to be fetched."""
    from deepgaze_jax.cli import main

    monkeypatch.setenv("DEEPGAZE_DATA", str(tmp_path / "home"))
    monkeypatch.setenv("DEEPGAZE_CACHE", str(tmp_path / "cache"))
    assert main(["data", "import", "toy_gaze", "--name", "toy"]) == 0
    folder = resolve_dataset("toy")
    dataset = read_folder(folder)
    base = TrainConfig(architecture="icf", epochs=2)
    reference = train(dataset, base, tmp_path / "reference")
    monkeypatch.setattr(experiment, "BASE", base)
    monkeypatch.setattr(experiment, "REFERENCE", str(reference))
    monkeypatch.setattr(
        experiment,
        "VARIANTS",
        {"two": {"widths": (6, 1), "n_seeds": 2, "only_folds": (0, 3, 6)}, "not": {}},
    )
    output = tmp_path / "table.csv"
    argv = ["x", "--data", folder, "--runs", tmp_path / "runs", "-o", output]
    monkeypatch.setattr(sys, "argv", list(map(str, [*argv, "--only", "two"])))
    experiment.main()
    with output.open() as file:
        rows = list(csv.DictReader(file))
    kinds = [("single", "1"), ("mixture", "2"), ("joined", "2")]
    assert [(row["way"], row["seeds"]) for row in rows] == kinds

    run = tmp_path / "runs/two"
    seeds, joined = load_pretrained(run), load_pretrained(run / "joined-2.safetensors")
    released = load_pretrained(reference)

    def gain(predictor, index, *folds):
        """Of the mean density, said pixel by pixel."""
        picture, own = dataset.image(index), dataset.fixations.of_images(index)
        logs = [np.float64(predictor.predict(picture, fold=k)) for k in folds]
        mixed = np.log(np.mean(np.exp(logs), axis=0))
        bias = predictor.center_bias_log_density(picture.shape[:2], fold=folds[0])
        bits = [log_likelihood(d, own.x, own.y).mean() for d in (mixed, bias)]
        return bits[0] - bits[1]

    gains = {"single": [], "mixture": [], "joined": [], "reference": []}
    for k, fold in enumerate(joined.card["folds"]):
        for index in fold["validation"]:
            own = gain(seeds, index, k), gain(seeds, index, k + 3)
            gains["single"].append(np.mean(own))
            gains["mixture"].append(gain(seeds, index, k, k + 3))
            gains["joined"].append(gain(joined, index, k))
            gains["reference"].append(gain(released, index, fold["fold"]))
    for row in rows:
        mean = np.mean(gains[row["way"]])
        assert float(row["validation_information_gain"]) == pytest.approx(
            mean, abs=1e-4
        )
        difference = mean - np.mean(gains["reference"])
        assert float(row["difference"]) == pytest.approx(difference, abs=1e-4)
        assert int(row["n_images"]) == len(gains["single"])
    # What is not wanted keeps its lines.
    for path in run.rglob("*.safetensors"):
        path.unlink()
    monkeypatch.setattr(sys, "argv", list(map(str, [*argv, "--only"])))
    before = output.read_text()
    experiment.main()
    assert output.read_text() == before
    changes = {"widths": [6, 1], "n_seeds": 2, "only_folds": [0, 3, 6]}
    assert json.loads(rows[0]["changes"]) == changes
