import dataclasses
import json

import jax
import numpy as np
import oracles
import pytest
import tiny

from deepgaze_jax import training
from deepgaze_jax.datasets.folder import read_folder
from deepgaze_jax.errors import ConfigError
from deepgaze_jax.fine_tuning import adopt, open_start, start_folds, start_params
from deepgaze_jax.folds import make_folds
from deepgaze_jax.members import members_of
from deepgaze_jax.model_files import load_model
from deepgaze_jax.train_config import TrainConfig
from deepgaze_jax.train_step import raw_params

pytestmark = pytest.mark.usefixtures("tiny_world")

# Both the model and what goes on from it know these alone.
ONE = {"only_folds": (3,)}


@pytest.fixture(scope="module")
def dataset(tiny_folders):
    return read_folder(tiny_folders["one"])


@pytest.fixture(scope="module")
def start(dataset, tmp_path_factory):
    """A run of two epochs of one fold."""
    run = tmp_path_factory.mktemp("start") / "run"
    training.train(dataset, tiny.config(epochs=2, **ONE), run)
    return run


def asked(**changes):
    """What a user asks for who leaves the rest to the defaults of fine-tuning."""
    changes = {"n_folds": 4, "pixels_per_dva": 24.0, "batch_size": 4, **changes}
    return TrainConfig(**changes)


def expected_scores(dataset, config, path, images):
    """Bits/fixation over the center bias of each image, pixel by pixel."""
    tensors, _ = load_model(path)
    params = tiny.unflatten(tensors, 0)
    bias = tensors["center_bias/log_density"][0]
    weights = training.weights.load_features("vgg19")
    values = []
    for image in images:
        own = dataset.fixations.select(dataset.fixations.image == image)
        if not len(own):
            continue
        size = tuple(int(n) for n in dataset.image_sizes[image])
        model_size = tuple(int(np.floor(n * config.input_scale + 0.5)) for n in size)
        picture = np.float32(oracles.resize_image(dataset.image(image), *model_size))
        log_density = tiny.log_density(
            np.asarray(jax.jit(config.model.features)(weights, picture)),
            params["readout"],
            params["finalizer"],
            bias,
            model_size,
            size,
            factor=2,
        )
        back = oracles.map_back(bias, *size)
        gain = oracles.information_gain(log_density, back, own.x, own.y)
        values.append(gain.mean())
    return np.mean(values)


@pytest.fixture(scope="module")
def tuned(dataset, start, tmp_path_factory):
    run = tmp_path_factory.mktemp("tuned") / "run"
    training.train(dataset, asked(**ONE), run, start_from=start)
    return run


def test_scores_before_and_after_are_those_of_the_test_part(dataset, start, tuned):
    _, card = load_model(tuned)
    test = make_folds(len(dataset), n_folds=4)[3].test
    config = tiny.config()
    for when, path in (("before", start), ("after", tuned)):
        (stated,) = card["scores"][f"test_information_gain_{when}"]
        found = expected_scores(dataset, config, path, test)
        assert stated == pytest.approx(found, abs=1e-4)


def test_defaults_do_little(start, tuned):
    """The first layer stays, the rest moves; it never gets worse on validation."""
    before, card = load_model(start)
    after, tuned_card = load_model(tuned)
    for part in ("kernel", "bias"):
        name = f"readout/dense0/{part}"
        size = np.abs(before[name]).max()
        assert np.abs(after[name] - before[name]).max() < 2e-5 * size
    assert np.abs(
        after["readout/dense1/kernel"] - before["readout/dense1/kernel"]
    ).max()
    training_card = tuned_card["training"]
    assert training_card["what"] == "last" and training_card["epochs"] == 10
    assert training_card["input_scale"] == card["input_scale"] == 1.25
    assert tuple(training_card["taps"]) == tiny.TAPS
    (a,), (b,) = (
        c["scores"]["validation_information_gain"] for c in (card, tuned_card)
    )
    assert b >= a - 1e-5
    assert tuned_card["start_from"]["name"] == start.name
    log = [json.loads(line) for line in (tuned / "log.jsonl").read_text().splitlines()]
    assert tuned_card["best_epoch"][0] == 0 or len(log) <= 10


