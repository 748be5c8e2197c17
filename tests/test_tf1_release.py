"""The authors' TF-1 releases become models."""

import json

import numpy as np
import oracles
import pytest
import writers_tf
from PIL import Image

from deepgaze_jax.cli import main
from deepgaze_jax.conversion import crc32c, tf1_release, tf_bundle
from deepgaze_jax.conversion.containers import read_any
from deepgaze_jax.errors import WeightsError
from deepgaze_jax.model_files import load_model
from deepgaze_jax.prediction import load_pretrained
from deepgaze_jax.vgg import CONVOLUTIONS
from deepgaze_jax.weight_conversion import convert_weights
from deepgaze_jax.weight_inspection import inspect_weights


def deepgaze2_arrays(params, n_folds=10):
    """Random values under the names and shapes of `DeepGazeII.ckpt`."""
    rng = np.random.default_rng(6)
    arrays = {}
    for layer, parts in params.items():
        scope = f"features1/{layer[:5]}/{layer}"
        arrays[f"{scope}/weights"] = parts["kernel"]
        arrays[f"{scope}/biases"] = parts["bias"]

    def random(*shape, scale=1.0):
        return np.float32(rng.normal(size=shape) * scale)

    for k in range(n_folds):
        at = f"readout_network_{k}"
        for part in range(5):
            weights = random(1, 1, 512, 16, scale=1e-3)
            arrays[f"{at}/conv1_part{part}/weights"] = weights
        arrays[f"{at}/conv1/biases"] = random(16) + np.float32(1)
        arrays[f"{at}/conv2/weights"] = random(1, 1, 16, 32, scale=0.3)
        arrays[f"{at}/conv2/biases"] = random(32)
        arrays[f"{at}/conv3/weights"] = random(1, 1, 32, 2, scale=0.3)
        arrays[f"{at}/conv3/biases"] = random(2) + np.float32(2)
        arrays[f"{at}/conv4/weights"] = random(1, 1, 2, 1)
        arrays[f"saliency_map_{k}/alpha"] = np.float32(0.8 + k / 50)
        arrays[f"saliency_map_{k}/sigma"] = np.float32(3 + k / 10)
    return arrays


@pytest.fixture(scope="module")
def release(small_params):
    return deepgaze2_arrays(small_params)


def test_names_and_shapes_are_those_of_the_real_index(release, shared_data):
    index = tf_bundle.read_index(shared_data / "tf1" / "DeepGazeII.ckpt.index")
    assert len(index) == 162
    found = {name: ("float32", array.shape) for name, array in release.items()}
    assert found == index


def test_rows_are_in_the_order_of_the_taps(release):
    tensors = tf1_release.model_tensors(release, "deepgaze2")
    assert tensors["readout/dense0/kernel"].shape == (10, 2560, 16)
    for k in (0, 9):
        for part in range(5):
            np.testing.assert_array_equal(
                tensors["readout/dense0/kernel"][k, 512 * part : 512 * (part + 1)],
                release[f"readout_network_{k}/conv1_part{part}/weights"][0, 0],
            )
        sigma = tensors["finalizer/sigma_grid_px"][k]
        assert sigma == release[f"saliency_map_{k}/sigma"]
    np.testing.assert_array_equal(
        tensors["readout/dense2/kernel"][3],
        release["readout_network_3/conv3/weights"][0, 0],
    )
    assert tensors["readout/dense3/kernel"].shape == (10, 2, 1)


def test_everything_missing_is_named_at_once(release):
    broken = dict(release)
    del broken["readout_network_7/conv3/biases"], broken["saliency_map_2/alpha"]
    broken["readout_network_0/conv4/weights"] = np.zeros((1, 1, 3, 1), np.float32)
    broken["readout_network_10/conv4/weights"] = np.zeros(1, np.float32)
    with pytest.raises(WeightsError) as caught:
        tf1_release.model_tensors(broken, "deepgaze2")
    for word in (
        "missing: readout_network_7/conv3/biases, saliency_map_2/alpha",
        "unknown: readout_network_10/conv4/weights",
        "readout_network_0/conv4/weights [1, 1, 3, 1] instead of [1, 1, 2, 1]",
    ):
        assert word in str(caught.value)


