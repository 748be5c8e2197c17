import csv
import functools
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
import tiny

from deepgaze_jax import runs, training, training_data
from deepgaze_jax.checkpoints import Checkpoints
from deepgaze_jax.datasets.folder import read_folder
from deepgaze_jax.errors import ConfigError, DataError, TrainingError, WeightsError
from deepgaze_jax.file_lock import file_lock
from deepgaze_jax.folds import make_folds
from deepgaze_jax.images import rgb_sha256
from deepgaze_jax.model_files import load_model, read_card
from deepgaze_jax.train_step import init_state
from deepgaze_jax.training import TrainConfig, export_run, train

N_FOLDS = 4
N_STEPS = 4  # a part of the folds is never larger than a batch


@pytest.fixture(scope="module", autouse=True)
def world(tiny_weights):
    """Random VGG-19 values; steps and center biases are shared between runs."""
    center_biases = {}
    fit = training_data.fit_center_biases

    def fit_once(fixations, image_sizes, image_sets):
        key = b"|".join(
            np.ascontiguousarray(array).tobytes()
            for array in (fixations.image, fixations.x, fixations.y, image_sizes)
        )
        key += b"|".join(np.asarray(images).tobytes() for images in image_sets)
        if key not in center_biases:
            center_biases[key] = fit(fixations, image_sizes, image_sets)
        return center_biases[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEEPGAZE_CACHE", str(tiny_weights[0]))
        patch.setattr(training, "make_steps", functools.cache(training.make_steps))
        patch.setattr(training_data, "fit_center_biases", fit_once)
        tiny.on_one_device(patch)
        yield


@pytest.fixture(scope="module")
def dataset(tiny_folders):
    return read_folder(tiny_folders["one"])


@pytest.fixture(scope="module")
def reference(dataset, tmp_path_factory):
    """An uninterrupted run and what it told."""
    told = []
    run = tmp_path_factory.mktemp("runs") / "reference"
    assert train(dataset, tiny.config(), run, progress=told.append) == (
        run / "model.safetensors"
    )
    return run, told


def model_bytes(run):
    return (run / "model.safetensors").read_bytes()


def read_log(run):
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def timeless(log):
    return [{k: v for k, v in line.items() if "seconds" not in k} for line in log]


def latest(run):
    with Checkpoints(run / "checkpoints") as checkpoints:
        return checkpoints.latest


def last_state(run, config, n_folds):
    """The state in the newest checkpoint."""
    channels = config.model.channels
    like = init_state(
        config.model.init(0, n_folds),
        jnp.zeros((n_folds, channels)),
        jnp.ones((n_folds, channels)),
        config.optimiser,
    )
    with Checkpoints(run / "checkpoints") as checkpoints:
        return jax.tree.map(np.array, checkpoints.load({"state": like})["state"])


def scores_by_oracle(dataset, config, path, position, images):
    """Bits/fixation over the fold's center bias of each image, from a model file."""
    tensors, _ = load_model(path)
    params = tiny.unflatten(tensors, position)
    bias = tensors["center_bias/log_density"][position]
    values = []
    for image in images:
        own = dataset.fixations.select(dataset.fixations.image == image)
        if not len(own):
            continue
        size = tuple(int(n) for n in dataset.image_sizes[image])
        model_size = tuple(int(np.floor(n * config.input_scale + 0.5)) for n in size)
        picture = np.float32(oracles.resize_image(dataset.image(image), *model_size))
        log_density = tiny.log_density(
            np.asarray(features(config.model)(picture)),
            params["readout"],
            params["finalizer"],
            bias,
            model_size,
            size,
            factor=2,
        )
        gain = oracles.information_gain(
            log_density, oracles.map_back(bias, *size), own.x, own.y
        )
        values.append(gain.mean())
    return np.array(values)


@functools.cache
def features(model):
    params = training.weights.load_features("vgg19")
    return functools.partial(jax.jit(model.features), params)


# --- a run ----------------------------------------------------------------------------


def test_log_is_complete_and_consistent(reference):
    run, _ = reference
    log = read_log(run)
    assert [line["epoch"] for line in log] == list(range(1, tiny.N_EPOCHS + 1))
    with open(run / "log.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == len(log)
    config = tiny.config().resolved()
    for row, line in zip(table, log, strict=True):
        scalars = {k: v for k, v in line.items() if not isinstance(v, list)}
        assert {k: float(v) for k, v in row.items()} == scalars
        lists = {k: v for k, v in line.items() if isinstance(v, list)}
        assert lists.pop("alarms") == []
        assert all(len(values) == N_FOLDS for values in lists.values())
        by_fold = line["validation_by_fold"]
        assert line["validation_information_gain"] == pytest.approx(np.mean(by_fold))
        assert all(np.isfinite(value) for value in scalars.values())
        last_step = line["epoch"] * N_STEPS - 1
        rate = config.rate(last_step, tiny.N_EPOCHS * N_STEPS)
        assert line["learning_rate"] == rate
        assert line["active"] == [True] * N_FOLDS
    # It learns something.
    gains = [line["train_information_gain"] for line in log]
    assert gains[-1] > max(0.3, gains[0])


def test_learning_rate_rises_and_falls():
    config = TrainConfig(learning_rate=0.1, warmup_steps=4).resolved()
    rates = [config.rate(step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.025)
    assert np.argmax(rates) == 3 and max(rates) <= 0.1
    assert (np.diff(rates[3:]) < 0).all() and 0 < rates[-1] < 1e-4
    assert config.rate(50, 100) == pytest.approx(0.05)


def test_what_a_run_tells(reference, dataset):
    run, told = reference
    assert told[0].stage == "features" and told[0].total == len(dataset)
    assert "MB in" in told[0].message and "0.00" not in told[0].message
    epochs = [p for p in told if p.stage == "epoch"]
    # Images, of which one has no fixations; the last report is that of validation.
    n_images = len(dataset) - 1
    assert {(p.total, p.n_epochs) for p in epochs} == {(n_images, tiny.N_EPOCHS)}
    for number in range(1, tiny.N_EPOCHS + 1):
        done = [p.done for p in epochs if p.epoch == number]
        assert len(done) == N_STEPS + 1
        assert done[0] == 0 and done[-1] == n_images
        assert all(0 < b - a <= 4 for a, b in itertools.pairwise(done))
    assert [p.information_gain for p in epochs if p.done == p.total] == [
        line["validation_information_gain"] for line in read_log(run)
    ]


def test_best_epoch_is_kept(reference, dataset):
    """The file's values score what the log says of the best epoch."""
    run, _ = reference
    config, log = tiny.config(), read_log(run)
    tensors, card = load_model(run)
    scores = np.array([line["validation_by_fold"] for line in log])
    assert card["best_epoch"] == (scores.argmax(axis=0) + 1).tolist()
    stated = card["scores"]["validation_information_gain"]
    np.testing.assert_allclose(stated, scores.max(axis=0), rtol=1e-6)
    folds = make_folds(len(dataset), n_folds=N_FOLDS)
    for k, fold in enumerate(folds):
        found = scores_by_oracle(dataset, config, run, k, fold.validation)
        assert found.mean() == pytest.approx(stated[k], abs=1e-4)
        best = log[card["best_epoch"][k] - 1]
        for name in ("sigma_grid_px", "center_bias_weight"):
            assert tensors[f"finalizer/{name}"][k] == np.float32(best[name][k])
    # Otherwise the test could not tell the best from the last.
    assert min(card["best_epoch"]) < tiny.N_EPOCHS
    assert np.ptp(scores, axis=0).min() > 0.01


def test_training_score_is_the_mean_over_images(dataset, tmp_path):
    """Whatever batches they came in; the parameters hardly move here."""
    config = tiny.config(
        learning_rate=1e-12, feature_dropout=0.0, epochs=1, only_folds=(3,)
    )
    path = train(dataset, config, tmp_path / "run")
    (line,) = read_log(tmp_path / "run")
    fold = make_folds(len(dataset), n_folds=N_FOLDS)[3]
    expected = scores_by_oracle(dataset, config, path, 0, fold.train).mean()
    assert line["train_information_gain"] == pytest.approx(expected, abs=1e-4)


def test_same_seed_same_bytes(reference, dataset, tmp_path):
    run, _ = reference
    train(dataset, tiny.config(), tmp_path / "again")
    assert model_bytes(tmp_path / "again") == model_bytes(run)
    assert timeless(read_log(tmp_path / "again")) == timeless(read_log(run))
    train(dataset, tiny.config(seed=1, epochs=1), tmp_path / "other")
    train(dataset, tiny.config(epochs=1), tmp_path / "one")
    a, b = (load_model(tmp_path / name)[0] for name in ("other", "one"))
    same = [name for name in a if np.array_equal(a[name], b[name])]
    assert same == ["center_bias/log_density"]


def test_every_step_has_random_numbers_of_its_own(dataset, tmp_path, monkeypatch):
    """And a fold's number, so that folds differ and stay the same in other company."""
    seen, make_steps = [], training.make_steps

    def recording(model, optimiser, placement):
        step, validate = make_steps(model, optimiser, placement)

        def recorded(state, batch, fold_ids, key, *rest):
            seen.append((tuple(jax.random.key_data(key).tolist()), fold_ids.tolist()))
            return step(state, batch, fold_ids, key, *rest)

        return recorded, validate

    monkeypatch.setattr(training, "make_steps", recording)
    for seed in (0, 1):
        config = tiny.config(seed=seed, epochs=2, only_folds=(3, 2, 0, 1))
        train(dataset, config, tmp_path / str(seed))
    assert len({key for key, _ in seen}) == len(seen) == 2 * 2 * N_STEPS
    assert all(fold_ids == [3, 2, 0, 1] for _, fold_ids in seen)


def test_finished_folds_are_frozen(dataset, tmp_path):
    config = tiny.config(patience=1, epochs=9, learning_rate=0.1)
    train(dataset, config, tmp_path / "run")
    log = read_log(tmp_path / "run")
    _, card = load_model(tmp_path / "run")
    stops = []
    for k in range(N_FOLDS):
        # Early stopping once more, from the scores alone.
        best, stop = (-np.inf, 0), None
        for line in log:
            if stop is None and line["validation_by_fold"][k] > best[0]:
                best = line["validation_by_fold"][k], line["epoch"]
            elif stop is None:
                stop = line["epoch"]
            assert line["active"][k] == (stop is None)
        assert card["best_epoch"][k] == best[1]
        stops.append(stop)
        if stop is not None:
            after = [line for line in log if line["epoch"] >= stop]
            for name in ("sigma_grid_px", "center_bias_weight", "validation_by_fold"):
                assert len({line[name][k] for line in after}) == 1
    # Some stop while others go on; the last one ends the run.
    assert len(set(stops)) > 1 and min(stop or 99 for stop in stops) < len(log)
    assert len(log) == (9 if None in stops else max(stops))


# --- parts of a fold ------------------------------------------------------------------


def with_other_fixations(folder, images, target):
    """A copy of a data set whose fixations on some images are elsewhere."""
    shutil.copytree(folder, target)
    names = {f"{i:02}.png" for i in images}
    rows = [
        (name, subject, index, *((95 - float(x), 3.5) if name in names else (x, y)))
        for name, subject, index, x, y in tiny.read_fixations(folder)
    ]
    assert any(row[0] in names for row in rows)
    tiny.write_fixations(target, rows)
    return read_folder(target)


def trained(dataset, run, config):
    train(dataset, config, run)
    return load_model(run)[0], last_state(run, config, 1), read_log(run)


@pytest.fixture(scope="module")
def fold_3(dataset, tmp_path_factory):
    """One fold, trained on the data as they are."""
    run = tmp_path_factory.mktemp("runs") / "fold_3"
    return trained(dataset, run, tiny.config(only_folds=(3,)))


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_test_part_leaks_nowhere(fold_3, dataset, tiny_folders, tmp_path):
    fold = make_folds(len(dataset), n_folds=N_FOLDS)[3]
    other = with_other_fixations(tiny_folders["one"], fold.test, tmp_path / "data")
    found, state, log = trained(other, tmp_path / "run", tiny.config(only_folds=(3,)))
    expected, expected_state, expected_log = fold_3
    assert_same(state, expected_state)
    assert timeless(log) == timeless(expected_log)
    pooled = "center_bias/log_density"
    assert np.abs(found[pooled][-1] - expected[pooled][-1]).max() > 0.1
    found[pooled], expected = found[pooled][:-1], dict(expected)
    expected[pooled] = expected[pooled][:-1]
    assert_same(found, expected)


def test_validation_part_only_selects(fold_3, dataset, tiny_folders, tmp_path):
    fold = make_folds(len(dataset), n_folds=N_FOLDS)[3]
    other = with_other_fixations(
        tiny_folders["one"], fold.validation, tmp_path / "data"
    )
    found, state, log = trained(other, tmp_path / "run", tiny.config(only_folds=(3,)))
    expected, expected_state, expected_log = fold_3
    for name in ("params", "average", "moments", "mean", "scale", "steps"):
        assert_same(getattr(state, name), getattr(expected_state, name))
    np.testing.assert_array_equal(
        found["center_bias/log_density"][0], expected["center_bias/log_density"][0]
    )
    for line, expected_line in zip(log, expected_log, strict=True):
        for name in ("train_information_gain", "sigma_grid_px", "center_bias_weight"):
            assert line[name] == expected_line[name]
        assert line["validation_by_fold"] != expected_line["validation_by_fold"]


def test_fold_alone_is_the_fold_among_others(fold_3, reference):
    """Contract: 1e-4 of the largest value after an epoch; here it is after five."""
    tensors, _ = load_model(reference[0])
    for name, alone in fold_3[0].items():
        together = tensors[name][3]
        assert np.abs(alone[0] - together).max() < 1e-3 * np.abs(together).max(), name
    np.testing.assert_array_equal(
        fold_3[0]["center_bias/log_density"][0], tensors["center_bias/log_density"][3]
    )


def test_paper_protocol_and_all_images(dataset, tmp_path):
    path = train(dataset, tiny.config(folds="9/1", epochs=2), tmp_path / "9")
    _, card = load_model(path)
    for fold in card["folds"]:
        assert fold["validation"] == fold["test"] and len(fold["train"]) >= 9
    config = tiny.config(folds="all", epochs=2)
    path = train(dataset, config, tmp_path / "all")
    tensors, card = load_model(path)
    everything = list(range(len(dataset)))
    assert card["folds"] == [
        {"fold": 0, "train": everything, "validation": [], "test": []}
    ]
    assert card["best_epoch"] == [2]
    assert card["scores"] == {"validation_information_gain": [None]}
    state = last_state(tmp_path / "all", config, 1)
    assert_same(state.best, state.average)
    bias = tensors["center_bias/log_density"]
    np.testing.assert_array_equal(bias[0], bias[1])
    log = read_log(tmp_path / "all")
    assert [line["validation_information_gain"] for line in log] == [None, None]
    with open(tmp_path / "all" / "log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["validation_information_gain"] for row in rows] == ["", ""]
    assert "validation_by_fold" not in rows[0]
    # An unfinished one goes on, too.
    train(dataset, config, tmp_path / "all", resume=True)


@pytest.mark.slow
def test_pictures_of_several_sizes(tiny_folders, tmp_path):
    dataset = read_folder(tiny_folders["two"])
    config = tiny.config(epochs=2)
    path = train(dataset, config, tmp_path / "run")
    stated = load_model(path)[1]["scores"]["validation_information_gain"]
    for k, fold in enumerate(make_folds(len(dataset), n_folds=N_FOLDS)):
        found = scores_by_oracle(dataset, config, path, k, fold.validation)
        assert found.mean() == pytest.approx(stated[k], abs=1e-4)


def test_validation_part_without_fixations(tiny_folders, dataset, tmp_path):
    fold = make_folds(len(dataset), n_folds=N_FOLDS)[3]
    shutil.copytree(tiny_folders["one"], tmp_path / "data")
    names = {f"{i:02}.png" for i in fold.validation}
    rows = tiny.read_fixations(tmp_path / "data")
    tiny.write_fixations(tmp_path / "data", [r for r in rows if r[0] not in names])
    other = read_folder(tmp_path / "data")
    with pytest.raises(DataError, match=r"validation part of fold 3: 0.*fewer folds"):
        train(other, tiny.config(only_folds=(3,)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_too_few_images_are_found_before_any_feature(tmp_path):
    few = read_folder(tiny.write_folder(tmp_path / "few", [tiny.WIDE] * 3))
    told = []
    words = r"in the train part of fold 0: 1 of 1, at least 2 are needed"
    with pytest.raises(DataError, match=words):
        train(few, tiny.config(), tmp_path / "run", progress=told.append)
    assert told == []


# --- trouble --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad_step", "where", "kept"),
    [
        (N_STEPS, rf"epoch 2, step [2-{N_STEPS}]", 1),
        (3 * N_STEPS - 1, f"epoch 3, after step {N_STEPS}", 2),
    ],
    ids=("inside", "last step"),
)
def test_non_finite_loss_stops(
    reference, dataset, tmp_path, monkeypatch, bad_step, where, kept
):
    rate = TrainConfig.rate
    with monkeypatch.context() as patch:
        patch.setattr(
            TrainConfig,
            "rate",
            lambda self, step, n: np.inf if step == bad_step else rate(self, step, n),
        )
        with pytest.raises(
            TrainingError,
            match=rf"of fold \d is not finite at {where}; lower the learning rate",
        ):
            train(dataset, tiny.config(), tmp_path / "run")
    assert latest(tmp_path / "run") == kept
    log = read_log(tmp_path / "run")
    assert len(log) == kept
    assert timeless(log) == timeless(read_log(reference[0])[:kept])
    assert not (tmp_path / "run" / "model.safetensors").exists()
    # The last checkpoint is a good one.
    train(dataset, tiny.config(), tmp_path / "run", resume=True)
    assert model_bytes(tmp_path / "run") == model_bytes(reference[0])


def test_existing_run_is_not_touched(reference, dataset):
    run, _ = reference
    before = model_bytes(run)
    with pytest.raises(ConfigError, match=r"already holds a run; go on with --resume"):
        train(dataset, tiny.config(), run)
    with pytest.raises(ConfigError) as error:
        train(dataset, tiny.config(seed=3, batch_size=5), run, resume=True)
    message = str(error.value)
    assert "batch_size was 4 and is 5; seed was 0 and is 3; repeat the opt" in message
    assert "widths" not in message and "data" not in message
    assert model_bytes(run) == before


def test_other_data_are_another_run(reference, dataset, tiny_folders, tmp_path):
    other = with_other_fixations(tiny_folders["one"], [0], tmp_path / "one")
    with pytest.raises(ConfigError, match=r"other data: the fixations differ; give"):
        train(other, tiny.config(), reference[0], resume=True)


def test_it_is_said_where_there_is_nothing_to_go_on_with(dataset, tmp_path):
    told = []

    def stop(progress):
        told.append(progress.message)
        if len(told) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(dataset, tiny.config(), tmp_path / "run", resume=True, progress=stop)
    assert f"{tmp_path / 'run'} holds no run yet" in told[0]


def test_differences_of_the_data_are_told_in_words(tmp_path):
    data = {"name": "a", "pixels_per_dva": 24.0, "features": "f", "fixations": "x"}
    (tmp_path / "config.json").write_text(json.dumps({"seed": 0, "data": data}))
    for changes, words in (
        ({"features": "g"}, "data: the pictures differ; give the data that"),
        ({"fixations": "y", "name": "b"}, "its name was 'a' and is 'b'; the fixations"),
    ):
        with pytest.raises(ConfigError, match=words):
            runs.check_run(tmp_path, {"seed": 0, "data": data | changes}, True)


def test_a_file_cannot_be_a_run(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(ConfigError, match="run is a file; give a folder"):
        runs.check_run(tmp_path / "run", {}, False)


def test_finished_run_returns_at_once(reference, dataset):
    run, _ = reference
    before, log, told = model_bytes(run), read_log(run), []
    path = train(dataset, tiny.config(), run, resume=True, progress=told.append)
    assert path == run / "model.safetensors" and model_bytes(run) == before
    assert not [p for p in told if p.stage == "epoch"]
    assert read_log(run) == log


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda run: (run / "config.json").unlink(), "config.json is missing or dam"),
        (lambda run: (run / "config.json").write_text("{"), "config.json is missing"),
        (lambda run: (run / "log.jsonl").write_text(""), "has 0 lines, but the newest"),
        (lambda run: (run / "log.jsonl").unlink(), "has 0 lines, but the newest"),
        (lambda run: (run / "log.jsonl").write_text("{\n" * 9), "jsonl is damaged"),
    ],
    ids=("no config", "half a config", "empty log", "no log", "half a log"),
)
def test_damaged_run_is_refused(reference, dataset, tmp_path, harm, message):
    shutil.copytree(reference[0], tmp_path / "run")
    harm(tmp_path / "run")
    with pytest.raises(ConfigError, match=message):
        train(dataset, tiny.config(), tmp_path / "run", resume=True)


def test_two_processes_do_not_train_in_one_folder(reference, dataset, tmp_path):
    shutil.copytree(reference[0], tmp_path / "run")
    before = model_bytes(tmp_path / "run")
    with (
        file_lock(tmp_path / "run" / "run.lock"),
        pytest.raises(ConfigError, match="another process is training in"),
    ):
        train(dataset, tiny.config(), tmp_path / "run", resume=True)
    assert model_bytes(tmp_path / "run") == before
    train(dataset, tiny.config(), tmp_path / "run", resume=True)


def test_run_that_could_not_start_leaves_nothing(tiny_folders, tmp_path):
    """The advice of the message can be followed in the same folder."""
    dataset = read_folder(tiny_folders["one"])
    config = tiny.config(epochs=1, input_scale=1.3)
    with pytest.raises(DataError, match="feature cache needs"):
        train(dataset, config, tmp_path / "run", max_cache_bytes=10)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"patience": -1}, "patience is -1"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"input_scale": float("nan")}, "input_scale is nan"),
        ({"input_scale": float("inf")}, "input_scale is inf"),
        ({"learning_rate": 0.0}, "learning_rate is 0"),
        ({"pixels_per_dva": -24.0}, "pixels_per_dva is -24"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1"),
        ({"seed": -1}, "seed is -1"),
        ({"feature_dropout": 1.0}, "feature_dropout is 1"),
        ({"average_decay": -0.1}, "average_decay is -0.1"),
        ({"widths": (4, 2)}, r"widths are \(4, 2\)"),
        ({"widths": ()}, r"widths are \(\)"),
    ],
)
def test_impossible_configurations(changes, message):
    with pytest.raises(ConfigError, match=message):
        TrainConfig(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"only_folds": (4,)}, r"only_folds is \(4,\); the folds are 0\.\.3"),
        ({"only_folds": (1, 1)}, r"only_folds is \(1, 1\)"),
        ({"folds": "7/2/1"}, "unknown scheme '7/2/1'"),
    ],
)
def test_impossible_folds(dataset, tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        train(dataset, tiny.config(**changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_scale_follows_stated_pixels_per_degree(tiny_folders, tmp_path):
    shutil.copytree(tiny_folders["one"], tmp_path / "data")
    lines = [f"{i:02}.png,{48 if i == 12 else 24}\n" for i in range(13)]
    table = "image,pixels_per_dva\n" + "".join(lines)
    (tmp_path / "data" / "images.csv").write_text(table)
    dataset = read_folder(tmp_path / "data")
    scales = runs.image_scales(dataset, tiny.config(pixels_per_dva=None))
    # The odd picture has twice the pixels, so it is enlarged half as much.
    np.testing.assert_allclose(scales, [1.25] * 12 + [0.625])
    with pytest.raises(ConfigError, match=r"is 30\.0, but images\.csv states 24\.0"):
        train(dataset, tiny.config(pixels_per_dva=30.0), tmp_path / "run")


# --- going on -------------------------------------------------------------------------


class Stopped(Exception):
    pass


def test_run_goes_on_from_any_point(reference, dataset, tmp_path, monkeypatch):
    run = tmp_path / "run"

    def stop_at(epoch, step):
        reports = []

        def progress(p):
            reports.append((p.stage, p.epoch))
            if reports.count(("epoch", epoch)) == step + 1:
                raise Stopped

        return progress

    # (epoch, step), and the checkpoint that is there afterwards.
    for epoch, step, kept in ((1, 2, None), (2, 0, 1), (2, 3, 1), (5, 1, 4)):
        with pytest.raises(Stopped):
            train(
                dataset,
                tiny.config(),
                run,
                resume=True,
                progress=stop_at(epoch, step),
            )
        assert latest(run) == kept
    # After the log has been written and before the checkpoint.
    with monkeypatch.context() as patch:

        def save(self, step, state):
            raise Stopped

        patch.setattr(Checkpoints, "save", save)
        with pytest.raises(Stopped):
            train(dataset, tiny.config(), run, resume=True)
    assert latest(run) == 4 and len(read_log(run)) == 5
    # After the last checkpoint and before the model file.
    with monkeypatch.context() as patch:

        def save_model(*args):
            raise Stopped

        patch.setattr(runs, "save_model", save_model)
        with pytest.raises(Stopped):
            train(dataset, tiny.config(), run, resume=True)
    assert latest(run) == 5 and not (run / "model.safetensors").exists()
    with pytest.raises(WeightsError, match="not finished"):
        export_run(run, tmp_path / "m.safetensors")
    train(dataset, tiny.config(), run, resume=True)
    assert model_bytes(run) == model_bytes(reference[0])
    assert timeless(read_log(run)) == timeless(read_log(reference[0]))


KILLED = """
import os, signal, sys
import tiny
from deepgaze_jax.checkpoints import Checkpoints
from deepgaze_jax.datasets.folder import read_folder
from deepgaze_jax.training import train

data, run, when = sys.argv[1:]

def kill():
    os.kill(os.getpid(), signal.SIGKILL)

def progress(p):
    # Not the first report, which is of an epoch that has hardly begun.
    inside = p.stage == "epoch" and p.epoch == 2 and p.done > 0
    if when == "inside an epoch" and inside:
        kill()

save = Checkpoints.save

def saving(self, step, state):
    if when == "in a checkpoint" and step == 3:
        # Its folder becomes final by a rename: all is written but for that.
        os.rename = os.replace = lambda *args, **kwargs: kill()
    save(self, step, state)
    if when == "between epochs" and step == 4:
        kill()

Checkpoints.save = saving
train(read_folder(data), tiny.config(), run, resume=True, progress=progress)
"""


@pytest.mark.slow
def test_killed_run_ends_as_if_it_had_not_been(
    reference, dataset, tiny_weights, tmp_path
):
    run = tmp_path / "run"
    # One device, as the reference: only then bit by bit.
    env = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parent),
        # The three processes compile once.
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    for when, kept in (
        ("inside an epoch", 1),
        ("in a checkpoint", 2),
        ("between epochs", 4),
    ):
        command = [sys.executable, "-c", KILLED, dataset.root, run, when]
        result = subprocess.run(command, env=env, capture_output=True, timeout=300)
        assert result.returncode == -signal.SIGKILL, result.stderr.decode()
        assert result.stderr == b""
        if when == "in a checkpoint":
            names = os.listdir(run / "checkpoints")
            assert [n for n in names if n.startswith("3") and "tmp" in n], names
        assert latest(run) == kept
    train(dataset, tiny.config(), run, resume=True)
    assert model_bytes(run) == model_bytes(reference[0])
    assert timeless(read_log(run)) == timeless(read_log(reference[0]))


# --- the model file -------------------------------------------------------------------


def test_card(reference, dataset):
    run, _ = reference
    tensors, card = load_model(run)
    assert card == read_card(run / "model.safetensors")
    assert card["network"] == "vgg19" and card["family"] == "O"
    assert len(card["features_sha256"]) == 64
    assert (card["input_scale"], card["pixels_per_dva"]) == (1.25, 24.0)
    assert card["images"] == [
        {"name": f"{i:02}.png", "rgb_sha256": rgb_sha256(dataset.image(i))}
        for i in range(13)
    ]
    for k, fold in enumerate(make_folds(13, n_folds=N_FOLDS)):
        assert card["folds"][k] == {
            "fold": k,
            "train": fold.train.tolist(),
            "validation": fold.validation.tolist(),
            "test": fold.test.tolist(),
        }
    assert card["data"] == {
        "name": "one",
        "n_images": 13,
        "n_subjects": 3,
        "n_fixations": len(dataset.fixations),
    }
    training_card = card["training"]
    assert training_card["seed"] == 0 and training_card["batch_size"] == 4
    assert set(training_card) == set(TrainConfig.__dataclass_fields__)
    assert tuple(card["model"]["taps"]) == tiny.TAPS
    assert card["code_version"] and card["licence"]
    assert json.loads((run / "config.json").read_text())["widths"] == [4, 2, 1]
    shapes = {name: array.shape for name, array in tensors.items()}
    assert shapes == {
        "readout/dense0/kernel": (4, 768, 4),
        "readout/dense0/bias": (4, 4),
        "readout/dense1/kernel": (4, 4, 2),
        "readout/dense1/bias": (4, 2),
        "readout/dense2/kernel": (4, 2, 1),
        "finalizer/sigma_grid_px": (4,),
        "finalizer/center_bias_weight": (4,),
        "center_bias/log_density": (5, 75, 100),
    }
    # Nothing of the machine is told.
    assert str(run.parent) not in json.dumps(card)


def test_fold_numbers_stay_their_own(dataset, tmp_path):
    config = tiny.config(only_folds=(3, 2, 0, 1), epochs=1)
    _, card = load_model(train(dataset, config, tmp_path / "run"))
    assert [fold["fold"] for fold in card["folds"]] == [3, 2, 0, 1]
    folds = make_folds(13, n_folds=N_FOLDS)
    for part, k in zip(card["folds"], (3, 2, 0, 1), strict=True):
        assert part["test"] == folds[k].test.tolist()


def test_export(reference, tmp_path):
    run, _ = reference
    path = export_run(run, tmp_path / "mine.safetensors", {"ig": 1.5})
    tensors, card = load_model(path)
    expected, before = load_model(run)
    assert_same(tensors, expected)
    assert card["name"] == "mine"
    assert card["scores"] == {**before["scores"], "evaluation": {"ig": 1.5}}
    assert {k: v for k, v in card.items() if k not in ("name", "scores")} == {
        k: v for k, v in before.items() if k not in ("name", "scores")
    }
    export_run(run, path)
    assert "evaluation" not in load_model(path)[1]["scores"]
