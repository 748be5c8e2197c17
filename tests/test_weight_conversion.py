"""Any format in, the same parameters out; what a file is, and what it is not."""

import dataclasses
import json
import zipfile
from pathlib import Path

import hypothesis
import numpy as np
import oracles
import pytest
import writers_weights as writers
from hypothesis import strategies as st
from PIL import Image
from writers_pickle import Call, Name, torch_legacy, torch_zip

from deepgaze_jax import weight_conversion
from deepgaze_jax.cli import main
from deepgaze_jax.conversion import identify, key_maps
from deepgaze_jax.conversion.assemble import assemble
from deepgaze_jax.conversion.containers import WeightFile, read_any
from deepgaze_jax.conversion.identify import positive_counts, statistics
from deepgaze_jax.conversion.networks import NETWORKS
from deepgaze_jax.conversion.slow_network import slow_taps
from deepgaze_jax.conversion.torch_network import torch_taps
from deepgaze_jax.errors import WeightsError
from deepgaze_jax.model_files import read_tensors, write_tensors
from deepgaze_jax.weight_conversion import (
    convert_weights,
    load_weights,
    named_features,
)
from deepgaze_jax.weight_inspection import inspect_weights, verify_weights
from deepgaze_jax.weights import cached_path, load_features

WIDTHS = (4, 5, 6, 7, 8)


@pytest.fixture
def small(monkeypatch):
    """A VGG-19 with few channels takes the place of the real one; its values."""
    channels = {k: WIDTHS[int(k[4]) - 1] for k in NETWORKS["vgg19"].channels}
    network = dataclasses.replace(NETWORKS["vgg19"], channels=channels)
    monkeypatch.setitem(NETWORKS, "vgg19", network)
    monkeypatch.setattr(key_maps, "KEY_MAPS", tuple(key_maps._all()))
    return random_params(channels)


def random_params(channels, seed=3):
    rng = np.random.default_rng(seed)
    params, n_in = {}, 3
    for layer, n_out in channels.items():
        kernel = rng.standard_normal((3, 3, n_in, n_out)) * np.sqrt(2 / 9 / n_in)
        bias = rng.standard_normal(n_out)
        params[layer] = {"kernel": np.float32(kernel), "bias": np.float32(bias)}
        n_in = n_out
    return params


@pytest.fixture
def as_oxford(small, monkeypatch):
    """The small values take the place of family O."""
    first = small["conv1_1"]
    rows, lengths = statistics(first["kernel"], first["bias"])
    signature = {
        "network": "vgg19",
        "family": "O",
        "filters": list(range(WIDTHS[0])),
        "lengths": lengths.tolist(),
        "statistics": rows.tolist(),
        "positive": {
            layer: positive_counts(parts["kernel"]).tolist()
            for layer, parts in list(small.items())[1:]
        },
    }
    monkeypatch.setattr(identify, "_signatures", lambda: {"vgg19-O": signature})
    return small


def assert_identical(found, expected):
    assert list(found) == list(expected)
    for layer, parts in expected.items():
        for part, array in parts.items():
            np.testing.assert_array_equal(found[layer][part], array, strict=True)


def write(tmp_path, name, params):
    writer, ending, source = writers.FORMATS[name]
    path = tmp_path / f"vgg{ending}"
    writer(path, params)
    return path, source


# --- round trip ----------------------------------------------------------------------


@pytest.mark.parametrize("name", writers.FORMATS)
def test_every_format_gives_identical_arrays(tmp_path, small, name):
    path, source = write(tmp_path, name, small)
    with pytest.raises(WeightsError, match="--source KIND: oxford-bgr"):
        load_weights(path)
    result = tmp_path / "ours.safetensors"
    report = convert_weights(path, result, source)
    tensors, card = read_tensors(result)
    found = {
        layer: {part: tensors[f"features/{layer}/{part}"] for part in parts}
        for layer, parts in small.items()
    }
    assert len(tensors) == 32
    assert_identical(found, small)
    assert (card["network"], card["family"]) == ("vgg19", "O")
    assert card["preprocessing"] == "RGB 0..255 minus mean 123.68 116.779 103.939"
    assert len(card["source_sha256"]) == 64
    assert report["passed"] and set(report["taps"]) == set(oracles.DEEPGAZE2_TAPS)
    stored = json.loads((tmp_path / "ours.parity.json").read_text())
    assert stored == report
    # The result is again a file that can be read, and knows what it is.
    again = load_weights(result)
    assert_identical(again.params, small)
    assert again.card["family"] == "O"


