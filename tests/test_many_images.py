"""Folders, patterns and lists of pictures: names, kills, going on, bad files."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import jax
import numpy as np
import oracles
import pytest
import small_models
from PIL import Image

from deepgaze_jax.cli import main
from deepgaze_jax.datasets.pictures import picture_names
from deepgaze_jax.errors import ConfigError
from deepgaze_jax.feature_stage import FeatureStage
from deepgaze_jax.file_lock import file_lock
from deepgaze_jax.many_images.run import targets_of
from deepgaze_jax.many_images.settings import Settings
from deepgaze_jax.many_images.stream import predict_pictures
from deepgaze_jax.prediction import load_pretrained
from deepgaze_jax.weights import cached_path

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path):
    # The persistent cache is a setting of the whole process; subprocesses use it.
    name = "deepgaze_jax.cli.predict.keep_compiled_programs"
    monkeypatch.setattr(name, lambda: None)
    monkeypatch.chdir(tmp_path)


def save_picture(path, seed=0, height=24, width=36):
    image = oracles.random_image(seed, height, width).astype(np.uint8)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)
    return path


def run(capsys, *argv):
    """(exit code, standard output, standard error) of `predict` with ICF"""
    code = main(["predict", *(str(word) for word in argv), "--model", "icf"])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def tree(folder):
    """Every file of a folder, hidden ones too: name -> bytes."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in Path(folder).rglob("*")
        if path.is_file()
    }


def results(folder):
    """The results in a folder: name -> bytes."""
    notes = ("settings.json", "finished.jsonl")
    return {name: data for name, data in tree(folder).items() if name not in notes}


# --- which pictures, and where to ---------------------------------------------------


def planned(*arguments, output="out"):
    """Input -> overlay without its ending, None for a problem."""
    targets, _ = targets_of([Path(argument) for argument in arguments], Path(output))
    return {
        str(target.image): None
        if target.problem
        else str(target.overlay.relative_to(output)).removesuffix("_overlay.png")
        for target in targets
    }


@pytest.fixture
def album():
    for name in ("b.png", "x/a.png", "x/y/a.png", "x/y/a.jpg", "z/C.PNG", ".h/d.png"):
        save_picture(Path("album", name))
    Path("album/notes.md").write_text("no picture")
    Path("album/.hidden.png").write_bytes(b"")


def test_a_folder_keeps_its_folders(album):
    assert planned("album") == {
        "album/b.png": "b",
        "album/x/a.png": "x/a",
        "album/x/y/a.jpg": "x/y/a.jpg",
        "album/x/y/a.png": "x/y/a.png",
        "album/z/C.PNG": "z/C",
    }
    # Below the folder that holds them all; a file of its own goes to the top.
    assert planned("album/x/y", "album/z", "album/b.png") == {
        "album/x/y/a.jpg": "x/y/a.jpg",
        "album/x/y/a.png": "x/y/a.png",
        "album/z/C.PNG": "z/C",
        "album/b.png": "b",
    }
    # Whatever is named twice is one picture.
    assert len(planned("album", "album/x", "./album/b.png")) == 5


def test_patterns(album):
    assert planned("album/x/**/a.*") == {
        "album/x/a.png": "a",
        "album/x/y/a.jpg": "y/a.jpg",
        "album/x/y/a.png": "y/a.png",
    }
    assert planned("album/*/*.png") == {"album/x/a.png": "x/a"}
    assert planned("album/*.tif") == {"album/*.tif": None}
    # A file of that very name is no pattern.
    save_picture("a[1].png")
    assert planned("a[1].png") == {"a[1].png": "a[1]"}


def test_lists(album, tmp_path):
    Path("lists").mkdir()
    lines = ["../album/b.png", "", str(tmp_path / "album/x/a.png"), "here/c.png\r"]
    Path("lists/all.txt").write_text("\n".join(lines), encoding="utf-8-sig")
    inside = str(tmp_path).strip("/")
    assert planned("lists/all.txt") == {
        "lists/../album/b.png": f"{inside}/album/b",
        f"{tmp_path}/album/x/a.png": f"{inside}/album/x/a",
        "lists/here/c.png": "here/c",
    }
    Path("empty.txt").write_text("\n")
    Path("binary.txt").write_bytes(b"\xff\0\xfe")
    assert planned("empty.txt", "binary.txt") == {"empty.txt": None, "binary.txt": None}


def test_results_are_no_pictures_of_the_next_run(album):
    save_picture("album/out/b_overlay.png")
    assert "album/out/b_overlay.png" not in planned("album", output="album/out")
    for folder, output in (
        ("album", "album"),
        ("album/x", "album"),
        (".", "."),
    ):
        arguments = [Path(folder), Path("album/b.png")]
        if output == "album" and folder == "album/x":
            arguments = [Path("album/x"), Path("album/z")]
        with pytest.raises(ConfigError, match="would lie among the pictures"):
            targets_of(arguments, Path(output))


