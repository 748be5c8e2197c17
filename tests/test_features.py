import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import jax
import numpy as np
import oracles
import pytest
import tiny
from PIL import Image

from deepgaze_jax.architectures import deepgaze2
from deepgaze_jax.datasets.cache_folder import remove_cache, stored_caches
from deepgaze_jax.datasets.features import (
    build_cache,
    open_cache,
    plan_cache,
    stored_maps,
)
from deepgaze_jax.datasets.folder import read_folder
from deepgaze_jax.errors import DataError
from deepgaze_jax.file_lock import file_lock
from deepgaze_jax.images import load_image, rgb_sha256
from deepgaze_jax.model import FixationModel
from deepgaze_jax.spread import Spread

SHALLOW = FixationModel(taps=tiny.TAPS)
SMALL = (16, 24)


@pytest.fixture(scope="module")
def params(tiny_weights):
    return tiny_weights[1]


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """More pictures than are computed between two writings of the state."""
    root = tmp_path_factory.mktemp("many")
    return read_folder(tiny.write_folder(root / "many", [SMALL] * 24, 5))


def plan(dataset, folder, model=SHALLOW, scale=1.0, dtype="float32", weights="w"):
    scales = np.full(len(dataset), scale)
    return plan_cache(dataset, model, weights, folder, scales, dtype)


def build(dataset, plan, params, model=SHALLOW, **options):
    """The cache, and how many images were computed for it."""
    computed = []
    cache = build_cache(
        plan,
        dataset,
        model,
        params,
        progress=lambda done, total: computed.append((done, total)),
        **options,
    )
    return cache, len(computed)


def contents(plan):
    return (plan.folder / "features.bin").read_bytes()


@pytest.fixture(scope="module")
def finished(many, params, tmp_path_factory):
    """An uninterrupted cache of the many pictures."""
    whole = plan(many, tmp_path_factory.mktemp("finished"))
    cache, computed = build(many, whole, params)
    assert computed == 24
    return cache


def test_devices_share_the_images(params, tmp_path):
    """An odd number of a size, so that a batch is filled up; equal to the last bit."""
    folder = tiny.write_folder(tmp_path / "d", [SMALL, (24, 16), SMALL, SMALL])
    dataset = read_folder(folder)
    (a, one), (b, two) = (
        build(
            dataset,
            plan(dataset, tmp_path / str(n)),
            params,
            spread=Spread(tuple(jax.devices()[:n])),
        )
        for n in (1, 2)
    )
    assert one == two == 4 and a.rgb_sha256 == b.rgb_sha256
    assert contents(a.plan) == contents(b.plan)


def relative_error(ours, expected):
    return np.abs(ours - expected).max() / np.abs(expected).max()


def test_stored_maps_are_those_before_the_relu():
    assert stored_maps(deepgaze2().taps) == ("conv5_1", "conv5_2", "conv5_3", "conv5_4")
    assert stored_maps(("relu4_2", "conv4_2", "pool4")) == ("conv4_2", "pool4")


def test_all_taps_of_two_sizes_equal_the_oracle(params, tmp_path):
    sizes = [(39, 28), SMALL, (39, 28)]
    dataset = read_folder(tiny.write_folder(tmp_path / "d", sizes))
    model, scale = deepgaze2(), 1.3
    planned = plan(dataset, tmp_path, model, scale)
    cache, _ = build(dataset, planned, params, model)
    assert planned.model_sizes.tolist() == [[51, 36], [21, 31], [51, 36]]
    for i in range(3):
        image = oracles.resize_image(
            load_image(dataset.image_path(i)), *(planned.model_sizes[i])
        )
        expected = oracles.deepgaze2_features(params, image)
        (found,) = cache.read([i], model.taps)
        assert found.dtype == np.float32 and found.shape == expected.shape
        assert relative_error(found, expected) < 1e-5
        for tap in range(5):
            part = slice(512 * tap, 512 * (tap + 1))
            assert relative_error(found[..., part], expected[..., part]) < 1e-5
    # Any order and choice of taps, several images at once, into given memory.
    taps = ("relu5_4", "conv5_1")
    out = np.full((2, *found.shape[:2], 1024), np.nan, np.float32)
    both = cache.read([2, 0], taps, out)
    assert both is out
    np.testing.assert_array_equal(both[0, ..., :512], found[..., 2048:])
    np.testing.assert_array_equal(both[0, ..., 512:], found[..., :512])
    np.testing.assert_array_equal(both[1], cache.read([0], taps)[0])
    assert cache.plan.shape([2, 0], taps) == both.shape


