import json
import os
import shutil
import time

import numpy as np
import pytest
import tiny

from deepgaze_jax.cli import main
from deepgaze_jax.datasets.cache_folder import stored_caches
from deepgaze_jax.datasets.features import build_cache, plan_cache
from deepgaze_jax.datasets.folder import read_folder
from deepgaze_jax.file_lock import file_lock
from deepgaze_jax.model import FixationModel

MODEL = FixationModel(taps=tiny.TAPS)
DAY_S = 86_400


class Stopped(Exception):
    pass


@pytest.fixture(scope="module")
def three(tiny_weights, tmp_path_factory):
    """Caches: one finished, one unfinished, one of an earlier version."""
    root = tmp_path_factory.mktemp("three")
    folder = root / "cache" / "features"
    plans = {}
    for seed, name in enumerate(("whole", "half", "old"), start=3):
        dataset = read_folder(tiny.write_folder(root / name, [(16, 24)] * 22, seed))
        scales = np.full(len(dataset), 1.5 if name == "half" else 1.0)
        plans[name] = plan_cache(dataset, MODEL, "w", folder, scales, "float16")

        def stop(done, total, name=name):
            if name == "half" and done == 21:
                raise Stopped

        try:
            build_cache(plans[name], dataset, MODEL, tiny_weights[1], progress=stop)
        except Stopped:
            assert name == "half"
    (plans["old"].folder / "about.json").unlink()
    return root / "cache", {name: plan.folder.name for name, plan in plans.items()}


