"""Prediction through files, against the slow implementation."""

import dataclasses
import functools
import io
import json

import numpy as np
import oracles
import pytest
import small_models
from PIL import Image

import deepgaze_jax
from deepgaze_jax.architectures import deepgaze2, icf
from deepgaze_jax.errors import ConfigError, InputError, WeightsError
from deepgaze_jax.images import load_image, rgb_sha256
from deepgaze_jax.model import FixationModel
from deepgaze_jax.model_files import load_model, save_model
from deepgaze_jax.named_center_bias import center_bias_names, load_center_bias
from deepgaze_jax.prediction import load_pretrained, predict
from deepgaze_jax.programs import features_program, log_density_program

TOLERANCE = 1e-5


@pytest.fixture(autouse=True)
def cache(small_cache, monkeypatch):
    monkeypatch.setenv("DEEPGAZE_CACHE", str(small_cache))


@pytest.fixture(scope="module")
def model_file(small_folds, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "small.safetensors"
    return small_models.write_model(path, small_folds, input_scale=1.25)


@pytest.fixture(scope="module")
def predictor(model_file):
    return load_pretrained(model_file)


def refused(kind, function, *args, words=(), **kwargs):
    with pytest.raises(kind) as caught:
        function(*args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


def nearest(grid, height, width):
    """A center bias at another size, as the text has it."""
    return oracles.map_back(grid, height, width)


def expected(params, folds, image, scale=1.25, which=(0, 1), bias=None):
    """What the slow implementation says; `bias` is [h, w] at any size."""
    readouts, finalizers, center_biases = folds
    height, width = image.shape[:2]
    size = [int(np.floor(n * scale + 0.5)) for n in (height, width)]
    if bias is None:
        bias = center_biases[-1] if len(which) > 1 else center_biases[which[0]]
    out = oracles.deepgaze2(
        params,
        [readouts[k] for k in which],
        [finalizers[k] for k in which],
        oracles.resize_image(image, *size),
        nearest(bias, *size),
    )
    both = out["log_density"], out["log_density_without_center_bias"]
    return [oracles.map_back(part, height, width) for part in both]


def assert_log_density(ours, slow):
    assert isinstance(ours, np.ndarray) and ours.dtype == np.float32
    assert ours.shape == slow.shape
    assert abs(oracles.logsumexp(np.float64(ours))) < 1e-6
    assert np.ptp(slow) > 0.5, "the case shows nothing"
    np.testing.assert_allclose(ours, slow, rtol=0, atol=TOLERANCE)


def test_agrees_with_the_slow_implementation(predictor, small_params, small_folds):
    image = oracles.random_image(1, 49, 70)
    slow, without = expected(small_params, small_folds, image)
    assert_log_density(predictor.predict(image), slow)
    ours = predictor.predict(image, without_center_bias=True)
    assert_log_density(ours, without)


@pytest.mark.parametrize("fold", [0, 1, np.int64(1)])
def test_one_fold_has_its_own_center_bias(predictor, small_params, small_folds, fold):
    image = oracles.random_image(1, 49, 70)
    slow, _ = expected(small_params, small_folds, image, which=(fold,))
    assert_log_density(predictor.predict(image, fold=fold), slow)


@pytest.mark.parametrize("pixels_per_dva", [20, 61.0])
def test_scale_of_the_picture(predictor, small_params, small_folds, pixels_per_dva):
    image = oracles.random_image(2, 61, 40)
    scale = 1.25 * 24 / pixels_per_dva
    slow, _ = expected(small_params, small_folds, image, scale)
    assert_log_density(predictor.predict(image, pixels_per_dva=pixels_per_dva), slow)


def test_the_cards_own_scale_changes_nothing(predictor):
    image = oracles.random_image(2, 40, 30)
    np.testing.assert_array_equal(
        predictor.predict(image), predictor.predict(image, pixels_per_dva=24.0)
    )


def test_center_biases(predictor, small_params, small_folds, tmp_path):
    image = oracles.random_image(3, 33, 52)
    uniform = np.full((33, 52), -np.log(33 * 52))
    slow, _ = expected(small_params, small_folds, image, bias=uniform)
    assert_log_density(predictor.predict(image, center_bias="uniform"), slow)
    own = oracles.log_normalise(np.random.default_rng(0).normal(size=(33, 52)))
    slow, _ = expected(small_params, small_folds, image, bias=own)
    assert_log_density(predictor.predict(image, center_bias=own), slow)
    np.save(tmp_path / "own.npy", own)
    for path in (tmp_path / "own.npy", str(tmp_path / "own.npy")):
        assert_log_density(predictor.predict(image, center_bias=path), slow)


def test_center_bias_that_does_not_fit(predictor, tmp_path):
    image = oracles.random_image(3, 20, 30)
    fitting = np.full((20, 30), -np.log(600))
    bad = predictor.predict
    refused(
        InputError, bad, image, center_bias=fitting.T, words=["[30, 20]", "transpose"]
    )
    refused(InputError, bad, image, center_bias=fitting + 1, words=["log-sum-exp"])
    refused(ConfigError, bad, image, center_bias="mit", words=["'mit'", "uniform"])
    words = ["no.npy: no such file"]
    refused(ConfigError, bad, image, center_bias=tmp_path / "no.npy", words=words)
    (tmp_path / "text.npy").write_text("hello")
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    # A header may promise more than the file has, or the machine's memory.
    shape = b"(20000000000, 30000)"
    np.save(tmp_path / "huge.npy", fitting)
    data = (tmp_path / "huge.npy").read_bytes()
    filled = b"(20, 30), }" + b" " * (len(shape) - len(b"(20, 30)"))
    assert filled in data
    (tmp_path / "huge.npy").write_bytes(data.replace(filled, shape + b", }"))
    for name in ("text.npy", "objects.npy", "huge.npy"):
        words = [f"{name}: is not a center bias; expected"]
        refused(ConfigError, bad, image, center_bias=tmp_path / name, words=words)


def test_named_center_bias_is_that_of_the_shipped_model(
    small_folds, tmp_path, monkeypatch
):
    small_models.write_model(tmp_path / "deepgaze2-osie.safetensors", small_folds)
    available = ("deepgaze2-osie", "deepgaze2-osie-paper", "icf-osie")
    monkeypatch.setattr(
        "deepgaze_jax.named_center_bias.available_models", lambda: available
    )
    monkeypatch.setattr(
        "deepgaze_jax.named_center_bias.load_model",
        lambda name: load_model(name, tmp_path),
    )
    assert center_bias_names() == ("uniform", "osie")
    np.testing.assert_array_equal(load_center_bias("osie"), small_folds[2][-1])


def test_batch_is_image_by_image(predictor):
    images = np.stack([oracles.random_image(k, 40, 48) for k in range(2)])
    both = predictor.predict(images)
    assert both.shape == (2, 40, 48) and both.dtype == np.float32
    for ours, image in zip(both, images, strict=True):
        np.testing.assert_array_equal(ours, predictor.predict(image))
    refused(InputError, predictor.predict, images[:0], words=["no picture"])


def test_every_kind_of_picture(predictor, tmp_path):
    rgb = Image.fromarray(oracles.random_image(4, 30, 44).astype(np.uint8))
    turned = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    rgb.save(turned, "PNG", exif=exif)
    kinds = {
        "grey.png": rgb.convert("L"),
        "grey_alpha.png": rgb.convert("LA"),
        "rgba.png": rgb.convert("RGBA"),
        "palette.png": rgb.convert("P"),
        "cmyk.jpg": rgb.convert("CMYK"),
        "bits16.png": Image.fromarray(
            np.asarray(rgb.convert("L")).astype(np.uint16) * 257
        ),
    }
    for name, picture in kinds.items():
        picture.save(tmp_path / name)
        log_density = predictor.predict(tmp_path / name)
        assert log_density.shape == (30, 44), name
        assert abs(np.exp(np.float64(log_density)).sum() - 1) < 1e-5, name
    assert predictor.predict(turned.getvalue()).shape == (44, 30)
    for source in (rgb, np.asarray(rgb)):
        np.testing.assert_array_equal(
            predictor.predict(source), predictor.predict(np.float32(rgb))
        )


def test_nearly_black_pictures_work(predictor, tmp_path):
    dark = np.zeros((9, 9, 3), np.uint8)
    dark[4, 4] = 1
    Image.fromarray(dark).save(tmp_path / "dark.png")
    assert predictor.predict(tmp_path / "dark.png").shape == (9, 9)


def test_fold_that_has_not_seen_the_picture(small_folds, tmp_path):
    image = [oracles.random_image(k, 20, 24) for k in range(4)]
    hashes = [rgb_sha256(picture) for picture in image]
    lists = small_models.listed(
        hashes[:3],
        {"train": [1], "test": [0]},
        {"train": [0], "validation": [2], "test": [1]},
    )
    path = tmp_path / "m.safetensors"
    small_models.write_model(path, small_folds, **lists)
    predictor = load_pretrained(path)
    for picture, fold in zip(image, (0, 1, "mixture", "mixture"), strict=True):
        assert predictor.fold_for(picture, "auto") == fold
        np.testing.assert_array_equal(
            predictor.predict(picture, fold="auto"),
            predictor.predict(picture, fold=fold),
        )
    seen = predictor.membership.has_seen
    assert [seen(h) for h in hashes] == [True, True, True, False]
    assert [seen(h, 0) for h in hashes] == [False, True, False, False]
    assert [seen(h, 1) for h in hashes] == [True, False, True, False]
    # A copy under another name is the same picture; the name alone says nothing.
    Image.fromarray(image[0].astype(np.uint8)).save(tmp_path / "other name.png")
    copy = load_image(tmp_path / "other name.png")
    assert predictor.fold_for(copy, "auto") == 0


def test_seeds_of_a_fold_are_mixed(small_folds, tmp_path):
    """Where a fold was trained twice, auto takes both; the others' parts differ."""
    image = [oracles.random_image(k, 80, 96) for k in range(3)]
    hashes = [rgb_sha256(picture) for picture in image]
    two = [{"train": [1, 2], "test": [0], "seed": seed} for seed in (0, 1)]
    path = tmp_path / "m.safetensors"
    small_models.write_model(path, small_folds, **small_models.listed(hashes, *two))
    predictor = load_pretrained(path)
    assert predictor.fold_for(image[0], "auto") == (0, 1)
    assert predictor.fold_for(image[1], "auto") == "mixture"
    found, *each = (
        predictor.predict(image[0], fold=fold, center_bias="uniform")
        for fold in ("auto", 0, 1)
    )
    expected = np.logaddexp(*np.float64(each)) - np.log(2)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert np.abs(each[0] - each[1]).max() > 1e-2
    features = predictor.features(image[0])
    refused(
        ConfigError,
        functools.partial(predictor.log_density_of_features, fold=(0, 7)),
        features,
        (80, 96),
        words=["0 to 1"],
    )


def test_options_that_make_no_sense(predictor):
    image = oracles.random_image(0, 8, 8)
    for fold in (2, -1, "3", "mixed", None, True, 0.0):
        refused(ConfigError, predictor.predict, image, fold=fold, words=["0 to 1"])
    for value in (0, -1, float("nan"), float("inf"), "30", [24.0]):
        refused(
            ConfigError,
            predictor.predict,
            image,
            pixels_per_dva=value,
            words=["pixels_per_dva"],
        )
    for value in (1e-4, 1e-300, 1e-320):
        with pytest.raises(InputError, match="check pixels_per_dva") as caught:
            predictor.predict(image, pixels_per_dva=value)
        assert len(str(caught.value)) < 200
    image = oracles.random_image(0, 64, 96)
    words = ["64x96 pixels would be seen at 8e-08x1.2e-07 (scale 1.25e-09); check pix"]
    refused(InputError, predictor.predict, image, pixels_per_dva=24e9, words=words)


def test_a_model_is_shown_in_one_line(predictor):
    assert repr(predictor) == (
        "Predictor('small.safetensors', network='vgg19', n_folds=2, "
        "pixels_per_dva=24.0)"
    )


def test_what_is_no_name_of_a_model():
    for value in (None, 3):
        words = [type(value).__name__, "available models"]
        refused(ConfigError, load_pretrained, value, words=words)


def test_scale_that_the_card_does_not_know(small_folds, tmp_path):
    path = small_models.write_model(
        tmp_path / "m.safetensors", small_folds, pixels_per_dva=None
    )
    predictor = load_pretrained(path)
    image = oracles.random_image(0, 8, 8)
    assert predictor.predict(image).shape == (8, 8)
    refused(ConfigError, predictor.predict, image, pixels_per_dva=24, words=["card of"])


def test_features_of_another_size(predictor):
    features = predictor.features(oracles.random_image(0, 64, 64))
    refused(
        InputError,
        predictor.log_density_of_features,
        features,
        (64, 640),
        words=["64x640"],
    )


def test_pictures_that_do_not_fit_into_memory(predictor, monkeypatch):
    monkeypatch.setattr("deepgaze_jax.memory.available_memory", lambda: 1_000_000)
    # 80x120 at the model's scale of 1.25, 40x60 in front of VGG-19.
    words = ["64x96 pixels needs about 0.0 GB", "--pixels-per-dva"]
    refused(InputError, predictor.predict, np.zeros((64, 96, 3)), words=words)
    assert predictor.predict(np.zeros((8, 8, 3))).shape == (8, 8)


def test_a_large_picture_goes_in_bands(predictor, monkeypatch):
    size = (768, 1024)
    monkeypatch.setattr("deepgaze_jax.band_plan.resident_memory", lambda: 10**9)
    wide = predictor.plan(size, max_memory=1e12)
    assert wide.n_bands > 1 and not wide.lowered
    limit = wide.n_bytes - 10**7
    least = predictor.plan(size, max_memory=limit)
    assert least.lowered and least.n_bytes <= limit
    assert (least.band, least.workers) < (wide.band, wide.workers)
    words = ["768x1024", "even in bands of 16 rows", "1.1 GB are allowed"]
    refused(InputError, predictor.plan, size, max_memory=1.1e9, words=words)


@pytest.mark.slow
@pytest.mark.parametrize("fold", ["mixture", 1])
def test_bands_agree_with_the_slow_implementation(
    predictor, small_params, small_folds, monkeypatch, fold
):
    monkeypatch.setattr("deepgaze_jax.band_plan._FEWEST_PIXELS", 0)
    monkeypatch.setattr("deepgaze_jax.band_plan._BAND_PIXELS", 1)
    image = oracles.random_image(5, 75, 94)
    assert predictor.plan(image.shape[:2]).n_bands > 1
    which = (0, 1) if fold == "mixture" else (fold,)
    bias = small_folds[2][-1 if fold == "mixture" else fold]
    slow, _ = expected(small_params, small_folds, image, which=which, bias=bias)
    assert_log_density(predictor.predict(image, fold=fold), slow)
    # A picture that is bytes is the same picture.
    again = predictor.predict_picture(np.uint8(image), fold=fold)
    np.testing.assert_array_equal(again, predictor.predict(np.uint8(image), fold=fold))


def compilations():
    programs = (features_program, log_density_program)
    return sum(program.cache_info().misses for program in programs)


def test_sizes_can_be_compiled_before(predictor):
    predictor.warm_up([(21, 33)])
    before = compilations()
    predictor.predict(oracles.random_image(0, 21, 33))
    assert compilations() == before
    predictor.predict(oracles.random_image(0, 22, 33))
    assert compilations() > before


def test_precision_of_features(model_file, predictor):
    image = oracles.random_image(0, 40, 60)
    rounded = load_pretrained(model_file, feature_precision="bfloat16")
    exact, other = predictor.predict(image), rounded.predict(image)
    # bfloat16 has three digits.
    assert 1e-5 < np.abs(exact - other).max() < 0.5
    words = ["float16", "float32 or bfloat16 or tensorfloat32"]
    refused(
        ConfigError,
        load_pretrained,
        model_file,
        feature_precision="float16",
        words=words,
    )
    refused(
        ConfigError, load_pretrained, "icf", feature_precision="bfloat16", words=["icf"]
    )


def test_one_program_for_each_size(predictor):
    predictor.predict(oracles.random_image(0, 25, 35))
    program = features_program(
        predictor.model, predictor.model_size((25, 35)), "float32"
    )
    before = features_program.cache_info().misses
    predictor.predict(oracles.random_image(1, 25, 35))
    predictor.predict(oracles.random_image(1, 25, 35), fold=0)
    assert features_program.cache_info().misses == before
    assert program._cache_size() == 1


def test_missing_weights_are_named_never_replaced(model_file, tmp_path, monkeypatch):
    monkeypatch.setenv("DEEPGAZE_CACHE", str(tmp_path))
    predictor = load_pretrained(model_file)
    words = ["deepgaze weights fetch vgg19", "--file", "--model icf"]
    image = oracles.random_image(0, 8, 8)
    refused(WeightsError, predictor.predict, image, words=words)


def test_weights_of_another_family(small_folds, tmp_path):
    path = small_models.write_model(tmp_path / "m.safetensors", small_folds, family="N")
    words = ["family N", "family O"]
    image = oracles.random_image(0, 8, 8)
    refused(WeightsError, load_pretrained(path).predict, image, words=words)


def test_run_folder(model_file, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    refused(WeightsError, load_pretrained, run, words=["without model.safetensors"])
    (run / "config.json").write_text("{}")
    refused(WeightsError, load_pretrained, run, words=["not finished", "--resume` and"])
    (run / "model.safetensors").write_bytes(model_file.read_bytes())
    assert load_pretrained(str(run)).name == run.name


@pytest.mark.parametrize(
    ("card", "word"),
    [
        ({"model": None}, "describes the model"),
        ({"model": {"depth": 3}}, "depth"),
        ({"model": {"taps": ["conv9_1"]}}, "conv9_1"),
        ({"model": {"taps": ["conv5_1"]}}, "(512, 16, 32, 2, 1)"),
        ({"model": {"taps": ["conv4_1", "conv5_1"]}}, "one grid"),
        ({"model": {"network": "icf"}}, "of ICF"),
        ({"network": "icf"}, "'icf', its model stands on vgg19"),
        ({"network": None}, "names the network None"),
        ({"model": {"sampling": "cubic"}}, "'cubic'"),
        ({"model": {"nonlinearity": "gelu"}}, "'gelu'"),
        ({"model": {"layer_norm": True}}, "layer_norm True"),
        ({"model": {"blur_truncate": 0}}, "blur_truncate of a model is 0"),
        ({"model": {"blur_truncate": 30.0}}, "at most 0.666667 cells"),
        ({"model": {"blur_radius": 10**9}}, "1000000000"),
        ({"model": {"downsample": 10**9}}, "1000000000"),
        ({"model": {"widths": [16, 32, [2], 1]}}, "[2]"),
        ({"input_scale": None}, "input_scale None"),
        ({"pixels_per_dva": -1}, "pixels_per_dva -1"),
        ({"folds": [{}, {}]}, "training images"),
        ({"folds": 3}, "training images"),
        (small_models.listed(["aa"], {"train": [1]}, {}), "training images"),
        (small_models.listed(["aa"], {"train": [-1]}, {}), "training images"),
        (small_models.listed(["aa"], {"train": [0]}), "1 folds"),
    ],
)
def test_cards_that_cannot_be_used(small_folds, tmp_path, card, word):
    path = small_models.write_model(tmp_path / "m.safetensors", small_folds, **card)
    refused(WeightsError, load_pretrained, path, words=[word])


def test_features_in_a_model_file_are_all_of_its_network(small_folds, tmp_path):
    path = small_models.write_model(tmp_path / "m.safetensors", small_folds)
    tensors, card = load_model(path)
    kernel = np.zeros((3, 3, 3, 64), np.float32)
    save_model(path, tensors | {"features/conv1_1/kernel": kernel[0]}, card)
    words = [f"{path}: ", "missing: conv1_1/bias", "conv1_1/kernel [3, 3, 64] instead"]
    refused(WeightsError, load_pretrained, path, words=words)
    tensors["readout/dense0/kernel"] = np.zeros((2, 30, 16), np.float32)
    card["network"] = card["family"] = "icf"
    card["model"] = dataclasses.asdict(icf())
    save_model(path, tensors, card)
    assert load_pretrained(path).stored_features is None
    save_model(path, tensors | {"features/conv1_1/kernel": kernel}, card)
    refused(WeightsError, load_pretrained, path, words=["icf has no weights"])


def test_a_mean_of_blurs_at_the_limit_may_round_above_it(small_folds, tmp_path):
    """Training keeps sigma within the limit, its running mean only nearly."""
    # The wider of the two is of 3 cells.
    for limit, fits in ((3 * (1 - 1e-6), True), (3 * (1 - 1e-3), False)):
        path = small_models.write_model(
            tmp_path / "m.safetensors", small_folds, model={"blur_truncate": 20 / limit}
        )
        if fits:
            load_pretrained(path)
        else:
            refused(WeightsError, load_pretrained, path, words=["sigma 3"])


def test_configuration_comes_from_the_card(predictor, small_folds, tmp_path):
    assert predictor.model == deepgaze2()
    hash(predictor.model)
    settings = json.loads(json.dumps(dataclasses.asdict(deepgaze2())))
    settings["blur_radius"] = 7
    path = small_models.write_model(
        tmp_path / "m.safetensors", small_folds, model=settings
    )
    assert load_pretrained(path).model == FixationModel(blur_radius=7)


def test_module_function(model_file, predictor):
    image = oracles.random_image(0, 20, 20)
    ours = predict(image, model_file, fold=1, center_bias="uniform")
    slow = predictor.predict(image, fold=1, center_bias="uniform")
    np.testing.assert_array_equal(ours, slow)
    np.testing.assert_array_equal(predict(image, predictor), predictor.predict(image))
    assert deepgaze_jax.predict is predict


def test_public_names():
    for name in deepgaze_jax.__all__:
        assert getattr(deepgaze_jax, name) is not None
    shown = {name for name in dir(deepgaze_jax) if not name.startswith("__")}
    assert shown == set(deepgaze_jax.__all__)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = deepgaze_jax.nonsense
