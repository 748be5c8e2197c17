import dataclasses

import numpy as np
import oracles
import pytest
import tiny

from deepgaze_jax import training
from deepgaze_jax.datasets import unified_sizes
from deepgaze_jax.datasets.folder import read_folder
from deepgaze_jax.datasets.unified_sizes import enlargement, unified
from deepgaze_jax.images import rgb_sha256
from deepgaze_jax.model_files import load_model
from deepgaze_jax.prediction import load_pretrained

#: Landscape, portrait, square, in turn; height and width.
SIZES = [(50, 80), (90, 60), (64, 64)] * 3


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "sizes"
    return read_folder(tiny.write_folder(root, SIZES, 4))


def test_sizes_by_orientation_and_fixations_along(dataset):
    found = unified(dataset)
    assert found.image_sizes.tolist() == [[768, 1024], [1024, 768], [768, 1024]] * 3
    assert found.file_sizes.tolist() == [list(size) for size in SIZES]
    found.fixations.validate(found.image_sizes)
    before, after = dataset.fixations, found.fixations
    for image, ours_x, x, ours_y, y in zip(
        before.image, after.x, before.x, after.y, before.y, strict=True
    ):
        height, width = SIZES[image]
        new_height, new_width = (1024, 768) if height > width else (768, 1024)
        assert ours_x / new_width == pytest.approx(x / width, rel=1e-12)
        assert ours_y / new_height == pytest.approx(y / height, rel=1e-12)
    # The pictures themselves are what they were, and known by their hashes.
    np.testing.assert_array_equal(found.image(1), dataset.image(1))
    found.check_image_files()
    part = found.select([4, 0])
    assert part.file_sizes.tolist() == [[90, 60], [50, 80]]
    np.testing.assert_array_equal(part.image(0), dataset.image(4))


def test_a_fixation_on_the_edge_stays_inside(dataset):
    last = np.nextafter(np.float64(dataset.image_sizes[dataset.fixations.image]), 0)
    fixations = dataclasses.replace(dataset.fixations, y=last[:, 0], x=last[:, 1])
    found = unified(dataclasses.replace(dataset, fixations=fixations))
    found.fixations.validate(found.image_sizes)


def test_enlargement_is_the_median(dataset):
    assert enlargement(dataset) == 1
    # 12.8 and 15.36, 17.07 and 8.53...; of each picture the geometric mean.
    roots = [np.sqrt(768 * 1024 / (height * width)) for height, width in SIZES]
    assert enlargement(unified(dataset)) == pytest.approx(np.median(roots))


@pytest.fixture
def small(monkeypatch, tiny_cache):
    """The same with pictures that are quick to compute."""
    monkeypatch.setattr(unified_sizes, "_LONGER", 96)
    monkeypatch.setattr(unified_sizes, "_SHORTER", 72)
    tiny.on_one_device(monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("features_in_step", [False, True])
def test_run(dataset, small, tmp_path, features_in_step):
    """Two groups, features of stretched pictures; the card says how to predict."""
    groups, prepare = [], training.prepare

    def watched(*arguments, **options):
        data = prepare(*arguments, **options)
        groups.extend(data.groups)
        sizes = {group.model_size for group in data.groups}
        assert sizes == {(90, 120), (120, 90)}
        assert data.cache.rgb_sha256[0] == rgb_sha256(dataset.image(0))
        (group,) = [g for g in data.groups if 0 in g.images]
        assert group.images.tolist() == [0, 2, 3, 5, 6, 8]
        inputs = data.cache.read([0, 2], tiny.TAPS)
        if features_in_step:
            for image, picture in zip((0, 2), inputs, strict=True):
                expected = oracles.resize_image(dataset.image(image), 90, 120)
                np.testing.assert_allclose(picture, expected, atol=1e-3)
        else:
            assert inputs.shape[1:3] == (12, 15)
        return data

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "prepare", watched)
        config = tiny.config(
            unify_sizes=True,
            features_in_step=features_in_step,
            epochs=1,
            n_folds=3,
            only_folds=(1,),
        )
        path = training.train(dataset, config, tmp_path / "run")
    assert len(groups) == 2
    _, card = load_model(path)
    factor = np.sqrt(96 * 72 / (90 * 60))
    assert card["training"]["unify_sizes"] is True
    middle = np.median([np.sqrt(96 * 72 / (h * w)) for h, w in SIZES])
    assert card["input_scale"] == pytest.approx(1.25 * middle)
    assert card["training"]["input_scale"] == 1.25 and middle != factor
    # Prediction takes a picture as it is, at that scale.
    predictor = load_pretrained(path)
    side = 64 * 1.25 * middle
    assert predictor.model_size((64, 64)) == (int(side + 0.5),) * 2
    assert predictor.predict(dataset.image(2)).shape == (64, 64)
    # What goes on from it with the same sizes sees what it saw.
    tuned = training.train(
        dataset,
        training.TrainConfig(
            unify_sizes=True,
            n_folds=3,
            only_folds=(1,),
            pixels_per_dva=24.0,
            epochs=1,
        ),
        tmp_path / "tuned",
        start_from=path,
    )
    assert load_model(tuned)[1]["training"]["input_scale"] == pytest.approx(1.25)
    assert load_model(tuned)[1]["input_scale"] == pytest.approx(1.25 * middle)