@pytest.fixture
def cache(three, tmp_path, monkeypatch):
    """A copy of them that the commands find, and their names."""
    shutil.copytree(three[0], tmp_path / "cache")
    monkeypatch.setenv("DEEPGAZE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "features", three[1]


def run(*argv):
    return main(["data", "cache", *argv])


def remaining(folder):
    return {path.name for path in folder.iterdir()}


def line_of(out, name):
    return next(line for line in out.splitlines() if line.startswith(name))


def used(folder, days_ago):
    when = time.time() - days_ago * DAY_S
    for path in (*folder.iterdir(), folder):
        os.utime(path, (when, when))


def test_no_caches(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("DEEPGAZE_CACHE", str(tmp_path / "none"))
    assert run("ls") == 0
    assert capfd.readouterr().out.startswith("no feature caches in ")
    assert run("rm", "--all") == 0
    assert capfd.readouterr().out.startswith("0.0 MB freed in ")


def test_list(cache, capfd):
    folder, names = cache
    used(folder / names["whole"], 40)
    assert run("ls") == 0
    out = capfd.readouterr().out
    whole = line_of(out, names["whole"])
    day = time.strftime("%Y-%m-%d", time.localtime(time.time() - 40 * DAY_S))
    assert "100 % of 22 images" in whole and day in whole
    assert "whole: vgg19 conv3_1 conv3_2, scale 1, float16" in whole
    # Twenty are noted; their share is not rounded up.
    assert "90 % of 22 images" in line_of(out, names["half"])
    assert "scale 1.5" in line_of(out, names["half"])
    assert "22 images, of ?" in line_of(out, names["old"])
    assert "earlier version" in line_of(out, names["old"])
    assert out.splitlines()[-1].endswith(str(folder))
    assert run("ls", "--json") == 0
    rows = {row["name"]: row for row in json.loads(capfd.readouterr().out)}
    assert rows[names["whole"]]["disk_bytes"] >= 22 * 2 * 3 * 512 * 2
    assert rows[names["half"]]["finished_share"] == 20 / 22
    assert rows[names["old"]]["finished_share"] is None
    assert rows[names["old"]]["images_finished"] == 22
    # The last used one first.
    assert list(rows)[-1] == names["whole"]


def test_check(cache, capfd):
    folder, names = cache
    assert run("ls", "--check") == 0
    out = capfd.readouterr().out
    assert line_of(out, names["whole"]).endswith("intact")
    assert line_of(out, names["half"]).endswith("intact")
    assert line_of(out, names["old"]).endswith("cannot be checked")
    with open(folder / names["whole"] / "features.bin", "r+b") as file:
        file.write(b"\xff\xff")
    assert run("ls") == 0
    capfd.readouterr()
    assert run("ls", "--check") == 1
    assert "DAMAGED: 1 images" in line_of(capfd.readouterr().out, names["whole"])
    assert run("ls", "--check", "--json") == 1
    rows = {row["name"]: row for row in json.loads(capfd.readouterr().out)}
    assert rows[names["whole"]]["damaged"] == [0]
    assert rows[names["old"]]["damaged"] is None


@pytest.mark.parametrize(
    ("argv", "gone"),
    [
        (["--all"], {"whole", "half", "old"}),
        (["--unfinished"], {"half"}),
        (["--older-than", "30"], {"whole", "old"}),
        (["--older-than", "30", "--unfinished"], set()),
        (["--older-than", "50"], {"old"}),
        (["half"], {"half"}),  # by data set
    ],
)
def test_remove(cache, capfd, argv, gone):
    folder, names = cache
    used(folder / names["whole"], 40)
    used(folder / names["old"], 60)
    sizes = {c.name: c.disk_bytes for c in stored_caches(folder)}
    assert run("rm", *argv) == 0
    expected = {name for key, name in names.items() if key not in gone}
    assert remaining(folder) == expected
    freed = sum(sizes[names[key]] for key in gone)
    last = capfd.readouterr().out.splitlines()[-1]
    assert last == f"{freed / 1e6:.1f} MB freed in {folder}"


def test_remove_by_name(cache, capfd):
    folder, names = cache
    assert run("rm", names["old"], names["whole"]) == 0
    assert remaining(folder) == {names["half"]}
    assert f"{names['old']} is deleted" in capfd.readouterr().out


@pytest.mark.parametrize("name", ["gone", "../features", "..", "/", "0123456789abcdef"])
def test_unknown_names_delete_nothing(cache, capfd, name):
    folder, names = cache
    (folder / "0123456789abcdef").symlink_to(folder / names["old"])
    before = remaining(folder)
    assert run("rm", names["whole"], name) == 1
    err = capfd.readouterr().err
    assert "there is no feature cache" in err and "Nothing was deleted" in err
    assert remaining(folder) == before
    assert remaining(folder / names["old"])


@pytest.mark.parametrize(
    "argv", [[], ["--all", "whole"], ["--all", "--unfinished"], ["a", "--older-than=1"]]
)
def test_what_to_remove_must_be_clear(cache, capfd, argv):
    folder, _ = cache
    assert run("rm", *argv) == 2
    assert "say which caches" in capfd.readouterr().err
    assert len(remaining(folder)) == 3


def test_one_that_is_being_written_stays(cache, capfd):
    folder, names = cache
    with file_lock(folder / names["half"] / "build.lock"):
        assert run("rm", "--all") == 1
    out, err = capfd.readouterr()
    assert remaining(folder) == {names["half"]}
    assert "half" not in out and "is being written" in err
    assert (folder / names["half"] / "state.json").exists()


def test_what_lies_beside_caches_stays(cache, tmp_path):
    folder, names = cache
    (folder / "notes").mkdir()
    (folder / "notes" / "mine.txt").touch()
    (folder / "fedcba9876543210").write_text("a file")
    (folder / names["old"] / "link").symlink_to(folder / "notes")
    assert run("rm", "--all") == 0
    assert remaining(folder) == {"notes", "fedcba9876543210"}
    assert remaining(folder / "notes") == {"mine.txt"}


def test_what_a_killed_removal_left_goes(cache, capfd):
    folder, names = cache
    for name in (names["old"], "0123456789abcdef"):
        (folder / f".{name}.1.removed").mkdir()
        (folder / f".{name}.1.removed" / "features.bin").touch()
    assert run("rm", names["old"]) == 0
    assert remaining(folder) == {names["whole"], names["half"]}


def test_groups_of_verbs_are_listed(capfd):
    assert main(["data", "cache"]) == 2
    err = capfd.readouterr().err
    assert "data cache ls" in err and "data info" not in err
    assert main(["data", "cache", "sl"]) == 2
    assert "no verb 'data cache sl'; did you mean data cache ls?" in (
        capfd.readouterr().err
    )