# --- what is written ----------------------------------------------------------------


def test_a_folder_gets_what_single_pictures_get(capsys, album):
    Path("album/bad.png").write_text("<html>")
    code, out, err = run(capsys, "album", "-o", "many")
    assert code == 1 and len(out.splitlines()) == 5
    assert err.splitlines()[0].startswith("deepgaze: album/bad.png: ")
    assert err.splitlines()[1:] == ["deepgaze: 1 of 6 pictures failed"]
    names = picture_names(Path("album"))
    assert len(results("many")) == 2 * 5
    for name in sorted(set(names) - {"bad.png"}):
        assert run(capsys, f"album/{name}", "-o", f"one/{name}")[0] == 0
    assert set(tree("one").values()) == set(results("many").values())


def test_half_precision(capsys, album):
    assert run(capsys, "album/b.png", "-o", "full", "--files", "npy")[0] == 0
    assert run(capsys, "album/b.png", "-o", "half", "--float16")[0] == 0
    full, half = (np.load(f"{d}/b_log_density.npy") for d in ("full", "half"))
    assert (full.dtype, half.dtype) == (np.float32, np.float16)
    assert np.abs(full - half).max() <= 0.004
    assert sorted(tree("full")) == ["b_log_density.npy"]
    assert sorted(tree("half")) == ["b_log_density.npy", "b_overlay.png"]


def test_pictures_are_dealt_over_devices(monkeypatch):
    assert len(jax.local_devices()) == 2
    names = [save_picture(f"in/{k}.png", k) for k in range(12)]
    predictor = load_pretrained("icf")
    targets, _ = targets_of([Path("in")], Path("out"))
    seen, found = set(), {}

    plain = FeatureStage.features

    def watched(self, *arguments):
        features = plain(self, *arguments)
        seen.update(features.devices())
        return features

    monkeypatch.setattr(FeatureStage, "features", watched)
    outcomes = list(
        predict_pictures(
            predictor,
            targets,
            Settings(),
            lambda target, _, log_density: found.update({target.image: log_density}),
        )
    )
    assert [outcome.target for outcome in outcomes] == targets
    assert seen == set(jax.local_devices())
    for name in names:
        np.testing.assert_array_equal(found[name], predictor.predict(name))


def test_no_more_pictures_are_under_way_than_there_are_threads(monkeypatch):
    for k in range(40):
        save_picture(f"in/{k:02}.png", k)
    read = []
    from deepgaze_jax.many_images import stream

    load = stream.load_image
    monkeypatch.setattr(
        stream, "load_image", lambda path: (read.append(path), load(path))[1]
    )
    targets, _ = targets_of([Path("in")], Path("out"))
    outcomes = predict_pictures(
        load_pretrained("icf"), targets, Settings(), lambda *_: None
    )
    for _ in range(3):
        next(outcomes)
    time.sleep(1)
    assert len(read) < 30
    outcomes.close()
    assert len(read) < 30


# --- going on -----------------------------------------------------------------------


def changed_since(folder, before):
    """Names of files that were written anew."""
    return {
        name
        for name in results(folder)
        if os.stat(Path(folder, name)).st_mtime_ns != before.get(name)
    }


def times(folder):
    return {name: os.stat(Path(folder, name)).st_mtime_ns for name in results(folder)}


