"""Members and images over devices: equal results, and nothing said along `fold`."""

import functools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import tiny

from deepgaze_jax import training
from deepgaze_jax.datasets.folder import read_folder
from deepgaze_jax.model_files import load_model
from deepgaze_jax.parallel import grid_of, place

RUNS = """
import json, sys
import jax
jax.config.update("jax_num_cpu_devices", int(sys.argv[1]))
import tiny
from deepgaze_jax import training
from deepgaze_jax.datasets.folder import read_folder
from deepgaze_jax.training import train

def progress(p):
    if sys.argv[4] == "interrupted" and p.epoch == 2:
        sys.exit(0)

for run, changes in json.loads(sys.argv[3]).items():
    changes = {k: tuple(v) if isinstance(v, list) else v for k, v in changes.items()}
    dataset, config = read_folder(sys.argv[2]), tiny.config(**changes)
    train(dataset, config, run, resume=True, progress=progress)
"""


@pytest.fixture(scope="module")
def devices_run(tiny_weights, tiny_folders, tmp_path_factory):
    """A function that trains runs `{folder: changes}` on so many virtual devices."""
    compiled = tmp_path_factory.mktemp("compiled")
    env = {
        **os.environ,
        "DEEPGAZE_CACHE": str(tiny_weights[0]),
        "PYTHONPATH": str(Path(__file__).parent),
        "JAX_COMPILATION_CACHE_DIR": str(compiled),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }

    def run(n_devices, runs, how=""):
        folder, runs = tiny_folders["one"], {str(k): v for k, v in runs.items()}
        command = [sys.executable, "-W", "error", "-c", RUNS, str(n_devices), folder]
        result = subprocess.run(
            [*command, json.dumps(runs), how], env=env, capture_output=True, timeout=300
        )
        assert result.returncode == 0, result.stderr.decode()
        assert result.stderr == b""

    return run


#: Where both units are on everywhere, these biases only shift the level of the map,
#: which is free: their gradient is rounding, and Adam makes whole steps of it.
FREE = "readout/dense1/bias"


def difference(a, b):
    """Largest difference of a tensor in units of its largest value, over all."""
    assert a.keys() == b.keys()
    return max(
        np.abs(a[name] - b[name]).max() / np.abs(b[name]).max()
        for name in a.keys() - {FREE}
    )


def tensors_of(run):
    return load_model(run)[0]


def log_of(run):
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


# A low rate: the first steps of Adam are as long where a gradient is next to nothing.
EPOCH = {"epochs": 1, "patience": 9, "learning_rate": 0.003}
SOLO = EPOCH | {"only_folds": [3]}
MORE = EPOCH | {"n_seeds": 2, "all_images": True}


