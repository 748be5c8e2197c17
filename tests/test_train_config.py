"""Options of training whose effect can be seen in the model that it gives."""

import json

import jax
import numpy as np
import pytest
import tiny

from deepgaze_jax import own_features, parallel, training
from deepgaze_jax.datasets.folder import read_folder
from deepgaze_jax.errors import ConfigError
from deepgaze_jax.folds import make_folds
from deepgaze_jax.members import members_of
from deepgaze_jax.model_files import load_model
from deepgaze_jax.train_config import TrainConfig


@pytest.fixture(autouse=True)
def one_device(tiny_cache, monkeypatch):
    tiny.on_one_device(monkeypatch)


@pytest.fixture
def dataset(tiny_folders):
    return read_folder(tiny_folders["one"])


def tensors(dataset, run, **changes):
    config = tiny.config(only_folds=(3,), epochs=1, **changes)
    return load_model(training.train(dataset, config, run))[0]


def test_parts_of_the_finalizer_that_are_not_learned(dataset, tmp_path):
    found = tensors(dataset, tmp_path / "a", blur="off", center_bias_weight="fixed")
    assert found["finalizer/sigma_grid_px"] == np.float32(0.3)
    assert found["finalizer/center_bias_weight"] == 1
    config = tiny.config(blur="fixed", center_bias_weight="off")
    assert config.resolved().optimiser.fixed == ("sigma_grid_px", "center_bias_weight")
    assert config.switched_off() == {"center_bias_weight": 0.0}


def test_fewer_training_images_and_whole_other_parts():
    members = members_of(100, TrainConfig(train_share=0.25))
    whole = make_folds(100)
    kept = set()
    for fold, full in zip(members.folds, whole, strict=True):
        kept |= set(fold.train)
        assert set(fold.train) < set(full.train)
        for part in ("validation", "test"):
            np.testing.assert_array_equal(getattr(fold, part), getattr(full, part))
    assert len(kept) == 25
    assert sum(len(fold.train) for fold in members.folds) == 25 * 8
    with pytest.raises(ConfigError, match="train_share is 0"):
        TrainConfig(train_share=0.0)


LBFGS = {
    "solver": "lbfgs",
    "batch_size": 100,
    "learning_rate": None,
    "warmup_steps": None,
    "average_decay": None,
}


def log_of(run):
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_l_bfgs_takes_all_images_in_a_step(dataset, tmp_path):
    """Folds side by side, each with its own images; it is each of them alone."""
    config = tiny.config(epochs=4, only_folds=(3, 1), **LBFGS)
    told = []
    path = training.train(dataset, config, tmp_path / "two", progress=told.append)
    both, log = load_model(path)[0], log_of(tmp_path / "two")
    # One step: a report of it, and one of the validation.
    assert len([p for p in told if p.epoch == 1]) == 2
    gains = [line["train_information_gain"] for line in log]
    assert gains == sorted(gains) and gains[-1] > gains[0] + 0.3
    assert {line["learning_rate"] for line in log} == {1.0}
    config = tiny.config(epochs=4, only_folds=(1,), **LBFGS)
    alone = load_model(training.train(dataset, config, tmp_path / "one"))[0]
    for name, array in alone.items():
        if name != "center_bias/log_density":
            size = np.abs(array[0]).max()
            assert np.abs(both[name][1] - array[0]).max() < 1e-3 * size, name


@pytest.mark.slow
def test_mixed_batches_are_every_folds_own_images(dataset, tmp_path):
    """The score of a first epoch at rest is that of batches which are not mixed."""
    still = {"learning_rate": 1e-12, "feature_dropout": 0.0, "epochs": 1}
    found = []
    for name, changes in (("mixed", LBFGS | still), ("apart", still)):
        training.train(dataset, tiny.config(**changes), tmp_path / name)
        found.append(log_of(tmp_path / name)[0]["train_information_gain"])
    assert found[0] == pytest.approx(found[1], abs=1e-5)


def test_l_bfgs_has_no_weight_decay():
    with pytest.raises(ConfigError, match="weight_decay is for Adam"):
        TrainConfig(solver="lbfgs", weight_decay=0.1)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [("constant", [1, 1, 1, 1]), ("steps", [1, 0.1, 1e-2, 1e-4])],
)
def test_schedules(schedule, expected):
    config = TrainConfig(schedule=schedule, learning_rate=1.0, warmup_steps=0)
    config = config.resolved()
    rates = [config.rate(step, 100) for step in (0, 20, 59, 99)]
    assert rates == pytest.approx(expected)


def test_the_papers_rule():
    """Each of the last three below the fifth before the newest, from epoch 20 on."""
    config = TrainConfig(stopping="paper")
    assert config.resolved().epochs == 800
    scores = [0.0] * 17 + [1.0, -1.0, -1.0]
    assert not config.stops(scores, 18)
    assert config.stops([*scores, -1.0], 18)
    assert not config.stops([*scores, 0.5], 18)


@pytest.mark.parametrize(
    ("all_taps", "taps"),
    [
        (None, ("relu5_2", "conv5_1")),
        (("conv4_1", "relu4_3"), ("relu4_3",)),
    ],
)
def test_a_cache_of_more_maps_serves_some_of_them(
    all_taps, taps, dataset, tmp_path, monkeypatch
):
    scales = np.full(len(dataset), 1.25)
    model = TrainConfig(taps=all_taps).model
    plan = own_features.whole_plan(dataset, model, scales, "float32")
    placement = parallel.place(1, 1, jax.local_devices()[:1])
    whole = own_features.own_features(plan, dataset, model, placement)

    def build(*args, **options):
        raise AssertionError("computed again")

    monkeypatch.setattr(own_features, "build_cache", build)
    some = TrainConfig(taps=taps).model
    plan = own_features.whole_plan(dataset, some, scales, "float32")
    cache = own_features.own_features(plan, dataset, some, placement)
    found = cache.read([2, 3], some.taps)
    np.testing.assert_array_equal(found, whole.read([2, 3], some.taps))
    np.testing.assert_array_equal(cache.plan.model_sizes, plan.model_sizes)
