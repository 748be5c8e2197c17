"""Models as programs for plain JAX: any size, the same densities as `predict`."""

import json
import subprocess
import sys
import zipfile

import numpy as np
import oracles
import pytest
from jax import export

from deepgaze_jax import alexnet
from deepgaze_jax.any_size import Sizes
from deepgaze_jax.cli import main
from deepgaze_jax.errors import ConfigError, InputError
from deepgaze_jax.exported import export_program
from deepgaze_jax.images import load_image
from deepgaze_jax.model import FixationModel
from deepgaze_jax.ops import scaled_size
from deepgaze_jax.prediction import Predictor, load_pretrained

VGG = {"taps": ("pool1",), "widths": (3, 1)}
LAYER_NORM = {
    "taps": ("conv2_1", "relu2_1"),
    "widths": (4, 2, 1),
    "nonlinearity": "softplus",
    "layer_norm": True,
    "blur_radius": 7,
}
ALEXNET = {
    "network": "alexnet",
    "taps": ("pool1",),
    "sampling": "nearest",
    "widths": (1,),
    "blur_radius": 30,
    "blur_truncate": 3.0,
    "sigma_grid_px": 2.5,
}
ICF = {"network": "icf", "taps": ("icf",), "readout_stride": 8, "widths": (3, 1)}


@pytest.fixture(scope="module")
def predictor_of(small_params, small_folds):
    """Makes a predictor with random parameters, two folds that differ."""

    def make(settings, input_scale):
        scale = np.float32(0.1)
        model = FixationModel(**settings)
        params = model.init(3, n_folds=2)
        # Densities as of real models: without peaks, which float32 rounds.
        last = params["readout"][f"dense{len(model.widths) - 1}"]
        last["kernel"] = scale * np.asarray(last["kernel"])
        params["finalizer"]["sigma_grid_px"] = np.float32([1.5, 4])
        params["finalizer"]["center_bias_weight"] = np.float32([1, 0.7])
        features = {
            "vgg19": small_params,
            "alexnet": alexnet.init_params(2),
            "icf": {},
        }
        card = {"input_scale": input_scale, "pixels_per_dva": 24.0, "licence": "MIT"}
        return Predictor(
            "small",
            model,
            params,
            small_folds[2],
            card,
            features[model.network],
        )

    return make


def read(path):
    """(program, card)"""
    with zipfile.ZipFile(path) as archive:
        program = export.deserialize(bytearray(archive.read("program")))
        return program, json.loads(archive.read("card.json"))


@pytest.mark.parametrize(
    ("settings", "input_scale", "sizes"),
    [
        (VGG, 35 / 24, [(61, 140)]),
        (VGG | {"downsample": 3, "readout_stride": 6}, 0.6, [(39, 95)]),
        (LAYER_NORM, 1.0, [(37, 90)]),
        (ALEXNET, 1.25, [(101, 64)]),
        (ICF, 1.5, [(61, 47)]),
    ],
    ids=["enlarged", "shrunk", "layer_norm", "alexnet", "icf"],
)
def test_agrees_with_predict(predictor_of, tmp_path, settings, input_scale, sizes):
    predictor = predictor_of(settings, input_scale)
    path = export_program(predictor, tmp_path / "m.jaxexport", platforms=["cpu"])
    program, card = read(path)
    for size in sizes:
        assert card["smallest_side"] <= min(size)
        picture = np.float32(oracles.random_image(5, *size))
        expected = predictor.predict(picture)
        density = np.asarray(program.call(picture))
        assert density.dtype == np.float32
        np.testing.assert_allclose(density, expected, rtol=0, atol=1e-5)
        # Densities that are the same everywhere would agree whatever was computed.
        without = predictor.predict(picture, center_bias="uniform")
        assert np.ptp(without) > 1e-2 and np.abs(without - expected).max() > 0.1


