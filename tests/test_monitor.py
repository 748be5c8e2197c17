import json
import sys

import jax
import numpy as np
import pytest
import tiny

from deepgaze_jax import training
from deepgaze_jax.datasets.folder import read_folder
from deepgaze_jax.errors import ConfigError, TrainingError
from deepgaze_jax.monitor import FLAT, alarms, scalars

NAMES = ["fold 0", "fold 1"]


def found(spread=(1.0, 1.0), **changes):
    record = {
        "epoch": 9,
        "validation_by_fold": [1.0, 0.5],
        "sigma_grid_px": [5.0, 5.0],
        **changes,
    }
    return alarms(record, NAMES, np.array(spread), (0.3, 20.0))


def test_a_good_epoch_has_no_alarm():
    assert found() == []
    assert found(validation_by_fold=[]) == []
    assert found(validation_by_fold=[None, 0.0]) == []
    assert found(spread=(np.nan, FLAT)) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"spread": (1.0, FLAT / 2)}, "fold 1 predicts the same for every picture"),
        ({"validation_by_fold": [-0.25, 1.0]}, "fold 0 is no better than the center"),
        ({"sigma_grid_px": [0.3, 5.0]}, "the blur of fold 0 is at the end of its"),
        ({"sigma_grid_px": [5.0, 20.0]}, "the blur of fold 1 is at the end of its"),
    ],
)
def test_every_alarm(changes, words):
    (line,) = found(**changes)
    assert line.startswith("epoch 9: ") and words in line


def test_a_low_gain_is_no_alarm_in_the_first_epochs():
    low = {"validation_by_fold": [-1.0, -1.0]}
    assert found(epoch=3, **low) == [] and len(found(epoch=4, **low)) == 2


def test_scalars_without_their_library(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ConfigError, match=r"pip install 'deepgaze-jax\[tensorboard\]'"):
        with scalars(tmp_path, NAMES):
            pass
    with scalars(None, NAMES) as show:
        show({})


@pytest.fixture(scope="module")
def collapsed(tiny_weights, tiny_folders, tmp_path_factory):
    """A run whose readouts say nothing: their last layer stays at zero."""
    run = tmp_path_factory.mktemp("runs") / "run"
    told = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEEPGAZE_CACHE", str(tiny_weights[0]))
        tiny.on_one_device(patch)
        start = training.init_state

        def dead(params, *rest):
            params = jax.tree.map(np.array, params)
            for layer in params["readout"].values():
                layer["kernel"][:] = 0
                if "bias" in layer:
                    layer["bias"][:] = -1
            return start(params, *rest)

        patch.setattr(training, "init_state", dead)
        training.train(
            read_folder(tiny_folders["one"]),
            tiny.config(epochs=1, only_folds=(1, 3)),
            run,
            tensorboard=True,
            progress=told.append,
        )
    return run, told


def test_a_collapsed_run_says_so(collapsed):
    run, told = collapsed
    (line,) = map(json.loads, (run / "log.jsonl").read_text().splitlines())
    assert [a for a in line["alarms"] if "the same for every picture" in a] == [
        f"epoch 1: fold {k} predicts the same for every picture" for k in (1, 3)
    ]
    assert (run / "alarms.txt").read_text().splitlines() == line["alarms"]
    messages = [p.message for p in told if p.stage == "epoch" and p.message]
    assert messages == [f"warning: {a}" for a in line["alarms"]]


def test_event_files_hold_the_log(collapsed):
    proto = pytest.importorskip("tensorboardX.proto.event_pb2")
    run, _ = collapsed
    (line,) = map(json.loads, (run / "log.jsonl").read_text().splitlines())
    (path,) = (run / "tensorboard").iterdir()
    data, values = path.read_bytes(), {}
    while data:
        # Length, its checksum, the event, its checksum.
        size = int.from_bytes(data[:8], "little")
        event = proto.Event.FromString(data[12 : 12 + size])
        values |= {v.tag: v.simple_value for v in event.summary.value}
        data = data[16 + size :]
    gain = values["validation_information_gain"]
    assert gain == pytest.approx(line["validation_information_gain"], abs=1e-6)
    name = next(tag for tag in values if tag.startswith("sigma_grid_px/"))
    assert values[name] == pytest.approx(line["sigma_grid_px"][0])


def test_what_is_not_finite_is_in_the_folder(
    tiny_cache, tiny_folders, tmp_path, monkeypatch
):
    tiny.on_one_device(monkeypatch)
    config = tiny.config(epochs=1, only_folds=(1, 3), learning_rate=1e38)
    run = tmp_path / "run"
    with pytest.raises(TrainingError, match="is not finite at") as error:
        training.train(read_folder(tiny_folders["one"]), config, run)
    assert (run / "alarms.txt").read_text() == f"{error.value}\n"
