"""Maps of other models, read from files."""

import dataclasses
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
import tiny
from PIL import Image

from deepgaze_jax.datasets.folder import read_folder
from deepgaze_jax.errors import DataError, InputError
from deepgaze_jax.evaluation.baselines import CrossFit
from deepgaze_jax.evaluation.map_folders import (
    LogDensityFolder,
    SaliencyMapFolder,
    find_maps,
    kind_of_folder,
    read_map,
)
from deepgaze_jax.ops import resize_image

MAP = np.arange(12.0).reshape(3, 4)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "eight"
    return read_folder(tiny.write_folder(root, [(20, 30)] * 8, 1))


def test_pictures(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(MAP.astype(np.uint8)).save(path)
    np.testing.assert_array_equal(read_map(path), MAP)
    Image.fromarray((MAP * 5000).astype(np.uint16)).save(path)
    np.testing.assert_allclose(read_map(path), MAP * 5000 / 257, rtol=1e-6)
    Image.fromarray(np.repeat(MAP[..., None], 3, 2).astype(np.uint8)).save(path)
    np.testing.assert_array_equal(read_map(path), MAP)
    heat = np.stack([20 * MAP, 100 - MAP, 240 - 20 * MAP], axis=-1).astype(np.uint8)
    Image.fromarray(heat).save(path)
    with pytest.raises(InputError, match="is coloured"):
        read_map(path)


def test_matlab_files(tmp_path):
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {"salmap": MAP, "name": "x", "scale": 2.0})
    np.testing.assert_array_equal(read_map(path), MAP)
    scipy.io.savemat(path, {"s": MAP.astype(np.uint8)}, do_compression=True)
    np.testing.assert_array_equal(read_map(path), MAP)
    with h5py.File(path, "w") as file:
        file["s"] = MAP.T
        file["scale"] = np.ones((1, 1))
    np.testing.assert_array_equal(read_map(path), MAP)
    scipy.io.savemat(path, {"a": MAP, "b": MAP})
    with pytest.raises(InputError, match="found a, b"):
        read_map(path)
    scipy.io.savemat(path, {"a": 3.0})
    with pytest.raises(InputError, match="found none"):
        read_map(path)
    path.write_bytes(path.read_bytes()[:140])
    with pytest.raises(InputError, match=r"a\.mat"):
        read_map(path)
    path.write_bytes(b"<html>")
    with pytest.raises(InputError, match="not a readable MATLAB file"):
        read_map(path)


def test_names_of_files(dataset, tmp_path):
    names = ["00.npy", "01_log_density.npy", "02.png.npy", "03.png_log_density.npy"]
    names += [f"{k:02}.npy" for k in range(4, 8)]
    for name in names:
        np.save(tmp_path / name, MAP)
    # Overlays lie beside densities; they are not meant.
    Image.fromarray(MAP.astype(np.uint8)).save(tmp_path / "00_overlay.png")
    assert kind_of_folder(tmp_path) == ".npy"
    assert [path.name for path in find_maps(tmp_path, dataset)] == names
    for name in names:
        Path(tmp_path, name).unlink()
    # What macOS leaves beside files, and a folder, are no maps.
    (tmp_path / "._00.npy").write_bytes(b"")
    (tmp_path / "old.npy").mkdir()
    assert kind_of_folder(tmp_path) == ".png"
    for k in range(8):
        scipy.io.savemat(tmp_path / f"{k:02}.mat", {"s": MAP})
    assert find_maps(tmp_path, dataset)[3].name == "03.mat"
    Image.fromarray(MAP.astype(np.uint8)).save(tmp_path / "03.jpg")
    with pytest.raises(DataError, match=r"03.png has the files 03.jpg and 03.mat"):
        find_maps(tmp_path, dataset)
    (tmp_path / "05.mat").unlink()
    (tmp_path / "03.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of 8 images have no .*first 05.png"):
        find_maps(tmp_path, dataset)
    assert kind_of_folder(tmp_path / "none") is None


