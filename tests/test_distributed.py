"""Two processes of one machine train together, as `--distributed` runs them."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import tiny

from deepgaze_jax.model_files import load_model

pytestmark = pytest.mark.slow

OPTIONS = (
    "--n-folds 4 --input-scale 1.5 --pixels-per-dva 24 --epochs {epochs} "
    "--patience 900 --batch-size 4 --learning-rate 0.003 --warmup-steps 3 "
    "--average-decay 0.5 --taps conv3_1 relu3_1 relu3_2 --widths 4 2 1"
)


@pytest.fixture
def launch(tiny_folders, tmp_path):
    """A function that starts so many processes, each with a cache of its own."""
    caches = [tmp_path / f"cache{k}" for k in range(2)]
    for cache in caches:
        tiny.write_weights(cache)
    started = []

    def start(run, n_processes, epochs, *more):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        processes = []
        for k in range(n_processes):
            command = [sys.executable, "-W", "error", "-m", "deepgaze_jax", "train"]
            command += ["--data", tiny_folders["two"], "-o", run, *more]
            command += OPTIONS.format(epochs=epochs).split()
            if n_processes > 1:
                command += ["--distributed", "--coordinator", address]
                command += ["--n-processes", str(n_processes), "--process", str(k)]
            env = {
                **os.environ,
                "DEEPGAZE_CACHE": str(caches[k]),
                "JAX_PLATFORMS": "cpu",
            }
            processes.append(
                subprocess.Popen(
                    command,
                    env=env,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
        started.extend(processes)
        return processes

    yield start
    for process in started:
        process.kill()
        process.communicate()


def ended(process, timeout=240):
    """Exit code, standard output, and standard error without bars."""
    out, err = process.communicate(timeout=timeout)
    lines = [line for line in re.split(r"[\r\n]", err) if line.strip()]
    lines = [line for line in lines if not re.match(r"epoch \d|features:", line)]
    return process.returncode, out, lines


def log_of(run):
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def compare(run, expected, tolerance):
    (a, card), (b, expected_card) = load_model(run), load_model(expected)
    for name in a.keys() - {"readout/dense1/bias"}:
        assert np.abs(a[name] - b[name]).max() < tolerance * np.abs(b[name]).max(), name
    # Hashes of all pictures, of which each process has seen half.
    assert card["images"] == expected_card["images"]
    assert card["folds"] == expected_card["folds"]
    for key in ("train_information_gain", "validation_information_gain"):
        for one, other in zip(log_of(run), log_of(expected), strict=True):
            assert one[key] == pytest.approx(other[key], rel=1e-4)


def test_two_processes_are_one(launch, tmp_path):
    (alone,) = launch(tmp_path / "one", 1, 1)
    assert ended(alone)[0] == 0
    first, second = map(ended, launch(tmp_path / "two", 2, 1))
    assert first[0] == second[0] == 0, (first, second)
    # One of them tells, and nobody else's words are among it.
    assert first[1].startswith(f"{tmp_path / 'two'}\nvalidation IG")
    assert second[1] == "" and second[2] == []
    expected = ("feature cache:", "warning: fold")
    others = [line for line in first[2] if not line.startswith(expected)]
    assert not others
    compare(tmp_path / "two", tmp_path / "one", 1e-4)
    # The second computed the features of its own images alone.
    (state,) = (tmp_path / "cache1" / "features").glob("*/state.json")
    assert len(json.loads(state.read_text())["images"]) == 14 // 2


@pytest.mark.parametrize("victim", [0, 1])
def test_one_ends_when_the_other_is_killed(launch, tmp_path, victim):
    run = tmp_path / "run"
    processes = launch(run, 2, 400)
    for _ in range(600):
        if (run / "log.jsonl").exists() and len(log_of(run)) > 2:
            break
        time.sleep(0.2)
    processes[victim].send_signal(signal.SIGKILL)
    # The runtime itself gives a process a minute without a sign of life.
    code, out, lines = ended(processes[1 - victim], timeout=120)
    assert code == 1 and out == ""
    words = "deepgaze: another process of the run has ended or cannot be reached"
    lines = [line for line in lines if "feature" not in line]
    assert [line.startswith(words) for line in lines] == [True], lines
    assert ended(processes[victim])[0] == -signal.SIGKILL
    assert not (run / "model.safetensors").exists()
    n_epochs = len(log_of(run))
    # It goes on where it was: with the schedule that it had, to its own end.
    launch(run, 1, 400, "--resume")
    for _ in range(600):
        if len(log_of(run)) > n_epochs:
            break
        time.sleep(0.2)
    assert [line["epoch"] for line in log_of(run)][: n_epochs + 1] == list(
        range(1, n_epochs + 2)
    )


def test_what_stops_the_first_stops_all(launch, tmp_path):
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    for code, out, lines in map(ended, launch(run, 2, 1)):
        assert code in (1, 2) and out == ""
        assert len(lines) == 1 and "already holds a run" in lines[0]
