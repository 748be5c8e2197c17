"""Data sets that TFDS builds: the same as the folder, picture by picture."""

import configparser
import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny
import writers_gaze

from deepgaze_jax.cli import main
from deepgaze_jax.datasets.features import plan_cache
from deepgaze_jax.datasets.folder import read_folder
from deepgaze_jax.datasets.home import registered_names, resolve_dataset
from deepgaze_jax.datasets.opening import read_dataset, read_recording
from deepgaze_jax.datasets.tfds_builders import BUILDERS
from deepgaze_jax.errors import DataError
from deepgaze_jax.model import FixationModel
from deepgaze_jax.model_files import load_model

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "deepgaze_jax" / "datasets" / "tfds_builders"
GENERIC = "fixations_folder"
COLUMNS = ("image", "subject", "fixation_index", "x", "y", "duration_ms")


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("DEEPGAZE_DATA", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def build(*argv):
    return main(["data", "build", *map(str, argv)])


def same(a, b):
    assert a.image_names == b.image_names
    assert a.subject_names == b.subject_names
    np.testing.assert_array_equal(a.image_sizes, b.image_sizes)
    for name in COLUMNS:
        ours, theirs = getattr(a.fixations, name), getattr(b.fixations, name)
        assert ours.tobytes() == theirs.tobytes(), name
    for i in range(len(a)):
        assert a.pictures.read_bytes(i) == b.pictures.read_bytes(i)


def interleaved(folder, seed=3):
    """Put the scanpaths of a folder in another order than the images."""
    rows = tiny.read_fixations(folder)
    keys = sorted({row[:2] for row in rows})
    np.random.default_rng(seed).shuffle(keys)
    tiny.write_fixations(folder, [r for key in keys for r in rows if r[:2] == key])


def test_training_and_evaluation_are_those_of_the_folder(
    home, tiny_cache, monkeypatch, capfd
):
    for module in ("evaluate", "train"):
        name = f"deepgaze_jax.cli.{module}.keep_compiled_programs"
        monkeypatch.setattr(name, lambda: None)
    sizes = [tiny.WIDE] * 8 + [tiny.NARROW] * 3
    folder = tiny.write_folder(Path("mine"), sizes, 2, without=(3,))
    interleaved(folder)
    assert build("fixations_folder", "--from", folder) == 0
    out = capfd.readouterr()
    assert out.out.splitlines()[0].startswith("11 images, 3 subjects")
    assert "Dataset" not in out.out and "WARNING" not in out.err
    built = read_dataset("tfds/mine")
    same(read_folder(folder), built)
    features = Path(os.environ["DEEPGAZE_CACHE"], "features")
    before = set(features.glob("*"))
    tables = {}
    for run, data in (("a", "mine"), ("b", "fixations_folder/mine")):
        argv = ["train", "--data", data, "-o", run, "--taps", *tiny.TAPS]
        argv += ["--widths", "4", "2", "1", "--n-folds", "4", "--epochs", "1"]
        argv += ["--batch-size", "4", "--input-scale", "1.25"]
        assert main([*argv, "--pixels-per-dva", "24"]) == 0
        table = f"{run}.csv"
        argv = ["evaluate", "--data", data, "--model", run, "-o", table]
        assert main([*argv, "--metrics", "ll", "ig", "auc", "nss"]) == 0
        with open(table, newline="") as file:
            rows = list(csv.DictReader(file))
        # All but what the model is called.
        tables[run] = [{k: v for k, v in row.items() if v != run} for row in rows]
        assert len(set(features.glob("*")) - before) == 1
    assert tables["a"] == tables["b"]
    assert len(tables["a"]) == 11
    (ours, card), (theirs, other) = load_model("a"), load_model("b")
    assert card["folds"] == other["folds"]
    for name, array in ours.items():
        np.testing.assert_array_equal(array, theirs[name])


def test_osie_mini(home, osie_mini, tmp_path):
    folder = osie_mini.root
    assert build("fixations_folder", "--from", folder, "--accept", "origin") == 0
    built = read_dataset("osie_mini")
    same(osie_mini, built)
    model, scales = FixationModel(taps=tiny.TAPS), np.ones(len(built))
    keys = [plan_cache(d, model, "w", tmp_path, scales).key for d in (osie_mini, built)]
    assert keys[0] == keys[1]
    np.testing.assert_array_equal(built.image(7), osie_mini.image(7))
    with pytest.raises(DataError, match="has no file"):
        built.image_path(0)


def test_names_configs_and_splits(home, tmp_path, capfd):
    source = tmp_path / "salicon"
    names = ["COCO_train2014_000000000009", "COCO_train2014_000000000025"]
    writers_gaze.write_salicon(source, "train", names)
    writers_gaze.write_salicon(source, "val", ["COCO_val2014_000000000042"], 1)
    for i, name in enumerate([*names, "COCO_val2014_000000000042"]):
        data = writers_gaze.picture(640, 480, "JPEG", i)
        (source / f"{name}.jpg").write_bytes(data)
    argv = ("salicon", "--from", source)
    assert build(*argv) == 2
    assert "2015_mouse" in capfd.readouterr().err
    assert build(*argv, "--config", "2016_mouse") == 2
    options = ("--accept", "axes", "origin", "duplicates")
    for config in ("2015_fixations", "2017_fixations"):
        assert build(*argv, "--config", config, *options) == 0
    both = ("salicon/2015_fixations", "salicon/2017_fixations")
    assert registered_names() == both
    with pytest.raises(DataError, match=r"2015_fixations, .*say which"):
        resolve_dataset("salicon")
    whole = read_dataset(both[1])
    part = read_dataset(f"{both[1]}:val")
    assert part.image_names == ("COCO_val2014_000000000042.jpg",)
    assert part.name == f"{both[1]}:val"
    assert len(read_dataset(f"{both[1]}:train")) == 2
    assert whole.image_names[2:] == part.image_names
    of_part = whole.fixations.of_images(2)
    np.testing.assert_array_equal(of_part.x, part.fixations.x)
    assert read_recording(both[1]).meta.edition == "2017, fixations"
    with pytest.raises(DataError, match="no split test; there are: train, val"):
        read_dataset(f"{both[1]}:test")
    assert main(["data", "info", f"{both[1]}:val", "-o", "sheet.png"]) == 0
    assert main(["data", "validate", both[1]]) == 0
    assert main(["data", "import", "toy_gaze", "--name", "tfds"]) == 1


def test_failures_leave_nothing(home, tmp_path, capfd):
    folder = tiny.write_folder(tmp_path / "mine", [(20, 30)] * 4)
    argv = ("fixations_folder", "--from", folder)
    (folder / "images" / "02.png").write_bytes(b"no picture")
    (folder / "images.csv").write_text(
        "image,width,height\n" + "".join(f"0{i}.png,30,20\n" for i in range(4))
    )
    assert build(*argv) == 1
    assert "images_unreadable" in capfd.readouterr().err.splitlines()[-1]
    left = home / "tfds" / ".fixations_folder.partial"
    assert not left.exists() and registered_names() == ()
    left.mkdir()  # As a killed process leaves it.
    assert build(*argv, "--allow-missing-images") == 0
    assert not left.exists()
    assert read_dataset("tfds/mine").image_names == ("00.png", "01.png", "03.png")
    assert build(*argv) == 1
    assert "--replace" in capfd.readouterr().err.splitlines()[-1]
    shutil.copy(folder / "images" / "00.png", folder / "images" / "02.png")
    assert build(*argv, "--replace") == 0
    assert len(read_dataset("tfds/mine")) == 4
    place = resolve_dataset("tfds/mine")
    for file in ("dataset_info.json", "features.json"):
        (place / file).rename(place / f"_{file}")
        for name in ("tfds/mine", place):
            with pytest.raises(DataError, match=f"damaged.*lacks {file}; build it"):
                read_dataset(name)
        (place / f"_{file}").rename(place / file)
    (record,) = place.glob("*.array_record*")
    record.write_bytes(record.read_bytes()[:100])
    with pytest.raises(DataError, match="build it again"):
        read_dataset("tfds/mine")
    assert build("osie") == 1
    assert "fixations.mat" in capfd.readouterr().err
    assert build("imagenet", "--from", folder) == 2


def test_folders_follow_the_convention_and_are_in_the_wheel():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    package = "deepgaze_jax.datasets.tfds_builders"
    packages = setup["options"]["packages"].split()
    assert {p.name for p in FOLDER.iterdir() if (p / "__init__.py").is_file()} == set(
        BUILDERS
    )
    for name in BUILDERS:
        shipped = setup["options.package_data"][f"{package}.{name}"].split(", ")
        assert f"{package}.{name}" in packages
        for file in shipped:
            assert (FOLDER / name / file).is_file()
        assert {"README.md", "CITATIONS.bib", "TAGS.txt", "checksums.tsv"} == set(
            shipped
        )
        assert (FOLDER / name / f"{name}_dataset_builder.py").is_file()


@pytest.mark.parametrize(
    ("argv", "counts"),
    [
        (("mit1003", "mit1003_csv"), (1, 15, 113)),
        (("cat2000", "mit300_cat2000"), (1, 1, 259)),
        (("salicon", "salicon", "--config", "2014_mouse"), (10, 395, 73_630)),
        (("figrim", "figrim", "--allow-missing-images"), (30, 67, 7_506)),
    ],
)
@pytest.mark.slow
def test_raw_data(home, shared_data, argv, counts):
    name, source, *options = argv
    assert build(name, "--from", shared_data / "raw" / source, *options) == 0
    found = read_dataset(name)
    assert (len(found), len(found.subject_names), len(found.fixations)) == counts


@pytest.mark.slow
@pytest.mark.parametrize("form", ["mat", "csv"])
def test_osie(home, osie, form):
    source = osie.root if form == "csv" else osie.root.parent / "raw" / "osie"
    images = ("--images", osie.root) if form == "mat" else ()
    assert build("osie", "--from", source, *images) == 0
    built = read_dataset("osie")
    same(osie, built)
    assert len(built.fixations) == 98_321
    assert set(built.pixels_per_dva) == {24}


@pytest.mark.tensorflow
def test_tfds_build(tmp_path):
    pytest.importorskip("tensorflow")
    for name in ("apache_beam", "mlcroissant"):  # The command imports them.
        pytest.importorskip(name)
    folder = tiny.write_folder(tmp_path / "mine", [(20, 30)] * 4)
    argv = [Path(sys.executable).with_name("tfds"), "build", FOLDER / GENERIC]
    argv += ["--manual_dir", folder, "--data_dir", tmp_path / "out"]
    argv += ["--file_format", "array_record"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-2000:]
    same(read_folder(folder), read_dataset(tmp_path / "out" / GENERIC / "1.0.0"))
