"""Overlays: contour levels against brute force, and what the eye would notice."""

import itertools

import matplotlib
import numpy as np
import oracles
import pytest
from PIL import Image

from deepgaze_jax import plotting
from deepgaze_jax.errors import InputError
from deepgaze_jax.plotting import mass_levels, overlay, write_png


def blobs(height, width, *spots):
    """Log density of Gaussian blobs (x, y, sigma, weight)."""
    y, x = np.mgrid[:height, :width] + 0.5
    density = sum(
        weight * np.exp(-((x - a) ** 2 + (y - b) ** 2) / (2 * s**2)) / s**2
        for a, b, s, weight in spots
    )
    return np.log(density / density.sum())


def brute_force_levels(density, n_parts):
    """The largest value such that all pixels not below it hold k / n of the mass."""
    out = []
    for k in range(1, n_parts):
        for value in sorted(set(density.ravel()), reverse=True):
            if density[density >= value].sum() >= k / n_parts * density.sum() - 1e-12:
                out.append(value)
                break
    return out


@pytest.mark.parametrize("n_parts", [2, 4, 7])
@pytest.mark.parametrize("seed", range(4))
def test_levels_are_exact(seed, n_parts):
    rng = np.random.default_rng(seed)
    density = rng.integers(1, 9 if seed % 2 else 10**6, (13, 17)).astype(float)
    density /= density.sum()
    ours = np.exp(mass_levels(np.log(density), n_parts))
    np.testing.assert_allclose(ours, brute_force_levels(density, n_parts), rtol=1e-12)


def test_parts_have_equal_mass():
    log_density = blobs(200, 300, (80, 60, 20, 1), (210, 140, 35, 2))
    density = np.exp(log_density)
    edges = [np.inf, *np.exp(mass_levels(log_density)), 0]
    for high, low in itertools.pairwise(edges):
        part = density[(density >= low) & (density < high)].sum()
        assert part == pytest.approx(0.25, abs=2e-3)


def test_levels_of_a_density_with_zeros():
    with np.errstate(divide="ignore"):
        log_density = np.log(np.array([[1.0, 0, 0, 0]]))
    np.testing.assert_array_equal(mass_levels(log_density), [0, 0, 0])


def lines_of(picture, plain):
    """Where contour lines were drawn: where the picture differs from one without."""
    return np.abs(picture.astype(int) - plain).max(axis=-1) > 40


def without_lines(monkeypatch, *args):
    with monkeypatch.context() as patch:
        patch.setattr(
            plotting,
            "_with_contours",
            lambda picture, *_: np.rint(picture).astype(np.uint8),
        )
        return overlay(*args)


@pytest.mark.parametrize("value", [0, 128, 255])
def test_lines_are_seen_on_every_photograph_and_split_the_mass(value, monkeypatch):
    image = np.full((240, 320, 3), value, np.uint8)
    log_density = blobs(240, 320, (160, 120, 40, 1))
    picture = overlay(image, log_density)
    assert picture.shape == image.shape and picture.dtype == np.uint8
    lines = lines_of(picture, without_lines(monkeypatch, image, log_density))
    # To the right of the centre a ray crosses three lines, at the radii that hold
    # 25, 50 and 75 % of a Gaussian.
    crossed = np.flatnonzero(lines[120, 160:]) + 0.5
    radii = 40 * np.sqrt(-2 * np.log(1 - np.array([0.25, 0.5, 0.75])))
    assert all(np.abs(crossed - radius).min() < 2 for radius in radii)
    assert all(np.abs(radii - pixel).min() < 4 for pixel in crossed)


def test_heat_grows_with_density():
    image = np.full((240, 320, 3), 120, np.uint8)
    picture = overlay(image, blobs(240, 320, (160, 120, 40, 1))).astype(int)
    # Between the lines, from the centre outwards.
    change = [np.abs(picture[120, 160 + r] - 120).sum() for r in (2, 38, 55, 150)]
    assert change == sorted(change, reverse=True)
    assert change[-1] <= 3 and change[0] > 60


def test_size_and_sizes():
    log_density = blobs(300, 400, (100, 100, 30, 1))
    image = oracles.random_image(0, 300, 400)
    assert overlay(image, log_density, max_side=200).shape == (150, 200, 3)
    assert overlay(image, log_density).shape == (300, 400, 3)
    for size in ((1, 1), (1, 7), (5, 2), (2, 3)):
        picture = overlay(np.full((*size, 3), 9, np.uint8), np.zeros(size))
        assert picture.shape == (*size, 3)


def test_flat_and_peaked_densities():
    image = np.full((60, 80, 3), 128, np.uint8)
    flat = overlay(image, np.full((60, 80), -np.log(4800)))
    assert np.ptp(flat.reshape(-1, 3), axis=0).max() == 0
    peaked = np.full((60, 80), -np.inf)
    peaked[30, 40] = 0
    assert np.ptp(overlay(image, peaked)[..., 0]) > 60


def test_global_state_of_matplotlib_is_left_alone():
    backend = matplotlib.get_backend()
    settings = dict(matplotlib.rcParams)
    overlay(np.full((60, 80, 3), 128, np.uint8), blobs(60, 80, (40, 30, 8, 1)))
    assert matplotlib.get_backend() == backend
    assert dict(matplotlib.rcParams) == settings


def test_refuses():
    image = np.full((6, 8, 3), 128, np.uint8)
    with pytest.raises(InputError, match="6x8"):
        overlay(image, np.zeros((8, 6)))
    for bad in (np.full((6, 8), np.nan), np.full((6, 8), -np.inf)):
        with pytest.raises(InputError, match="NaN or no finite"):
            overlay(image, bad)
    with pytest.raises(InputError, match="shape"):
        overlay(image, np.zeros((6, 8, 1)))


def test_png_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    picture = oracles.random_image(0, 9, 11).astype(np.uint8)
    path = tmp_path / "p.png"
    write_png(path, picture)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), picture)
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        write_png(path, 255 - picture)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), picture)
    assert [p.name for p in tmp_path.iterdir()] == ["p.png"]
