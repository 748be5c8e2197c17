"""Every folder of raw data as its authors publish it, with the counts it has."""

import numpy as np
import pytest

from deepgaze_jax.center_bias import fit_center_bias
from deepgaze_jax.cli import main
from deepgaze_jax.datasets import readers
from deepgaze_jax.datasets.folder import read_folder
from deepgaze_jax.datasets.validation import validate

pytestmark = pytest.mark.real_data
COLUMNS = ("image", "subject", "fixation_index", "x", "y", "duration_ms")


@pytest.fixture
def raw(shared_data, tmp_path, monkeypatch):
    """The folder of raw data; imports go to a home of their own."""
    folder = shared_data / "raw"
    if not folder.is_dir():
        pytest.skip(f"no raw data at {folder}")
    monkeypatch.setenv("DEEPGAZE_DATA", str(tmp_path / "home"))
    return folder


def imported(home, *argv):
    """The data set that a command makes."""
    assert main(["data", "import", *map(str, argv), "--name", "new"]) == 0
    return read_folder(home / "home" / "new", allow_missing_images=True)


def same_fixations(a, b):
    for name in COLUMNS:
        np.testing.assert_array_equal(
            getattr(a.fixations, name), getattr(b.fixations, name)
        )


@pytest.mark.slow
def test_osie_from_matlab_from_csv_and_from_a_folder(raw, osie, tmp_path):
    folder = raw.parent / "osie"
    for argv in (
        ("osie", raw / "osie", "--images", folder),
        ("table", folder / "fixations.csv"),
        ("fixations_folder", folder),
    ):
        options = () if argv[0] == "osie" else ("--accept", "origin", "--replace")
        dataset = imported(tmp_path, *argv, *options)
        assert dataset.image_names == osie.image_names
        assert dataset.subject_names == osie.subject_names
        np.testing.assert_array_equal(dataset.image_sizes, osie.image_sizes)
        same_fixations(dataset, osie)
        dataset.check_image_files()
    center_bias = fit_center_bias(dataset.fixations, dataset.image_sizes)
    assert center_bias.log_likelihood == pytest.approx(0.57, abs=0.01)


def test_osie_without_pictures(raw, osie, tmp_path, capfd):
    assert main(["data", "import", "osie", str(raw / "osie"), "--name", "new"]) == 1
    assert "700 of 700 images have no picture" in capfd.readouterr().out
    assert not (tmp_path / "home" / "new").exists()
    dataset = imported(tmp_path, "osie", raw / "osie", "--allow-missing-images")
    same_fixations(dataset, osie)
    assert dataset.pixels_per_dva.tolist() == [24] * 700


def test_osie_mouse(raw):
    recording = readers.read("osie", raw / "osie", kind="mouse")
    assert recording.image_names == ("1001.jpg", "1002.jpg", "1003.jpg")
    assert len(recording.subject_names) == 16
    # [300, 400] in the file: row and column of the middle, from 1.
    assert (recording.fixations.x[0], recording.fixations.y[0]) == (399, 299)
    recording.fixations.validate(recording.image_sizes)


def test_salicon_json(raw, tmp_path):
    dataset = imported(tmp_path, "salicon", raw / "salicon")
    assert (len(dataset), len(dataset.fixations)) == (10, 73_630)
    scanpaths = np.stack([dataset.fixations.image, dataset.fixations.subject])
    assert len(np.unique(scanpaths, axis=1).T) == 610
    assert {tuple(size) for size in dataset.image_sizes.tolist()} == {(480, 640)}
    assert (dataset.fixations.x.max(), dataset.fixations.y.max()) == (639, 479)
    dataset.check_image_files()


def test_salicon_json_read_the_other_way_is_flagged(raw):
    upright = readers.read("salicon", raw / "salicon")
    assert "axes" not in [check.name for check in validate(upright).problems]
    wrong = readers.read("salicon", raw / "salicon", axes="x-y")
    report = validate(wrong)
    (axes,) = [check for check in report.problems if check.name == "axes"]
    assert "look transposed" in axes.text
    assert "out_of_frame" in [check.name for check in report.problems]


@pytest.mark.slow
def test_figrim(raw, tmp_path):
    folder = raw / "figrim"
    assert main(["data", "import", "figrim", str(folder), "--name", "new"]) == 1
    dataset = imported(
        tmp_path, "figrim", folder, "--allow-missing-images", "--first-fixation", "keep"
    )
    assert len(dataset) == 2787
    assert len(dataset.subject_names) == 67
    assert len(dataset.fixations) == 182_535 + 242_177
    targets = [name.startswith("Targets/") for name in dataset.image_names]
    assert sum(targets) == 630
    assert np.array(targets)[dataset.fixations.image].sum() == 182_535
    n_pictures = sum(dataset.image_path(i).is_file() for i in range(len(dataset)))
    assert n_pictures == 30
    assert main(["data", "validate", "new", "--accept", "images_missing"]) == 0


