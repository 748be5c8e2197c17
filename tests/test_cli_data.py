import json
import pathlib
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import writers_gaze
from PIL import Image

from deepgaze_jax.cli import main
from deepgaze_jax.datasets.folder import read_folder
from deepgaze_jax.datasets.gold_standard_store import (
    store_gold_standard,
    stored_gold_standard,
)
from deepgaze_jax.datasets.home import data_home, registered_names, resolve_dataset
from deepgaze_jax.datasets.recording import Meta, Recording
from deepgaze_jax.datasets.writing import write_recording
from deepgaze_jax.errors import DataError
from deepgaze_jax.fixations import Fixations
from deepgaze_jax.gold_standard_fit import fit_gold_standard


@pytest.fixture
def home(tmp_path, monkeypatch):
    folder = tmp_path / "home"
    monkeypatch.setenv("DEEPGAZE_DATA", str(folder))
    return folder


def run(*argv):
    return main(["data", *map(str, argv)])


def failed(capfd, code, *argv):
    """The one line on standard error that says why."""
    assert run(*argv) == code
    lines = [
        line for line in capfd.readouterr().err.splitlines() if "deepgaze: " in line
    ]
    assert len(lines) == 1
    return lines[0]


def table(folder, text):
    path = folder / "own.csv"
    path.write_text(text)
    (folder / "a.png").write_bytes(writers_gaze.picture(8, 6))
    return path


def test_import_makes_a_data_set_that_others_read(home, capfd):
    assert run("import", "toy_gaze", "--name", "toy") == 0
    out = capfd.readouterr().out
    assert out.splitlines()[0].startswith("toy: 24 images, 8 subjects")
    assert out.splitlines()[-1] == str(home / "toy")
    dataset = read_folder(resolve_dataset("toy"))
    dataset.check_image_files()
    assert dataset.name == "toy"
    assert dataset.pixels_per_dva.tolist() == [8] * 24
    meta = json.loads((home / "toy" / "meta.json").read_text())
    assert (meta["format"], meta["n_rows"]) == ("toy_gaze", len(dataset.fixations))
    assert meta["validation"]["n_problems"] == 0
    assert registered_names() == ("toy",)
    assert {p.name for p in home.iterdir()} == {"toy", ".toy.lock"}


def test_names_and_folders(home, tmp_path, monkeypatch):
    assert run("import", "toy_gaze", "--name", "toy") == 0
    assert data_home() == home
    assert resolve_dataset("toy") == home / "toy"
    assert resolve_dataset(home / "toy") == home / "toy"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "toy").mkdir()
    # A folder that is no data set does not hide the name; one that is does.
    assert resolve_dataset("toy") == home / "toy"
    shutil.copy(home / "toy" / "fixations.csv", tmp_path / "toy")
    assert str(resolve_dataset("toy")) == "toy"
    with pytest.raises(DataError, match=r"there are: toy\)"):
        resolve_dataset("mytoy")
    (tmp_path / "other").mkdir()
    assert str(resolve_dataset("other")) == "other"
    monkeypatch.delenv("DEEPGAZE_DATA")
    assert data_home().name == "deepgaze-jax"


def test_existing_names_stay_unless_replaced(home, capfd):
    assert run("import", "toy_gaze", "--name", "toy") == 0
    before = (home / "toy" / "meta.json").read_text()
    line = failed(capfd, 1, "import", "toy_gaze", "--name", "toy")
    assert "--replace" in line
    assert (home / "toy" / "meta.json").read_text() == before
    argv = ("import", "toy_gaze", "--name", "toy", "--replace")
    assert run(*argv, "--pixels-per-dva", "9") == 0
    assert read_folder(home / "toy").pixels_per_dva.tolist() == [9] * 24
    assert {p.name for p in home.iterdir()} == {"toy", ".toy.lock"}


def recording_of(files, n=1):
    return Recording(
        "a",
        tuple(f"{i}.png" for i in range(n)),
        [[6, 8]] * n,
        tuple(files),
        Fixations([0], [0], [0], [1.25], [2], [100.5]),
        ("s, with comma",),
        Meta("table"),
        extra={"start_ms": np.array([0.1])},
    )