def test_log_densities(dataset, tmp_path):
    uniform = np.full((20, 30), -np.log(600), np.float32)
    for k in range(8):
        np.save(tmp_path / f"{k:02}.npy", uniform)
    source = LogDensityFolder(tmp_path, dataset, "theirs")
    (part,) = source.predict(3).parts
    np.testing.assert_array_equal(part.log_density, uniform)
    before = source.identity()
    np.save(tmp_path / "03.npy", np.exp(uniform))
    with pytest.raises(InputError, match=r"03\.npy: .* not a log density"):
        source.predict(3)
    assert source.identity() != before
    np.save(tmp_path / "03.npy", np.array([{}]), allow_pickle=True)
    for damaged in (None, b"hello", b""):
        if damaged is not None:
            (tmp_path / "03.npy").write_bytes(damaged)
        with pytest.raises(
            InputError, match=r"03\.npy: is no array of numbers"
        ) as info:
            source.predict(3)
        assert "pickle" not in str(info.value)


def test_saliency_maps_are_fitted_without_the_image(dataset, tmp_path):
    rng = np.random.default_rng(0)
    for k in range(8):
        grey = dataset.image(k).mean(axis=-1)
        # Of another size than the image.
        small = Image.fromarray(grey.astype(np.uint8)).resize((15, 10))
        small.save(tmp_path / f"{k:02}.png")
    cross_fit = CrossFit(dataset)
    source = SaliencyMapFolder(tmp_path, cross_fit, "theirs")
    before = source.predict(5)
    assert before.parts[0].log_density.shape == (20, 30)
    assert np.exp(before.parts[0].log_density).sum() == pytest.approx(1)
    assert len(source.card()["parameters"]) == len(cross_fit.folds)
    fold = cross_fit.fold_of[5]
    own = source.fits[fold].log_density(
        resize_image(read_map(tmp_path / "05.png")[..., None], 20, 30)[..., 0],
        cross_fit.center_bias(5),
    )
    np.testing.assert_allclose(before.parts[0].log_density, own, atol=1e-6)
    assert source.fits[fold] != source.fits[0]
    noise = rng.integers(0, 256, (10, 15)).astype(np.uint8)
    # Whatever a test image's map is, its fold's parameters stay as they are.
    Image.fromarray(noise).save(tmp_path / "05.png")
    other = SaliencyMapFolder(tmp_path, cross_fit, "theirs")
    assert other.fits[fold] == source.fits[fold]
    changed = [
        k for k in range(len(cross_fit.folds)) if other.fits[k] != source.fits[k]
    ]
    assert changed and all(5 in cross_fit.folds[k].train for k in changed)


def test_maps_that_are_not_finite_are_named(dataset, tmp_path):
    for k in range(8):
        values = np.where(np.arange(600).reshape(20, 30) == 7 * (k == 2), np.nan, 1.0)
        scipy.io.savemat(tmp_path / f"{k:02}.mat", {"s": values})
    source = SaliencyMapFolder(tmp_path, CrossFit(dataset), "theirs")
    with pytest.raises(InputError, match=r"00\.mat: 1 of 600 values are not finite"):
        source.predict(0)


def test_a_fit_knows_nothing_of_where_people_looked_on_test_images(dataset, tmp_path):
    for k in range(8):
        Image.fromarray(dataset.image(k).astype(np.uint8)).convert("L").save(
            tmp_path / f"{k:02}.png"
        )
    fixations = dataset.fixations
    # All that people saw of image 5 is now its upper left corner.
    elsewhere = dataclasses.replace(
        fixations,
        x=np.where(fixations.image == 5, 0.5, fixations.x),
        y=np.where(fixations.image == 5, 0.5, fixations.y),
    )
    fits, folds = [], CrossFit(dataset).folds
    for points in (fixations, elsewhere):
        data = dataclasses.replace(dataset, fixations=points)
        fits.append(SaliencyMapFolder(tmp_path, CrossFit(data), "theirs").fits)
    for number, fold in enumerate(folds):
        assert (fits[0][number] != fits[1][number]) == (5 in fold.train)
