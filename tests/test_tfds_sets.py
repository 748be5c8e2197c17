"""Data sets that TFDS builds: the same as the folder, picture by picture."""

import configparser
import csv
import io
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import oracles_gaze
import pytest
import tiny
import writers_gaze
from PIL import Image

from deepgaze_jax.cli import main
from deepgaze_jax.datasets.features import plan_cache
from deepgaze_jax.datasets.folder import read_folder
from deepgaze_jax.datasets.home import registered_names, resolve_dataset
from deepgaze_jax.datasets.opening import read_dataset, read_meta, read_recording
from deepgaze_jax.datasets.published import Published, compare, published_line
from deepgaze_jax.datasets.recording import Meta, Recording
from deepgaze_jax.datasets.tfds_builders import BUILDERS
from deepgaze_jax.errors import DataError
from deepgaze_jax.fixations import Fixations
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
    assert build(*argv, "--config", "2015_fixations", *options) == 1
    line = capfd.readouterr().err.splitlines()[-1]
    assert "found 2 images (train), published are 10,000; found 1 image (val), " in line
    assert "accept a part of them: --allow-part" in line
    options += ("--allow-part",)
    for config in ("2015_fixations", "2017_fixations"):
        assert build(*argv, "--config", config, *options) == 0
    assert "published: a part, 3 of 15,000 images" in capfd.readouterr().err
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
        (("mit1003", "mit1003_csv", "--allow-part"), (1, 15, 113)),
        (
            ("salicon", "salicon", "--config", "2014_mouse", "--allow-part"),
            (10, 395, 73_630),
        ),
        (("figrim", "figrim", "--allow-missing-images"), (30, 67, 7_506)),
    ],
)
@pytest.mark.slow
def test_raw_data(home, shared_data, argv, counts):
    name, source, *options = argv
    argv = (name, "--from", shared_data / "raw" / source, *options)
    if "--allow-part" in options:
        assert build(*argv[:-1]) == 1
    assert build(*argv) == 0
    found = read_dataset(name)
    assert (len(found), len(found.subject_names), len(found.fixations)) == counts


def test_other_images_than_the_published_ones(home, osie_mini, tmp_path, capfd):
    """Half as large, those of OSIE have another scale; MIT300 is not CAT2000."""
    argv = ("osie", "--from", osie_mini.root)
    for options in ((), ("--allow-part",)):
        assert build(*argv, *options) == 1
        line = capfd.readouterr().err.splitlines()[-1]
        assert "published images have 800 x 600 pixels, found are 100 of" in line
        assert "1001.jpg 400 x 300" in line
        assert "deepgaze data build fixations_folder" in line
    raw = osie_mini.root.parent / "raw"
    argv = ("cat2000", "--from", raw / "mit300_cat2000", "--allow-part")
    assert build(*argv) == 1
    assert "published images have 1920 x 1080" in capfd.readouterr().err
    (tmp_path / "lone").mkdir()
    shutil.copy(raw / "mit1003_csv" / "i1182314083.jpeg", tmp_path / "lone")
    shutil.copy(
        raw / "mit1003_csv" / "scanpath_MIT1003_i1182314083.csv", tmp_path / "lone"
    )
    with Image.open(tmp_path / "lone" / "i1182314083.jpeg") as picture:
        picture.resize((512, 340)).save(tmp_path / "lone" / "i1182314083.jpeg")
    assert build("mit1003", "--from", tmp_path / "lone", "--allow-part") == 1
    assert "a longest side of 1024 pixels" in capfd.readouterr().err
    assert registered_names() == ()


def with_images(n, size=(600, 800), splits=None):
    """A recording without pictures and one fixation by each of 15 subjects."""
    f = Fixations([0] * 15, range(15), [0] * 15, range(15), range(15))
    return Recording(
        "r", tuple(f"{i}.jpg" for i in range(n)), [size] * n, (None,) * n, f,
        tuple(map(str, range(15))), Meta("osie"), splits=splits,
    )  # fmt: skip


def test_counts_are_compared_with_the_published_ones():
    published = Published({"train": 700}, size=(600, 800), subjects=15, rows=90)
    found = compare(with_images(700), published, "a")
    assert found["complete"] and found["found"]["images"] == {"train": 700}
    line = published_line({"published": found, "n_rows": 15})
    assert line == "all 700 images, 15 subjects; 15 rows, published are 90"
    for n, subjects, message in (
        (699, 15, "found 699 images, published are 700; add"),
        (701, 15, "found 701 images, published are 700; leave out"),
        (700, 16, "found 15 subjects, published are 16; add"),
    ):
        other = replace(published, subjects=subjects)
        with pytest.raises(DataError, match=f"a: {message}"):
            compare(with_images(n), other, "a")
        if n < 701:
            part = compare(with_images(n), other, "a", allow_part=True)
            assert not part["complete"]
            assert published_line({"published": part}).startswith("a part, ")
    with pytest.raises(DataError, match="leave out"):
        compare(with_images(701), published, "a", allow_part=True)
    with pytest.raises(DataError, match=r"700 of another size: 0\.jpg 80 x 60, 1"):
        compare(with_images(700, (60, 80)), published, "a", allow_part=True)
    two = Published({"train": 2, "val": 1}, unseen={"test": 1})
    for splits in (("train", "val", "train"), ("train", "val", "test", "train")):
        assert compare(with_images(len(splits), splits=splits), two, "a")["complete"]
    with pytest.raises(DataError, match=r"found 0 images \(val\), published are 1"):
        compare(with_images(2, splits=("train", "train")), two, "a")
    with pytest.raises(DataError, match=r"found 2 images \(test\), published are 1"):
        compare(with_images(2, splits=("test", "test")), two, "a", allow_part=True)


