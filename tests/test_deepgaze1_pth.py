"""The public PyTorch re-issue of DeepGaze I becomes a model."""

import json

import numpy as np
import oracles_alexnet
import oracles_deepgaze1
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from writers_pickle import Call, Name, torch_legacy, torch_zip

from deepgaze_jax.architectures import deepgaze1
from deepgaze_jax.cli import main
from deepgaze_jax.conversion import deepgaze1_pth, identify
from deepgaze_jax.conversion.identify import statistics
from deepgaze_jax.conversion.releases import release_of
from deepgaze_jax.errors import WeightsError
from deepgaze_jax.model_cards import model_of_card, nested
from deepgaze_jax.model_files import load_model
from deepgaze_jax.prediction import load_pretrained
from deepgaze_jax.weight_conversion import convert_weights, load_weights
from deepgaze_jax.weight_inspection import inspect_weights, verify_weights
from deepgaze_jax.weights import cached_path, load_features

NETWORK = "features.features.1."
WRITERS = {"zip": torch_zip, "legacy": torch_legacy}


@pytest.fixture(scope="module")
def params():
    return oracles_alexnet.random_params(8)


@pytest.fixture(scope="module")
def case():
    return oracles_deepgaze1.random_case(2, 64, 96)


@pytest.fixture(scope="module")
def arrays(params, case):
    return oracles_deepgaze1.state_dict(params, case)


def classifier():
    shapes = {"1": (4, 3), "4": (4, 4), "6": (2, 4)}
    return {
        f"{NETWORK}classifier.{n}.{part}": np.ones(shape, np.float32)
        for n, weight in shapes.items()
        for part, shape in (("weight", weight), ("bias", weight[:1]))
    }


def constants(mean=(0.485, 0.456, 0.406)):
    shape = (3, 1, 1)
    return {
        "features.features.0.mean": np.float64(mean).reshape(shape),
        "features.features.0.std": np.float64([0.229, 0.224, 0.225]).reshape(shape),
    }


def write(path, arrays, writer=torch_zip):
    path.write_bytes(writer(arrays))
    return path


# --- arrays to tensors ----------------------------------------------------------------


def test_names_are_written_out(arrays):
    assert {name: array.shape for name, array in arrays.items()} == {
        "features.features.1.features.0.weight": (64, 3, 11, 11),
        "features.features.1.features.0.bias": (64,),
        "features.features.1.features.3.weight": (192, 64, 5, 5),
        "features.features.1.features.3.bias": (192,),
        "features.features.1.features.6.weight": (384, 192, 3, 3),
        "features.features.1.features.6.bias": (384,),
        "features.features.1.features.8.weight": (256, 384, 3, 3),
        "features.features.1.features.8.bias": (256,),
        "features.features.1.features.10.weight": (256, 256, 3, 3),
        "features.features.1.features.10.bias": (256,),
        "readout_network.conv0.weight": (1, 256, 1, 1),
        "finalizer.gauss.sigma": (),
        "finalizer.center_bias_weight": (1,),
    }
    assert release_of(arrays).name == "deepgaze1"


