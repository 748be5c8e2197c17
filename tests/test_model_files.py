"""Model files: what is written comes back, and everything wrong is named at once."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from deepgaze_jax.errors import ConfigError, WeightsError
from deepgaze_jax.model_files import (
    ALIASES,
    FORMAT_VERSION,
    MODELS,
    available_models,
    check_family,
    load_model,
    read_card,
    read_tensors,
    resolve,
    save_model,
    write_tensors,
)

CARD = {"network": "vgg19", "family": "O", "data": "Osnabrück", "scores": [1.9]}


def small_model(folds=2, channels=6):
    rng = np.random.default_rng(0)
    widths = (channels, 4, 3, 1)
    tensors = {}
    for layer in range(3):
        shape = (folds, widths[layer], widths[layer + 1])
        tensors[f"readout/dense{layer}/kernel"] = rng.standard_normal(shape)
        if layer < 2:
            tensors[f"readout/dense{layer}/bias"] = np.zeros((folds, widths[layer + 1]))
    tensors["finalizer/sigma_grid_px"] = np.full(folds, 5.0)
    tensors["finalizer/center_bias_weight"] = np.ones(folds)
    uniform = np.full((folds + 1, 75, 100), -np.log(7500))
    tensors["center_bias/log_density"] = uniform
    return {name: array.astype(np.float32) for name, array in tensors.items()}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "m.safetensors"


def refused(function, *args, words=(), kind=WeightsError, **kwargs):
    with pytest.raises(kind) as caught:
        function(*args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


def test_what_is_saved_comes_back(path):
    saved = small_model()
    save_model(path, saved, CARD)
    tensors, card = load_model(path)
    assert card == {"format_version": FORMAT_VERSION, **CARD}
    assert set(tensors) == set(saved)
    for name, array in saved.items():
        assert tensors[name].dtype == np.float32
        np.testing.assert_array_equal(tensors[name], array)


def test_kernels_may_be_stored_as_float16(path, tmp_path):
    """And only they; read they are float32, rounded as float16 rounds."""
    saved = small_model()
    save_model(path, saved, CARD, half_kernels=True)
    assert {name for name, a in load_file(path).items() if a.dtype == np.float16} == {
        f"readout/dense{layer}/kernel" for layer in range(3)
    }
    tensors, _ = load_model(path)
    for name, array in saved.items():
        assert tensors[name].dtype == np.float32
        if not name.endswith("kernel"):
            np.testing.assert_array_equal(tensors[name], array)
            continue
        off = np.abs(tensors[name] - array)
        assert 0 < off.max() and (off <= np.abs(array) * 2.0**-11 + 2.0**-25).all()
    other = tmp_path / "other.safetensors"
    save_file(saved | {"finalizer/sigma_grid_px": np.float16([5, 5])}, other)
    refused(load_model, other, words=["finalizer/sigma_grid_px (F16)"])
    saved["readout/dense1/kernel"] = np.full((2, 4, 3), 1e5, np.float32)
    words = ["readout/dense1/kernel has values that are not finite"]
    refused(save_model, other, saved, CARD, half_kernels=True, words=words)


def test_file_is_plain_safetensors_with_a_card(path):
    save_model(path, small_model(), CARD)
    assert set(load_file(path)) == set(small_model())
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert json.loads(header["__metadata__"]["card"])["data"] == "Osnabrück"


def test_same_model_gives_the_same_bytes(path, tmp_path):
    save_model(path, small_model(), CARD)
    other = tmp_path / "other.safetensors"
    save_model(other, small_model(), CARD)
    assert path.read_bytes() == other.read_bytes()


def test_one_layer_readout_and_stored_features_are_models(path):
    tensors = small_model()
    for layer in (1, 2):
        del tensors[f"readout/dense{layer}/kernel"]
    del tensors["readout/dense1/bias"], tensors["readout/dense0/bias"]
    tensors["readout/dense0/kernel"] = np.ones((2, 256, 1), np.float32)
    tensors["features/conv1_1/kernel"] = np.ones((3, 3, 3, 4), np.float32)
    save_model(path, tensors, CARD)
    assert "features/conv1_1/kernel" in load_model(path)[0]


def test_writing_replaces_and_leaves_nothing_behind(path, tmp_path):
    save_model(path, small_model(), CARD)
    save_model(path, small_model(3), CARD)
    assert load_model(path)[0]["finalizer/sigma_grid_px"].shape == (3,)
    before = path.read_bytes()
    refused(save_model, path, {}, CARD, words=["missing"])
    refused(save_model, path, small_model(), {"x": np.nan}, words=["JSON"])
    refused(save_model, path, small_model(), {"x": object()}, words=["JSON"])
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]
    nowhere = tmp_path / "none" / "m.safetensors"
    refused(save_model, nowhere, small_model(), CARD, words=["cannot be written"])


def test_scalars_keep_their_shape(path):
    write_tensors(path, {"a": np.float64(2.5), "b": np.zeros((0, 3))}, {})
    tensors, card = read_tensors(path)
    assert tensors["a"].shape == () and tensors["a"] == 2.5
    assert tensors["b"].shape == (0, 3) and card == {}


def drop(name):
    return lambda tensors: tensors.pop(name)


def put(name, shape, value=1.0):
    def change(tensors):
        tensors[name] = np.full(shape, value, np.float32)

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (drop("finalizer/sigma_grid_px"), ["missing: finalizer/sigma_grid_px"]),
        (drop("center_bias/log_density"), ["missing: center_bias/log_density"]),
        (drop("readout/dense0/kernel"), ["missing: readout/dense0/kernel"]),
        (drop("readout/dense1/kernel"), ["dense1/kernel [] instead of"]),
        (put("readout/conv0/kernel", (2, 4, 1)), ["unknown: readout/conv0/kernel"]),
        (put("optimizer/m", 3), ["unknown: optimizer/m"]),
        (put("readout/dense7/bias", (2, 1)), ["dense7/bias belongs to no layer"]),
        (put("finalizer/sigma_grid_px", ()), ["sigma_grid_px [] instead of"]),
        (put("finalizer/sigma_grid_px", 3), ["[2] instead of [3]"]),
        (put("readout/dense1/kernel", (2, 5, 3)), ["[2, 5, 3] instead of [2, 4, 3]"]),
        (put("readout/dense1/bias", (2, 4)), ["[2, 4] instead of [2, 3]"]),
        (put("readout/dense2/kernel", (2, 3, 2)), ["[2, 3, 2] instead of [2, 3, 1]"]),
        (put("readout/dense0/kernel", (1, 6, 4)), ["[1, 6, 4] instead of [2, 6, 4]"]),
        (put("center_bias/log_density", (2, 75, 100)), ["instead of [3, 75, 100]"]),
        (put("center_bias/log_density", (3, 75, 100), -8.9), ["sum to one"]),
        (
            put("finalizer/center_bias_weight", 2, np.nan),
            ["weight has", "finite"],
        ),
        (put("features/conv1_1/bias", 2, np.inf), ["features/conv1_1/bias", "finite"]),
    ],
)
def test_wrong_tensors_are_refused_when_saved_and_when_loaded(path, change, words):
    tensors = small_model()
    change(tensors)
    refused(save_model, path, tensors, CARD, words=words)
    assert not path.exists()
    write_tensors(path, tensors, {"format_version": 1, **CARD})
    refused(load_model, path, words=["m.safetensors", *words])


def test_all_problems_at_once(path):
    tensors = small_model()
    put("finalizer/center_bias_weight", 5)(tensors)
    put("readout/dense1/bias", (2, 9))(tensors)
    put("what", 1)(tensors)
    words = ["unknown: what", "center_bias_weight [5]", "dense1/bias [2, 9]"]
    refused(save_model, path, tensors, CARD, words=words)


def test_no_folds_is_no_model(path):
    refused(save_model, path, small_model(0), CARD, words=["sigma_grid_px [0]"])


@pytest.mark.parametrize("version", [0, 2, 99, "1", True, 1.0])
def test_other_format_versions(path, version):
    write_tensors(path, small_model(), {"format_version": version})
    words = ["format_version", repr(version), "update"]
    refused(load_model, path, words=words)


def test_foreign_safetensors_are_no_models(path):
    save_file({"features.0.weight": np.zeros(3, np.float32)}, path)
    refused(load_model, path, words=["no card", "converted"])
    assert read_card(path) == {}


def test_half_precision_is_told_and_not_read(path):
    save_file({"a": np.zeros(3, np.float16)}, path, metadata={"card": "{}"})
    refused(read_tensors, path, words=["float32", "a (F16)"])


@pytest.mark.parametrize(
    ("card", "words"),
    [
        ("{", ["not valid JSON"]),
        ("[" * 10**5, ["JSON"]),
        ("[1]", ["not a JSON object"]),
    ],
)
def test_broken_cards(path, card, words):
    save_file({"a": np.zeros(3, np.float32)}, path, metadata={"card": card})
    refused(load_model, path, words=words)


def test_header_size_is_bounded_before_it_is_read(path):
    path.write_bytes((3 << 30).to_bytes(8, "little") + b"{" + bytes(100))
    refused(read_card, path, words=["cut off"])
    with path.open("wb") as file:
        file.write((17 << 20).to_bytes(8, "little") + b"{")
        file.truncate(18 << 20)
    refused(read_card, path, words=["header", "17,825,792 bytes", "at most"])
    with path.open("wb") as file:
        file.write((2).to_bytes(8, "little") + b"{}")
        file.truncate((2 << 30) + 1)
    refused(read_card, path, words=["2,147,483,639 bytes", "belong to no array"])
    claim = {"a": {"dtype": "F32", "shape": [1 << 30], "data_offsets": [0, 1 << 32]}}
    text = json.dumps(claim).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + (1 << 32))
    refused(read_tensors, path, words=["4,294,967,296 bytes", "at most"])


def test_card_size_is_bounded(path):
    card = {"text": "x" * (9 << 20)}
    refused(save_model, path, small_model(), card, words=["card takes", "at most"])


@pytest.mark.parametrize("part", [0.01, 0.5, 0.99])
def test_cut_off_model(path, part):
    save_model(path, small_model(), CARD)
    data = path.read_bytes()
    path.write_bytes(data[: int(part * len(data))])
    refused(load_model, path, words=["m.safetensors", "cut off"])


def test_other_files(path, tmp_path):
    path.write_text("<html>no</html>")
    refused(load_model, path, words=["web page", "expected a safetensors file"])
    path.write_bytes(b"\x80\x04" + bytes(20))
    refused(load_model, path, words=["pickle"])
    words = ["no such model or file"]
    refused(load_model, tmp_path / "no.safetensors", words=words, kind=ConfigError)
    refused(load_model, tmp_path, words=["is a folder"])


def test_names_and_aliases(tmp_path):
    words = ["deepgaze2-osie", "models: none"]
    refused(resolve, "deepgaze2", tmp_path, words=words, kind=ConfigError)
    save_model(tmp_path / "icf-osie.safetensors", small_model(), CARD)
    assert available_models(tmp_path) == ("icf-osie",)
    for name in ("icf", "icf-osie"):
        assert resolve(name, tmp_path) == tmp_path / "icf-osie.safetensors"
        assert load_model(name, tmp_path)[1]["family"] == "O"
    # Nothing else steps in for a model that is not there.
    for name in ("deepgaze2", "deepgaze1-osie", "deepgaze3"):
        words = [name, "available models: icf-osie"]
        refused(resolve, name, tmp_path, words=words, kind=ConfigError)


def test_every_alias_names_a_model():
    assert set(ALIASES.values()) == set(MODELS)
    assert set(ALIASES).isdisjoint(MODELS)


def test_shipped_models_load():
    for name in available_models():
        tensors, card = load_model(name)
        assert tensors and card["format_version"] == FORMAT_VERSION


def test_family_of_features():
    needed = {"network": "vgg19", "family": "O"}
    check_family(needed, {**needed, "licence": "any"})
    other = {"network": "vgg19", "family": "T"}
    refused(check_family, needed, other, words=["family O", "family T"])
    other = {"network": "alexnet", "family": "O"}
    refused(check_family, needed, other, words=["vgg19", "alexnet"])
    refused(check_family, needed, {}, words=["family O", "family None"])
