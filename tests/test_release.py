"""The shipped readout: its card, the README, and real photographs."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest

from deepgaze_jax import weights
from deepgaze_jax.center_bias import resample_log_density
from deepgaze_jax.metrics import information_gain, log_likelihood
from deepgaze_jax.model_files import load_model
from deepgaze_jax.ops import resize_image, scaled_size
from deepgaze_jax.prediction import load_pretrained
from deepgaze_jax.train_step import Batch, Optimiser, make_steps

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "experiments" / "results" / "osie_deepgaze2"
# One photograph of a few folds; which is which follows from the card.
PHOTOGRAPHS = ("1001.jpg", "1234.jpg", "1700.jpg")


def results():
    return json.loads(RESULTS.with_suffix(".json").read_text())


def test_card_says_what_the_results_say():
    _, card = load_model("deepgaze2-osie")
    published = results()
    assert published.pop("model") == {"name": "deepgaze2-osie"}
    assert card["scores"]["evaluation"] == published
    assert card["pixels_per_dva"] == 24 and card["family"] == "O"
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


def test_table_of_images_gives_the_summary():
    with open(RESULTS.with_suffix(".csv"), newline="") as file:
        rows = list(csv.DictReader(file))
    summary = results()
    ig = np.array([float(row["ig"]) for row in rows])
    n = np.array([int(row["n_fixations"]) for row in rows])
    assert len(rows) == 700 and n.sum() == 98321
    assert summary["per_image"]["ig"]["mean"] == pytest.approx(ig.mean(), rel=1e-12)
    assert summary["per_fixation"]["ig"]["mean"] == pytest.approx(
        np.average(ig, weights=n), rel=1e-12
    )
    assert ig.mean() >= 1.85


def test_readme_states_the_results():
    text = (ROOT / "README.md").read_text()
    line = next(line for line in text.splitlines() if "`deepgaze2-osie`)" in line)
    found = [float(number) for number in re.findall(r"\d+\.\d{3}", line)]
    per_image, per_fixation = results()["per_image"], results()["per_fixation"]
    ig = per_image["ig"]
    expected = [per_image["ll"]["mean"], ig["mean"], ig["low"], ig["high"]]
    expected.append(per_fixation["ig"]["mean"])
    assert found == [round(value, 3) for value in expected]


@pytest.fixture(scope="module")
def predictor():
    if weights.cached_path("vgg19") is None:
        pytest.skip("VGG-19 is not in the weights cache")
    return load_pretrained("deepgaze2")


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
    features = model.features(predictor.feature_params, resize_image(image, *size))
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
        found = validate(params, np.zeros(channels), np.ones(channels), batch)[0]
        assert float(found) == pytest.approx(log_density[y, x], abs=1e-5)


@pytest.mark.weights
def test_scores_of_a_photograph_are_the_published_ones(predictor, osie):
    with open(RESULTS.with_suffix(".csv"), newline="") as file:
        published = {row["image"]: row for row in csv.DictReader(file)}
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
