"""Every architecture trains on pictures, and predicts what its training maximised."""

import numpy as np
import oracles_alexnet
import pytest
import tiny

from deepgaze_jax import weights
from deepgaze_jax.center_bias import resample_log_density
from deepgaze_jax.datasets.folder import read_folder
from deepgaze_jax.errors import ConfigError
from deepgaze_jax.metrics import information_gain
from deepgaze_jax.model import ARCHITECTURES, deepgaze1, icf
from deepgaze_jax.model_files import write_tensors
from deepgaze_jax.prediction import load_pretrained
from deepgaze_jax.train_config import TrainConfig
from deepgaze_jax.training import train


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Random values for both networks that have weights."""
    folder = tmp_path_factory.mktemp("cache")
    tiny.write_weights(folder)
    tensors = {
        f"features/{layer}/{part}": array
        for layer, parts in oracles_alexnet.random_params(8).items()
        for part, array in parts.items()
    }
    entry = weights.REGISTRY["alexnet"]
    write_tensors(folder / "weights" / "alexnet.safetensors", tensors, entry.card)
    return folder


CONFIGS = {
    "icf": {"architecture": "icf", "taps": None, "widths": None},
    "deepgaze1": {"architecture": "deepgaze1", "taps": None, "widths": None},
    "deepgaze2-iie-readout": {
        "architecture": "deepgaze2-iie-readout",
        "widths": (4, 1, 3, 1),
    },
}


@pytest.mark.parametrize("name", CONFIGS)
def test_predictions_score_as_the_training_says(
    name, cache, tiny_folders, tmp_path, monkeypatch
):
    """The likelihood of training against the density of predict, fold by fold."""
    monkeypatch.setenv("DEEPGAZE_CACHE", str(cache))
    dataset = read_folder(tiny_folders["one"])
    config = tiny.config(epochs=2, **CONFIGS[name])
    run = tmp_path / "run"
    train(dataset, config, run)
    predictor = load_pretrained(run)
    assert predictor.model == config.model
    scores = predictor.card["scores"]["validation_information_gain"]
    assert len(scores) == 4 and np.ptp(scores) > 0
    for k, fold in enumerate(predictor.card["folds"]):
        gains = []
        for image in fold["validation"]:
            own = dataset.fixations.of_images(image)
            if len(own):
                found = predictor.predict(dataset.image(image), fold=k)
                bias = predictor.center_biases[k]
                bias = resample_log_density(bias, *found.shape)
                gains.append(information_gain(found, bias, own.x, own.y).mean())
        assert scores[k] == pytest.approx(np.mean(gains), abs=1e-4)


def test_later_readout_has_layer_norms_in_its_file(
    cache, tiny_folders, tmp_path, monkeypatch
):
    monkeypatch.setenv("DEEPGAZE_CACHE", str(cache))
    dataset = read_folder(tiny_folders["one"])
    config = tiny.config(epochs=1, only_folds=(1,), **CONFIGS["deepgaze2-iie-readout"])
    train(dataset, config, tmp_path / "run")
    predictor = load_pretrained(tmp_path / "run")
    shapes = {
        n: p["scale"].shape
        for n, p in predictor.params["readout"].items()
        if n.startswith("layer_norm")
    }
    channels = predictor.model.channels
    assert shapes == {
        "layer_norm0": (1, channels),
        "layer_norm1": (1, 4),
        "layer_norm2": (1, 1),
    }


def test_configurations():
    assert TrainConfig(architecture="icf").model == icf()
    assert TrainConfig(architecture="deepgaze1").model == deepgaze1()
    # Half of VGG-19's many channels, none of the few.
    dropout = {
        name: TrainConfig(architecture=name).optimiser.feature_dropout
        for name in ARCHITECTURES
    }
    assert dropout == {
        "deepgaze2": 0.5,
        "deepgaze2-iie-readout": 0.5,
        "deepgaze1": 0.0,
        "icf": 0.0,
    }
    with pytest.raises(ConfigError, match="architecture is 'eDN'; there are deepgaze2"):
        TrainConfig(architecture="eDN")