def test_a_killed_import_leaves_the_old_data_set(home):
    png = writers_gaze.picture(8, 6)
    write_recording(recording_of([lambda: png]), home, "a")

    def dying():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_recording(recording_of([lambda: png, dying], 2), home, "a", replace=True)
    dataset = read_folder(home / "a")
    assert len(dataset) == 1
    assert dataset.subject_names == ("s, with comma",)
    assert dataset.fixations.x.tolist() == [1.25]
    assert dataset.fixations.duration_ms.tolist() == [100.5]
    text = (home / "a" / "fixations.csv").read_text()
    assert text.splitlines()[1] == '0.png,"s, with comma",0,1.25,2,100.5,0.1'
    # Killed where nothing could be tidied up, between the two renamings.
    (home / "a").rename(home / ".a.old")
    (home / ".a.partial").mkdir()
    with pytest.raises(DataError, match="exists"):
        write_recording(recording_of([lambda: png]), home, "a")
    assert len(read_folder(home / "a")) == 1
    assert not (home / ".a.partial").exists()


def test_a_data_set_appears_by_renaming_alone(home, monkeypatch):
    """A copy that is interrupted would leave half a data set under its name."""
    png = writers_gaze.picture(8, 6)
    half = home / ".a.partial"
    moved = []
    rename = pathlib.Path.rename

    def watched(self, target):
        if self == half:
            # Until now all of it is there, and nothing of it under its name.
            assert {p.name for p in half.iterdir()} == {
                *("fixations.csv", "images", "images.csv", "meta.json")
            }
            assert not (home / "a").exists()
            moved.append((half / "fixations.csv").stat().st_ino)
        return rename(self, target)

    monkeypatch.setattr(pathlib.Path, "rename", watched)
    write_recording(recording_of([lambda: png]), home, "a")
    # The same file under another name, not a second one.
    assert moved == [(home / "a" / "fixations.csv").stat().st_ino]


STOPPED_IMPORT = """
import os, signal, sys
sys.path.insert(0, sys.argv[2])
from test_cli_data import recording_of
import writers_gaze
from deepgaze_jax.datasets.writing import write_recording

home, point = sys.argv[1], int(sys.argv[3])
calls = 0
def audit(event, arguments):
    # Whatever touches the file system below the folder; the process dies before it.
    global calls
    named = [str(a) for a in arguments if isinstance(a, (str, os.PathLike))]
    if any(text.startswith(home) for text in named):
        calls += 1
        if calls == point:
            os.kill(os.getpid(), signal.SIGKILL)
png = writers_gaze.picture(8, 6)
sys.addaudithook(audit)
write_recording(recording_of([lambda: png] * 2, 2), home, "a", replace=True)
print(calls)
"""


def whole(home):
    """The number of images in the data set `a`, read and compared with its pictures."""
    dataset = read_folder(home / "a")
    dataset.check_image_files()
    assert len(dataset.fixations) == 1
    assert json.loads((home / "a" / "meta.json").read_text())["name"] == "a"
    return len(dataset)


@pytest.mark.slow
def test_an_import_killed_anywhere_leaves_a_whole_data_set_or_none(tmp_path):
    png = writers_gaze.picture(8, 6)

    def killed(home, point):
        write_recording(recording_of([lambda: png]), home, "a")
        here = pathlib.Path(__file__).parent
        command = [sys.executable, "-c", STOPPED_IMPORT, home, here, str(point)]
        return subprocess.run(command, capture_output=True, text=True, timeout=300)

    complete = killed(tmp_path / "complete", 0)
    assert complete.returncode == 0, complete.stderr
    seen = set()
    for point in range(1, int(complete.stdout) + 1):
        home = tmp_path / str(point)
        assert killed(home, point).returncode == -signal.SIGKILL
        if (home / "a").exists():
            seen.add(whole(home))
        # The next one finds the old data set, tidies up and goes through.
        write_recording(recording_of([lambda: png] * 2, 2), home, "a", replace=True)
        assert whole(home) == 2
        assert {p.name for p in home.iterdir()} == {"a", ".a.lock"}
    assert seen == {1, 2}


def test_names_that_lead_elsewhere_or_collide(home):
    png = writers_gaze.picture(8, 6)
    for names, message in (
        (("../a.png",), "plain file name"),
        (("a.png", "A.png"), "two images are called a.png"),
    ):
        recording = recording_of([lambda: png] * len(names), len(names))
        object.__setattr__(recording, "image_names", names)
        with pytest.raises(DataError, match=message):
            write_recording(recording, home, "a")
        assert not (home / "a").exists()


