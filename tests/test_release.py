"""The shipped models: their cards, the README, and real photographs."""

import csv
import importlib
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from deepgaze_jax import weights
from deepgaze_jax.center_bias import resample_log_density
from deepgaze_jax.metrics import (
    bootstrap_interval,
    information_gain,
    log_likelihood,
)
from deepgaze_jax.model_files import load_model
from deepgaze_jax.ops import resize_image, scaled_size
from deepgaze_jax.prediction import load_pretrained
from deepgaze_jax.train_step import Batch, Optimiser, make_steps

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "experiments" / "results"
# Model -> results, feature network, its family, and what the score must not be below.
MODELS = {
    "deepgaze2-osie": ("osie_deepgaze2", "vgg19", "O", 1.93),
    "deepgaze2-osie-paper": ("osie_deepgaze2_paper", "vgg19", "O", 1.85),
    "deepgaze1-osie": ("osie_deepgaze1", "alexnet", "T", 1.3),
    "icf-osie": ("osie_icf", "icf", "icf", 0.7),
}
NAMES = list(MODELS)
# One photograph of a few folds; which is which follows from the card.
PHOTOGRAPHS = ("1001.jpg", "1234.jpg", "1700.jpg")


def results(name):
    path = RESULTS / f"{MODELS[name][0]}.json"
    return json.loads(path.read_text(encoding="utf-8"))


def rows(name):
    with (RESULTS / f"{MODELS[name][0]}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", NAMES)
def test_card_says_what_the_results_say(name):
    _, card = load_model(name)
    published = results(name)
    model = published.pop("model")
    assert model.get("label", model["name"]) == name
    published.pop("table_sha256", None)
    assert card["scores"]["evaluation"] == published
    _, network, family, _ = MODELS[name]
    assert (card["network"], card["family"]) == (network, family)
    assert card["pixels_per_dva"] == 24 and card["licence"] == "MIT"
    assert card["data"] == {
        "name": "osie",
        "n_images": 700,
        "n_subjects": 15,
        "n_fixations": 98321,
    }
    tested = sorted(image for fold in card["folds"] for image in fold["test"])
    assert tested == list(range(700))
    for fold in card["folds"]:
        parts = [set(fold[part]) for part in ("train", "validation", "test")]
        assert sum(map(len, parts)) == len(set().union(*parts)) == 700


def test_all_models_have_the_same_folds_and_center_biases():
    tensors, card = load_model(NAMES[0])
    for name in NAMES[1:]:
        other, other_card = load_model(name)
        assert other_card["folds"] == card["folds"]
        assert other_card["images"] == card["images"]
        bias = "center_bias/log_density"
        np.testing.assert_array_equal(other[bias], tensors[bias])


@pytest.mark.parametrize("name", NAMES)
def test_table_of_images_gives_the_summary(name):
    summary = results(name)
    ig = np.array([float(row["ig"]) for row in rows(name)])
    n = np.array([int(row["n_fixations"]) for row in rows(name)])
    assert len(ig) == 700 and n.sum() == 98321
    assert summary["per_image"]["ig"]["mean"] == pytest.approx(ig.mean(), rel=1e-12)
    assert summary["per_fixation"]["ig"]["mean"] == pytest.approx(
        np.average(ig, weights=n), rel=1e-12
    )
    assert ig.mean() >= MODELS[name][-1]


def test_readme_has_the_table_that_the_experiment_makes(monkeypatch):
    """Paired differences and the line of the center bias too."""
    monkeypatch.syspath_prepend(str(ROOT / "experiments/osie"))
    table = importlib.import_module("table")
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert table.MARKS[0] + table.table() + table.MARKS[1] in text


def test_order_of_the_models():
    """As in the papers, and by more than chance, image by image."""
    ig = [np.array([float(row["ig"]) for row in rows(name)]) for name in NAMES]
    for better, worse in itertools.pairwise([*ig, np.zeros(700)]):
        low, _ = bootstrap_interval(better - worse)
        assert low > 0