def test_hashes_are_of_the_decoded_pictures(many, finished):
    images = [load_image(many.image_path(i)) for i in range(len(many))]
    assert finished.rgb_sha256 == tuple(rgb_sha256(image) for image in images)


def test_float16_is_half_the_size_and_near(many, finished, params, tmp_path):
    half = plan(many, tmp_path, dtype="float16")
    assert 2 * half.n_bytes == finished.plan.n_bytes
    cache, _ = build(many, half, params)
    assert len(contents(half)) == half.n_bytes
    taps = ("conv3_1", "conv3_2")
    exact = finished.read(range(24), taps)
    rounded = cache.read(range(24), taps)
    assert rounded.dtype == np.float32
    # Half a unit of the eleventh bit; below the normal range half its smallest step.
    assert (np.abs(rounded - exact) <= np.abs(exact) * 2.0**-11 + 2.0**-25).all()
    assert (rounded != exact).any()
    relu = cache.read(range(24), ("relu3_1",))
    np.testing.assert_array_equal(relu, np.maximum(rounded[..., :256], 0))


def test_float16_overflow_is_refused(many, params, tmp_path):
    large = {**params, "conv3_1": {**params["conv3_1"]}}
    large["conv3_1"]["kernel"] = large["conv3_1"]["kernel"] * 1e4
    with pytest.raises(DataError, match=r"00\.png are not finite in float16.*float32"):
        build(many, plan(many, tmp_path, dtype="float16"), large)


def test_unknown_type_is_refused(many, tmp_path):
    with pytest.raises(DataError, match=r"'int8'.*float32 or float16"):
        plan(many, tmp_path, dtype="int8")


def test_size_is_known_before_and_bounded(many, params, tmp_path):
    planned = plan(many, tmp_path)
    # 16x24 halved, then two pools: 2x3 cells of two stored maps.
    assert planned.n_bytes == 24 * 2 * 3 * 512 * 4
    assert not planned.folder.exists()
    big = dataclasses.replace(planned, grid_sizes=planned.grid_sizes * 200)
    with pytest.raises(DataError, match=r"needs 11\.80 GB, 9\.00 GB are allowed; use "):
        build(many, big, params, max_bytes=9_000_000_000)
    with pytest.raises(DataError, match="allowed"):
        build(many, planned, params, max_bytes=planned.n_bytes - 1)
    # More than any disk has.
    huge = dataclasses.replace(planned, grid_sizes=planned.grid_sizes * 10**6)
    with pytest.raises(DataError, match="DEEPGAZE_CACHE"):
        build(many, huge, params)
    assert not planned.folder.exists()
    build(many, planned, params, max_bytes=planned.n_bytes)
    assert (planned.folder / "features.bin").stat().st_size == planned.n_bytes


def test_finished_cache_is_used_again(many, finished, params):
    before = contents(finished.plan)
    # Nothing is written, so no bound applies.
    cache, computed = build(many, finished.plan, params, max_bytes=1)
    assert computed == 0
    assert cache.rgb_sha256 == finished.rgb_sha256
    assert contents(finished.plan) == before


class Stopped(Exception):
    pass


def interrupt(dataset, plan, params, after):
    """Build until an exception of the caller's own."""

    def stop(done, total):
        if done == after:
            raise Stopped

    with pytest.raises(Stopped):
        build_cache(plan, dataset, SHALLOW, params, progress=stop)


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
import tiny
from deepgaze_jax import weights
from deepgaze_jax.datasets.features import build_cache, plan_cache
from deepgaze_jax.datasets.folder import read_folder
from deepgaze_jax.model import FixationModel

def progress(done, total):
    if done == 22:
        os.kill(os.getpid(), signal.SIGKILL)