@pytest.mark.slow
def test_deepgaze2_release_becomes_a_model(
    tmp_path, capsys, release, small_params, monkeypatch
):
    """Written as TensorFlow does, converted and used by the commands of the manual."""
    monkeypatch.setattr(writers_tf, "crc32c", crc32c.crc32c)  # The slow one is exact.
    path = tmp_path / "DeepGazeII.ckpt"
    writers_tf.write_bundle(path, release)
    result = tmp_path / "dg2.safetensors"
    convert = ["weights", "convert", str(path), "-o", str(result)]
    assert main(convert) == 1  # Random values: nothing tells the order of colours.
    assert "normalised-rgb" in capsys.readouterr().err
    for other in ("oxford-rgb", "torchvision"):
        assert main([*convert, "--source", other]) == 1
        err = capsys.readouterr().err
        assert "release has family N" in err and "normalised-bgr" in err
    assert not result.exists()
    found = inspect_weights(path)
    assert found["what"].startswith("deepgaze2") and found["missing"] == ""
    assert main([*convert, "--source", "normalised-rgb"]) == 0
    report = json.loads((tmp_path / "dg2.parity.json").read_text())
    assert report["passed"] and report["readout_identical"]
    tensors, card = load_model(result)
    assert (card["network"], card["family"]) == ("vgg19", "N")
    assert len([n for n in tensors if n.startswith("features/")]) == 32
    assert card["pixels_per_dva"] == 35
    capsys.readouterr()
    image = oracles.random_image(3, 64, 96)
    Image.fromarray(image.astype(np.uint8)).save(tmp_path / "a.png")
    predict = ["predict", str(tmp_path / "a.png"), "-o", str(tmp_path / "out")]
    assert main([*predict, "--model", str(result)]) == 0
    found = np.load(tmp_path / "out" / "a_log_density.npy")
    uniform = np.full((64, 96), -np.log(64 * 96))
    readouts = [oracle_readout(release, k) for k in range(10)]
    finalizers = [
        {
            "sigma_grid_px": release[f"saliency_map_{k}/sigma"],
            "center_bias_weight": release[f"saliency_map_{k}/alpha"],
        }
        for k in range(10)
    ]
    expected = oracles.deepgaze2(small_params, readouts, finalizers, image, uniform)
    assert np.ptp(expected["log_density"]) > 0.1
    assert np.abs(found - expected["log_density"]).max() <= 1e-5
    with pytest.raises(WeightsError, match="family N"):
        load_pretrained(result, features=_family_o(tmp_path, small_params))
    # Blue first is the same network, if it is stated.
    flipped = dict(release)
    first = "features1/conv1/conv1_1/weights"
    flipped[first] = release[first][:, :, ::-1].copy()
    writers_tf.write_bundle(path, flipped)
    convert_weights(path, result, "normalised-bgr")
    again, _ = load_model(result)
    for name, array in tensors.items():
        np.testing.assert_array_equal(again[name], array)


def oracle_readout(release, k):
    """One fold's readout from the arrays of the release, by the text of the model."""
    at = f"readout_network_{k}"
    parts = [release[f"{at}/conv1_part{p}/weights"][0, 0] for p in range(5)]
    layers = {
        "dense0": {"kernel": np.vstack(parts), "bias": release[f"{at}/conv1/biases"]}
    }
    for n in (1, 2):
        kernel = release[f"{at}/conv{n + 1}/weights"][0, 0]
        layers[f"dense{n}"] = {
            "kernel": kernel,
            "bias": release[f"{at}/conv{n + 1}/biases"],
        }
    return layers | {"dense3": {"kernel": release[f"{at}/conv4/weights"][0, 0]}}


def _family_o(tmp_path, params):
    import small_models

    return small_models.write_feature_weights(tmp_path / "cache", params)


def test_icf_release(tmp_path, shared_data):
    path = shared_data / "tf1" / "ICF.ckpt"
    arrays = read_any(path).arrays
    index = tf_bundle.read_index(path)
    assert {n: ("float32", a.shape) for n, a in arrays.items()} == index
    assert len(arrays) == 90
    result = tmp_path / "icf.safetensors"
    report = convert_weights(path, result)
    assert report["tensors"] == 90 and report["readout_identical"]
    tensors, card = load_model(result)
    assert card["network"] == "icf"
    own = [a for n, a in tensors.items() if not n.startswith("center_bias/")]
    assert sum(a.size for a in own) == sum(a.size for a in arrays.values())
    for k in range(10):
        first = arrays[f"readout_network_{k}/conv1_part0/weights"][0, 0]
        np.testing.assert_array_equal(tensors["readout/dense0/kernel"][k], first)
    sigma = tensors["finalizer/sigma_grid_px"]
    assert 3.6 <= sigma.min() and sigma.max() <= 4.8
    alpha = tensors["finalizer/center_bias_weight"]
    assert 0.8545 <= alpha.min() and alpha.max() <= 0.8905
    found = inspect_weights(path)
    assert found["what"].startswith("readouts of icf")
    found = inspect_weights(result)
    assert found["what"] == "a model whose features need no weights"
    # One of the parts alone: the line says which is missing.
    alone = tmp_path / "ICF.ckpt.index"
    alone.write_bytes((shared_data / "tf1" / "ICF.ckpt.index").read_bytes())
    with pytest.raises(WeightsError, match=r"ICF.ckpt.data-00000-of-00001"):
        convert_weights(tmp_path / "ICF.ckpt", result)


def test_layers_are_all_there(release):
    assert sum(n.startswith("features1/") for n in release) == 2 * len(CONVOLUTIONS)