NO_NETWORK = """
import socket, sys

def refuse(*_, **__):
    raise OSError("no network here")

socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
from deepgaze_jax.cli import main

sys.exit(main(["demo", "--model", "icf", "-o", sys.argv[1]]))
"""


def test_icf_needs_neither_weights_nor_network(tmp_path):
    environment = {**os.environ, "DEEPGAZE_CACHE": str(tmp_path / "empty")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", NO_NETWORK, str(tmp_path / "out")],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    log_density = np.load(tmp_path / "out" / "grace_hopper_log_density.npy")
    assert abs(np.exp(np.float64(log_density)).sum() - 1) < 1e-5
    assert (tmp_path / "out" / "grace_hopper_overlay.png").exists()


@pytest.fixture(scope="module", params=NAMES)
def predictor(request):
    network = MODELS[request.param][1]
    if network in weights.REGISTRY and weights.cached_path(network) is None:
        pytest.skip(f"{network} is not in the weights cache")
    return load_pretrained(request.param)


@pytest.mark.weights
@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_prediction_is_the_training_codes(predictor, osie, name):
    """The whole path of predict against the likelihood that training maximises."""
    index = osie.image_names.index(name)
    image = osie.image(index)
    fold = predictor.fold_for(image, "auto")
    assert index in predictor.card["folds"][fold]["test"]
    log_density = predictor.predict(osie.image_path(index), fold="auto")
    assert log_density.shape == (600, 800)
    assert abs(np.exp(np.float64(log_density)).sum() - 1) < 1e-5

    model = predictor.model
    size = scaled_size(600, 800, predictor.card["input_scale"])
    features = model.features(
        predictor.feature_stage.params, resize_image(image, *size)
    )
    pixels = model.pixel_grid(600, 800, size)
    bias = resample_log_density(predictor.center_biases[fold], *size)
    params = {
        stage: {
            name: {k: v[fold] for k, v in leaf.items()}
            if isinstance(leaf, dict)
            else leaf[fold]
            for name, leaf in predictor.params[stage].items()
        }
        for stage in ("readout", "finalizer")
    }
    channels = model.channels
    _, validate = make_steps(model, Optimiser())
    own = osie.fixations.of_images(index)
    # Cell by cell: a single fixation in each of some cells gives the density there.
    for x, y in zip(own.x[:12].astype(int), own.y[:12].astype(int), strict=True):
        counts = np.zeros((1, *pixels.shape), np.uint8)
        counts[0, pixels.rows[y], pixels.columns[x]] = 1
        batch = Batch(
            folds=np.int32(0),
            features=features[None],
            counts=counts,
            weights=np.ones(1, np.float32),
            center_bias=np.asarray(model.pool_center_bias(bias))[None],
            log_pixels=pixels.log_pixels,
            model_size=size,
        )
        (found,), _ = validate(params, np.zeros(channels), np.ones(channels), batch)
        assert float(found) == pytest.approx(log_density[y, x], abs=1e-5)


@pytest.mark.weights
def test_scores_of_a_photograph_are_the_published_ones(predictor, osie):
    published = {row["image"]: row for row in rows(predictor.name)}
    index = osie.image_names.index(PHOTOGRAPHS[0])
    image, own = osie.image(index), osie.fixations.of_images(index)
    fold = predictor.fold_for(image, "auto")
    log_density = predictor.predict(image, fold=fold)
    bias = resample_log_density(predictor.center_biases[fold], 600, 800)
    row = published[PHOTOGRAPHS[0]]
    ll = log_likelihood(log_density, own.x, own.y).mean()
    ig = information_gain(log_density, bias, own.x, own.y).mean()
    assert ll == pytest.approx(float(row["ll"]), abs=1e-4)
    assert ig == pytest.approx(float(row["ig"]), abs=1e-4)
