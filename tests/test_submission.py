"""Benchmark files, looked at with h5py, NumPy and Pillow alone."""

from pathlib import Path

import h5py
import numpy as np
import oracles
import pytest
import small_models
from PIL import Image

from deepgaze_jax.cli import main
from deepgaze_jax.errors import DataError, InputError
from deepgaze_jax.evaluation import submission
from deepgaze_jax.evaluation.submission import (
    Parts,
    check_submission,
    equalised_map,
    stimulus_names,
    write_submission,
)
from deepgaze_jax.prediction import load_pretrained


@pytest.fixture(autouse=True)
def surroundings(small_cache, monkeypatch, tmp_path):
    monkeypatch.setenv("DEEPGAZE_CACHE", str(small_cache))
    name = "deepgaze_jax.cli.benchmark_file.keep_compiled_programs"
    monkeypatch.setattr(name, lambda: None)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def model(small_folds, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "small.safetensors"
    return str(small_models.write_model(path, small_folds))


def write_stimuli(folder, names):
    """Pictures of two sizes (each is compiled once) below a folder."""
    for k, name in enumerate(names):
        image = oracles.random_image(k, *((24, 36), (40, 30))[k % 2]).astype(np.uint8)
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return [str(Path(folder, name)) for name in names]


def datasets(file):
    found = {}

    def see(name, item):
        if isinstance(item, h5py.Dataset):
            found[name] = item

    file.visititems(see)
    return found


def check_by_hand(path, stimuli, folder):
    """What the benchmark's site asks for, written out once more."""
    with h5py.File(path, "r") as file:
        found = datasets(file)
        assert sorted(found) == sorted(stimuli)
        for name, dataset in found.items():
            with Image.open(Path(folder, name)) as picture:
                width, height = picture.size
            assert dataset.shape == (height, width)
            assert dataset.dtype == np.float32 and dataset.compression == "gzip"
            values = np.asarray(dataset, np.float64)
            assert np.isfinite(values).all()
            assert abs(np.log(np.exp(values).sum())) < 1e-3


def test_file_of_twenty_images(model, capsys):
    names = [f"i{k}.jpg" for k in range(1, 21)]
    write_stimuli("MIT300", names)
    assert main(["benchmark-file", model, "MIT300", "-o", "out/s.h5"]) == 0
    check_by_hand("out/s.h5", names, "MIT300")
    assert [path.name for path in Path("out").iterdir()] == ["s.h5"]
    assert "20 densities" in capsys.readouterr().out
    expected = load_pretrained(model).predict("MIT300/i7.jpg")
    with h5py.File("out/s.h5", "r") as file:
        np.testing.assert_array_equal(file["i7.jpg"][()], expected)


def test_sets_in_folders_and_options(model):
    names = ["Action/001.png", "Art/001.png"]
    pictures = write_stimuli("Stimuli", names)
    np.save("bias.npy", np.full((24, 36), -np.log(864), np.float32))
    argv = ["benchmark-file", model, *pictures, "-o", "s.hdf5", "--fold", "1"]
    argv += ["--center-bias", "uniform", "--pixels-per-dva", "20", "--jpeg", "maps"]
    assert main(argv) == 0
    check_by_hand("s.hdf5", names, "Stimuli")
    predictor = load_pretrained(model)
    for name in names:
        expected = predictor.predict(
            Path("Stimuli", name), fold=1, center_bias="uniform", pixels_per_dva=20
        )
        with h5py.File("s.hdf5", "r") as file:
            np.testing.assert_array_equal(file[name][()], expected)
        with Image.open(Path("maps", name).with_suffix(".jpg")) as picture:
            assert (picture.format, picture.mode) == ("JPEG", "L")
            assert picture.size == expected.shape[::-1]
            grey = np.asarray(picture, float)
        below = (expected[..., None, None] > expected).mean(axis=(2, 3))
        equal = (expected[..., None, None] == expected).mean(axis=(2, 3))
        assert np.abs(grey - 256 * (below + equal / 2)).max() < 4
        assert grey.std() > 50
    # One that is meant for another size.
    argv = ["benchmark-file", model, *pictures, "-o", "t.h5"]
    assert main([*argv, "--center-bias", "bias.npy"]) == 1
    assert not Path("t.h5").exists()


def test_an_interrupted_export_goes_on(model, monkeypatch, capsys):
    names = ["a.png", "b.png", "c.png"]
    pictures = write_stimuli("set", names)
    content = Path(pictures[2]).read_bytes()
    Path(pictures[2]).write_bytes(b"no picture")
    argv = ["benchmark-file", model, "set", "-o", "s.h5"]
    assert main(argv) == 1
    err = capsys.readouterr().err
    assert "c.png" in err and "1 of 3 pictures failed" in err
    assert not Path("s.h5").exists()
    assert len(list(Path("s.h5.parts").iterdir())) == 2

    Path(pictures[2]).write_bytes(content)
    predicted = []
    predict = type(load_pretrained(model)).predict

    def counted(self, picture, **options):
        predicted.append(picture.shape[:2])
        return predict(self, picture, **options)

    monkeypatch.setattr("deepgaze_jax.predictor.Predictor.predict", counted)
    # Another picture under the same name is another picture.
    write_stimuli("other", ["x.png", "a.png"])
    Path("other/a.png").rename(pictures[0])
    assert main(argv) == 0
    assert predicted == [(40, 30), (24, 36)]
    check_by_hand("s.h5", names, "set")
    assert not Path("s.h5.parts").exists()
    # Other settings are not mixed in.
    Path(pictures[2]).write_bytes(b"no picture")
    assert main([*argv[:-1], "t.h5"]) == 1
    Path(pictures[2]).write_bytes(content)
    predicted.clear()
    assert main([*argv[:-1], "t.h5", "--fold", "0"]) == 0
    assert len(predicted) == 3


def test_refusals(model, capsys):
    pictures = write_stimuli("set", ["a.png", "a.jpg"])
    argv = ["benchmark-file", model, *pictures]
    assert main([*argv, "-o", "s.npz"]) == 2
    assert "end its name in .h5" in capsys.readouterr().err
    assert main([*argv, pictures[0], "-o", "s.h5"]) == 1
    assert "listed twice" in capsys.readouterr().err
    assert main([*argv, "-o", "s.h5", "--jpeg", "maps"]) == 1
    assert "would both be" in capsys.readouterr().err
    assert main([*argv, "-o", "s.h5", "--jpeg", "set"]) == 1
    assert "is an input" in capsys.readouterr().err
    Path("empty").mkdir()
    assert main(["benchmark-file", model, "empty", "-o", "s.h5"]) == 1
    assert main(["benchmark-file", model, "-o", "s.h5"]) == 2
    assert not Path("s.h5").exists()


UNIFORM = np.full((2, 3), -np.log(6))


@pytest.mark.parametrize(
    ("log_density", "words"),
    [
        (UNIFORM.T, "shape"),
        (UNIFORM + 1.1e-3, "log-sum-exp"),
        (UNIFORM - 1.1e-3, "log-sum-exp"),
        (np.full((2, 3), 1 / 6), "log-sum-exp"),
        (UNIFORM.astype(np.float16), "float16"),
        (np.zeros((2, 3), int), "int64"),
        (np.where(np.arange(6).reshape(2, 3), -np.log(5), -np.inf), "not finite"),
    ],
)
def test_what_the_site_rejects(log_density, words, tmp_path):
    parts = Parts(tmp_path / "parts")
    with pytest.raises(InputError, match=words):
        parts.write("a.jpg", log_density, (2, 3), "")
    assert not parts.folder.exists()
    # A file from elsewhere is read back just as strictly.
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("a.jpg", data=log_density, compression="gzip")
    with pytest.raises(DataError, match=words):
        check_submission(tmp_path / "a.h5", {"a.jpg": (2, 3)})


def test_reading_back(tmp_path, monkeypatch):
    path, sizes = tmp_path / "a.h5", {"a.jpg": (2, 3), "b/c.jpg": (2, 3)}
    parts = Parts(tmp_path / "parts")
    for name, size in sizes.items():
        parts.write(name, UNIFORM, size, "")
    write_submission(path, parts, sizes)
    check_submission(path, sizes)
    with pytest.raises(DataError, match=r"1 stimuli are missing and 0 .*'d.jpg'"):
        check_submission(path, {**sizes, "d.jpg": (1, 1)})
    with pytest.raises(DataError, match=r"0 stimuli are missing and 1 .*'b/c.jpg'"):
        check_submission(path, {"a.jpg": (2, 3)})
    before = path.read_bytes()
    # A writer that loses a dataset does not replace what is there.
    monkeypatch.setattr(Parts, "copy_into", lambda *_: None)
    with pytest.raises(DataError, match="2 stimuli are missing"):
        write_submission(path, parts, sizes)
    assert path.read_bytes() == before
    with h5py.File(path, "r+") as file:
        del file["a.jpg"]
        file.create_dataset("a.jpg", data=UNIFORM)
    with pytest.raises(DataError, match="compressed by None"):
        check_submission(path, sizes)


def test_parts_are_recognised(tmp_path):
    parts = Parts(tmp_path / "parts")
    assert parts.read("a.jpg", "k") is None
    parts.write("a.jpg", UNIFORM, (2, 3), "k")
    np.testing.assert_array_equal(parts.read("a.jpg", "k"), UNIFORM)
    assert parts.read("a.jpg", "other") is None
    (path,) = parts.folder.iterdir()
    path.write_bytes(path.read_bytes()[:100])
    assert parts.read("a.jpg", "k") is None
    parts.remove()
    assert not parts.folder.exists()


def test_names():
    assert stimulus_names([]) == ()
    assert stimulus_names(["x/a.jpg"]) == ("a.jpg",)
    assert stimulus_names(["x/y/a.jpg", "x/b.jpg"]) == ("y/a.jpg", "b.jpg")


def test_equalised_map():
    values = np.random.default_rng(0).normal(size=(32, 64))
    grey = equalised_map(values)
    assert (np.bincount(grey.ravel(), minlength=256) == 8).all()
    order = values.ravel().argsort()
    assert (np.diff(grey.ravel()[order].astype(int)) >= 0).all()
    assert (equalised_map(np.zeros((3, 3))) == 128).all()
    assert submission.equalised_map(np.array([[0, 0, 1, 1]])).tolist() == [
        [64, 64, 192, 192]
    ]
