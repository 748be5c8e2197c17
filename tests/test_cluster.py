"""Pictures dealt over a Ray cluster on this machine, whose workers end."""

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import oracles
import pytest
from PIL import Image

from deepgaze_jax.cli import main

ROOT = Path(__file__).resolve().parents[1]
HAS_RAY = importlib.util.find_spec("ray") is not None


def needs_ray(test):
    """A test that starts a cluster."""
    reason = "Ray is not installed: pip install 'deepgaze-jax[ray]'"
    for mark in (pytest.mark.ray, pytest.mark.skipif(not HAS_RAY, reason=reason)):
        test = mark(test)
    return test


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Of all processes: one cache of compiled programs, a place for the cluster."""
    # Ray's sockets have names of at most 107 bytes.
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")
    yield {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "DEEPGAZE_CACHE": str(tmp_path_factory.mktemp("cache")),
        "RAY_TMPDIR": folder,
        # Not a number of the tests' own.
        "JAX_NUM_CPU_DEVICES": "1",
    }
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


def save_pictures(n):
    Path("in").mkdir()
    for k in range(n):
        image = oracles.random_image(k, 24, 36).astype(np.uint8)
        Image.fromarray(image).save(f"in/{k:03}.png")


def start(environment, *argv):
    return subprocess.Popen(
        [sys.executable, "-W", "error", *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        text=True,
    )


def results(folder):
    found = {}
    for path in Path(folder).iterdir():
        if path.suffix in (".npy", ".png"):
            found[path.name] = path.read_bytes()
    return found


@needs_ray
def test_a_killed_worker_loses_nothing(environment):
    save_pictures(120)
    predict = ["-m", "deepgaze_jax", "predict", "in", "--model", "icf"]
    process = start(environment, *predict, "-o", "whole")
    assert (process.communicate()[1], process.returncode) == ("", 0)
    options = ["-o", "out", "--ray", "local", "--workers", "2"]
    process = start(environment, *predict, *options)
    said = [process.stderr.readline() for _ in range(2)]
    workers = [
        re.fullmatch(r"worker \d: process (\d+) on \S+\n", line) for line in said
    ]
    assert all(workers), said
    lines = [process.stdout.readline()]
    os.kill(int(workers[0][1]), signal.SIGKILL)
    out, err = process.communicate()
    assert process.returncode == 0, err
    # Whoever was killed, and that another one has started; nothing of Ray.
    assert re.fullmatch(
        rf"process {workers[0][1]} on \S+ has ended; its pictures are predicted "
        r"again\n(worker \d: process \d+ on \S+\n)?",
        err,
    )
    lines += out.splitlines()
    names = [line.partition(":")[0] for line in lines]
    assert sorted(names) == [f"in/{k:03}.png" for k in range(120)]
    assert results("out") == results("whole")
    noted = Path("out/finished.jsonl").read_text().splitlines()
    assert len(noted) == len({json.loads(line)["image"] for line in noted}) == 120
    # The same folder, gone on with by one process.
    process = start(environment, *predict, "-o", "out", "--resume")
    assert process.communicate() == ("", "120 of 120 pictures are ready\n")
    # Ray writes what it would send.
    assert not list(Path(environment["RAY_TMPDIR"]).rglob("usage_stats.json"))


DEADLY = """
import os, sys
from pathlib import Path

from deepgaze_jax.many_images.cluster import Cluster, predict_on_cluster
from deepgaze_jax.many_images.run import targets_of
from deepgaze_jax.many_images.settings import Kinds, Settings
from deepgaze_jax.prediction import load_pretrained


def prepare():
    from deepgaze_jax.many_images import stream

    def load(path, load_image=stream.load_image):
        if path.name == "007.png":
            os._exit(1)
        return load_image(path)

    stream.load_image = load


targets, _ = targets_of([Path("in")], Path("out"))
outcomes = predict_on_cluster(
    load_pretrained("icf"), targets, Settings(), Kinds(), Cluster("local", 2),
    prepare=prepare,
)
for outcome in outcomes:
    print(outcome.target.image, outcome.error)
"""


@needs_ray
def test_a_picture_that_ends_its_workers_fails_alone(environment):
    save_pictures(40)
    process = start(environment, "-c", DEADLY)
    out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    lines = dict(line.split(" ", 1) for line in out.splitlines())
    assert sorted(lines) == [f"in/{k:03}.png" for k in range(40)]
    assert len(out.splitlines()) == 40
    assert lines.pop("in/007.png") == (
        "in/007.png: 3 workers ended with it, perhaps for want of memory; shrink it"
    )
    assert set(lines.values()) == {""}
    assert len(results("out")) == 2 * 39


def run(capsys, *argv):
    code = main(["predict", "in", "-o", "out", "--model", "icf", *argv])
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    return code, err


@needs_ray
def test_no_cluster(environment):
    save_pictures(1)
    argv = ["predict", "in", "-o", "out", "--model", "icf", "--ray", "127.0.0.1:1"]
    process = start(environment, "-m", "deepgaze_jax", *argv)
    out, err = process.communicate()
    assert (process.returncode, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("deepgaze: no Ray cluster answers at '127.0.0.1:1' (")


def test_refuses(capsys, monkeypatch):
    monkeypatch.setattr("deepgaze_jax.cli.predict.keep_compiled_programs", lambda: None)
    save_pictures(1)
    for options in (["--workers", "2"], ["--ray", "local", "--workers", "0"]):
        code, err = run(capsys, *options)
        assert code == 2 and "--workers is a number of processes for --ray" in err
    code, err = run(capsys, "--ray", "local", "--files", "h5")
    assert code == 2 and "one HDF5 file cannot be written by several" in err
    monkeypatch.setitem(sys.modules, "ray", None)
    code, err = run(capsys, "--ray", "local")
    assert code == 2 and "pip install 'deepgaze-jax[ray]'" in err