def test_a_model_that_does_not_get_better_stays(dataset, start, tmp_path):
    config = asked(learning_rate=1.0, epochs=1, patience=1, warmup_steps=0, **ONE)
    path = training.train(dataset, config, tmp_path / "run", start_from=start)
    tensors, card = load_model(path)
    if card["best_epoch"] == [0]:
        for name, array in load_model(start)[0].items():
            size = np.abs(array).max()
            assert np.abs(tensors[name] - array).max() < 2e-5 * size, name
    scores = card["scores"]
    assert scores["validation_information_gain"][0] >= (
        load_model(start)[1]["scores"]["validation_information_gain"][0] - 1e-5
    )


def test_parameters_for_scaled_features_are_the_same_model(dataset, start):
    model = open_start(start)
    members = members_of(len(dataset), tiny.config(**ONE))
    rng = np.random.default_rng(0)
    mean = rng.normal(size=(1, model.model.channels)).astype(np.float32)
    scale = np.float32(rng.uniform(0.5, 2, mean.shape))
    hashes = [image["rgb_sha256"] for image in model.card["images"]]
    folds = start_folds(model, members, dataset.image_names, hashes)
    assert folds == [0]
    scaled = start_params(model, folds, mean, scale)
    back = raw_params(scaled, mean, scale)
    for a, b in zip(jax.tree.leaves(back), jax.tree.leaves(model.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_pictures_that_a_model_has_seen_are_refused(dataset, start, tmp_path):
    run = tmp_path / "run"
    # Fold 3 of the start has trained on what fold 1 holds out.
    with pytest.raises(ConfigError, match=r"trained on pictures that fold 1 holds out"):
        training.train(dataset, asked(only_folds=(1,)), run, start_from=start)
    training.train(dataset, asked(folds="all", epochs=1), run, start_from=start)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "icf"}, "architecture is icf, that of run is deepgaze2"),
        ({"widths": (2, 1)}, r"widths is \(2, 1\), that of"),
        ({"input_scale": 2.0}, "input_scale is 2.0, that of run is 1.25"),
    ],
)
def test_another_model_than_that_to_go_on_from(start, changes, message):
    with pytest.raises(ConfigError, match=message + ".*leave these options out"):
        adopt(TrainConfig(**changes), open_start(start), 24.0)


def test_scale_follows_the_pixels_per_degree(start):
    model = open_start(start)
    assert adopt(TrainConfig(), model, 48.0).input_scale == pytest.approx(0.625)
    assert adopt(TrainConfig(), model, None).input_scale == 1.25
    unknown = dataclasses.replace(model, card={**model.card, "pixels_per_dva": None})
    assert adopt(TrainConfig(), unknown, 48.0).input_scale == 1.25


# --- stopping on other data -----------------------------------------------------------


def test_stopping_on_other_data(dataset, tmp_path):
    """Its score is that of all its pictures over the center bias of the training."""
    other = read_folder(tiny.write_folder(tmp_path / "other", [tiny.WIDE] * 4, 77))
    config = tiny.config(folds="all", epochs=2)
    path = training.train(dataset, config, tmp_path / "run", stop_on=other)
    _, card = load_model(path)
    (stated,) = card["scores"]["validation_information_gain"]
    found = expected_scores(other, config, path, range(4))
    assert stated == pytest.approx(found, abs=1e-4)
    assert card["stop_on"] == {"name": "other", "n_images": 4}
    assert card["folds"][0]["validation"] == []
    identity = json.loads((tmp_path / "run" / "config.json").read_text())
    assert identity["stop_on"]["name"] == "other"
    with pytest.raises(ConfigError, match="stop_on was"):
        training.train(dataset, config, tmp_path / "run", resume=True)


def test_stopping_on_what_is_trained_on(dataset, tmp_path):
    config = tiny.config(folds="all", epochs=1)
    with pytest.raises(ConfigError, match="13 pictures of one are trained on as well"):
        training.train(dataset, config, tmp_path / "run", stop_on=dataset)
    with pytest.raises(ConfigError, match="--stop-on needs --folds all"):
        training.train(dataset, tiny.config(), tmp_path / "run", stop_on=dataset)
    assert not (tmp_path / "run").exists()
