"""Features computed in the steps: what a run on cached features gives."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from deepgaze_jax import training
from deepgaze_jax.datasets.features import build_cache, plan_cache
from deepgaze_jax.datasets.folder import read_folder
from deepgaze_jax.errors import ConfigError, InputError
from deepgaze_jax.folds import make_folds
from deepgaze_jax.images import rgb_sha256
from deepgaze_jax.model import FixationModel
from deepgaze_jax.model_files import load_model
from deepgaze_jax.parallel import place
from deepgaze_jax.read_ahead import features_ahead
from deepgaze_jax.step_features import open_pictures, place_network
from deepgaze_jax.train_config import TrainConfig
from deepgaze_jax.train_step import Optimiser, init_state, make_steps
from deepgaze_jax.training import train
from deepgaze_jax.training_data import prepare

MODEL = FixationModel(taps=tiny.TAPS, widths=(4, 2, 1))
PLAIN = Optimiser(feature_dropout=0.0, average_decay=0.5)
N_FOLDS = 3


@pytest.fixture(scope="module", autouse=True)
def world(tiny_weights):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEEPGAZE_CACHE", str(tiny_weights[0]))
        yield


@pytest.fixture(scope="module")
def dataset(tiny_folders):
    """Pictures of two sizes."""
    return read_folder(tiny_folders["two"])


@pytest.fixture(scope="module")
def plan(dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("features")
    return plan_cache(dataset, MODEL, "w", folder, np.full(len(dataset), 1.25))


def prepared(dataset, plan, params, n_devices, dtype=None):
    """Data for so many devices; features cached where no type is given."""
    placement = place(
        N_FOLDS, 4, jax.devices()[:n_devices], features_in_step=dtype is not None
    )
    if dtype is None:
        inputs, network = build_cache(plan, dataset, MODEL, params), None
    else:
        inputs = open_pictures(plan, dataset, placement)
        network = place_network(MODEL, dtype, placement)
    folds = make_folds(len(dataset), n_folds=N_FOLDS)
    ids = range(N_FOLDS)
    return prepare(dataset, inputs, MODEL, folds, ids, placement, None, network)


def first_steps(data):
    """Loss of two steps and the parameters behind them; validation; moments."""
    placement, moments = data.placement, data.moments()
    mean, std = moments
    state = init_state(MODEL.init(0, N_FOLDS), mean, 1 / std, PLAIN)
    step, validate = make_steps(MODEL, PLAIN, placement)
    state = jax.device_get(state)
    placed = placement.put_state(state)
    ids = placement.put_members(np.arange(N_FOLDS, dtype=np.int32))
    losses = []
    for number, batch, _ in data.training_batches(4, 0, 0):
        placed, loss = step(
            placed,
            placement.put_batch(batch),
            ids,
            jax.random.key(0),
            np.float32(0.003),
            data.network.everywhere,
        )
        losses.append(placement.take_loss(loss, batch.folds))
        if number and len(losses) == 2:
            break
    values = {}
    for batch, images in data.validation_batches(4):
        k = int(batch.folds)
        own = jax.tree.map(
            lambda leaf, k=k: leaf[k], (state.params, state.mean, state.scale)
        )
        found, _ = validate(*own, batch, data.network.here)
        for image, weight, value in zip(images, batch.weights, found, strict=True):
            if weight:
                values[k, int(image)] = float(value)
    params = placement.take_state(placed).params
    return np.concatenate(losses), params, values, np.stack(moments)


@pytest.fixture(scope="module")
def cached(dataset, plan, tiny_weights):
    return first_steps(prepared(dataset, plan, tiny_weights[1], 1))


@pytest.fixture(scope="module")
def in_step(dataset, plan, tiny_weights):
    return functools.cache(
        lambda n, dtype: first_steps(prepared(dataset, plan, tiny_weights[1], n, dtype))
    )


@pytest.mark.parametrize("n_devices", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_float32_is_the_cache(cached, in_step, n_devices):
    losses, params, values, moments = in_step(n_devices, "float32")
    np.testing.assert_allclose(losses, cached[0], rtol=1e-6)
    np.testing.assert_allclose(moments, cached[3], rtol=1e-5, atol=1e-5)
    assert values.keys() == cached[2].keys()
    for key, value in values.items():
        assert value == pytest.approx(cached[2][key], rel=1e-6)
    for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(cached[1]), strict=True):
        assert np.abs(a - b).max() <= 1e-4 * np.abs(b).max()


@pytest.mark.slow
def test_bfloat16_is_near(cached, in_step):
    losses, _, values, _ = in_step(2, "bfloat16")
    np.testing.assert_allclose(losses, cached[0], rtol=1e-3)
    for key, value in values.items():
        assert value == pytest.approx(cached[2][key], rel=1e-3)
    # It is another type, not a name.
    assert np.abs(losses - cached[0]).max() > 1e-6 * np.abs(cached[0]).max()


def test_images_lie_over_the_devices(dataset, plan, tiny_weights):
    """And the pictures of a batch are decoded ones, of their own size."""
    data = prepared(dataset, plan, tiny_weights[1], 2, "float32")
    assert dict(data.placement.mesh.shape) == {"fold": 1, "batch": 2}
    for _, batch, _ in data.training_batches(4, 0, 0):
        pictures = batch.features
        assert pictures.shape[1:3] in (tiny.WIDE, tiny.NARROW)
        shards = pictures.addressable_shards
        assert [shard.data.shape[0] for shard in shards] == [len(pictures) // 2] * 2


def test_pictures_are_the_data_sets(dataset, plan):
    pictures = open_pictures(plan, dataset, place(1, 4, jax.devices()[:1]))
    assert pictures.rgb_sha256 == tuple(
        rgb_sha256(dataset.image(i)) for i in range(len(dataset))
    )
    # The last is a repetition, as where a batch is filled up.
    parts = [np.array([2, 0, 2]), np.array([10])]
    found = [np.array(a) for a in features_ahead(pictures, parts, MODEL.taps, np.array)]
    for part, arrays in zip(parts, found, strict=True):
        expected = [dataset.image(i) for i in part]
        np.testing.assert_array_equal(arrays, expected)


@pytest.mark.slow
def test_run_goes_on_bit_by_bit(tiny_folders, tmp_path, monkeypatch):
    """A whole run, its interrupted twin, and nothing in the cache."""
    tiny.on_one_device(monkeypatch)
    monkeypatch.setattr(training, "make_steps", functools.cache(training.make_steps))
    dataset = read_folder(tiny_folders["one"])
    config = tiny.config(features_in_step=True, epochs=2)
    before = sorted(training.weights.cache_dir().rglob("features.bin"))
    told = []
    train(dataset, config, tmp_path / "whole", progress=told.append)
    assert "no cache" in told[0].message and "float32" in told[0].message
    assert [p.done for p in told if p.stage == "features"][-1] == len(dataset)

    def stop(progress):
        if progress.epoch == 2 and progress.done > 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(dataset, config, tmp_path / "cut", progress=stop)
    train(dataset, config, tmp_path / "cut", resume=True)
    a, b = (tmp_path / name / "model.safetensors" for name in ("whole", "cut"))
    assert a.read_bytes() == b.read_bytes()
    assert sorted(training.weights.cache_dir().rglob("features.bin")) == before
    # The same as with a cache, of which the card says nothing more.
    train(dataset, tiny.config(epochs=2), tmp_path / "cached")
    card, other = (load_model(tmp_path / name)[1] for name in ("whole", "cached"))
    assert card["images"] == other["images"] and card["training"]["features_in_step"]
    logs = [
        json.loads((tmp_path / name / "log.jsonl").read_text().splitlines()[-1])
        for name in ("whole", "cached")
    ]
    for key in ("train_information_gain", "validation_information_gain"):
        assert logs[0][key] == pytest.approx(logs[1][key], rel=1e-3)
    with pytest.raises(ConfigError, match="features_in_step was True and is False"):
        train(dataset, tiny.config(epochs=2), tmp_path / "whole", resume=True)


def test_types():
    def dtype(accelerator, **changes):
        return TrainConfig(**changes).resolved(accelerator=accelerator).feature_dtype

    assert dtype(True) == dtype(False) == "float32"
    assert dtype(True, features_in_step=True) == "bfloat16"
    assert dtype(False, features_in_step=True) == "float32"
    assert dtype(True, features_in_step=True, feature_dtype="float32") == "float32"
    assert dtype(True, features_in_step=True, architecture="icf") == "float32"
    with pytest.raises(ConfigError, match="a cache has float32 or float16"):
        TrainConfig(feature_dtype="bfloat16")
    with pytest.raises(ConfigError, match="features in steps are float32 or bfloat16"):
        TrainConfig(feature_dtype="float16", features_in_step=True)


def test_no_bound_for_a_cache_that_is_not_there(dataset, tmp_path):
    config = tiny.config(features_in_step=True)
    with pytest.raises(ConfigError, match="bound for the feature cache"):
        train(dataset, config, tmp_path / "run", max_cache_bytes=10)


def test_a_damaged_picture_is_named_before_training(tmp_path):
    folder = tiny.write_folder(tmp_path / "data", [tiny.WIDE] * 5, 3)
    path = folder / "images" / "03.png"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match=r"03\.png"):
        train(read_folder(folder), tiny.config(features_in_step=True), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_network_computes_in_bfloat16(tiny_weights):
    image = np.zeros((1, 20, 24, 3), np.float32)
    placement = place(1, 1, jax.devices()[:1])
    network = place_network(MODEL, "bfloat16", placement).here
    assert MODEL.features(network, image).dtype == jnp.bfloat16
