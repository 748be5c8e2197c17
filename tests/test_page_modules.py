"""The numbers of the page's modules, against those of other libraries."""

import functools
import http.server
import io
import threading
from importlib import resources

import chromium
import matplotlib
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from deepgaze_jax.plotting import mass_levels
from deepgaze_jax.visual_angle import pixels_per_dva

pytestmark = chromium.MARKS


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def page():
    """An empty page beside the modules."""
    folder = resources.files("deepgaze_jax") / "server"
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with chromium.launched() as browser:
            page = browser.new_page()
            page.goto(f"http://127.0.0.1:{server.server_port}/page/icon.svg")
            yield page
        server.shutdown()


def module(page, name, code, *arguments):
    """Run code on a module of the page, `m`, and its arguments, `a`."""
    script = f"async a => {{ const m = await import('/page/{name}.js'); {code} }}"
    return page.evaluate(script, list(arguments))


def test_each_pixel_is_drawn_by_its_probability(page):
    density = np.array([[0.05, 0.0, 0.2, 0.1], [0.15, 0.1, 0.0, 0.4]])
    log_density = np.log(np.maximum(density, 1e-300)).ravel().tolist()
    code = "return m.sampleFixations({height: 2, width: 4, values: a[0]}, a[1], 7)"
    x, y = np.array(module(page, "density", code, log_density, 20_000)).T
    counts, _, _ = np.histogram2d(y, x, (2, 4), ((0, 2), (0, 4)))
    error = np.sqrt(density * (1 - density) / 20_000)
    assert (np.abs(counts / 20_000 - density) <= 4 * error).all()
    # Within a pixel evenly.
    for inside in (x % 1, y % 1):
        assert inside.min() >= 0
        assert np.histogram(inside, 4, (0, 1))[0] == pytest.approx(5000, abs=250)


def test_numbers_of_the_modules(page):
    values = np.random.default_rng(0).normal(size=(37, 53)).astype(np.float32)
    values -= np.log(np.exp(values.astype(np.float64)).sum())
    log_density = {"height": 37, "width": 53, "values": values.ravel().tolist()}
    code = "return Array.from(m.resizeDensity(a[0], a[1], a[2]))"
    density = np.exp(values.astype(np.float64)) * values.size
    small = module(page, "density", code, log_density, 10, 20)
    np.testing.assert_allclose(
        np.reshape(small, (10, 20)), _mean_over_areas(density, 10, 20), rtol=1e-6
    )
    large = module(page, "density", code, log_density, 74, 106)
    np.testing.assert_allclose(
        np.reshape(large, (74, 106)), density.repeat(2, 0).repeat(2, 1), rtol=1e-6
    )
    code = "return Array.from(m.blur(a[0], a[1], a[2], a[3]))"
    blurred = module(page, "density", code, density.ravel().tolist(), 37, 53, 1.7)
    np.testing.assert_allclose(
        np.reshape(blurred, (37, 53)),
        gaussian_filter(density, 1.7, mode="nearest"),
        rtol=1e-6,
    )
    code = (
        "const r = m.ranksAndLevels(Float32Array.from(a[0]));"
        "return {ranks: Array.from(r.ranks), levels: r.levels}"
    )
    found = module(page, "density", code, density.ravel().tolist())
    np.testing.assert_allclose(
        np.log(found["levels"]) - np.log(values.size),
        mass_levels(values),
        atol=1e-4,
    )
    order = np.argsort(density.ravel())
    below = np.cumsum(density.ravel()[order]) - density.ravel()[order] / 2
    ranks = np.array(found["ranks"])[order]
    np.testing.assert_allclose(ranks, below / density.sum(), atol=2e-3)


def _mean_over_areas(values, height, width):
    def weights(n, m):
        edges = np.linspace(0, n, m + 1)
        low, high = edges[:-1, None], edges[1:, None]
        cells = np.arange(n)
        overlap = np.minimum(high, cells + 1) - np.maximum(low, cells)
        return np.maximum(overlap, 0) * m / n

    return weights(values.shape[0], height) @ values @ weights(values.shape[1], width).T


def test_contours_are_those_of_contourpy(page):
    contourpy = pytest.importorskip("contourpy")
    values = np.random.default_rng(1).random((12, 15))
    code = "return Array.from(m.contour(a[0], a[1], a[2], a[3]))"
    pieces = module(page, "contours", code, values.ravel().tolist(), 12, 15, 0.6)
    pieces = np.reshape(pieces, (-1, 2, 2))
    x, y = np.arange(15) + 0.5, np.arange(12) + 0.5
    lines = contourpy.contour_generator(x, y, values).lines(0.6)
    theirs = np.concatenate([np.stack([one[:-1], one[1:]], 1) for one in lines])
    assert pieces.shape == theirs.shape

    # Each piece is one of theirs: by its middle and its length; float32 here.
    def described(pairs):
        lengths = np.linalg.norm(pairs[:, 0] - pairs[:, 1], axis=1)
        return np.column_stack([pairs.mean(axis=1), lengths])

    apart = np.abs(described(pieces)[:, None] - described(theirs)).max(axis=2)
    assert apart.min(axis=0).max() < 1e-4
    assert apart.min(axis=1).max() < 1e-4


def test_colours_are_matplotlibs(page):
    code = (
        "return m.COLOUR_MAPS.map(name =>"
        " Array.from({length: 101}, (_, i) => m.colourAt(name, i / 100)))"
    )
    found = module(page, "colours", code)
    names = module(page, "colours", "return m.COLOUR_MAPS")
    for name, colours in zip(names, found, strict=True):
        wanted = 255 * matplotlib.colormaps[name](np.linspace(0, 1, 101))[:, :3]
        assert np.abs(np.array(colours) - wanted).max() < 4


def test_degrees_are_those_of_the_library(page):
    code = (
        "const screen = {width: 1920, height: 1080, inches: 24, distanceCm: 60};"
        "return m.pixelsPerDva({...screen, zoom: a[0]})"
    )
    centimetres = 24 * 2.54 * 1920 / np.hypot(1920, 1080)
    wanted = pixels_per_dva(1920, centimetres, 60)
    assert module(page, "numbers", code, 1) == pytest.approx(wanted)
    assert module(page, "numbers", code, 0.5) == pytest.approx(2 * wanted)


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_numpy_are_read(page, order):
    from playwright.sync_api import Error as PlaywrightError

    values = np.arange(6, dtype=np.float32).reshape(2, 3).copy(order)
    code = (
        "const r = m.parseNpy(Uint8Array.from(a[0]).buffer);"
        "return [r.height, r.width, Array.from(r.values)]"
    )
    for version in ((1, 0), (2, 0), (3, 0)):
        file = io.BytesIO()
        np.lib.format.write_array(file, values, version=version)
        found = module(page, "npy", code, list(file.getvalue()))
        assert found == [2, 3, [0, 1, 2, 3, 4, 5]]
    wrong = [values.astype(np.float64), values[0]]
    for array in wrong:
        file = io.BytesIO()
        np.save(file, array)
        with pytest.raises(PlaywrightError, match="Expected float32"):
            module(page, "npy", code, list(file.getvalue()))
    with pytest.raises(PlaywrightError, match="found 5"):
        file = io.BytesIO()
        np.lib.format.write_array(file, values, version=(1, 0))
        module(page, "npy", code, list(file.getvalue())[:-4])