def test_problems_stop_an_import(home, tmp_path, capfd):
    path = table(tmp_path, "image,x,y\na.png,1,1\na.png,90,1\nb.png,1,2\n")
    argv = ("import", "table", path, "--name", "own")
    assert run(*argv) == 1
    out, err = capfd.readouterr()
    for name in ("images_missing", "image_sizes", "out_of_frame"):
        assert f"PROBLEM  {name}" in out
    assert "3 problems; nothing was written" in err
    assert not (home / "own").exists()
    options = ("--image-size", "7x5", "--allow-missing-images", "--drop-out-of-frame")
    assert run(*argv, *options) == 0
    dataset = read_folder(home / "own", allow_missing_images=True)
    assert dataset.image_sizes.tolist() == [[6, 8], [5, 7]]
    assert len(dataset.fixations) == 2
    with pytest.raises(DataError, match=r"b\.png.* is not in images"):
        read_folder(home / "own")
    # What was accepted then is accepted now.
    assert run("validate", "own") == 0
    capfd.readouterr()


def test_unreadable_pictures_are_left_out_if_that_is_accepted(home, tmp_path):
    path = table(tmp_path, "image,x,y\na.png,1,1\nb.png,1,2\n")
    data = writers_gaze.picture(8, 6)
    (tmp_path / "b.png").write_bytes(data[: len(data) // 2])
    argv = ("import", "table", path, "--name", "own")
    assert run(*argv) == 1
    assert run(*argv, "--allow-missing-images") == 0
    assert [p.name for p in (home / "own" / "images").iterdir()] == ["a.png"]


def test_options_of_tables(home, tmp_path):
    path = table(tmp_path, "pic;X;Y\na;0,5;0,5\n")
    options = ("--columns", "image=pic", "x=X", "--units", "normalised")
    argv = ("import", "table", path, "--name", "own", *options)
    assert run(*argv, "--pixels-per-dva", "30") == 0
    dataset = read_folder(home / "own")
    assert (dataset.fixations.x[0], dataset.fixations.y[0]) == (4, 3)
    assert dataset.pixels_per_dva.tolist() == [30]


def test_detection_options_reach_the_reader(home, tmp_path):
    writers_gaze.write_mit1003(tmp_path, ("i1",), ("a",))
    argv = ("import", "mit1003", tmp_path, "--name", "m")
    assert run(*argv, "--detection", "window_samples=3", "threshold_dva_per_s=9") == 0
    meta = json.loads((home / "m" / "meta.json").read_text())
    assert "window_samples=3" in meta["conventions"][0]
    assert "threshold_dva_per_s=9.0" in meta["conventions"][0]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("gif", "x", "--name", "a"), "there is no format 'gif'"),
        (("osie", "--name", "a"), "osie needs SRC"),
        (("osie", "x", "--name", "a", "--eye", "left"), "--eye: not an option of osie"),
        (("table", "x", "--name", "a", "--image-size", "8"), "expected WIDTHxHEIGHT"),
        (("table", "x", "--name", "a", "--columns", "x"), "KEY=VALUE"),
        (("mit1003", "x", "--name", "a", "--detection", "q=1"), "it takes sampling"),
        (("mit1003", "x", "--name", "a", "--detection", "window_samples=a"), "number"),
        (("osie", "x", "--name", "a", "--accept", "nothing"), "there is no check"),
    ],
)
def test_usage(home, capfd, argv, message):
    assert message in failed(capfd, 2, "import", *argv)


def test_wrong_names_and_sources(home, tmp_path, capfd):
    assert "no name for" in failed(capfd, 1, "import", "osie", "x", "--name", "../a")
    assert "no such folder" in failed(capfd, 1, "import", "osie", "x", "--name", "a")
    assert "neither a folder nor" in failed(capfd, 1, "info", "nothing")


def test_info(home, tmp_path, capfd):
    assert run("info") == 0
    assert "no data sets yet" in capfd.readouterr().out
    assert run("import", "toy_gaze", "--name", "toy") == 0
    capfd.readouterr()
    assert run("info") == 0
    assert capfd.readouterr().out == "toy\n"
    sheet = tmp_path / "new" / "folder" / "sheet.png"
    assert run("info", "toy", "-o", sheet) == 0
    out = capfd.readouterr().out
    assert "160 x 120 (12)" in out
    assert "bit/fixation over uniform (leave one image out)" in out
    with (
        Image.open(sheet) as picture,
        Image.open(home / "toy" / "contact_sheet.png") as beside,
    ):
        assert picture.size == beside.size
        assert len(np.unique(np.asarray(picture))) > 100
    assert run("info", "toy", "-o", tmp_path / "sheet.JPG") == 0
    with Image.open(tmp_path / "sheet.JPG") as picture:
        assert picture.format == "JPEG"
    capfd.readouterr()
    assert run("info", "toy", "--json") == 0
    found = json.loads(capfd.readouterr().out)
    assert (found["images"], found["subjects"]) == (24, 8)