@pytest.fixture(scope="module")
def by_devices(tiny_weights, tiny_folders, tmp_path_factory):
    """Runs of an epoch on 1 and 2 devices: many members, and a fold alone."""
    root = tmp_path_factory.mktemp("runs")
    dataset = read_folder(tiny_folders["one"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEEPGAZE_CACHE", str(tiny_weights[0]))
        for n, changes in ((1, MORE), (2, MORE), (2, SOLO)):
            devices = jax.devices()[:n]
            placed = functools.partial(place, devices=devices)
            patch.setattr(training, "place", placed)
            name = "solo" if changes is SOLO else "more"
            changes = {**changes, "only_folds": (3,)} if name == "solo" else changes
            training.train(dataset, tiny.config(**changes), root / f"{name}{n}")
    return root


def check_equal(run, expected):
    assert difference(tensors_of(run), tensors_of(expected)) < 1e-4
    (a,), (b,) = log_of(run), log_of(expected)
    # What fills the devices up is in no result and in no log.
    assert len(a["active"]) == len(b["active"]) == len(b["validation_by_fold"])
    gains = [line["train_information_gain"] for line in (a, b)]
    assert gains[0] == pytest.approx(gains[1], rel=1e-4)


def test_same_result_on_two_devices(by_devices):
    check_equal(by_devices / "more2", by_devices / "more1")


@pytest.mark.slow
def test_same_result_on_eight_devices(by_devices, devices_run, tmp_path):
    devices_run(8, {tmp_path / "more": MORE, tmp_path / "solo": SOLO})
    check_equal(tmp_path / "more", by_devices / "more1")
    check_equal(tmp_path / "solo", by_devices / "solo2")


def test_fold_of_many_is_the_fold_alone(by_devices):
    alone = tensors_of(by_devices / "solo2")
    for n in (1, 2):
        together = tensors_of(by_devices / f"more{n}")
        for name in alone.keys() - {FREE}:
            array = alone[name]
            own = together[name][3]
            assert np.abs(array[0] - own).max() < 1e-4 * np.abs(own).max(), name


def test_seeds_and_all_images_are_further_members(by_devices, tiny_folders):
    tensors, card = load_model(by_devices / "more1")
    parts = [(fold["fold"], fold["seed"]) for fold in card["folds"]]
    assert parts == [(k, seed) for seed in (0, 1) for k in range(5)]
    n_images = len(read_folder(tiny_folders["one"]))
    for member in (4, 9):
        assert card["folds"][member]["train"] == list(range(n_images))
        assert card["folds"][member]["test"] == []
        assert card["scores"]["validation_information_gain"][member] is None
    kernels = tensors["readout/dense0/kernel"]
    assert len({kernel.tobytes() for kernel in kernels}) == 10
    biases = tensors["center_bias/log_density"]
    np.testing.assert_array_equal(biases[:5], biases[5:10])
    np.testing.assert_array_equal(biases[4], biases[10])
    (line,) = log_of(by_devices / "more1")
    assert line["validation_by_fold"][4] is None
    known = [value for value in line["validation_by_fold"] if value is not None]
    assert line["validation_information_gain"] == pytest.approx(np.mean(known))


@pytest.mark.slow
def test_run_goes_on_with_other_devices(devices_run, tmp_path):
    two_epochs = EPOCH | {"epochs": 2}
    devices_run(1, {tmp_path / "whole": two_epochs})
    devices_run(8, {tmp_path / "moved": two_epochs}, "interrupted")
    assert len(log_of(tmp_path / "moved")) == 1
    devices_run(2, {tmp_path / "moved": two_epochs})
    assert difference(
        tensors_of(tmp_path / "moved"), tensors_of(tmp_path / "whole")
    ) < (2e-4)


# --- the compiled step ----------------------------------------------------------------


def test_grid():
    assert grid_of(1, 10, 10) == (1, 1)
    assert grid_of(2, 10, 10) == (2, 1)
    assert grid_of(8, 10, 1) == (8, 1)
    assert grid_of(8, 1, 16) == (1, 8)
    # Twelve members of a batch of ten: 2 x 10, 3 x 5, 6 x 3 or 12 x 2 rows at most.
    assert grid_of(8, 12, 10) == (4, 2)


@pytest.mark.parametrize("n_members", [1, 3])
def test_rows_of_members(n_members):
    placement = place(n_members, 4)
    shards = placement.mesh.shape["fold"]
    assert placement.n_rows % shards == 0 and placement.n_rows - n_members < shards
    state = {"a": np.arange(n_members, dtype=np.float32)}
    for folds in (range(n_members), [n_members - 1]):
        rows, places = placement._local_rows(np.array(folds))
        per_shard = placement.n_rows // shards
        shard = places // (len(rows) // shards)
        assert (shard * per_shard + rows[places]).tolist() == list(folds)
        others = np.delete(rows, places)
        assert (others == per_shard).all()
    placed = placement.put_members(state["a"])
    np.testing.assert_array_equal(placement.take_state(placed), state["a"])


HLO = """
import re, sys
import jax
jax.config.update("jax_num_cpu_devices", 8)
import numpy as np
from deepgaze_jax.model import FixationModel
from deepgaze_jax.parallel import place
from deepgaze_jax.train_step import Batch, Optimiser, init_state, make_steps

model = FixationModel(taps=("conv3_1",), widths=(4, 1))
placement = place(10, 10)
assert dict(placement.mesh.shape) == {"fold": 4, "batch": 2}, placement.mesh
optimiser = Optimiser()
n, h, w = 10, 8, 12
state = jax.device_get(
    init_state(model.init(0, n), np.zeros((n, 256)), np.ones((n, 256)), optimiser)
)
rows, columns = model.pool_center_bias(np.zeros((64, 96), np.float32)).shape
batch = Batch(
    folds=np.arange(8),
    features=placement.put_features(np.zeros((10, h, w, 256), np.float32)),
    counts=np.zeros((10, rows, columns), np.uint8),
    weights=np.ones(10, np.float32),
    center_bias=np.zeros((n, rows, columns), np.float32),
    log_pixels=np.zeros((rows, columns), np.float32),
    model_size=(64, 96),
)
train, _ = make_steps(model, optimiser, placement)
lowered = train.lower(
    placement.put_state(state),
    placement.put_batch(batch),
    placement.put_members(np.arange(n, dtype=np.int32)),
    jax.random.key(0),
    np.float32(0.1),
)
print(lowered.compile().as_text())
"""

COLLECTIVE = re.compile(
    r"= .*\b(all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter|"
    r"collective-broadcast)(?:-start)?\(.*"
)


def test_nothing_is_communicated_along_folds():
    """Every collective is within the two devices that share their members."""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", HLO],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    lines = [m.group(0) for m in map(COLLECTIVE.search, result.stdout.split("\n")) if m]
    # There are some: images lie along the other axis.
    assert lines
    pairs = {frozenset((2 * k, 2 * k + 1)) for k in range(4)}
    for line in lines:
        groups = re.search(r"replica_groups=(\{\{.*?\}\}|\[\d.*?\]<=\[.*?\]\S*)", line)
        assert groups, line
        assert groups_of(groups.group(1)) == pairs, line


def groups_of(text):
    """Replica groups as sets, from `{{0,1},{2,3}}` or `[2,2]<=[4]`."""
    if text.startswith("{{"):
        parts = re.findall(r"\{([\d,]+)\}", text)
        return {frozenset(map(int, part.split(","))) for part in parts}
    shape, source = re.fullmatch(r"\[([\d,]+)\]<=\[([\d,]+)\],?", text).groups()
    numbers = np.arange(np.prod([int(n) for n in source.split(",")]))
    rows = numbers.reshape([int(n) for n in shape.split(",")])
    return {frozenset(row.tolist()) for row in rows}