def test_only_what_is_missing_is_done_again(capsys, album):
    code, out, err = run(capsys, "album", "-o", "out", "--resume")
    assert (code, err) == (0, "0 of 5 pictures are ready\n")
    whole, before = results("out"), times("out")
    code, out, err = run(capsys, "album", "-o", "out", "--resume")
    assert (code, out, err) == (0, "", "5 of 5 pictures are ready\n")
    assert changed_since("out", before) == set()
    # Cut off, lost, and made of another picture.
    path = Path("out/b_log_density.npy")
    path.write_bytes(path.read_bytes()[:-8])
    path = Path("out/x/a_overlay.png")
    path.write_bytes(path.read_bytes()[:-8])
    Path("out/z/C_log_density.npy").unlink()
    save_picture("album/x/y/a.png", 5)
    before = times("out")
    code, out, err = run(capsys, "album", "-o", "out", "--resume")
    assert (code, err) == (0, "1 of 5 pictures are ready\n")
    kept = {f"x/y/a.jpg_{kind}" for kind in ("log_density.npy", "overlay.png")}
    assert changed_since("out", before) == set(whole) - kept
    different = {n for n, data in results("out").items() if data != whole[n]}
    assert different == {
        f"x/y/a.png_{kind}" for kind in ("log_density.npy", "overlay.png")
    }
    # Without --resume everything is made again.
    before = times("out")
    assert run(capsys, "album", "-o", "out")[0] == 0
    assert changed_since("out", before) == set(whole)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--pixels-per-dva", "30"], ["pixels per degree", "was not given, is 30.0"]),
        (["--fold", "2"], ["fold was 'mixture', is 2"]),
        (["--float16"], ["float16 was False, is True"]),
        (["--center-bias", "uniform"], ["center bias was not given, is 'uniform'"]),
        (["--fold", "auto", "--float16"], ["fold was", "; float16 was"]),
    ],
)
def test_other_settings_are_not_mixed_in(capsys, album, options, words):
    assert run(capsys, "album/x", "-o", "out")[0] == 0
    before, old = times("out"), results("out")
    code, out, err = run(capsys, "album/x", "-o", "out", "--resume", *options)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "the results in out were made with other settings" in err
    assert all(word in err for word in words)
    assert times("out") == before
    # Begun anew and interrupted at once, nothing of the old ones counts as ready.
    code, _, err = run(capsys, "album/b.png", "-o", "out", *options)
    assert (code, err) == (0, "")
    code, _, err = run(capsys, "album/x", "-o", "out", "--resume", *options)
    assert (code, err) == (0, "0 of 3 pictures are ready\n")
    assert {name for name in old if results("out")[name] != old[name]}
    assert run(capsys, "album/x", "-o", "fresh", *options)[0] == 0
    assert results("fresh").items() <= results("out").items()


def test_another_model_is_not_mixed_in(
    capsys, album, small_cache, small_folds, monkeypatch
):
    path = small_models.write_model(Path("m.safetensors"), small_folds)
    assert run(capsys, "album/x", "-o", "out")[0] == 0
    monkeypatch.setenv("DEEPGAZE_CACHE", str(small_cache))
    argv = ["predict", "album/x", "-o", "out", "--resume", "--model", str(path)]
    assert main(argv) == 2
    assert "model was icf-osie, is m.safetensors" in capsys.readouterr().err


def test_damaged_settings(capsys, album):
    assert run(capsys, "album/x", "-o", "out")[0] == 0
    for text in ("{", "[]"):
        Path("out/settings.json").write_text(text)
        code, _, err = run(capsys, "album/x", "-o", "out", "--resume")
        assert code == 1 and "out/settings.json" in err and err.count("\n") == 1


def killed(n_lines, *argv, command=None):
    """Kill a run, hard, after some pictures."""
    command = command or [
        *(sys.executable, "-W", "error", "-m", "deepgaze_jax", "predict"),
        *argv,
        *("--model", "icf"),
    ]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
    )
    lines = [process.stdout.readline() for _ in range(n_lines)]
    process.send_signal(signal.SIGKILL)
    _, err = process.communicate()
    assert all(lines), err
    assert process.returncode == -signal.SIGKILL


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """Where processes keep compiled programs for one another."""
    return tmp_path_factory.mktemp("programs")


@pytest.fixture
def thirty(capsys, monkeypatch, programs):
    """Thirty pictures, and what an uninterrupted run makes of them."""
    monkeypatch.setenv("DEEPGAZE_CACHE", str(programs))
    for k in range(30):
        save_picture(f"in/{k % 3}/{k:02}.png", k)
    assert run(capsys, "in", "-o", "whole")[0] == 0
    assert len(results("whole")) == 60
    return results("whole")


@pytest.mark.parametrize(
    "cuts", [(2,), pytest.param((1, 2, 3, 4, 5), marks=pytest.mark.slow)]
)
def test_killed_runs_go_on(capsys, thirty, cuts):
    for n, n_lines in enumerate(cuts):
        killed(n_lines, "in", "-o", "out", *["--resume"] * (n > 0))
        # What is there is whole; temporary files have names of their own.
        for name, data in results("out").items():
            assert ".tmp." in name or data == thirty[name]
    code, out, err = run(capsys, "in", "-o", "out", "--resume")
    assert code == 0
    n_ready = int(err.partition(" of 30 pictures are ready\n")[0])
    assert n_ready >= sum(cuts) and n_ready + len(out.splitlines()) == 30
    assert results("out") == thirty
    lines = Path("out/finished.jsonl").read_text().splitlines()
    assert len({json.loads(line)["image"] for line in lines}) == 30


