"""The experiments on taps and on growth: their arithmetic, and a run on tiny data."""

import csv
import importlib
import json
import sys

import numpy as np
import pytest
import tiny
from published import ROOT

from deepgaze_jax.datasets.folder import read_folder
from deepgaze_jax.model_files import load_model


@pytest.fixture
def experiments(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "experiments/osie"))
    return importlib.import_module("taps"), importlib.import_module("growth")


def test_sets_are_different_and_of_one_grid(experiments):
    taps, _ = experiments
    sets = taps.tap_sets(30)
    assert len({one.name for one in sets}) == len(sets) == 2 + 2 + 5 + 16 + 30
    for one in sets:
        assert {tap[4] for tap in one.taps} == {str(one.block)}
        assert set(one.taps) <= set(taps.BLOCKS[one.block])
    fewer = taps.tap_sets(20)
    assert [one for one in sets if one in fewer] == fewer


def a_row(taps, gain, kind="random", seed=0):
    return {
        "kind": kind,
        "block": 5,
        "taps": taps,
        "seed": seed,
        "validation_information_gain": gain,
        "less_the_five_low": gain - 1.9,
        "less_the_five_high": gain - 1.7,
        "seconds": 1800,
    }


def test_summary_of_sets(experiments):
    taps, _ = experiments
    five = "+".join(taps.FIVE)
    rows = [
        a_row(five, 1.8, "five"),
        a_row(five, 1.7, "five", seed=1),
        a_row("conv5_1+relu5_4", 2.0),
        a_row("conv5_1+relu5_1", 1.6),
        a_row("relu5_1+relu5_2", 1.75),
    ]
    found = taps.summary(rows)
    assert (found["five"], found["seeds_of_the_five"]) == (1.8, [1.8, 1.7])
    assert (found["n_sets"], found["hours"]) == (5, 2.5)
    assert found["best"] == {"taps": "conv5_1+relu5_4", "gain": 2.0}
    random = found["random"]
    assert (random["n"], random["better_than_the_five"]) == (3, 1)
    assert (random["clearly_better"], random["clearly_worse"]) == (1, 1)
    own = found["tap_among_random_sets"]["conv5_1"]
    assert own["with"] == pytest.approx(1.8)
    assert (own["n_with"], own["without"], own["n_without"]) == (2, 1.75, 1)
    assert "conv5_2" not in found["tap_among_random_sets"]


def test_people_are_drawn_within_one_another(experiments, tiny_folders):
    _, growth = experiments
    dataset = read_folder(tiny_folders["one"])
    everybody = set(dataset.fixations.subject)
    before = set()
    for n in range(1, len(everybody) + 1):
        found = set(growth.of_people(dataset, n).fixations.subject)
        assert len(found) == n
        assert before < found <= everybody
        before = found


@pytest.mark.study
def test_commands_on_tiny_data(experiments, tiny_weights, tmp_path, monkeypatch):
    taps, growth = experiments
    monkeypatch.setenv("DEEPGAZE_CACHE", str(tiny_weights[0]))
    tiny.on_one_device(monkeypatch)
    data = tiny.write_folder(tmp_path / "data", [tiny.WIDE] * 24, 12)
    sets = [
        taps.TapSet("five", taps.FIVE),
        taps.TapSet("one tap", ("relu4_3",)),
        taps.TapSet("random", ("conv5_2", "relu5_4")),
    ]
    monkeypatch.setattr(taps, "tap_sets", lambda n: sets)
    words = ["x", "--data", data, "--runs", tmp_path / "taps", "-o", tmp_path]
    words = list(map(str, words))
    monkeypatch.setattr(sys, "argv", [*words, "--epochs", "1"])
    taps.main()
    log = tmp_path / "taps/relu4_3/log.jsonl"
    before = log.stat().st_mtime_ns
    taps.main()
    assert log.stat().st_mtime_ns == before
    with (tmp_path / "osie_taps.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["taps"] for row in rows] == ["+".join(one.taps) for one in sets]
    for row in rows:
        path = tmp_path / "taps" / row["taps"] / "validation_gains.json"
        gain = np.array(json.loads(path.read_text()))
        printed = float(row["validation_information_gain"])
        assert printed == pytest.approx(gain.mean())
        assert int(row["n_images"]) == len(gain)

    # Growth compares with stored scores of a released model: here, made-up ones.
    dataset = read_folder(data)
    with (tmp_path / "osie_deepgaze2_paper.csv").open("w") as file:
        file.write("image,ll,ig\n")
        file.writelines(f"{name},2.5,2.0\n" for name in dataset.image_names)
    monkeypatch.setattr(growth, "RESULTS", tmp_path)
    monkeypatch.setattr(growth, "N_IMAGES", (9,))
    monkeypatch.setattr(growth, "IMAGES_OF_PEOPLE", 9)
    monkeypatch.setattr(growth, "N_PEOPLE", (1,))
    words[4] = str(tmp_path / "growth")
    monkeypatch.setattr(sys, "argv", words)
    growth.main()
    with (tmp_path / "osie_growth.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["grows"] for row in rows] == ["images", "people", "images", "people"]
    trained = [
        np.mean([len(fold["train"]) for fold in load_model(path)[1]["folds"]])
        for path in (tmp_path / "growth/images-9", tmp_path / "growth/people-1")
    ]
    assert [float(row["train_images_per_fold"]) for row in rows[:2]] == trained
    assert trained[0] == trained[1] < float(rows[2]["train_images_per_fold"])
    assert float(rows[2]["information_gain"]) == pytest.approx(2.0)
    assert rows[3]["information_gain"] == rows[0]["information_gain"]
    scores = json.loads(
        (tmp_path / "growth/people-1/test_likelihoods.json").read_text()
    )
    expected = np.mean(list(scores.values())) - 0.5
    assert float(rows[1]["information_gain"]) == pytest.approx(expected)
