"""Train, evaluate, export and predict through the command line, one after another."""

import csv
import json
from pathlib import Path

import numpy as np
import oracles
import pytest
import tiny

from deepgaze_jax.cli import main
from deepgaze_jax.datasets.folder import read_folder
from deepgaze_jax.evaluation import find_cache
from deepgaze_jax.folds import make_folds
from deepgaze_jax.model_files import load_model
from deepgaze_jax.prediction import load_pretrained


@pytest.fixture
def here(tiny_cache, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for module in ("predict", "evaluate", "train"):
        name = f"deepgaze_jax.cli.{module}.keep_compiled_programs"
        monkeypatch.setattr(name, lambda: None)
    return tiny_cache


def test_from_fixations_to_a_density(here, tiny_folders, capsys):
    data = str(tiny_folders["two"])
    argv = ["train", "--data", data, "-o", "run", "--taps", *tiny.TAPS]
    argv += ["--widths", "4", "2", "1", "--n-folds", "4", "--epochs", "2"]
    argv += ["--batch-size", "4", "--input-scale", "1.25", "--pixels-per-dva", "24"]
    assert main(argv) == 0
    assert main(argv) == 2  # There is a run already.
    assert "--resume" in capsys.readouterr().err.splitlines()[-1]
    assert main([*argv, "--resume"]) == 0

    assert main(["evaluate", "--data", data, "--model", "run", "-o", "t.csv"]) == 0
    summary = json.loads(Path("t.json").read_text())
    dataset = read_folder(data)
    folds = make_folds(len(dataset), "8/1/1", 4)
    looked_at = np.unique(dataset.fixations.image)
    assert summary["scored_by_fold"] == {
        str(k): len(np.intersect1d(fold.test, looked_at))
        for k, fold in enumerate(folds)
    }
    assert summary["scored_by_mixture"] == summary["n_images_refused"] == 0
    assert summary["ig_over"] == "center bias of the fold"

    # Every row is what the slow implementation says of the fold's own parameters.
    predictor = load_pretrained("run")
    tensors, _ = load_model("run")
    cache = find_cache(predictor, dataset)
    with open("t.csv", newline="") as file:
        rows = {row["image"]: row for row in csv.DictReader(file)}
    for k, fold in enumerate(folds):
        params = tiny.unflatten(tensors, k)
        for image in np.intersect1d(fold.test, looked_at)[:1]:
            size = tuple(dataset.image_sizes[image])
            slow = tiny.log_density(
                cache.read([image], tiny.TAPS)[0],
                params["readout"],
                params["finalizer"],
                tensors["center_bias/log_density"][k],
                [int(np.floor(1.25 * n + 0.5)) for n in size],
                size,
                factor=2,
            )
            picture = dataset.image_path(image)
            for rule in (k, "auto"):
                ours = predictor.predict(picture, fold=rule)
                np.testing.assert_allclose(ours, slow, rtol=0, atol=1e-5)
            points = dataset.fixations.of_images(image)
            at = slow[points.y.astype(int), points.x.astype(int)]
            ll = (at / np.log(2)).mean() + np.log2(slow.size)
            bias = tensors["center_bias/log_density"][k]
            bias = oracles.map_back(bias, *size)
            bias = bias[points.y.astype(int), points.x.astype(int)]
            row = rows[dataset.image_names[image]]
            assert int(row["n_fixations"]) == len(points)
            assert float(row["ll"]) == pytest.approx(ll, abs=1e-5)
            ig = ((at - bias) / np.log(2)).mean()
            assert float(row["ig"]) == pytest.approx(ig, abs=1e-5)

    argv = ["export", "run", "-o", "mine.safetensors", "--evaluation", "t.json"]
    assert main(argv) == 0
    tensors_again, card = load_model("mine.safetensors")
    # All of it but the name of the model, which is this one.
    del summary["model"]
    assert card["scores"]["evaluation"] == summary
    for name, array in tensors.items():
        np.testing.assert_array_equal(tensors_again[name], array)
    picture = str(dataset.image_path(0))
    argv = ["predict", picture, "--model", "mine.safetensors", "-o", "out"]
    capsys.readouterr()
    assert main([*argv, "--fold", "auto", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert 0 in folds[said["fold"]].test
    expected = predictor.predict(picture, fold=said["fold"])
    np.testing.assert_array_equal(np.load(said["log_density"]), expected)