@pytest.mark.slow
@pytest.mark.weights
def test_killed_runs_of_deepgaze2_go_on(capsys):
    if cached_path("vgg19") is None:
        pytest.skip("VGG-19 is not cached: deepgaze weights fetch vgg19")
    for k in range(12):
        save_picture(f"in/{k:02}.png", k, 96, 128)
    argv = ["predict", "in", "--model", "deepgaze2"]
    assert main([*argv, "-o", "whole"]) == 0
    for n, n_lines in enumerate((1, 3)):
        command = [sys.executable, "-m", "deepgaze_jax", *argv, "-o", "out"]
        killed(n_lines, command=[*command, *["--resume"] * (n > 0)])
    capsys.readouterr()
    assert main([*argv, "-o", "out", "--resume"]) == 0
    n_ready = int(capsys.readouterr().err.partition(" of 12 pictures are ready\n")[0])
    assert n_ready >= 4
    assert results("out") == results("whole")


# --- one HDF5 file ------------------------------------------------------------------


def densities(path):
    """Name of each picture -> its density."""
    found = {}
    with h5py.File(path, "r") as file:
        file.visititems(
            lambda name, item: (
                found.update({name: item[()]}) if hasattr(item, "shape") else None
            )
        )
    return found


def test_one_file_for_all(capsys, album):
    # A picture and a folder of one name, as far as stems go.
    save_picture("album/x.png", 3)
    code, out, err = run(capsys, "album", "-o", "out", "--files", "h5")
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == "album/b.png: out/log_densities.h5, b.png"
    found = densities("out/log_densities.h5")
    assert sorted(found) == picture_names(Path("album"))
    predictor = load_pretrained("icf")
    for name, log_density in found.items():
        assert log_density.dtype == np.float32
        expected = predictor.predict(f"album/{name}")
        np.testing.assert_array_equal(log_density, expected)
    with h5py.File("out/log_densities.h5", "r") as file:
        assert json.loads(file.attrs["settings"])["model"] == "icf-osie"
        assert file["b.png"].compression == "gzip"
    # Only what is new, or another picture, is done again.
    save_picture("album/z/C.PNG", 9)
    save_picture("album/new.png", 8)
    argv = ["album", "-o", "out", "--files", "h5", "--resume"]
    code, out, err = run(capsys, *argv, "--json")
    assert (code, err) == (0, "5 of 7 pictures are ready\n")
    done = [json.loads(line) for line in out.splitlines()]
    assert [entry["dataset"] for entry in done] == ["new.png", "z/C.PNG"]
    assert {entry["log_density"] for entry in done} == {"out/log_densities.h5"}
    expected = predictor.predict("album/z/C.PNG")
    np.testing.assert_array_equal(
        densities("out/log_densities.h5")["z/C.PNG"], expected
    )
    assert run(capsys, *argv, "--float16")[0] == 2
    assert run(capsys, "album", "-o", "out", "--files", "h5", "--float16")[0] == 0
    half = densities("out/log_densities.h5")
    assert len(half) == 7 and half["b.png"].dtype == np.float16


def test_a_file_that_is_none_or_somebody_elses(capsys, album):
    argv = ["album/x", "-o", "out", "--files", "h5"]
    assert run(capsys, *argv)[0] == 0
    with file_lock("out/.log_densities.h5.lock"):
        code, out, err = run(capsys, *argv, "--resume")
    assert (code, out) == (1, "") and "another process writes out/log_dens" in err
    Path("out/log_densities.h5").write_text("no HDF5")
    code, out, err = run(capsys, *argv, "--resume")
    assert (code, out) == (1, "") and "no readable HDF5 file" in err


def test_a_killed_run_goes_on_in_its_file(capsys, thirty, monkeypatch):
    for n_lines in (1, 9):
        # Steps of eight pictures: the kill is between two of them, or in one.
        code = "import sys; from deepgaze_jax.many_images.density_file import *\n"
        code += "DensityFile.together = 8\n"
        code += "from deepgaze_jax.cli import main; sys.exit(main(sys.argv[1:]))"
        command = [sys.executable, "-c", code, "predict", "in", "-o", "out"]
        command += ["--files", "h5", "--model", "icf", "--resume"]
        killed(n_lines, command=command)
        found = densities("out/log_densities.h5")
        assert len(found) % 8 == 0 and len(found) >= n_lines
    argv = ["in", "-o", "out", "--files", "h5", "--resume"]
    code, out, err = run(capsys, *argv)
    assert code == 0 and err == f"{len(found)} of 30 pictures are ready\n"
    assert len(out.splitlines()) == 30 - len(found)
    found = densities("out/log_densities.h5")
    assert len(found) == 30
    for name, log_density in found.items():
        stem = name.removesuffix(".png")
        single = np.load(f"whole/{stem}_log_density.npy")
        np.testing.assert_array_equal(log_density, single)