dataset, model = read_folder(sys.argv[1]), FixationModel(taps=tiny.TAPS)
plan = plan_cache(dataset, model, "w", Path(sys.argv[2]), np.ones(len(dataset)))
build_cache(plan, dataset, model, weights.load_features(), progress=progress)
"""


def test_killed_build_goes_on_where_it_was(
    many, finished, params, tiny_weights, tmp_path
):
    env = {
        **os.environ,
        "DEEPGAZE_CACHE": str(tiny_weights[0]),
        "PYTHONPATH": str(Path(__file__).parent),
    }
    command = [sys.executable, "-W", "error", "-c", KILLED, many.root, tmp_path]
    result = subprocess.run(command, env=env, capture_output=True, timeout=300)
    assert result.returncode == -signal.SIGKILL, result.stderr
    resumed = plan(many, tmp_path)
    assert (resumed.folder / "features.bin").stat().st_size == resumed.n_bytes
    cache, computed = build(many, resumed, params)
    # Twenty were finished and noted; the killed process held no lock any more.
    assert computed == 4
    assert contents(resumed) == contents(finished.plan)
    assert cache.rgb_sha256 == finished.rgb_sha256


def flip_a_bit(plan, image):
    with open(plan.folder / "features.bin", "r+b") as file:
        file.seek(image * plan.n_bytes // 24 + 100)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))


def test_damage_in_an_unfinished_cache_is_noticed(many, finished, params, tmp_path):
    damaged = plan(many, tmp_path)
    interrupt(many, damaged, params, after=23)
    flip_a_bit(damaged, 7)
    _, computed = build(many, damaged, params)
    assert computed == 4 + 1
    assert contents(damaged) == contents(finished.plan)


@pytest.mark.parametrize("harm", ["no state", "half a state", "shorter", "no features"])
def test_contradicting_files_are_computed_anew(many, finished, params, tmp_path, harm):
    harmed = plan(many, tmp_path)
    interrupt(many, harmed, params, after=21)
    state, features = harmed.folder / "state.json", harmed.folder / "features.bin"
    if harm == "no state":
        state.unlink()
    elif harm == "half a state":
        state.write_text(state.read_text()[:100])
    elif harm == "shorter":
        os.truncate(features, harmed.n_bytes - 1)
    else:
        features.unlink()
    _, computed = build(many, harmed, params)
    assert computed == 24
    assert contents(harmed) == contents(finished.plan)


def test_state_of_another_cache_is_refused(many, params, tmp_path):
    planned = plan(many, tmp_path)
    interrupt(many, planned, params, after=21)
    state = json.loads((planned.folder / "state.json").read_text())
    (planned.folder / "state.json").write_text(
        json.dumps({**state, "key_sha256": "0" * 64})
    )
    with pytest.raises(DataError, match="belongs to another cache; delete"):
        build(many, planned, params)


def test_two_builders_at_once(many, finished, params, tmp_path):
    planned, counts = plan(many, tmp_path), []
    threads = [
        threading.Thread(target=lambda: counts.append(build(many, planned, params)[1]))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(counts) == [0, 24]
    assert contents(planned) == contents(finished.plan)


def test_other_contents_lie_in_other_folders(many, tmp_path):
    other = read_folder(tiny.write_folder(tmp_path / "other", [SMALL] * 24, 6))
    plans = [
        plan(many, tmp_path),
        plan(many, tmp_path, scale=1.1),
        plan(many, tmp_path, dtype="float16"),
        plan(many, tmp_path, weights="others"),
        plan(many, tmp_path, FixationModel(taps=("conv3_1",))),
        plan(many, tmp_path, FixationModel(taps=tiny.TAPS, downsample=1)),
        plan(many, tmp_path, FixationModel(taps=tiny.TAPS, sampling="nearest")),
        plan(other, tmp_path),
    ]
    assert len({p.folder for p in plans}) == len(plans)
    # The same maps serve every choice of taps before and after the ReLU.
    same = FixationModel(taps=("relu3_1", "conv3_2"))
    assert plan(many, tmp_path, same).folder == plans[0].folder


def test_changed_picture_lies_in_another_folder(tmp_path):
    folder = tiny.write_folder(tmp_path / "d", [SMALL] * 3)
    before = plan(read_folder(folder), tmp_path)
    assert plan(read_folder(folder), tmp_path).folder == before.folder
    pixels = np.array(Image.open(folder / "images" / "01.png"))
    pixels[3, 4, 1] ^= 1
    Image.fromarray(pixels).save(folder / "images" / "01.png")
    assert plan(read_folder(folder), tmp_path).folder != before.folder


def test_picture_of_another_size_than_stated_is_refused(params, tmp_path):
    folder = tiny.write_folder(tmp_path / "d", [SMALL] * 3)
    lines = [f"0{i}.png,{24 + (i == 1)},16\n" for i in range(3)]
    (folder / "images.csv").write_text("image,width,height\n" + "".join(lines))
    dataset = read_folder(folder)
    with pytest.raises(DataError, match=r"01\.png.*states 25 x 16"):
        build(dataset, plan(dataset, tmp_path), params)


@pytest.fixture
def copied(many, finished, tmp_path):
    """A finished cache that may be harmed."""
    planned = plan(many, tmp_path)
    shutil.copytree(finished.plan.folder, planned.folder)
    return planned


def test_damage_in_a_finished_cache_is_repaired(many, finished, copied, params):
    flip_a_bit(copied, 7)
    flip_a_bit(copied, 23)
    assert open_cache(copied) is None
    told = []
    # No bound applies: nothing grows.
    cache, computed = build(many, copied, params, tell=told.append, max_bytes=1)
    assert computed == 2
    (text,) = told
    assert "the features of 2 of 24 images are damaged; computing them anew" in text
    assert contents(copied) == contents(finished.plan)
    assert cache.rgb_sha256 == finished.rgb_sha256
    assert open_cache(copied).rgb_sha256 == finished.rgb_sha256
    _, computed = build(many, copied, params, tell=told.append)
    assert (computed, len(told)) == (0, 1)


def test_a_killed_repair_goes_on(many, finished, copied, params):
    flip_a_bit(copied, 7)
    flip_a_bit(copied, 9)
    interrupt(many, copied, params, after=23)
    _, computed = build(many, copied, params)
    # What was recomputed equals what the state says of it.
    assert computed == 1
    assert contents(copied) == contents(finished.plan)


def test_a_cache_says_what_it_is(many, finished, copied, params):
    path = copied.folder / "about.json"
    about = json.loads(path.read_text())
    assert about["data"] == "many" and about["network"] == "vgg19"
    assert about["maps"] == ["conv3_1", "conv3_2"] and about["dtype"] == "float32"
    assert about["image_bytes"] == [2 * 3 * 512 * 4] * 24
    assert about["image_scales"] == [1, 1]
    (stored,) = stored_caches(copied.folder.parent)
    assert (stored.name, stored.finished_share) == (copied.folder.name, 1.0)
    assert stored.damaged() == []
    flip_a_bit(copied, 3)
    assert stored.damaged() == [3]
    # One that an earlier version made is used as it is, and says so from then on.
    path.unlink()
    shutil.copy(finished.plan.folder / "features.bin", copied.folder)
    (stored,) = stored_caches(copied.folder.parent)
    assert (stored.finished_share, stored.damaged()) == (None, None)
    _, computed = build(many, copied, params)
    assert computed == 0
    assert json.loads(path.read_text()) == about


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"image_bytes": 3}', '{"image_bytes": []}']
)
def test_a_broken_description_is_none(copied, text):
    (copied.folder / "about.json").write_text(text)
    (stored,) = stored_caches(copied.folder.parent)
    assert stored.finished_share is None
    assert open_cache(copied) is not None
    assert stored_caches(copied.folder.parent)[0].finished_share == 1


def test_use_is_noted(copied):
    path = copied.folder / "about.json"
    os.utime(path, (1e9, 1e9))
    assert stored_caches(copied.folder.parent)[0].last_used == 1e9
    open_cache(copied)
    assert stored_caches(copied.folder.parent)[0].last_used > 1.5e9


def test_unfinished_caches_show_their_share(many, params, tmp_path):
    planned = plan(many, tmp_path)
    interrupt(many, planned, params, after=21)
    (stored,) = stored_caches(tmp_path)
    assert stored.finished_share == 20 / 24
    assert 0 < stored.disk_bytes


def test_remove_only_what_is_a_cache(many, copied, tmp_path):
    (stored,) = stored_caches(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").touch()
    (copied.folder / "link").symlink_to(elsewhere)
    link = tmp_path / "0123456789abcdef"
    link.symlink_to(elsewhere)
    assert stored_caches(tmp_path) == [stored]
    for path in (link, elsewhere, tmp_path / "0" / ".."):
        with pytest.raises(DataError, match="is not the folder of a feature cache"):
            remove_cache(dataclasses.replace(stored, path=path))
    with (
        file_lock(copied.folder / "build.lock"),
        pytest.raises(DataError, match="is being written"),
    ):
        remove_cache(stored)
    assert open_cache(copied) is not None
    remove_cache(stored)
    assert (elsewhere / "kept").exists() and link.is_symlink()
    assert sorted(os.listdir(tmp_path)) == ["0123456789abcdef", "elsewhere"]


def test_a_reader_keeps_what_it_opened(many, finished, copied):
    cache = open_cache(copied)
    remove_cache(stored_caches(copied.folder.parent)[0])
    np.testing.assert_array_equal(
        cache.read([5], tiny.TAPS), finished.read([5], tiny.TAPS)
    )
