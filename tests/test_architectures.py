"""Every architecture trains on pictures, and predicts what its training maximised."""

import numpy as np
import oracles_alexnet
import pytest
import tiny

from deepgaze_jax import weights
from deepgaze_jax.architectures import ARCHITECTURES, deepgaze1, icf
from deepgaze_jax.center_bias import resample_log_density
from deepgaze_jax.cli import main
from deepgaze_jax.datasets.folder import read_folder
from deepgaze_jax.errors import ConfigError, DeepGazeError
from deepgaze_jax.metrics import information_gain
from deepgaze_jax.model import FixationModel
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
@pytest.mark.slow
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
    # Half of VGG's many channels, none of the few.
    dropout = {
        name: TrainConfig(architecture=name).resolved().optimiser.feature_dropout
        for name in ARCHITECTURES
    }
    assert dropout == {
        "deepgaze2": 0.5,
        "deepgaze2-iie-readout": 0.5,
        "deepgaze2-vgg16": 0.5,
        "deepgaze1": 0.0,
        "icf": 0.0,
    }
    with pytest.raises(ConfigError, match="architecture is 'eDN'; there are deepgaze2"):
        TrainConfig(architecture="eDN")


IIE = {"layer_norm": True, "nonlinearity": "softplus"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"network": "vgg13"}, "network of a model is 'vgg13'; expected one of vgg19"),
        ({"network": {}}, "network of a model is {}"),
        ({"taps": ("icf",)}, "unknown VGG-19 taps ['icf']"),
        ({"taps": ()}, "taps of a model is (); expected one or more names"),
        ({"taps": "conv5_1"}, "taps of a model is 'conv5_1'"),
        ({"taps": (("conv5_1",),)}, "one or more names"),
        ({"taps": ("conv4_1", "conv5_1")}, "must lie on one grid"),
        ({"taps": ("conv1_1",)}, "whole multiples of the grid's"),
        ({"network": "icf"}, "of ICF; it has one: icf"),
        ({"network": "alexnet", "taps": ("conv1", "conv5")}, "strides [4, 16]"),
        ({"downsample": 0}, "downsample of a model is 0; expected a whole number from"),
        ({"downsample": 2.0}, "downsample of a model is 2.0"),
        ({"downsample": 10**9}, "from 1 to 64"),
        ({"readout_stride": -4}, "readout_stride of a model is -4"),
        ({"readout_stride": 3}, "whole multiples of the grid's"),
        ({"sampling": "cubic"}, "sampling of a model is 'cubic'; expected one of mean"),
        ({"sampling": []}, "sampling of a model is []"),
        ({"nonlinearity": "gelu"}, "expected one of relu, softplus"),
        ({"widths": ()}, "widths of a model is ()"),
        ({"widths": (16, 2)}, "of which the last is 1"),
        ({"widths": (0, 1)}, "widths of a model is (0, 1)"),
        ({"widths": (-3, 1)}, "widths of a model is (-3, 1)"),
        ({"widths": (True, 1)}, "widths of a model is (True, 1)"),
        ({"widths": [4, 1]}, "widths of a model is [4, 1]"),
        ({"widths": (1,), **IIE}, "two or more, as every layer norm needs a layer"),
        ({"layer_norm": "no"}, "layer_norm of a model is 'no'"),
        ({"blur_radius": 0}, "blur_radius of a model is 0"),
        ({"blur_radius": 10**9}, "a whole number from 1 to 1000"),
        ({"blur_radius": "9" * 500}, "blur_radius of a model is '999"),
        (
            {"blur_truncate": 0},
            "blur_truncate of a model is 0; expected a number above",
        ),
        ({"blur_truncate": -1.0}, "blur_truncate of a model is -1.0"),
        ({"blur_truncate": float("nan")}, "blur_truncate of a model is nan"),
        ({"sigma_grid_px": float("inf")}, "sigma_grid_px of a model is inf"),
        ({"sigma_grid_px": True}, "sigma_grid_px of a model is True"),
    ],
)
def test_settings_that_no_model_can_have(changes, words):
    """One line each, before a picture is looked at or a feature computed."""
    with pytest.raises(DeepGazeError) as caught:
        FixationModel(**changes)
    line = str(caught.value)
    assert words in line and "\n" not in line and len(line) < 200


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"architecture": "icf", "taps": ("conv5_1",)}, "of ICF; it has one: icf"),
        ({"architecture": "deepgaze1", "taps": ("conv1", "conv5")}, "one grid"),
        ({"architecture": "deepgaze1", "taps": ("conv5_1",)}, "unknown AlexNet taps"),
        ({"architecture": "deepgaze1", "taps": ()}, "one or more names"),
        ({"taps": ("conv4_1", "conv5_1")}, "must lie on one grid"),
        ({"taps": ("conv1_1",)}, "whole multiples of the grid's"),
        ({"widths": (0, 1)}, "whole numbers from 1"),
        ({"architecture": "deepgaze2-iie-readout", "widths": (1,)}, "two or more"),
    ],
)
def test_a_run_of_such_a_model_leaves_nothing(
    options, words, cache, tiny_folders, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("DEEPGAZE_CACHE", str(cache))
    given = [str(tiny_folders["one"]), "-o", str(tmp_path / "run")]
    for name, value in options.items():
        texts = [value] if isinstance(value, str) else map(str, value)
        given += [f"--{name}", *texts]
    assert main(["train", "--data", *given]) in (1, 2)
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
    assert not (tmp_path / "run").exists()
