import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deepgaze_jax.checkpoints import Checkpoints
from deepgaze_jax.errors import ConfigError


def state(seed, channels=5):
    rng = np.random.default_rng(seed)
    return {
        "params": {"kernel": jnp.asarray(rng.normal(size=(2, channels)), jnp.float32)},
        "active": jnp.array([True, False]),
        "steps": jnp.array([seed, 7], jnp.int32),
        "best": jnp.array([-jnp.inf, jnp.float32(1) / 3]),
    }


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)
    assert jax.tree.map(lambda x: x.dtype, a) == jax.tree.map(lambda x: x.dtype, b)


def test_states_come_back_bit_by_bit_and_the_newest_two_stay(tmp_path):
    with Checkpoints(tmp_path / "c") as checkpoints:
        assert checkpoints.latest is None
        for step in (1, 2, 3):
            checkpoints.save(step, state(step))
        assert checkpoints.latest == 3
    with Checkpoints(tmp_path / "c") as checkpoints:
        assert checkpoints.latest == 3
        assert_same(checkpoints.load(state(0)), state(3))
        assert_same(checkpoints.load(state(0), 2), state(2))
    folders = [name for name in os.listdir(tmp_path / "c") if name.isdigit()]
    assert sorted(folders) == ["2", "3"]


def test_relative_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Checkpoints(tmp_path.relative_to(tmp_path) / "c") as checkpoints:
        checkpoints.save(1, state(1))
    assert (tmp_path / "c" / "1").is_dir()


def test_no_checkpoint(tmp_path):
    with Checkpoints(tmp_path / "c") as checkpoints:
        with pytest.raises(ConfigError, match="no checkpoint"):
            checkpoints.load(state(0))


def test_an_interrupt_waits_until_the_save_is_whole(tmp_path, monkeypatch):
    with Checkpoints(tmp_path / "c") as checkpoints:
        save = checkpoints._checkpointer.save

        def interrupted_save(*args, **options):
            os.kill(os.getpid(), signal.SIGINT)
            save(*args, **options)

        monkeypatch.setattr(checkpoints._checkpointer, "save", interrupted_save)
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            with pytest.raises(KeyboardInterrupt):
                checkpoints.save(1, state(1))
        finally:
            signal.signal(signal.SIGINT, before)
        assert checkpoints.latest == 1
        assert_same(checkpoints.load(state(0)), state(1))
    assert os.listdir(tmp_path / "c") == ["1"]


@pytest.mark.parametrize(
    ("like", "names"),
    [
        (state(0, channels=6), {"params/kernel": True, "steps": False}),
        ({**state(0), "more": jnp.zeros(2)}, {"more": True, "params/kernel": False}),
        (
            {"other": jnp.zeros(2)},
            dict.fromkeys(("other", "params/kernel", "active", "steps", "best"), True),
        ),
        (
            {**state(0), "steps": jnp.zeros(2)},
            {"steps": True, "active": False},
        ),
    ],
    ids=("shape", "one more name", "other names", "type"),
)
def test_another_layout_is_refused(tmp_path, like, names):
    with Checkpoints(tmp_path / "c") as checkpoints:
        checkpoints.save(1, state(1))
        with pytest.raises(ConfigError, match="checkpoint 1 does not") as error:
            checkpoints.load(like)
        # The checkpoint is as good as before.
        assert_same(checkpoints.load(state(0)), state(1))
    for name, there in names.items():
        assert (f"{name} is" in str(error.value)) == there


def test_state_is_placed_like_its_model(tmp_path):
    if len(jax.devices()) < 2:
        pytest.skip("needs two devices")
    other = jax.devices()[1]
    with Checkpoints(tmp_path / "c") as checkpoints:
        checkpoints.save(1, state(1))
        loaded = checkpoints.load(jax.device_put(state(0), other))
    assert_same(loaded, state(1))
    assert all(leaf.devices() == {other} for leaf in jax.tree.leaves(loaded))