def test_info_refuses_what_is_no_picture_before_anything_is_done(home, tmp_path, capfd):
    assert run("import", "toy_gaze", "--name", "toy") == 0
    capfd.readouterr()
    for argv, message in (
        (("toy", "-o", tmp_path / "new" / "x.txt"), "let it end in .png or .jpg"),
        (("toy", "-o", tmp_path / "new" / "x"), "is no picture's name"),
        (("-o", tmp_path / "new" / "x.png"), "-o needs DATA"),
        (("--gold-standard",), "--gold-standard needs DATA"),
        (("toy", "-o", home / "toy" / "images" / "a.png"), "among the pictures"),
    ):
        assert message in failed(capfd, 2, "info", *argv)
    assert not (tmp_path / "new").exists()
    # Nor is a folder made for data that is not there.
    assert run("info", "none", "-o", tmp_path / "new" / "x.png") == 1
    assert not (tmp_path / "new").exists()


def test_info_in_the_singular(home, tmp_path, capfd):
    path = table(tmp_path, "image,x,y\n" + "a.png,1.5,1\na.png,2.5,3\n")
    assert run("import", "table", path, "--name", "own") == 0
    out, err = capfd.readouterr()
    assert out.startswith("own: 1 image, 1 subject, 2 rows\n")
    assert err == ""
    assert run("info", "own") == 0
    assert re.search(r"^per subject +2$", capfd.readouterr().out, re.M)


def test_gold_standard_is_fitted_on_demand_and_kept(home, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("DEEPGAZE_CACHE", str(tmp_path / "cache"))
    assert run("import", "toy_gaze", "--name", "toy") == 0
    assert run("info", "toy", "--json") == 0
    out, err = capfd.readouterr()
    assert json.loads(out.splitlines()[-1])["gold_standard_LL"] is None
    assert "fitting" not in err
    assert run("info", "toy", "--gold-standard", "--json") == 0
    out, err = capfd.readouterr()
    assert "fitting the gold standard: about seconds" in err
    dataset = read_folder(home / "toy")
    gold = fit_gold_standard(
        dataset.fixations, dataset.image_sizes, pixels_per_dva=dataset.pixels_per_dva
    )
    text = json.loads(out)["gold_standard_LL"]
    assert text.startswith(f"{gold.log_likelihood:.3f} bit/fixation over uniform")
    assert f"bandwidth {gold.bandwidth_dva:.2f} degrees" in text
    # Kept, and shown without being asked for; not fitted a second time.
    assert run("info", "toy", "--gold-standard") == 0
    out, err = capfd.readouterr()
    assert text in out and "fitting" not in err
    # Of these fixations alone.
    path = home / "toy" / "fixations.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    assert run("info", "toy", "--json") == 0
    assert json.loads(capfd.readouterr().out)["gold_standard_LL"] is None
    store_gold_standard(tmp_path / "cache" / "gold_standards", dataset, gold)
    assert stored_gold_standard(tmp_path / "cache" / "gold_standards", dataset) == gold


def test_validate_lists_all_defects_of_a_folder(home, tmp_path, capfd):
    assert run("import", "toy_gaze", "--name", "toy") == 0
    shutil.copytree(home / "toy", tmp_path / "mine")
    (tmp_path / "mine" / "meta.json").unlink()
    capfd.readouterr()
    assert run("validate", tmp_path / "mine") == 0
    path = tmp_path / "mine" / "fixations.csv"
    lines = path.read_text().splitlines()
    more = [
        lines[1],
        "toy000.png,subject0,70,NaN,3,",
        "toy000.png,subject0,71,999,3,",
        "gone.png,subject0,0,5,5,",
    ]
    path.write_text("\n".join([*lines, *more]) + "\n")
    capfd.readouterr()
    assert run("validate", tmp_path / "mine", "--json") == 1
    report = json.loads(capfd.readouterr().out)
    found = {
        c["name"]: c["count"] for c in report["checks"] if c["status"] == "problem"
    }
    assert found == {
        "images_missing": 1,
        "image_sizes": 1,
        "nan": 1,
        "out_of_frame": 1,
        "duplicates": 1,
    }


def test_evaluate_and_train_take_names(home, tmp_path, capfd):
    for argv in (
        ["evaluate", "--data", "toy", "-o", str(tmp_path / "a.csv"), "--model", "icf"],
        ["train", "--data", "toy", "-o", str(tmp_path / "run")],
    ):
        assert main(argv) == 1
        assert "the name of a data set" in capfd.readouterr().err
