import dataclasses
import json
import shutil

import numpy as np
import oracles
import pytest
import tiny

from deepgaze_jax import training
from deepgaze_jax.datasets.folder import read_folder
from deepgaze_jax.errors import ConfigError, DataError, WeightsError
from deepgaze_jax.evaluation import evaluate
from deepgaze_jax.model_files import load_model
from deepgaze_jax.prediction import load_pretrained
from deepgaze_jax.run_scores import part_scores, validation_scores
from deepgaze_jax.runs import read_config

pytestmark = pytest.mark.usefixtures("tiny_world")


@pytest.fixture(scope="module")
def dataset(tiny_folders):
    return read_folder(tiny_folders["two"])


@pytest.fixture(scope="module")
def run(dataset, tmp_path_factory):
    """Two seeds of two of four folds."""
    run = tmp_path_factory.mktemp("runs") / "run"
    config = tiny.config(epochs=2, only_folds=(3, 1), n_seeds=2)
    training.train(dataset, config, run)
    return run


@pytest.mark.parametrize("part", ["validation", "test"])
def test_scores_are_those_of_the_model_file(part, run, dataset):
    """Each image by its fold's parameters, pixel by pixel; seeds averaged."""
    predictor = load_pretrained(run)
    _, card = load_model(run)
    found = part_scores(run, dataset, part)
    expected = {}
    for member, fold in enumerate(card["folds"]):
        for image in fold[part]:
            own = dataset.fixations.of_images(image)
            if not len(own):
                continue
            log_density = predictor.predict(dataset.image(image), fold=member)
            size = tuple(map(int, dataset.image_sizes[image]))
            bias = predictor.center_bias_log_density(size, fold=member)
            gain = oracles.information_gain(log_density, bias, own.x, own.y).mean()
            uniform = np.full(size, -np.log(np.prod(size)))
            above = oracles.information_gain(log_density, uniform, own.x, own.y).mean()
            key = fold["fold"], image
            expected.setdefault(key, []).append((above, gain))
    assert {len(values) for values in expected.values()} == {2}
    keys = zip(found.folds.tolist(), found.images.tolist(), strict=True)
    scores = zip(found.log_likelihood, found.information_gain, strict=True)
    scored = dict(zip(keys, scores, strict=True))
    assert scored.keys() == expected.keys()
    for key, values in scored.items():
        np.testing.assert_allclose(values, np.mean(expected[key], axis=0), atol=2e-5)


def test_mean_over_a_fold_is_what_the_run_told(run, dataset):
    _, card = load_model(run)
    found = validation_scores(run, dataset)
    told = card["scores"]["validation_information_gain"]
    for fold in (3, 1):
        own = [
            score
            for score, member in zip(told, card["folds"], strict=True)
            if member["fold"] == fold
        ]
        mean = found.information_gain[found.folds == fold].mean()
        assert mean == pytest.approx(np.mean(own), abs=1e-5)


def test_evaluation_mixes_the_seeds_of_a_fold(run, dataset):
    """Members 0 and 2 are fold 3, members 1 and 3 are fold 1."""
    predictor = load_pretrained(run)
    result = evaluate(predictor, dataset)
    (model,) = result.models
    assert set(model.scored_by) == {"0+2", "1+3"}
    _, card = load_model(run)
    tested = {
        dataset.image_names[image]: (member, member + 2)
        for member in (0, 1)
        for image in card["folds"][member]["test"]
        if len(dataset.fixations.of_images(image))
    }
    assert {row.image for row in model.rows if row.n_fixations} == set(tested)
    for row in model.rows:
        if not row.n_fixations:
            continue
        index = dataset.image_names.index(row.image)
        own = dataset.fixations.of_images(index)
        logs = [
            np.float64(predictor.predict(dataset.image(index), fold=k))
            for k in tested[row.image]
        ]
        mixed = np.logaddexp(*logs) - np.log(2)
        size = tuple(map(int, dataset.image_sizes[index]))
        bias = predictor.center_bias_log_density(size, fold=tested[row.image][0])
        gain = oracles.information_gain(mixed, bias, own.x, own.y).mean()
        # Mixed on the picture that the model sees, which is a little larger.
        assert row.scores["ig"] == pytest.approx(gain, abs=1e-3)


def test_other_fixations_on_the_same_pictures(run, dataset):
    fixations = dataset.fixations
    some = dataclasses.replace(
        dataset, fixations=fixations.select(fixations.subject == 0)
    )
    found, whole = validation_scores(run, some), validation_scores(run, dataset)
    assert set(found.images) <= set(whole.images)
    assert found.information_gain.mean() != whole.information_gain.mean()


def test_configuration_is_read_back(run):
    config = read_config(run)
    assert config == tiny.config(epochs=2, only_folds=(3, 1), n_seeds=2).resolved()


def test_what_cannot_be_scored(run, dataset, tmp_path, tiny_folders):
    with pytest.raises(DataError, match="other pictures than"):
        validation_scores(run, read_folder(tiny_folders["one"]))
    with pytest.raises(ConfigError, match="no such model or file"):
        validation_scores(tmp_path / "nothing", dataset)
    (tmp_path / "begun").mkdir()
    shutil.copy(run / "config.json", tmp_path / "begun")
    with pytest.raises(WeightsError, match="not finished"):
        validation_scores(tmp_path / "begun", dataset)
    everything = tmp_path / "all"
    training.train(dataset, tiny.config(epochs=1, folds="all"), everything)
    with pytest.raises(ConfigError, match="no validation parts"):
        validation_scores(everything, dataset)
    path = everything / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "epochs": "x"}))
    with pytest.raises(ConfigError, match="missing, damaged or of another version"):
        validation_scores(everything, dataset)