def test_tensors_are_the_arrays(arrays, params, case):
    tensors = deepgaze1_pth.model_tensors(arrays)
    for layer, parts in params.items():
        for part, array in parts.items():
            found = tensors.pop(f"features/{layer}/{part}")
            np.testing.assert_array_equal(found, array, strict=True)
    expected = {
        "readout/dense0/kernel": case["kernel"][None],
        "finalizer/sigma_grid_px": case["sigma"][None],
        "finalizer/center_bias_weight": case["weight"][None],
    }
    assert list(tensors) == list(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(tensors[name], array, strict=True)


@pytest.mark.parametrize("prefix", ["module.", "model.", "model.module.", "a.b."])
def test_what_stands_before_and_beside_the_names(arrays, prefix):
    """Wrapped for several devices, or in a checkpoint with the optimiser's state."""
    wrapped = {prefix + n: a for n, a in (arrays | classifier() | constants()).items()}
    wrapped["optimizer.state.0.exp_avg"] = np.ones(3, np.float32)
    assert release_of(wrapped).name == "deepgaze1"
    found = deepgaze1_pth.model_tensors(wrapped)
    for name, array in deepgaze1_pth.model_tensors(arrays).items():
        np.testing.assert_array_equal(found[name], array)
    assert all(n.startswith(prefix) for n in deepgaze1_pth.features_of(wrapped))


def test_everything_wrong_is_named_at_once(arrays):
    broken = arrays | classifier() | constants(mean=(0.5, 0.5, 0.5))
    del broken[f"{NETWORK}features.3.bias"]
    broken[f"{NETWORK}features.0.weight"] = np.zeros((96, 3, 11, 11), np.float32)
    broken[f"{NETWORK}features.10.bias"] = np.full(256, np.nan, np.float32)
    broken[f"{NETWORK}features.12.bias"] = np.zeros(1, np.float32)
    broken["readout_network.conv0.bias"] = np.zeros(1, np.float32)
    broken["readout_network.conv0.weight"] = np.zeros((256, 1), np.float32)
    broken["finalizer.gauss.sigma"] = np.float32(-1)
    del broken["finalizer.center_bias_weight"]
    with pytest.raises(WeightsError) as caught:
        deepgaze1_pth.model_tensors(broken)
    assert str(caught.value) == (
        "these are not the 13 arrays of DeepGaze I; missing: "
        f"{NETWORK}features.3.bias, finalizer.center_bias_weight; unknown: "
        f"{NETWORK}features.12.bias, readout_network.conv0.bias; wrong: "
        f"{NETWORK}features.0.weight [96, 3, 11, 11] instead of [64, 3, 11, 11], "
        f"{NETWORK}features.10.bias has values that are not finite, "
        "readout_network.conv0.weight [256, 1] instead of [1, 256, 1, 1], "
        "finalizer.gauss.sigma is -1, not above 0, "
        "features.features.0.mean is not 0.485 0.456 0.406"
    )


def test_several_models_in_one_file_are_refused(arrays):
    two = {f"models.{k}.{n}": array for k in (0, 1) for n, array in arrays.items()}
    with pytest.raises(WeightsError, match=r"unknown: models\.1\.features") as caught:
        deepgaze1_pth.model_tensors(two)
    assert str(caught.value).count("models.1.") == 13


@pytest.mark.parametrize("sigma", [0.0, -0.0, np.nan, np.inf, 1e300])
def test_a_blur_that_cannot_be(arrays, sigma):
    with pytest.raises(WeightsError, match=r"wrong: finalizer\.gauss\.sigma"):
        deepgaze1_pth.model_tensors(arrays | {"finalizer.gauss.sigma": np.array(sigma)})


@pytest.mark.parametrize(
    "names",
    [
        # Torchvision's own file, and other files of the same authors.
        [f"features.{n}.weight" for n in (0, 3, 6, 8, 10)],
        [f"{NETWORK}features.{n}.weight" for n in (0, 3, 6, 8, 10)],
        [
            *("finalizer.gauss.sigma", "readout_network.layernorm0.weight"),
            *("readout_network.conv0.weight", f"{NETWORK}features.0.weight"),
        ],
        [
            *(
                "models.0.finalizer.gauss.sigma",
                "models.0.readout_network.conv0.weight",
            ),
            *("models.0.saliency_network.a", "models.1.readout_network.conv1.weight"),
        ],
        ["finalizer.gauss.sigma", "saliency_network.conv0.weight"],
        ["finalizer.gauss.sigma"],
        ["the_readout_network.conv0.weight", "thefinalizer.gauss.sigma"],
        [],
    ],
)
def test_other_files_are_not_taken_for_it(names):
    assert release_of(dict.fromkeys(names, 0)) is None


# --- whole files ----------------------------------------------------------------------


@pytest.mark.parametrize("layout", WRITERS)
def test_a_file_becomes_a_model(tmp_path, arrays, params, layout):
    path = write(
        tmp_path / "deepgaze1.pth", arrays | classifier() | constants(), WRITERS[layout]
    )
    result = tmp_path / "dg1.safetensors"
    report = convert_weights(path, result)
    assert report == json.loads((tmp_path / "dg1.parity.json").read_text())
    assert report["passed"] and report["readout_identical"]
    assert (report["model"], report["family"]) == ("deepgaze1", "?")
    assert set(report["taps"]) == {"conv5", "relu5"}
    tensors, card = load_model(result)
    bias = tensors.pop("center_bias/log_density")
    assert bias.shape == (2, 75, 100) and np.ptp(bias) == 0
    expected = deepgaze1_pth.model_tensors(arrays)
    assert set(tensors) == set(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(tensors[name], array, strict=True)
    assert card["model"]["network"] == card["network"] == "alexnet"
    assert card["features"] == {
        "network": "alexnet",
        "family": "?",
        "preprocessing": "RGB/255 minus mean 0.485 0.456 0.406, divided by std "
        "0.229 0.224 0.225",
    }
    assert (card["pixels_per_dva"], card["input_scale"]) == (35.0, 1.0)
    assert "assumed" in card["notes"] and "not that model" in card["notes"]
    assert "do not pass on" in card["licence"]
    assert len(card["source_sha256"]) == 64 and card["source"] == "deepgaze1.pth"
    assert model_of_card(card, nested(tensors), result) == deepgaze1()
    # Its features alone.
    found = load_weights(path)
    assert found.card["preprocessing"].startswith("RGB/255")
    for layer, parts in params.items():
        for part, array in parts.items():
            np.testing.assert_array_equal(found.params[layer][part], array)


def test_the_model_predicts_what_the_text_says(tmp_path, arrays, params, case):
    path = write(tmp_path / "deepgaze1.pth", arrays)
    result = tmp_path / "dg1.safetensors"
    convert_weights(path, result)
    predictor = load_pretrained(result)
    values = [case[name] for name in ("kernel", "sigma", "weight")]
    maps = oracles_deepgaze1.features(params, case["image"])
    uniform = np.full((64, 96), -np.log(64 * 96))
    for own, bias in ((case["center_bias"], case["center_bias"]), (None, uniform)):
        found = predictor.predict(case["image"], center_bias=own)
        expected = oracles_deepgaze1.deepgaze1(maps, *values, bias)["log_density"]
        assert np.ptp(expected) > 0.1
        assert np.abs(found - expected).max() <= 1e-5


def test_command_line(tmp_path, capsys, arrays):
    path = write(tmp_path / "deepgaze1.pth", arrays)
    result = tmp_path / "dg1.safetensors"
    assert main(["weights", "convert", str(path), "-o", str(result)]) == 0
    out, err = capsys.readouterr()
    assert err == "" and out.startswith(f"{result}: deepgaze1, family ?\n")
    assert "DeepGaze I gives its network RGB as torchvision does" in out
    assert main(["weights", "inspect", str(path)]) == 0
    out, err = capsys.readouterr()
    assert err == "" and "PyTorch re-issue: features and one readout" in out
    assert "? (values of no known file)" in out and "RGB/255 minus mean" in out
    assert main(["weights", "inspect", str(result)]) == 0
    out, err = capsys.readouterr()
    assert "a model with its features" in out and "RGB/255 minus mean" in out
    stated = ["convert", str(path), "-o", str(result), "--source", "torchvision"]
    assert main(["weights", *stated]) == 1
    out, err = capsys.readouterr()
    assert err.count("\n") == 1 and "leave --source out" in err


def test_a_readout_alone_and_features_alone(tmp_path, arrays):
    """Files of which somebody removed a part."""
    readout = {n: a for n, a in arrays.items() if not n.startswith(NETWORK)}
    path = write(tmp_path / "readout.pth", readout)
    found = inspect_weights(path)
    assert found["what"] == "readouts of deepgaze1, the authors' PyTorch re-issue"
    assert f"missing: {NETWORK}features.0.weight" in found["missing"]
    result = tmp_path / "o.safetensors"
    with pytest.raises(
        WeightsError, match=r"readout\.pth: these are not the 13 .*miss"
    ):
        convert_weights(path, result)
    features = {n: a for n, a in arrays.items() if n.startswith(NETWORK)}
    path = write(tmp_path / "features.pth", features)
    assert inspect_weights(path)["what"] == "feature weights"
    assert not result.exists()


# --- which values ---------------------------------------------------------------------


@pytest.fixture
def as_torchvision(params, monkeypatch):
    """The random values take the place of torchvision's."""
    rows, lengths = statistics(params["conv1"]["kernel"], params["conv1"]["bias"])
    signature = {
        "network": "alexnet",
        "family": "T",
        "filters": list(range(64)),
        "lengths": lengths.tolist(),
        "statistics": rows.tolist(),
    }
    monkeypatch.setattr(identify, "_signatures", lambda: {"alexnet-T": signature})


def test_known_values_are_family_t(tmp_path, arrays, as_torchvision):
    path = write(tmp_path / "deepgaze1.pth", arrays | classifier())
    result = tmp_path / "dg1.safetensors"
    report = convert_weights(path, result)
    assert report["family"] == "T" and "64 filters" in report["evidence"][0]
    assert load_model(result)[1]["features"]["family"] == "T"
    alone = write(
        tmp_path / "alexnet.pth",
        {n.removeprefix(NETWORK): a for n, a in arrays.items() if NETWORK in n},
    )
    assert verify_weights(path, alone)["same"]


@pytest.mark.parametrize("change", ["rescaled", "blue first", "turned", "one filter"])
def test_values_that_are_only_similar_are_unknown(
    tmp_path, arrays, as_torchvision, change
):
    """The class normalises as torchvision does, whichever values it then uses."""
    name = f"{NETWORK}features.0.weight"
    kernel = arrays[name]
    other = {
        "rescaled": 2 * kernel,
        "blue first": kernel[:, ::-1],
        "turned": kernel.transpose(0, 1, 3, 2),
        "one filter": np.where(np.arange(64)[:, None, None, None] == 9, -1, 1) * kernel,
    }[change]
    changed = arrays | {name: np.ascontiguousarray(other, np.float32)}
    if change == "rescaled":
        bias = f"{NETWORK}features.0.bias"
        changed[bias] = 2 * arrays[bias]
    result = tmp_path / "dg1.safetensors"
    report = convert_weights(write(tmp_path / "deepgaze1.pth", changed), result)
    assert report["family"] == "?" and report["passed"]
    tensors, card = load_model(result)
    assert card["family"] == card["features"]["family"] == "?"
    np.testing.assert_array_equal(
        tensors["features/conv1/kernel"], np.transpose(other, (2, 3, 1, 0))
    )


def test_keys_of_a_classifier_say_nothing_about_alexnet(tmp_path, arrays):
    plain = {n.removeprefix(NETWORK): a for n, a in (arrays | classifier()).items()}
    plain = {n: a for n, a in plain.items() if n.startswith(("features.", "class"))}
    path = write(tmp_path / "alexnet.pth", plain)
    with pytest.raises(WeightsError, match="does not tell which values these are"):
        load_weights(path)
    assert load_weights(path, "torchvision").card["family"] == "T"


@pytest.mark.weights
def test_real_values_are_family_t(tmp_path, case):
    if cached_path("alexnet") is None:
        pytest.skip("AlexNet is not cached: deepgaze weights fetch alexnet")
    real = oracles_deepgaze1.state_dict(load_features("alexnet"), case)
    path = write(tmp_path / "deepgaze1.pth", real | classifier())
    report = convert_weights(path, tmp_path / "dg1.safetensors", use_hash=False)
    assert report["family"] == "T" and report["passed"]


# --- files by PyTorch, and hostile ones -----------------------------------------------


@pytest.mark.torch
@pytest.mark.parametrize("new", [True, False])
def test_files_that_torch_wrote(tmp_path, new):
    torch = pytest.importorskip("torch")
    from torch_deepgaze1 import DeepGaze1

    torch.manual_seed(3)
    model = DeepGaze1()
    optimiser = torch.optim.Adam(model.finalizer.parameters())
    model.finalizer.center_bias_weight.sum().backward()
    optimiser.step()
    state = model.state_dict()
    whole = {"model": state, "optimizer": optimiser.state_dict(), "step": 3}
    whole["rng_state"] = torch.get_rng_state()
    for name, tree in (("deepgaze1.pth", state), ("step-0003.pth", whole)):
        path, result = tmp_path / name, tmp_path / "dg1.safetensors"
        torch.save(tree, path, _use_new_zipfile_serialization=new)
        report = convert_weights(path, result)
        assert report["passed"] and report["compared_with"].startswith("PyTorch")
        tensors, _ = load_model(result)
        np.testing.assert_array_equal(
            tensors["features/conv4/kernel"],
            state[f"{NETWORK}features.8.weight"].numpy().transpose(2, 3, 1, 0),
        )
        kernel = state["readout_network.conv0.weight"].numpy()
        np.testing.assert_array_equal(
            tensors["readout/dense0/kernel"], kernel.reshape(1, 256, 1)
        )
        assert tensors["finalizer/sigma_grid_px"].tolist() == [8.0]


@pytest.mark.parametrize("layout", WRITERS)
def test_a_file_that_would_run_something(tmp_path, layout):
    mark = tmp_path / "ran"
    bomb = Call(Name("os", "system"), (f"touch {mark}",))
    tree = {"finalizer.gauss.sigma": bomb, "readout_network.conv0.weight": bomb}
    path = tmp_path / "deepgaze1.pth"
    path.write_bytes(WRITERS[layout](tree=tree))
    with pytest.raises(WeightsError, match=r"unsafe.*os\.system"):
        convert_weights(path, tmp_path / "dg1.safetensors")
    assert not mark.exists() and not (tmp_path / "dg1.safetensors").exists()


def test_a_blur_wider_than_is_computed(tmp_path, arrays):
    result = tmp_path / "dg1.safetensors"
    for sigma in (20.0, 20.5, 1e9):
        wide = arrays | {"finalizer.gauss.sigma": np.float32(sigma)}
        path = write(tmp_path / "deepgaze1.pth", wide)
        if sigma <= 20:
            convert_weights(path, result)
            result.unlink()
            continue
        with pytest.raises(WeightsError, match=r"deepgaze1\.pth: .*at most 20 cells"):
            convert_weights(path, result)
    assert not result.exists()


def test_a_file_that_ends_early(tmp_path, arrays):
    data = torch_zip(arrays)
    path = tmp_path / "deepgaze1.pth"
    for n_bytes in (len(data) // 2, len(data) - 30, 100):
        path.write_bytes(data[:n_bytes])
        with pytest.raises(WeightsError) as caught:
            convert_weights(path, tmp_path / "dg1.safetensors")
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)


OWN = [theirs for theirs, _ in deepgaze1_pth._LAYERS.values()]
PARTS = ["module.", "model.", "features.", "finalizer.", ""]
NAMES = st.one_of(
    st.sampled_from(OWN),
    st.builds(str.__add__, st.sampled_from(PARTS), st.sampled_from(OWN)),
    st.text("readout_network.conv01", max_size=30),
)
SHAPES = st.sampled_from([(), (1,), (0,), (64,), (1, 256, 1, 1), (256, 1), (2, 2)])


@settings(max_examples=150)
@given(
    shapes=st.dictionaries(NAMES, SHAPES, max_size=16),
    value=st.sampled_from([0, 1, -1, np.nan, np.inf, 1e300]),
)
def test_whatever_the_arrays_are_there_is_one_line(shapes, value):
    arrays = {name: np.full(shape, value) for name, shape in shapes.items()}
    release = release_of(arrays)
    assert release is None or release.name == "deepgaze1"
    deepgaze1_pth.features_of(arrays)
    with pytest.raises(WeightsError, match=r"\Athese are not the 13 .*\Z"):
        deepgaze1_pth.model_tensors(arrays)
