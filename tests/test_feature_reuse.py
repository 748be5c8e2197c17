import dataclasses

import numpy as np
import pytest
import tiny

from deepgaze_jax.datasets.features import build_cache, plan_cache
from deepgaze_jax.datasets.folder import read_folder
from deepgaze_jax.model import FixationModel

SHALLOW = FixationModel(taps=tiny.TAPS)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp("reuse")
    return read_folder(tiny.write_folder(root / "d", [(16, 24), (24, 16)] * 3, 5))


def built(dataset, folder, params, scale=1.0, weights="w", model=SHALLOW):
    """A cache, and the images that were computed for it."""
    scales = np.full(len(dataset), scale)
    plan = plan_cache(dataset, model, weights, folder, scales)
    computed = []
    cache = build_cache(
        plan, dataset, model, params, progress=lambda done, _: computed.append(done)
    )
    return cache, len(computed)


@pytest.fixture
def whole(dataset, tmp_path, tiny_weights):
    cache, computed = built(dataset, tmp_path, tiny_weights[1])
    assert computed == 6
    return cache


def test_a_part_in_another_order_is_copied(dataset, whole, tmp_path, tiny_weights):
    chosen = [4, 1, 3]
    part = dataset.select(chosen)
    cache, computed = built(part, tmp_path, tiny_weights[1])
    assert computed == 0 and cache.plan.folder != whole.plan.folder
    for image, original in enumerate(chosen):
        np.testing.assert_array_equal(
            cache.read([image], tiny.TAPS), whole.read([original], tiny.TAPS)
        )
        assert cache.rgb_sha256[image] == whole.rgb_sha256[original]


def test_a_larger_set_computes_the_rest(dataset, tmp_path, tiny_weights):
    part, computed = built(dataset.select([5, 0]), tmp_path, tiny_weights[1])
    assert computed == 2
    cache, computed = built(dataset, tmp_path, tiny_weights[1])
    assert computed == 4
    alone, _ = built(dataset, tmp_path / "elsewhere", tiny_weights[1])
    for image in range(6):
        np.testing.assert_array_equal(
            cache.read([image], tiny.TAPS), alone.read([image], tiny.TAPS)
        )
    del part


@pytest.mark.parametrize(
    "change",
    [
        {"scale": 2.0},
        {"weights": "others"},
        {"model": dataclasses.replace(SHALLOW, taps=tiny.TAPS[:1])},
    ],
)
def test_other_features_are_computed(dataset, whole, tmp_path, tiny_weights, change):
    _, computed = built(dataset.select([1, 2]), tmp_path, tiny_weights[1], **change)
    assert computed == 2


def test_damaged_features_are_not_copied(dataset, whole, tmp_path, tiny_weights):
    path = whole.plan.folder / "features.bin"
    content = bytearray(path.read_bytes())
    content[3] ^= 1
    path.write_bytes(content)
    cache, computed = built(dataset.select([0, 1]), tmp_path, tiny_weights[1])
    assert computed == 1
    alone, _ = built(dataset, tmp_path / "elsewhere", tiny_weights[1])
    np.testing.assert_array_equal(
        cache.read([0], tiny.TAPS), alone.read([0], tiny.TAPS)
    )


@pytest.mark.parametrize("name", ["key.json", "about.json"])
def test_a_cache_that_does_not_say_what_it_is(
    dataset, whole, tmp_path, tiny_weights, name
):
    (whole.plan.folder / name).write_text("{}")
    _, computed = built(dataset.select([2]), tmp_path, tiny_weights[1])
    assert computed == 1


def test_select_keeps_pictures_fixations_and_scales(dataset):
    stated = dataclasses.replace(dataset, pixels_per_dva=np.arange(6) + 20.0)
    part = stated.select([3, 0])
    assert part.image_names == (dataset.image_names[3], dataset.image_names[0])
    assert part.pixels_per_dva.tolist() == [23, 20]
    np.testing.assert_array_equal(part.image(0), dataset.image(3))
    for image, original in enumerate([3, 0]):
        ours, theirs = (
            data.fixations.of_images(k)
            for data, k in ((part, image), (dataset, original))
        )
        assert len(ours) > 0
        np.testing.assert_array_equal(ours.x, theirs.x)
        np.testing.assert_array_equal(ours.subject, theirs.subject)
    assert len(part.fixations) < len(dataset.fixations)