@pytest.mark.slow
def test_figrim_subjects_are_told_by_their_label(raw):
    """Numbers differ between the two files; the binary maps belong to the images."""
    recording = readers.read("figrim", raw / "figrim", presentations=("enc",))
    assert {"ab_7_2", "as_1_2", "yz_14_1"} <= set(recording.subject_names)
    maps = readers.read("toronto", raw / "figrim" / "Data" / "amusement_park")
    stem = maps.image_names[0].removesuffix(".jpg")
    image = next(i for i, n in enumerate(recording.image_names) if stem in n)
    own = recording.fixations.of_images(image)
    seen = {(int(x), int(y)) for x, y in zip(own.x, own.y, strict=True)}
    mapped = maps.fixations.of_images(0)
    near = [
        min(abs(x - a) + abs(y - b) for a, b in seen) <= 2
        for x, y in zip(mapped.x, mapped.y, strict=True)
    ]
    assert np.mean(near) > 0.9


def test_mit1003_csv(raw, tmp_path, capfd):
    folder = raw / "mit1003_csv"
    assert main(["data", "import", "mit1003_csv", str(folder), "--name", "new"]) == 1
    assert "on the cross before the image" in capfd.readouterr().out
    kept = imported(tmp_path, "mit1003_csv", folder, "--first-fixation", "keep")
    assert len(kept.fixations) == 128
    assert len(kept.subject_names) == 15
    assert kept.image_sizes.tolist() == [[681, 1024]]
    # Seconds, although the columns say milliseconds.
    assert 100 < np.median(kept.fixations.duration_ms) < 500
    out = capfd.readouterr().out
    assert "1 table was left out: scanpath_OSIE_1001.csv (--dataset OSIE" in out
    dropped = imported(
        tmp_path, "mit1003_csv", folder, "--first-fixation", "drop", "--replace"
    )
    assert len(dropped.fixations) == 128 - 15


def test_mit1003_csv_of_osie(raw, osie):
    recording = readers.read("mit1003_csv", raw / "mit1003_csv", dataset="OSIE")
    expected = osie.fixations.of_images(0)
    assert osie.image_names[0] == recording.image_names[0] == "1001.jpg"
    for name in ("subject", "fixation_index", "x", "y", "duration_ms"):
        np.testing.assert_array_equal(
            getattr(recording.fixations, name), getattr(expected, name)
        )


@pytest.mark.parametrize("format", ["mit300", "cat2000"])
def test_mit300_and_cat2000(raw, tmp_path, format, capfd):
    dataset = imported(tmp_path, format, raw / "mit300_cat2000")
    assert dataset.image_names == ("i210.jpg",)
    assert (len(dataset.fixations), len(dataset.subject_names)) == (259, 1)
    assert dataset.image_sizes.tolist() == [[675, 1024]]
    out = capfd.readouterr().out
    assert "259 points of fixation maps" in out
    assert ("1 is not: is this CAT2000?" in out) == (format == "cat2000")
    dataset.check_image_files()


def test_toronto(raw, tmp_path):
    argv = ["data", "import", "toronto", str(raw / "toronto"), "--name", "new"]
    assert main(argv) == 1
    dataset = imported(tmp_path, *argv[2:4], "--allow-missing-images")
    assert (len(dataset), len(dataset.fixations)) == (3, 334)
    assert dataset.image_sizes.tolist() == [[511, 681]] * 3


def test_eyelink(raw, tmp_path):
    folder = raw / "eyelink_asc"
    recording = readers.read("eyelink", folder, eye="both")
    (note,) = [n for n in recording.meta.conventions if "trial-N" in n]
    assert "--image-variable NAME (TRIAL_VAR in the files: direction, gap" in note
    assert recording.meta.found == {"files": 11, "trials": 44, "EFIX": 1142}
    dataset = imported(
        tmp_path,
        *("eyelink", folder, "--allow-missing-images", "--drop-out-of-frame"),
    )
    assert len(dataset.subject_names) == 11
    assert dataset.image_sizes.tolist() == [[768, 1024]] * 4
    assert len(dataset.fixations) == 741
    assert 35 < dataset.pixels_per_dva.mean() < 36