def test_plain_jax_runs_the_file(predictor_of, tmp_path):
    predictor = predictor_of(VGG, 35 / 24)
    path = export_program(predictor, tmp_path / "m.jaxexport")
    picture = np.float32(oracles.random_image(6, 16, 58))
    np.save(tmp_path / "picture.npy", picture)
    code = """
import sys, zipfile
sys.modules["deepgaze_jax"] = None
import numpy as np
from jax import export
program = bytearray(zipfile.ZipFile("m.jaxexport").read("program"))
density = export.deserialize(program).call(np.load("picture.npy"))
np.save("density.npy", density)
"""
    subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        check=True,
        cwd=tmp_path,
        timeout=120,
    )
    density = np.load(tmp_path / "density.npy")
    expected = predictor.predict(picture)
    np.testing.assert_allclose(density, expected, rtol=0, atol=1e-5)
    program, card = read(path)
    assert tuple(program.platforms) == ("cpu", "cuda", "tpu")
    assert card["platforms"] == ["cpu", "cuda", "tpu"]
    assert card["model"] == predictor.card
    import jax

    assert card["jax_version"] == jax.__version__
    assert "6 months" in card["compatibility"]


@pytest.mark.parametrize("scale", [35 / 24, 1.0, 0.731, 1 / 3, 2.5, 1.2345678, 0.05])
def test_sizes_are_those_of_predict(scale):
    sizes = Sizes.of(FixationModel(), scale)
    assert sizes.smallest >= 16 and sizes.largest > 5000
    for side in range(sizes.smallest, sizes.largest + 1):
        assert (sizes.model_side(side),) * 2 == scaled_size(side, side, scale)
    assert sizes.model_side(sizes.smallest) >= 8


def test_the_smallest_side_is_that_of_the_network():
    sizes = Sizes.of(FixationModel(**ALEXNET | {"taps": ("conv5",)}), 1.0)
    assert sizes.smallest == 2 * alexnet.MIN_SIZE
    with pytest.raises(ConfigError, match="too little of any picture"):
        Sizes.of(FixationModel(), 1e-4)


def test_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["export", "icf", "-o", "m.jaxexport"]) == 0
    assert capsys.readouterr().out == "m.jaxexport\n"
    _, card = read("m.jaxexport")
    assert card["name"] == "icf-osie" and len(card["model_sha256"]) == 64
    argv = ["export", "icf", "-o", "n.jaxexport", "--evaluation", "t.json"]
    assert main(argv) == 2
    assert "--evaluation is of .safetensors" in capsys.readouterr().err
    # Without the network's weights, and whatever stood there stays.
    monkeypatch.setenv("DEEPGAZE_CACHE", str(tmp_path / "empty"))
    before = (tmp_path / "m.jaxexport").read_bytes()
    assert main(["export", "deepgaze2", "-o", "m.jaxexport"]) == 1
    assert "weights fetch" in capsys.readouterr().err
    assert (tmp_path / "m.jaxexport").read_bytes() == before
    assert [path.name for path in tmp_path.glob("*.jaxexport*")] == ["m.jaxexport"]
    monkeypatch.setitem(sys.modules, "flatbuffers", None)
    assert main(["export", "icf", "-o", "n.jaxexport"]) == 2
    assert "deepgaze-jax[export]" in capsys.readouterr().err


def test_refuses_what_it_cannot_write(tmp_path):
    predictor = load_pretrained("icf")
    with pytest.raises(InputError, match=r"has to end in \.jaxexport"):
        export_program(predictor, tmp_path / "m.bin")
    for platforms in ([], ["gpu"]):
        with pytest.raises(ConfigError, match="cpu, cuda, rocm, tpu"):
            export_program(predictor, tmp_path / "m.jaxexport", platforms=platforms)


@pytest.mark.slow
@pytest.mark.weights
def test_deepgaze2_agrees_with_predict(tmp_path, shared_data):
    """Compiles and runs VGG-19 as one program of 82 MB: half a minute."""
    predictor = load_pretrained("deepgaze2")
    program, card = read(export_program(predictor, tmp_path / "m.jaxexport"))
    assert card["smallest_side"] == 16
    folder = shared_data / "osie_mini" / "images"
    picture = load_image(min(folder.iterdir()))
    for part in (picture, picture[:333, :251]):
        expected = predictor.predict(part)
        density = np.asarray(program.call(part))
        np.testing.assert_allclose(density, expected, rtol=0, atol=1e-5)
