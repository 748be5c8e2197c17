"""Evaluation of a model on a data set, against a loop written out by hand."""

import csv
import dataclasses

import numpy as np
import oracles
import pytest
import small_models
from PIL import Image

from deepgaze_jax import __version__
from deepgaze_jax.datasets import features
from deepgaze_jax.datasets.folder import read_folder
from deepgaze_jax.errors import ConfigError, DataError, WeightsError
from deepgaze_jax.evaluation import evaluate, find_cache
from deepgaze_jax.images import rgb_sha256
from deepgaze_jax.prediction import load_pretrained
from deepgaze_jax.weights import features_card

NAMES = ("a.png", "b.png", "c.png", "d.png", "e.png")
SIZES = ((20, 30), (24, 20), (20, 30), (33, 21), (16, 16))


@pytest.fixture(autouse=True)
def cache(small_cache, monkeypatch):
    monkeypatch.setenv("DEEPGAZE_CACHE", str(small_cache))


@pytest.fixture
def folder(tmp_path):
    """Five images, the last without fixations; a column of pixels_per_dva."""
    root = tmp_path / "five"
    (root / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = []
    for k, (name, (height, width)) in enumerate(zip(NAMES, SIZES, strict=True)):
        image = oracles.random_image(k, height, width).astype(np.uint8)
        Image.fromarray(image).save(root / "images" / name)
        for n in range(0 if k == 4 else 3 + k):
            x, y = rng.uniform(0, (width, height))
            rows.append([name, n % 2, n // 2, x, y])
    with (root / "fixations.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [["image", "subject", "fixation_index", "x", "y"], *rows]
        )
    with (root / "images.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [
                ["image", "pixels_per_dva"],
                *((name, 20 + i) for i, name in enumerate(NAMES)),
            ]
        )
    return root


@pytest.fixture
def dataset(folder):
    return read_folder(folder)


@pytest.fixture
def hashes(dataset):
    return [rgb_sha256(dataset.image(k)) for k in range(5)]


@pytest.fixture
def listed(hashes):
    """a: tested by fold 1. b: tested by fold 0. c: in both trainings. d, e: new."""
    return small_models.listed(
        hashes[:3],
        {"train": [0, 2], "test": [1]},
        {"train": [1], "validation": [2], "test": [0]},
    )


def predictor_with(tmp_path, small_folds, **card):
    path = tmp_path / "m.safetensors"
    return load_pretrained(small_models.write_model(path, small_folds, **card))


def rows_and_summary(*args, **options):
    result = evaluate(*args, **options)
    return result.models[0].rows, result.as_json()


def by_hand(predictor, dataset, index, fold, bias=None):
    """(ll, ig) of one image, fixation by fixation."""
    image = dataset.image(index)
    height, width = image.shape[:2]
    log_density = predictor.predict(
        image,
        fold=fold,
        center_bias=bias,
        pixels_per_dva=dataset.pixels_per_dva[index],
    )
    grid = predictor.center_biases[-1 if fold == "mixture" else fold]
    baseline = oracles.map_back(grid, height, width)
    if bias == "uniform":
        baseline = np.full((height, width), -np.log(height * width))
    ll, ig = [], []
    table = dataset.fixations
    for which, x, y in zip(table.image, table.x, table.y, strict=True):
        if which == index:
            value = float(log_density[int(y), int(x)])
            ll.append((value + np.log(height * width)) / np.log(2))
            ig.append((value - baseline[int(y), int(x)]) / np.log(2))
    return np.mean(ll), np.mean(ig)


def check(scores, predictor, dataset, folds, bias=None):
    """`folds`: image index -> what should have scored it."""
    assert [score.image for score in scores] == [NAMES[k] for k in folds]
    for score, (index, fold) in zip(scores, folds.items(), strict=True):
        assert score.n_fixations == (dataset.fixations.image == index).sum()
        if fold is None:
            assert (score.n_fixations, *score.scores.values()) == (0, None, None)
            continue
        ll, ig = by_hand(predictor, dataset, index, fold, bias)
        assert score.scores["ll"] == pytest.approx(ll, abs=1e-5)
        assert score.scores["ig"] == pytest.approx(ig, abs=1e-5)


def test_each_image_by_the_fold_that_has_not_seen_it(
    dataset, listed, small_folds, tmp_path
):
    predictor = predictor_with(tmp_path, small_folds, **listed)
    calls = []
    scores, summary = rows_and_summary(
        predictor, dataset, progress=lambda *call: calls.append(call)
    )
    check(scores, predictor, dataset, {0: 1, 1: 0, 3: "mixture", 4: None})
    assert calls[-1] == (4, 4, "scoring m.safetensors") and calls == sorted(calls)
    assert summary["scored_by_fold"] == {"0": 1, "1": 1}
    assert summary["scored_by_mixture"] == 1
    assert summary["images_refused"] == ["c.png"] and summary["n_images_refused"] == 1
    assert summary["images_without_fixations"] == ["e.png"]
    assert summary["model"]["name"] == predictor.name
    assert len(summary["model"]["sha256"]) == 64
    assert (summary["data"], summary["fold"]) == ("five", "auto")
    assert summary["version"] == __version__
    assert summary["pixels_per_dva"] == {"from": "images.csv", "min": 20, "max": 24}
    assert "center bias of the fold" in summary["ig_over"]
    assert "pooled" in summary["ig_over"]


@pytest.mark.parametrize(
    ("fold", "expected", "refused", "name"),
    [
        (0, {1: 0, 3: 0, 4: None}, ["a.png", "c.png"], "center bias of the fold"),
        (1, {0: 1, 3: 1, 4: None}, ["b.png", "c.png"], "center bias of the fold"),
        (
            "mixture",
            {3: "mixture", 4: None},
            ["a.png", "b.png", "c.png"],
            "pooled center bias",
        ),
    ],
)
def test_forced_fold(
    dataset, listed, small_folds, tmp_path, fold, expected, refused, name
):
    predictor = predictor_with(tmp_path, small_folds, **listed)
    scores, summary = rows_and_summary(predictor, dataset, fold=fold)
    check(scores, predictor, dataset, expected)
    assert summary["images_refused"] == refused
    assert summary["ig_over"] == name


def test_names_do_not_matter(dataset, small_folds, tmp_path):
    # Other images that have the names of these.
    lists = small_models.listed(
        ["0" * 64] * 5, {"train": [0, 1, 2, 3, 4]}, {"train": [0]}
    )
    for image, name in zip(lists["images"], NAMES, strict=True):
        image["name"] = name
    predictor = predictor_with(tmp_path, small_folds, **lists)
    scores, summary = rows_and_summary(predictor, dataset)
    check(scores, predictor, dataset, {**dict.fromkeys(range(4), "mixture"), 4: None})
    assert summary["ig_over"] == "pooled center bias"


def test_paper_protocol_counts_as_unseen(dataset, hashes, small_folds, tmp_path):
    lists = small_models.listed(
        hashes[:1], {"validation": [0], "test": [0]}, {"train": [0]}
    )
    predictor = predictor_with(tmp_path, small_folds, **lists)
    _, summary = rows_and_summary(predictor, dataset)
    assert summary["scored_by_fold"] == {"0": 1}


def test_all_images_seen(dataset, hashes, small_folds, tmp_path):
    every = {"train": list(range(5))}
    lists = small_models.listed(hashes, every, every)
    predictor = predictor_with(tmp_path, small_folds, **lists)
    with pytest.raises(DataError, match=r"trained on all images of five.*a\.png"):
        evaluate(predictor, dataset)


def test_chosen_center_bias_is_model_and_baseline(dataset, small_folds, tmp_path):
    predictor = predictor_with(tmp_path, small_folds)
    scores, summary = rows_and_summary(predictor, dataset, center_bias="uniform")
    folds = {**dict.fromkeys(range(4), "mixture"), 4: None}
    check(scores, predictor, dataset, folds, "uniform")
    assert summary["ig_over"] == "uniform"
    for score in scores[:4]:
        assert score.scores["ig"] == pytest.approx(score.scores["ll"], abs=1e-6)
    with pytest.raises(ConfigError, match="0 to 1"):
        evaluate(predictor, dataset, fold=7)


def test_scale_that_is_not_stated(dataset, small_folds, tmp_path):
    without = dataclasses.replace(dataset, pixels_per_dva=None)
    own = predictor_with(tmp_path, small_folds)
    at_24 = dataclasses.replace(dataset, pixels_per_dva=np.full(5, 24.0))
    scores, summary = rows_and_summary(own, without)
    assert scores == rows_and_summary(own, at_24)[0]
    assert scores != rows_and_summary(own, dataset)[0]
    assert summary["pixels_per_dva"] == {
        "from": "the model's card",
        "min": 24,
        "max": 24,
    }
    unknown = predictor_with(tmp_path, small_folds, pixels_per_dva=None)
    assert rows_and_summary(unknown, dataset)[0] == scores


def test_cached_features_give_the_same_scores(
    dataset, listed, small_folds, small_params, tmp_path, small_cache, monkeypatch
):
    predictor = predictor_with(tmp_path, small_folds, **listed)
    assert find_cache(predictor, dataset) is None
    expected = rows_and_summary(predictor, dataset)
    folder = small_cache / "features"
    scales = np.array([predictor.image_scale(v) for v in dataset.pixels_per_dva])
    weights = features_card("vgg19")["source_sha256"]
    plan = features.plan_cache(dataset, predictor.model, weights, folder, scales)
    assert features.open_cache(plan) is None
    features.build_cache(plan, dataset, predictor.model, small_params)
    cache = find_cache(predictor, dataset)
    assert cache is not None
    monkeypatch.setattr(type(predictor), "features", None)
    scores, summary = rows_and_summary(predictor, dataset, cache=cache)
    assert summary["scored_by_fold"] == expected[1]["scored_by_fold"]
    for ours, slow in zip(scores, expected[0], strict=True):
        assert ours.image == slow.image
        assert ours.scores == pytest.approx(slow.scores, abs=1e-5)
    # An unfinished one is not used.
    (plan.folder / "features.bin").write_bytes(b"")
    assert find_cache(predictor, dataset) is None


def test_features_of_another_family_are_not_taken(
    small_folds, dataset, small_cache, tmp_path
):
    """Finished features must not hide what the prediction refuses."""
    predictor = predictor_with(tmp_path, small_folds, family="N")
    (small_cache / "features").mkdir(exist_ok=True)
    with pytest.raises(WeightsError, match=r"family N, but the features .* family O"):
        find_cache(predictor, dataset)
