"""Rescaling keeps the function; factors are recovered; readouts are moved."""

import numpy as np
import oracles
import pytest
from PIL import Image

from deepgaze_jax import weight_scales
from deepgaze_jax.architectures import deepgaze2
from deepgaze_jax.cli import main
from deepgaze_jax.conversion.slow_network import fixed_picture
from deepgaze_jax.errors import WeightsError
from deepgaze_jax.model_files import check_family, read_card
from deepgaze_jax.prediction import load_pretrained
from deepgaze_jax.vgg import CONVOLUTIONS, vgg19_features
from deepgaze_jax.weights import REGISTRY, read_features

IMAGES = (fixed_picture(40, 56), fixed_picture(33, 30)[::-1])


@pytest.fixture(scope="module")
def scales(small_params):
    means = weight_scales.measure_means(small_params, iter(IMAGES))
    return weight_scales.unit_mean_scales(means)


@pytest.fixture(scope="module")
def normalised(small_params, scales):
    return weight_scales.rescale(small_params, scales)


def test_means_are_those_of_the_oracle(small_params):
    means = weight_scales.measure_means(small_params, iter(IMAGES))
    for layer in ("conv1_1", "conv3_2", "conv5_4"):
        relu = layer.replace("conv", "relu")
        cells = [
            oracles.vgg19(small_params, image, [relu])[relu].reshape(
                -1, CONVOLUTIONS[layer]
            )
            for image in IMAGES
        ]
        expected = np.concatenate(cells).mean(0)
        assert np.abs(means[layer] - expected).max() <= 1e-5 * expected.max()


def test_every_filter_has_unit_mean_activation(normalised, scales):
    relus = [layer.replace("conv", "relu") for layer in CONVOLUTIONS]
    taps = [vgg19_features(normalised, image, relus) for image in IMAGES]
    for relu in relus:
        cells = [np.asarray(t[relu], np.float64) for t in taps]
        mean = np.concatenate([c.reshape(-1, c.shape[-1]) for c in cells]).mean(0)
        # Where a filter was hardly ever active, rounding is all that it has.
        strength = 1 / scales[relu.replace("relu", "conv")]
        active = (mean > 0) & (strength > 1e-2 * np.median(strength))
        assert active.mean() > 0.5
        np.testing.assert_allclose(mean[active], 1, atol=2e-4)


def test_function_is_preserved_through_conv5_4(small_params, normalised, scales):
    taps = [k for layer in CONVOLUTIONS for k in (layer, layer.replace("conv", "relu"))]
    image = oracles.random_image(2, 48, 64)
    before = vgg19_features(small_params, image, taps)
    after = vgg19_features(normalised, image, taps)
    for tap in taps:
        expected = np.asarray(before[tap], np.float64)
        found = np.asarray(after[tap], np.float64) / scales[tap.replace("relu", "conv")]
        assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max(), tap


def test_factors_are_recovered(small_params, normalised, scales):
    found = weight_scales.recover_scales(small_params, normalised)
    for layer, factors in scales.items():
        np.testing.assert_allclose(found[layer], factors, rtol=1e-5)
    other = {k: dict(p) for k, p in normalised.items()}
    other["conv3_3"]["kernel"] = np.roll(other["conv3_3"]["kernel"], 1, axis=0)
    with pytest.raises(WeightsError, match="conv3_3 is no rescaled form"):
        weight_scales.recover_scales(small_params, other)
    other["conv3_3"] = {k: -v for k, v in normalised["conv3_3"].items()}
    with pytest.raises(WeightsError, match=r"conv3_3.*256 factors are not positive"):
        weight_scales.recover_scales(small_params, other)


def test_a_readout_is_moved_between_families(
    small_params, normalised, scales, small_folds
):
    model = deepgaze2()
    readout = small_folds[0][0]
    image = oracles.random_image(4, 64, 96)
    kernel = readout["dense0"]["kernel"]
    moved = weight_scales.transfer_kernel(kernel, model.taps, scales)
    maps = []
    for params, first in ((small_params, kernel), (normalised, moved)):
        layers = readout | {"dense0": readout["dense0"] | {"kernel": first}}
        features = model.features(params, image)
        maps.append(np.asarray(model.readout_map(layers, features, (64, 96))))
    assert np.abs(maps[1] - maps[0]).max() <= 1e-5 * np.abs(maps[0]).max()
    back = {layer: 1 / factors for layer, factors in scales.items()}
    again = weight_scales.transfer_kernel(moved, model.taps, back)
    np.testing.assert_allclose(again, kernel, rtol=1e-6)
    with pytest.raises(WeightsError, match="has 2560 channels, the taps have 512"):
        weight_scales.transfer_kernel(kernel, ["conv5_1"], scales)


def test_no_image(small_params):
    with pytest.raises(WeightsError, match="no image"):
        weight_scales.measure_means(small_params, iter(()))


def test_command_line(tmp_path, capsys, small_cache, small_folds, monkeypatch):
    """Normalised values are a family of their own, which a readout of O refuses."""
    import small_models

    monkeypatch.setenv("DEEPGAZE_CACHE", str(small_cache))
    source = small_cache / "weights" / "vgg19.safetensors"
    folder = tmp_path / "pictures"
    folder.mkdir()
    for k, image in enumerate(IMAGES):
        Image.fromarray(image.astype(np.uint8)).save(folder / f"{k}.png")
    (folder / "notes.txt").write_text("no picture")
    result = tmp_path / "n.safetensors"
    words = ["weights", "normalise", source, "--images", folder, "-o", result]
    assert main([str(word) for word in words]) == 0
    out = capsys.readouterr().out
    card = read_card(result)
    assert card["family"].startswith("N-") and card["family"] in out
    assert card["rescaled_from"] == "O" and card["rescaled_on"].startswith("2 images")
    params, card = read_features(result)
    assert list(params) == list(CONVOLUTIONS)
    with pytest.raises(WeightsError) as caught:
        check_family({"network": "vgg19", "family": "O"}, card)
    assert "family O" in str(caught.value) and card["family"] in str(caught.value)
    model = small_models.write_model(tmp_path / "m.safetensors", small_folds)
    with pytest.raises(WeightsError, match=f"family O.*{card['family']}"):
        load_pretrained(model, features=result)
    picture = oracles.random_image(1, 64, 96)
    same = load_pretrained(model, features=source).predict(picture)
    np.testing.assert_array_equal(same, load_pretrained(model).predict(picture))
    assert REGISTRY["vgg19"].card["family"] == "O"
    empty = tmp_path / "empty"
    empty.mkdir()
    words[4] = empty
    assert main([str(word) for word in words]) == 1
    assert "has no pictures" in capsys.readouterr().err