@pytest.mark.parametrize("name", writers.FORMATS)
def test_every_format_is_recognised_by_its_values(tmp_path, as_oxford, name):
    path, _ = write(tmp_path, name, as_oxford)
    found = load_weights(path, use_hash=False)
    assert found.card["family"] == "O"
    assert "of the first kernel agree with family O" in found.card["evidence"][0]
    assert_identical(found.params, as_oxford)


# --- what the first layer expects ----------------------------------------------------


def test_torchvision_is_exact_up_to_the_border(tmp_path, small):
    """Against the definition: RGB/255, mean, standard deviation, then zeros around."""
    path = tmp_path / "vgg19.pth"
    path.write_bytes(torch_zip(writers.torch_arrays(small)))
    found = load_weights(path, "torchvision")
    np.testing.assert_allclose(
        found.params["input"]["mean_rgb"], [123.675, 116.28, 103.53], rtol=1e-6
    )
    image = oracles.random_image(1, 20, 30)
    x = (image / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    first = small["conv1_1"]
    expected = oracles.conv3x3_same(x, first["kernel"], first["bias"])
    from deepgaze_jax.vgg import vgg19_features

    result = vgg19_features(found.params, image, ["conv1_1"])["conv1_1"]
    assert np.abs(result - expected).max() <= 1e-5 * np.abs(expected).max()
    # The usual mean would be wrong by far more than rounding.
    usual = {"conv1_1": found.params["conv1_1"]}
    result = vgg19_features(usual, image, ["conv1_1"])["conv1_1"]
    assert np.abs(result - expected).max() > 1e-3 * np.abs(expected).max()
    result = tmp_path / "ours.safetensors"
    assert convert_weights(path, result, "torchvision")["passed"]
    again = load_weights(result)
    assert_identical(again.params, found.params)
    assert again.card["family"] == "T"
    assert verify_weights(path, result, ("torchvision", None))["same"]


def test_batch_norm_is_folded_exactly(tmp_path, small):
    rng = np.random.default_rng(8)
    arrays = writers.torch_arrays(small, writers.BATCH_NORM)
    for at, parts in zip(writers.BATCH_NORM, small.values(), strict=True):
        n = len(parts["bias"])
        arrays |= {
            f"features.{at + 1}.weight": np.float32(rng.uniform(-1.5, 1.5, n)),
            f"features.{at + 1}.bias": np.float32(rng.normal(size=n)),
            f"features.{at + 1}.running_mean": np.float32(rng.normal(size=n)),
            f"features.{at + 1}.running_var": np.float32(rng.uniform(0.1, 2, n)),
            f"features.{at + 1}.num_batches_tracked": np.int64(7),
        }
    path = tmp_path / "vgg19_bn.pth"
    path.write_bytes(torch_zip(arrays | writers.classifier(0, 3, 6)))
    report = convert_weights(path, tmp_path / "ours.safetensors")
    assert report["family"] == "T" and report["passed"]
    # The report can fail.
    found = load_weights(path)
    broken = load_weights(path).params
    broken["conv4_2"]["bias"] = broken["conv4_2"]["bias"] + 0.1
    from deepgaze_jax.weight_parity import parity_report

    assert not parity_report(found.mapped, found.identity, broken)["passed"]
    del arrays["features.8.running_var"]
    path.write_bytes(torch_zip(arrays))
    with pytest.raises(WeightsError, match="missing conv2_1/norm/running_var"):
        load_weights(path, "torchvision")


def test_a_color_layer_of_any_kind_is_folded(tmp_path, small):
    """Mixed colours and another mean, from RGB 0..1."""
    path = tmp_path / "vgg.pth"
    writers.pth_adain(path, small)
    mix = np.float32([[200, 30, 5], [-20, 250, 10], [0, 7, 150]])
    shift = np.float32([-90, -110, -40])
    arrays = {"0.weight": mix[:, :, None, None], "0.bias": shift}
    path.write_bytes(torch_zip(arrays | writers.torch_arrays(small, writers.ADAIN, "")))
    report = convert_weights(path, tmp_path / "ours.safetensors", "normalised-bgr")
    assert report["passed"] and report["family"] == "N"
    singular = arrays | {"0.weight": 0 * arrays["0.weight"]}
    singular |= writers.torch_arrays(small, writers.ADAIN, "")
    path.write_bytes(torch_zip(singular))
    with pytest.raises(WeightsError, match="cannot be inverted"):
        load_weights(path, "normalised-bgr")


def test_exchanged_axes_are_put_right(tmp_path, as_oxford):
    turned = {
        layer: parts | {"kernel": np.swapaxes(parts["kernel"], 0, 1).copy()}
        for layer, parts in as_oxford.items()
    }
    path = tmp_path / "imagenet-vgg-verydeep-19.mat"
    writers.matconvnet(path, turned)
    found = load_weights(path)
    assert_identical(found.params, as_oxford)
    assert "height and width exchanged" in found.card["evidence"][0]
    assert convert_weights(path, tmp_path / "ours.safetensors")["passed"]


# --- families -------------------------------------------------------------------------


def rescaled(params, seed=4):
    rng = np.random.default_rng(seed)
    result, below = {}, np.ones(3)
    for layer, parts in params.items():
        factors = rng.uniform(0.2, 5, len(parts["bias"]))
        kernel = parts["kernel"] / below[:, None] * factors
        result[layer] = {
            "kernel": np.float32(kernel),
            "bias": np.float32(parts["bias"] * factors),
        }
        below = factors
    return result


@pytest.mark.parametrize("name", ["caffe old", "pth adain", "tf-slim"])
def test_rescaled_values_are_family_n(tmp_path, as_oxford, name):
    path, _ = write(tmp_path, name, rescaled(as_oxford))
    found = load_weights(path)
    assert found.card["family"] == "N"
    assert "times as long" in found.card["evidence"][0]
    writers.keras_old(tmp_path / "o.h5", as_oxford)
    report = verify_weights(tmp_path / "o.h5", path)
    assert not report["same"] and report["rescaled"].startswith("factors from 0.")


def test_a_network_that_was_trained_further_has_to_be_stated(tmp_path, as_oxford):
    """Its first layer was kept, as is usual, so that alone would tell family O."""
    trained = {k: dict(p) for k, p in as_oxford.items()}
    for layer in ("conv4_2", "conv5_4"):
        trained[layer]["kernel"] = -trained[layer]["kernel"]
    path, source = write(tmp_path, "pth zip", trained)
    with pytest.raises(WeightsError) as caught:
        load_weights(path)
    line = str(caught.value)
    assert "but conv4_2, conv5_4 hold other values" in line and "--source" in line
    found = load_weights(path, source)
    assert found.card["family"] == "O" and "conv4_2" in found.card["evidence"][0]
    with pytest.raises(WeightsError, match="in the order BGR"):
        load_weights(path, "oxford-rgb")


def test_values_that_contradict_what_is_stated(tmp_path, as_oxford):
    path, _ = write(tmp_path, "keras old", as_oxford)
    for source in ("torchvision", "oxford-rgb", "normalised-bgr"):
        with pytest.raises(WeightsError, match="values of family O in the order BGR"):
            load_weights(path, source)
    with pytest.raises(WeightsError, match="no source 'keras'; choose one of oxford-b"):
        load_weights(path, "keras")
    assert load_weights(path, "oxford-bgr").card["family"] == "O"


def test_keys_of_torchvision_prove_nothing_where_its_values_are_known(tmp_path, small):
    path = tmp_path / "vgg19.pth"
    arrays = writers.torch_arrays(small) | writers.classifier(0, 3, 6)
    path.write_bytes(torch_zip(arrays))
    with pytest.raises(WeightsError, match="classifier's keys are those of torchvis"):
        load_weights(path)
    assert load_weights(path, "torchvision").card["family"] == "T"


@pytest.mark.weights
@pytest.mark.parametrize(
    ("name", "family", "layer"), [("vgg16", "T", "conv1_1"), ("alexnet", "T", "conv1")]
)
def test_torchvision_is_recognised_by_signature_alone(tmp_path, name, family, layer):
    if cached_path(name) is None:
        pytest.skip(f"{name} is not cached: deepgaze weights fetch {name}")
    params = load_features(name)
    indices = {"vgg16": (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)}
    arrays = writers.torch_arrays(params, indices.get(name, (0, 3, 6, 8, 10)))
    path = tmp_path / "net.pth"
    path.write_bytes(torch_zip(arrays))
    report = convert_weights(path, tmp_path / "ours.safetensors", use_hash=False)
    assert (report["family"], report["network"]) == (family, name)
    assert report["passed"] and "filters of the first kernel" in report["evidence"][0]
    found = load_weights(path)
    assert_identical(found.params, params)
    assert found.card["preprocessing"].startswith("RGB/255")


@pytest.mark.weights
@pytest.mark.parametrize("key", ["vgg19-O", "vgg16-T", "alexnet-T"])
def test_signatures_are_those_of_the_fetched_values(key):
    signature = identify._signatures()[key]
    name = signature["network"]
    if cached_path(name) is None:
        pytest.skip(f"{name} is not cached: deepgaze weights fetch {name}")
    params = load_features(name)
    first, *above = params
    rows, lengths = statistics(params[first]["kernel"], params[first]["bias"])
    assert signature["filters"] == list(range(64))
    np.testing.assert_allclose(signature["statistics"], rows, atol=6e-6)
    np.testing.assert_allclose(signature["lengths"], lengths, rtol=5e-5)
    counts = {k: positive_counts(params[k]["kernel"]).tolist() for k in above}
    assert signature["positive"] == counts


@pytest.mark.weights
@pytest.mark.slow
def test_how_far_real_values_may_be_from_the_signature(tmp_path):
    """Half precision and rescaling stay below, a little training does not."""
    if cached_path("vgg19") is None:
        pytest.skip("VGG-19 is not cached: deepgaze weights fetch vgg19")
    params = load_features("vgg19")
    half = {k: {q: np.float16(a) for q, a in p.items()} for k, p in params.items()}
    path = tmp_path / "vgg.pth"
    rng = np.random.default_rng(0)
    trained = {k: dict(p) for k, p in params.items()}
    kernel = params["conv4_2"]["kernel"]
    noise = rng.standard_normal(kernel.shape, np.float32) * kernel.std() * 1e-3
    trained["conv4_2"]["kernel"] = kernel + noise
    for values, family in ((half, "O"), (rescaled(params), "N"), (trained, "")):
        path.write_bytes(torch_zip(writers.torch_arrays(values)))
        mapped = key_maps.map_names(read_any(path).arrays)
        assert identify.identify(mapped).family == family
    assert "but conv4_2 hold" in identify.identify(mapped).evidence[0]


@pytest.fixture
def real_keras(tmp_path):
    """The real values as Keras' own file has them."""
    if cached_path("vgg19") is None:
        pytest.skip("VGG-19 is not cached: deepgaze weights fetch vgg19")
    path = tmp_path / "vgg.h5"
    writers.keras_old(path, load_features("vgg19"))
    return path


@pytest.mark.weights
@pytest.mark.slow
def test_real_keras_file_is_family_o_by_signature_alone(tmp_path, real_keras):
    report = convert_weights(real_keras, tmp_path / "o.safetensors", use_hash=False)
    assert report["family"] == "O" and report["passed"]
    # What convert makes is what fetch made.
    converted = load_weights(tmp_path / "o.safetensors").params
    assert_identical(converted, load_features("vgg19"))
    (reason,) = report["evidence"]
    assert "64 filters" in reason and "order BGR" in reason
    # A quarter of the filters in another order is something else.
    params = load_features("vgg19")
    kernel = params["conv1_1"]["kernel"]
    kernel[..., :16] = kernel[..., 15::-1]
    writers.keras_old(real_keras, params)
    with pytest.raises(WeightsError, match="--source"):
        load_weights(real_keras)


@pytest.mark.weights
@pytest.mark.torch
@pytest.mark.slow
def test_real_taps_agree_with_torch_on_a_photograph(tmp_path, real_keras, osie_mini):
    """PyTorch carries the numbers of the Keras file itself, blue first."""
    pytest.importorskip("torch")
    import h5py
    from torch_vgg19 import torch_vgg19

    from deepgaze_jax.vgg import vgg19_features

    with h5py.File(real_keras) as file:
        theirs = {}
        for layer in NETWORKS["vgg19"].channels:
            b = layer.replace("conv", "block").replace("_", "_conv")
            kernel, bias = file[f"{b}/{b}_W_1:0"][()], file[f"{b}/{b}_b_1:0"][()]
            theirs[layer] = {"kernel": kernel, "bias": bias}
    theirs["conv1_1"]["kernel"] = theirs["conv1_1"]["kernel"][:, :, ::-1]
    params = load_weights(real_keras, use_hash=False).params
    image = osie_mini.image(0)
    expected = torch_vgg19(theirs, image, oracles.DEEPGAZE2_TAPS)
    found = vgg19_features(params, image, oracles.DEEPGAZE2_TAPS)
    for tap in oracles.DEEPGAZE2_TAPS:
        error = np.abs(found[tap] - expected[tap]).max() / np.abs(expected[tap]).max()
        assert error <= 1e-5, (tap, error)


@pytest.mark.torch
def test_the_alexnet_of_reports_is_that_of_torchvision(tmp_path):
    """Its modules written down here once more, with random values."""
    torch = pytest.importorskip("torch")
    from torch import nn

    modules = nn.Sequential(
        nn.Conv2d(3, 64, kernel_size=11, stride=4, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(kernel_size=3, stride=2),
        nn.Conv2d(64, 192, kernel_size=5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(kernel_size=3, stride=2),
        nn.Conv2d(192, 384, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.Conv2d(384, 256, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.Conv2d(256, 256, kernel_size=3, padding=1),
    )
    torch.manual_seed(1)
    for parameter in modules.parameters():
        scale = parameter[0].numel() ** -0.5
        nn.init.normal_(parameter, std=scale)
    arrays = {f"features.{n}": p.numpy() for n, p in modules.state_dict().items()}
    path = tmp_path / "alexnet.pth"
    path.write_bytes(torch_zip(arrays))
    found = load_weights(path, "torchvision")
    picture = oracles.random_image(3, 97, 131)
    scaled = (picture / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    with torch.no_grad():
        x = torch.from_numpy(np.float32(scaled).transpose(2, 0, 1)[None])
        expected = modules(x)[0].permute(1, 2, 0).numpy()
    for network in (slow_taps, torch_taps):
        taps = network(found.mapped, found.identity, picture, ("conv5",))
        assert taps["conv5"].shape == expected.shape
        error = np.abs(taps["conv5"] - expected).max() / np.abs(expected).max()
        assert error <= 1e-5, network


# --- files that are not whole ---------------------------------------------------------


def test_a_file_that_ends_early_names_what_is_missing(tmp_path, small):
    lower = {k: p for k, p in small.items() if k <= "conv4_1"}
    path = tmp_path / "vgg_normalised.pth"
    writers.pth_adain(path, lower)
    with pytest.raises(WeightsError) as caught:
        load_weights(path, "normalised-bgr")
    line = str(caught.value)
    assert "ends at relu4_1" in line and "conv5_4/kernel" in line
    found = inspect_weights(path, "normalised-bgr")
    assert "conv5_1/kernel" in found["missing"]
    assert list(found["layers"]) == list(lower)
    assert list(found["mean_activations"])[-1] == "relu4_1"


def test_everything_wrong_is_named_at_once(tmp_path, small):
    broken = {k: dict(p) for k, p in small.items()}
    broken["conv3_2"]["kernel"] = broken["conv3_2"]["kernel"][:, :, :2]
    broken["conv5_4"]["bias"] = np.float32([np.nan] * 8)
    arrays = writers.torch_arrays(broken)
    del arrays["features.21.bias"]
    arrays["features.99.weight"] = np.zeros(2, np.float32)
    path = tmp_path / "vgg19.pth"
    path.write_bytes(torch_zip(arrays))
    with pytest.raises(WeightsError) as caught:
        load_weights(path, "oxford-rgb")
    line = str(caught.value)
    assert line.startswith(str(path)) and "\n" not in line
    for word in (
        "missing: conv4_2/bias",
        "unknown: features.99.weight",
        "conv3_2/kernel [3, 3, 2, 6] instead of [3, 3, 6, 6]",
        "conv5_4/bias has values that are not finite",
    ):
        assert word in line
    assert not (tmp_path / "out.safetensors").exists()


def test_unknown_names(tmp_path, small):
    path = tmp_path / "resnet.pth"
    path.write_bytes(torch_zip({"layer1.0.weight_g": np.zeros(3, np.float32)}))
    with pytest.raises(WeightsError, match=r"resnet.pth.*none of the 1 names"):
        load_weights(path)
    with pytest.raises(WeightsError, match="no such file"):
        load_weights(tmp_path / "absent.h5")
    with pytest.raises(WeightsError, match=r"absent.ckpt.*index"):
        load_weights(tmp_path / "absent.ckpt")


@pytest.mark.parametrize("layout", [torch_zip, torch_legacy])
def test_an_unsafe_file_runs_nothing(tmp_path, capsys, layout):
    mark = tmp_path / "ran"
    bomb = Call(Name("os", "system"), (f"touch {mark}",))
    path = tmp_path / "vgg19.pth"
    path.write_bytes(layout(tree={"features.0.weight": bomb}))
    for verb in (
        ["inspect", path],
        ["convert", path, "-o", tmp_path / "o.safetensors"],
    ):
        assert main(["weights", *map(str, verb)]) == 1
        out, err = capsys.readouterr()
        assert out == "" and "unsafe" in err and "os.system" in err
    assert not mark.exists() and not (tmp_path / "o.safetensors").exists()


KERNELS = ((3, 3, 3, 4), (4, 3, 3, 3), (1, 1, 3, 3), (3, 3, 1, 1), (4, 4, 3, 3), (5, 5))
SHAPES = st.sampled_from([*KERNELS, (4,), (1, 1, 1, 4), (), (0,), (3,), (2, 2)])
STYLES = ["0", "2", "features.0", "features.1", "conv1_1", "block1_conv1", "conv2d"]
ENDINGS = [".weight", ".bias", "/kernel", "/bias", "/0", "/1", ".running_var"]
NAMES = st.builds(str.__add__, st.sampled_from(STYLES), st.sampled_from(ENDINGS))


@hypothesis.settings(
    max_examples=150,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
@hypothesis.given(
    shapes=st.dictionaries(st.one_of(NAMES, st.text(max_size=5)), SHAPES, max_size=8),
    value=st.sampled_from([0, 1, -1, np.nan, np.inf, 1e30]),
    source=st.sampled_from([None, *identify.KINDS]),
)
def test_whatever_the_arrays_are_there_is_one_line(small, shapes, value, source):
    arrays = {name: np.full(shape, value, "f4") for name, shape in shapes.items()}
    file = WeightFile(Path("some.pth"), "PyTorch", "", arrays)
    with pytest.raises(WeightsError) as caught:
        weight_conversion._of_file(file, source)
    assert "\n" not in str(caught.value) or not all(map(str.isprintable, arrays))


def test_integers_are_no_weights(tmp_path, small):
    """Neither quantised values nor counts; every reader leaves this to one place."""
    arrays = writers.torch_arrays(small)
    whole = {n: a for n, a in arrays.items() if n.endswith("14.weight")}
    arrays |= {n: np.int64(10 * a) for n, a in whole.items()}
    path = tmp_path / "vgg19.pth"
    path.write_bytes(torch_zip(arrays))
    for read in (load_weights, inspect_weights):
        with pytest.raises(WeightsError, match=r"features.14.weight \(int64\).*quanti"):
            read(path, "oxford-rgb")


def test_another_network_is_named_as_such(tmp_path):
    path = tmp_path / "resnet.pth"
    arrays = {"conv1.weight": np.zeros((64, 3, 7, 7), np.float32)}
    path.write_bytes(torch_zip(arrays))
    with pytest.raises(WeightsError, match="no known network; closest is alexnet, of "):
        load_weights(path)


def test_a_whole_keras_model_is_named_as_such(tmp_path):
    path = tmp_path / "vgg19.keras"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("model.weights.h5", b"")
    with pytest.raises(WeightsError, match=r"unzip it and give its model.weights.h5"):
        load_weights(path)


def test_a_checkpoint_by_any_of_its_names(tmp_path, small):
    writers.tf_slim(tmp_path / "vgg_19.ckpt", small)
    (tmp_path / "vgg_19.ckpt.meta").write_bytes(b"\n\x05graph")
    (tmp_path / "vgg_19.ckpt.data-00000-of-00001.bak").write_bytes(b"a copy")
    found = [
        load_weights(tmp_path / f"vgg_19.ckpt{ending}", "oxford-rgb").card
        for ending in ("", ".index", ".meta", ".data-00000-of-00001")
    ]
    assert len({card["source_sha256"] for card in found}) == 1
    assert {card["source_container"] for card in found} == {"TensorFlow checkpoint"}
    # A name that only looks like one of them.
    path = tmp_path / "vgg.data-2016.pth"
    writers.pth_zip(path, small)
    assert load_weights(path, "oxford-bgr").card["source_container"] == "PyTorch"


def test_a_wrong_conversion_is_not_written(tmp_path, small, monkeypatch):
    def wrong(mapped, identity):
        params = assemble(mapped, identity)
        params["conv4_2"]["bias"] = params["conv4_2"]["bias"] + np.float32(0.01)
        return params

    path, source = write(tmp_path, "keras old", small)
    result = tmp_path / "o.safetensors"
    convert_weights(path, result, source)
    before = result.read_bytes()
    monkeypatch.setattr(weight_conversion, "assemble", wrong)
    with pytest.raises(WeightsError, match="a defect of deepgaze-jax"):
        convert_weights(path, result, source)
    assert result.read_bytes() == before


@pytest.mark.parametrize("size", [1e8, 1e30])
def test_values_that_are_too_large_are_no_defect_of_ours(tmp_path, small, size):
    large = {
        layer: {part: np.float32(a * size) for part, a in parts.items()}
        for layer, parts in small.items()
    }
    path = tmp_path / "vgg19.pth"
    writers.pth_zip(path, large)
    with pytest.raises(WeightsError, match="not finite numbers: the values are too l"):
        convert_weights(path, tmp_path / "o.safetensors", "oxford-bgr")
    assert not (tmp_path / "o.safetensors").exists()
    found = inspect_weights(path, "oxford-bgr")
    assert np.isfinite(list(found["mean_activations"].values())).all()


# --- files of this package ------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"family": "T"}, "states family T in the order RGB, but these are values of"),
        ({"family": "O\n\x1b[2J"}, "a card that names no family of vgg19"),
        ({"family": None}, "a card that names no family of vgg19"),
        ({"network": ["vgg19"]}, "a card that names no family of vgg19"),
        ({"network": "vgg16"}, "a card that names no family of vgg19"),
        ({"format_version": 99}, "format_version 99; this version reads up to 1"),
        ({"format_version": "x" * 10_000}, "'xxxxxxxxxxxxxxxxxxx; this version"),
    ],
)
def test_a_card_that_does_not_fit(tmp_path, capsys, as_oxford, changes, words):
    path = tmp_path / "ours.safetensors"
    card = {"format_version": 1, "network": "vgg19", "family": "O"}
    write_tensors(path, named_features(as_oxford), card | changes)
    for read in (load_weights, inspect_weights):
        with pytest.raises(WeightsError) as caught:
            read(path)
        line = str(caught.value)
        assert words in line and line.count(str(path)) == 1 and line.isprintable()
    code, out, err = run(capsys, "convert", path, "-o", tmp_path / "o.safetensors")
    assert (code, out) == (1, "") and err.count("\n") == 1


def test_a_card_is_compared_with_the_values(tmp_path, as_oxford):
    path = tmp_path / "ours.safetensors"
    card = {"format_version": 1, "network": "vgg19", "family": "O"}
    write_tensors(path, named_features(as_oxford), card)
    evidence = load_weights(path).card["evidence"]
    assert evidence[0] == "its card says so" and "agree with family O" in evidence[1]
    blue_first = named_features(writers.bgr(as_oxford))
    write_tensors(path, blue_first, card)
    with pytest.raises(WeightsError, match="values of family O in the order BGR"):
        load_weights(path)


# --- command line ---------------------------------------------------------------------


def run(capsys, *words):
    code = main(["weights", *map(str, words)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_command_line(tmp_path, capsys, as_oxford):
    path, _ = write(tmp_path, "caffe old", as_oxford)
    other, _ = write(tmp_path, "keras old", rescaled(as_oxford))
    result = tmp_path / "ours.safetensors"
    code, out, err = run(capsys, "convert", path, "-o", result)
    assert (code, err) == (0, "") and "vgg19, family O" in out
    code, out, err = run(capsys, "inspect", result)
    assert (code, err) == (0, "") and "conv5_4" in out and "its card says so" in out
    code, out, err = run(capsys, "inspect", path, "--json")
    found = json.loads(out)
    assert (code, err) == (0, "") and found["axes"] == "OIHW"
    assert found["family"].startswith("O") and found["missing"] == ""
    assert len(found["mean_activations"]) == 16
    code, out, err = run(capsys, "verify", path, result)
    assert (code, err) == (0, "") and out.endswith("the same\n")
    code, out, err = run(capsys, "verify", result, other, "--json")
    report = json.loads(out)
    assert code == 1 and report["rescaled"] and not report["same"]
    code, out, err = run(capsys, "convert", path, "-o", tmp_path / "ours.h5")
    assert code == 1 and "must end in .safetensors" in err
    code, out, err = run(capsys, "convert", result, "-o", result)
    assert code == 1 and "overwrite" in err
    code, out, err = run(
        capsys, "convert", path, "-o", result, "--source", "oxford-rgb"
    )
    assert code == 1 and "order BGR" in err and "order RGB" in err
    small_random = tmp_path / "r.pth"
    writers.pth_zip(small_random, random_params(NETWORKS["vgg19"].channels, 9))
    code, out, err = run(capsys, "inspect", small_random)
    assert code == 0 and "state it with --source" in out
    code, out, err = run(capsys, "convert", small_random, "-o", result)
    assert code == 1 and "oxford-bgr" in err
    kinds = ("--source", "oxford-bgr", "oxford-bgr", "oxford-rgb")
    code, out, err = run(capsys, "verify", path, path, *kinds)
    assert code == 2 and "3 values for two files" in err


def test_a_model_without_features_is_named_as_such(tmp_path, capsys, small_folds):
    import small_models

    path = small_models.write_model(tmp_path / "m.safetensors", small_folds)
    code, out, _ = run(capsys, "inspect", path)
    assert code == 0 and "a model without its features" in out
    assert "vgg19" in out and "O (Oxford" in out
    code, _, err = run(capsys, "convert", path, "-o", tmp_path / "o.safetensors")
    assert code == 1 and err.count("\n") == 1 and "m.safetensors" in err
    assert "model of this package without features" in err


def test_wrong_options_end_before_any_work(tmp_path, capsys, small):
    path = tmp_path / "vgg.pth"
    writers.pth_zip(path, small)
    result, pictures = tmp_path / "o.safetensors", tmp_path / "pictures"
    pictures.mkdir()
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(pictures / "a.png")
    normalise = ("normalise", path, "--images", pictures)
    for words in (
        ("convert", path, "-o", result),
        ("inspect", path),
        ("verify", path, path),
        (*normalise, "-o", result),
    ):
        code, out, err = run(capsys, *words, "--source", "keras")
        assert (code, out) == (2, "") and err.count("\n") == 1
        assert "no --source keras; choose one of oxford-bgr" in err
    good = tmp_path / "good.safetensors"
    assert run(capsys, "convert", path, "-o", good, "--source", "oxford-bgr")[0] == 0
    before = good.read_bytes()
    (tmp_path / "p.parity.json").mkdir()
    (tmp_path / "d.safetensors").mkdir()
    for command in (("convert", good), ("normalise", good, "--images", pictures)):
        for place, words in (
            (good, "would overwrite its own source"),
            (tmp_path / "n.h5", "must end in .safetensors"),
            (tmp_path / "none" / "n.safetensors", "none: no such folder"),
            (tmp_path / "d.safetensors", "is a folder"),
        ):
            code, out, err = run(capsys, *command, "-o", place)
            assert (code, out, err.count("\n")) == (1, "", 1) and words in err, err
            assert not place.is_file() or place == good
    assert good.read_bytes() == before
    code, out, err = run(capsys, "convert", good, "-o", tmp_path / "p.safetensors")
    assert (code, out) == (1, "") and "p.parity.json: is a folder" in err
    assert not (tmp_path / "p.safetensors").exists()


def test_networks_that_expect_other_pictures_are_not_the_same(tmp_path, capsys):
    channels = NETWORKS["alexnet"].channels
    rng = np.random.default_rng(1)
    arrays, n_in, sides = {}, 3, {"conv1": 11, "conv2": 5}
    for n, (layer, n_out) in zip((0, 3, 6, 8, 10), channels.items(), strict=True):
        side = sides.get(layer, 3)
        kernel = rng.standard_normal((n_out, n_in, side, side)) / side / n_in
        arrays[f"features.{n}.weight"] = np.float32(kernel)
        arrays[f"features.{n}.bias"] = np.zeros(n_out, np.float32)
        n_in = n_out
    path = tmp_path / "alexnet.pth"
    path.write_bytes(torch_zip(arrays))
    kinds = ("--source", "torchvision", "oxford-rgb")
    code, out, _ = run(capsys, "verify", path, path, *kinds)
    assert code == 1 and out.endswith("different\n") and "takes RGB/255 minus" in out
    assert run(capsys, "verify", path, path, *kinds[:2])[0] == 0