def cat2000(folder, n=1):
    """CAT2000 as it is unpacked, with `n` images of each category."""
    white = io.BytesIO()
    Image.new("RGB", (1920, 1080), "white").save(white, format="JPEG")
    for k in range(20):
        for i in range(1, n + 1):
            counts = np.zeros((1080, 1920), np.uint8)
            counts[100 + k, 50 + i] = counts[7, 9] = 1
            maps = writers_gaze.mat_bytes({"fixLocs": counts})
            for place, data in (
                (f"Stimuli/C{k:02}/{i:03}.jpg", white.getvalue()),
                (f"Stimuli/C{k:02}/Output/{i:03}_SaliencyMap.jpg", b"a result"),
                (f"FIXATIONMAPS/C{k:02}/{i:03}.jpg", white.getvalue()),
                (f"FIXATIONLOCS/C{k:02}/{i:03}.mat", maps),
            ):
                path = folder / "trainSet" / place
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
    (folder / "trainSet" / "allFixData.mat").write_bytes(b"a MATLAB Map")
    return folder


def test_cat2000_in_its_layout(home, tmp_path, capfd):
    folder = cat2000(tmp_path / "CAT2000")
    argv = ("cat2000", "--from", folder)
    assert build(*argv) == 1
    line = capfd.readouterr().err.splitlines()[-1]
    assert "found 20 images, published are 2,000; add the others" in line
    assert build(*argv, "--allow-part") == 0
    found = read_dataset("cat2000")
    assert found.image_names[:2] == ("C00/001.jpg", "C01/001.jpg")
    assert set(map(tuple, found.image_sizes.tolist())) == {(1080, 1920)}
    assert found.fixations.of_images(3).x.tolist() == [9, 51]
    assert found.fixations.of_images(3).y.tolist() == [7, 103]
    meta = read_meta("cat2000")["published"]
    assert meta["found"]["images"] == {"train": 20}
    assert meta["published"]["images"] == {"train": 2000}
    # The other half, whose fixations are held back, has pictures of the same names.
    test = folder / "testSet" / "Stimuli" / "C00"
    test.mkdir(parents=True)
    shutil.copy(folder / "trainSet" / "Stimuli" / "C00" / "001.jpg", test)
    assert build(*argv, "--allow-part", "--replace") == 1
    assert "both called C00/001.jpg; give the folder" in capfd.readouterr().err


def test_mit1003_in_its_layout(home, tmp_path, capfd):
    stems = (
        "i1000",
        "i1_street_of_a_very_long_name_that_matlab_cuts_off_at_63_or_so_x",
    )
    trials = writers_gaze.write_mit1003(tmp_path, stems, ("CNG", "ajs"))
    argv = ("mit1003", "--from", tmp_path)
    assert build(*argv) == 1
    line = capfd.readouterr().err.splitlines()[-1]
    assert "found 2 images, published are 1,003; found 2 subjects, published" in line
    assert build(*argv, "--allow-part") == 0
    capfd.readouterr()
    found = read_dataset("mit1003")
    assert found.image_names == tuple(f"{stem}.jpeg" for stem in stems)[::-1]
    assert found.subject_names == ("CNG", "ajs")
    assert found.pixels_per_dva.tolist() == [35, 35]
    expected = []
    for subject in ("CNG", "ajs"):
        for stem in sorted(stems):
            rows = oracles_gaze.detect_fixations(*trials[subject, stem].T)[1:]
            expected += [x for x, y, _, _ in rows if 0 < x < 1024 and 0 < y < 681]
    np.testing.assert_allclose(found.fixations.x, expected)
    # The same from an import, unpacked.
    for archive in ("ALLSTIMULI.zip", "DATA.zip"):
        shutil.unpack_archive(tmp_path / archive, tmp_path / "unpacked")
    assert main(["data", "import", "mit1003", "unpacked", "--name", "m"]) == 0
    same(read_dataset("m"), found)
    assert main(["data", "info", "mit1003/first_fixation_dropped"]) == 0
    out = capfd.readouterr().out
    assert "a part, 2 of 1,003 images, 2 of 15 subjects" in out


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
    assert "all 700 images, 15 subjects; 98,321 rows, as" in published_line(
        read_meta("osie")
    )


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
