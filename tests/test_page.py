"""The page of `deepgaze serve`, in a browser, against the real server."""

import base64
import contextlib
import csv
import io
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import chromium
import matplotlib
import numpy as np
import pytest
from PIL import Image

from deepgaze_jax.plotting import overlay
from deepgaze_jax.prediction import load_pretrained
from deepgaze_jax.visual_angle import pixels_per_dva

pytest.importorskip("fastapi")
pytestmark = chromium.MARKS

HOPPER = Path(matplotlib.get_data_path(), "sample_data", "grace_hopper.jpg")
WAIT_MS = 120_000
DESKTOP = {"width": 1280, "height": 900}


@contextlib.contextmanager
def serving(*options, **environment):
    """A running `deepgaze serve --models icf`; its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "deepgaze_jax", "serve", "--models", "icf"]
    server = subprocess.Popen(
        [*command, "--port", str(port), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **environment},
    )
    url = f"http://127.0.0.1:{port}/"
    try:
        for _ in range(300):
            if server.poll() is not None:
                pytest.fail(f"the server ended: {server.stdout.read()}")
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                with urllib.request.urlopen(f"{url}readyz", timeout=5):
                    break
            time.sleep(0.2)
        yield url
    finally:
        server.terminate()
        server.communicate(timeout=30)


@pytest.fixture(scope="module")
def address():
    with serving() as url:
        yield url


@pytest.fixture(scope="module")
def browser():
    with chromium.launched() as browser:
        yield browser


@pytest.fixture
def open_page(browser, address):
    """Opens pages; afterwards there must be no error and no request elsewhere."""
    problems, expected, contexts = [], [], []

    def open_page(*, route=None, **options):
        context = browser.new_context(viewport=DESKTOP, **options)
        context.set_default_timeout(WAIT_MS)
        contexts.append(context)
        page = context.new_page()
        if route:
            page.route(*route)
        page.on("console", lambda message: _note(problems, message))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: _local(problems, request.url, address))
        page.goto(address)
        page.wait_for_selector("#gallery button")
        page.expected = expected
        return page

    yield open_page
    for context in contexts:
        context.close()
    left = [one for one in problems if not any(word in one for word in expected)]
    assert not left, left


def _note(problems, message):
    if message.type in ("error", "warning"):
        problems.append(f"{message.type}: {message.text}")


def _local(problems, url, address):
    if not url.startswith((address, f"blob:{address}", "data:")):
        problems.append(f"request to {url}")


@pytest.fixture
def page(open_page):
    return open_page()


@pytest.fixture(scope="module")
def expected():
    """The log density that the library computes for the photograph."""
    return load_pretrained("icf").predict(HOPPER)


def choose(page, file, panel="a"):
    """Choose a picture and wait for its result."""
    page.set_input_files("#file", file)
    finished(page, panel)


def finished(page, panel="a"):
    selector = f"#panel-{panel}[aria-busy=false] .numbers:not([hidden])"
    page.wait_for_selector(selector)
    # Drawn with the next frame.
    page.evaluate("() => new Promise(f => requestAnimationFrame(() => setTimeout(f)))")


def saved(page, what, panel="a"):
    with page.expect_download() as download:
        page.click(f"#panel-{panel} [data-save={what}]")
    return download.value.suggested_filename, download.value.path()


def pixels(page, figure, panel="a"):
    """The drawing in a canvas, float64 [height, width, 3]."""
    data = page.evaluate(
        "selector => document.querySelector(selector).toDataURL().split(',')[1]",
        f"#panel-{panel} .{figure} canvas",
    )
    with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
        return np.asarray(picture.convert("RGB"), np.float64)


def give_box(page, x, y, width, height):
    for name, value in {"x": x, "y": y, "width": width, "height": height}.items():
        page.fill(f"#box-{name}", str(value))


def share(page, panel="a", *, differs_from=None):
    """The share of the box in the number fields, once there is one (another one)."""
    page.wait_for_function(
        """([panel, old]) => {
        const value = id => Number(document.getElementById(id).value);
        const box = ['x', 'y', 'width', 'height'].map(name => value(`box-${name}`));
        const [x, y, w, h] = box;
        const here = `x ${x} to ${x + w - 1}, y ${y} to ${y + h - 1};`;
        const find = name => document.querySelector(`#panel-${panel} .numbers ${name}`);
        // B has other pixels than those of the fields.
        const right = panel === 'b' || find('.box').textContent.startsWith(here);
        const share = find('.share');
        return right && share.textContent !== '–' && share.dataset.share !== old; }""",
        arg=[panel, differs_from],
    )
    return page.get_attribute(f"#panel-{panel} .share", "data-share")


def box_fields(page):
    ids = ("box-x", "box-y", "box-width", "box-height")
    return [int(page.input_value(f"#{one}")) for one in ids]


def test_photograph_in_overlay_and_files_out(page, expected):
    choose(page, HOPPER)
    picture, result = pixels(page, "picture"), pixels(page, "result")
    assert picture.shape == result.shape == (800, 683, 3)
    assert np.abs(picture - result).max(axis=2).mean() > 10
    name, path = saved(page, "npy")
    assert name == "grace_hopper_log_density.npy"
    np.testing.assert_array_equal(np.load(path), expected)
    name, path = saved(page, "png")
    assert name == "grace_hopper_overlay.png"
    with Image.open(path) as drawing:
        np.testing.assert_array_equal(np.asarray(drawing.convert("RGB")), result)
    name, path = saved(page, "csv")
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert name == "grace_hopper_grid.csv"
    assert len(rows) == 64 * 55
    density = np.exp(expected.astype(np.float64))
    for row in rows[:: len(rows) // 50]:
        x0, y0, x1, y1 = (int(row[edge]) for edge in ("x0", "y0", "x1", "y1"))
        np.testing.assert_allclose(
            float(row["probability"]), density[y0:y1, x0:x1].sum(), rtol=1e-9
        )
    assert sum(float(row["probability"]) for row in rows) == pytest.approx(1, abs=1e-5)


def test_coarse_grid_is_the_servers(page, address):
    choose(page, HOPPER)
    _, path = saved(page, "csv")
    rows = list(csv.DictReader(path.read_text().splitlines()))
    request = urllib.request.Request(f"{address}v1/predict", HOPPER.read_bytes())
    request.add_header("Content-Type", "image/jpeg")
    with urllib.request.urlopen(request) as response:
        grid = json.load(response)["log_density"]
    mine = np.array([float(row["log_probability"]) for row in rows])
    theirs = np.array(grid["values"])
    np.testing.assert_allclose(mine.reshape(theirs.shape), theirs, atol=1e-6)


@pytest.mark.slow
def test_center_bias_and_scale_change_the_numbers(page, expected):
    choose(page, HOPPER)
    give_box(page, 0, 0, 100, 100)
    own = share(page)
    page.select_option("#center-bias", "uniform")
    uniform = share(page, differs_from=own)
    # Fewer fixations are expected in a corner by those who like the middle.
    assert float(uniform) > float(own)
    _, path = saved(page, "npy")
    model = load_pretrained("icf")
    np.testing.assert_array_equal(
        np.load(path), model.predict(HOPPER, center_bias="uniform")
    )
    page.fill("#dva", "48")
    share(page, differs_from=uniform)
    finished(page)
    assert "48" in page.inner_text("#panel-a .settings")
    _, path = saved(page, "npy")
    np.testing.assert_array_equal(
        np.load(path), model.predict(HOPPER, center_bias="uniform", pixels_per_dva=48)
    )


def test_share_of_a_box_is_numpys_sum(page, expected):
    choose(page, HOPPER)
    density = np.exp(expected.astype(np.float64))
    give_box(page, 120, 80, 200, 150)
    first = share(page)
    np.testing.assert_allclose(float(first), density[80:230, 120:320].sum(), rtol=1e-9)
    # With the mouse: the fields say which pixels it is.
    view = page.locator("#panel-a .result .view").bounding_box()
    page.mouse.move(view["x"] + 0.2 * view["width"], view["y"] + 0.7 * view["height"])
    page.mouse.down()
    page.mouse.move(view["x"] + 0.6 * view["width"], view["y"] + 0.4 * view["height"])
    page.mouse.move(view["x"] + 0.7 * view["width"], view["y"] + 0.1 * view["height"])
    page.mouse.up()
    x, y, width, height = box_fields(page)
    assert (x, y, width) == pytest.approx((102, 60, 257), abs=2)
    np.testing.assert_allclose(
        float(share(page)), density[y : y + height, x : x + width].sum(), rtol=1e-9
    )
    page.click("#box-clear")
    assert page.inner_text("#panel-a .share") == "–"


def test_cursor_says_what_is_there(page, expected):
    choose(page, HOPPER)
    view = page.locator("#panel-a .result .view").bounding_box()
    page.mouse.move(view["x"] + 0.5 * view["width"], view["y"] + 0.25 * view["height"])
    x, y = _pixel(page)
    assert (x, y) == pytest.approx((256, 150), abs=1)
    _check_numbers(page, expected, x, y)


def _pixel(page):
    return [int(n) for n in re.findall(r"\d+", page.inner_text("#panel-a .pixel"))]


def _check_numbers(page, expected, x, y):
    nats = page.inner_text("#panel-a .nats").replace("−", "-")
    assert nats == f"{expected[y, x]:.3f} nats"
    bits = (float(expected[y, x]) + np.log(expected.size)) / np.log(2)
    said = page.inner_text("#panel-a .bits").replace("−", "-")
    assert said.startswith(f"{bits:+.2f} bits")


def test_everything_by_keyboard(page, expected):
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    # Files are chosen by the dialogue of the system; an example has a button.
    for _ in range(10):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('#gallery') !== null"):
            break
    page.keyboard.press("Enter")
    finished(page)
    for _ in range(60):
        page.keyboard.press("Tab")
        outline = page.evaluate(
            "getComputedStyle(document.activeElement.matches('.segments input, #file')"
            " ? document.activeElement.nextElementSibling : document.activeElement)"
            ".outlineStyle"
        )
        assert outline != "none"
        if page.evaluate("document.activeElement.matches('.result .view')"):
            break
    page.keyboard.press("Home")
    y, x = np.unravel_index(expected.argmax(), expected.shape)
    assert _pixel(page) == [x, y]
    _check_numbers(page, expected, x, y)
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Shift+ArrowUp")
    assert _pixel(page) == [x - 6, y - 1]
    page.keyboard.press("Enter")
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    for _ in range(4):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowDown")  # The box has ended.
    assert box_fields(page) == [x - 6, y - 1, 31, 25]
    box = slice(y - 1, y + 24), slice(x - 6, x + 25)
    said = float(share(page))
    density = np.exp(expected.astype(np.float64))
    np.testing.assert_allclose(said, density[box].sum(), rtol=1e-9)
    page.wait_for_function(
        "() => document.getElementById('spoken').textContent.includes('of the area')"
    )
    page.keyboard.press("Escape")
    assert page.inner_text("#panel-a .share") == "–"


def test_what_cannot_be_a_picture_is_said(page, tmp_path):
    page.expected.append("status of 4")
    choose(page, HOPPER)
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(HOPPER.read_bytes()[:5000])
    page.set_input_files("#file", cut)
    page.wait_for_selector("#message:not([hidden])")
    assert "cut.jpg: is cut off" in page.inner_text("#message")
    # Nothing of the picture before looks like its result.
    assert page.is_hidden("#panel-a .numbers")
    text = tmp_path / "text.jpg"
    text.write_text("no picture")
    page.set_input_files("#file", text)
    page.wait_for_function(
        "() => /not a picture/.test(document.querySelector('#message p').textContent)"
    )
    choose(page, HOPPER)
    assert page.is_hidden("#message")


def test_too_large_a_file_is_not_sent(page, tmp_path, address):
    with urllib.request.urlopen(f"{address}v1/models") as response:
        limit = json.load(response)["limits"]["max_upload_bytes"]
    large = tmp_path / "large.jpg"
    large.write_bytes(HOPPER.read_bytes() + bytes(limit))
    sent = []
    page.on("request", lambda request: sent.append(request.method))
    page.set_input_files("#file", large)
    page.wait_for_selector("#message:not([hidden])")
    assert f"at most {limit / 1e6:.1f} MB" in page.inner_text("#message")
    assert "POST" not in sent


def test_server_that_is_away_can_be_asked_again(page):
    page.expected.append("net::ERR_")
    page.route("**/v1/predict*", lambda route: route.abort("connectionrefused"))
    page.set_input_files("#file", HOPPER)
    page.wait_for_selector("#message:not([hidden])")
    assert "does not answer" in page.inner_text("#message")
    page.unroute("**/v1/predict*")
    page.click("#retry")
    finished(page)
    assert page.is_hidden("#message")


@pytest.mark.slow
def test_key_is_asked_for_where_one_is_needed(browser):
    with serving("--api-key-env", "PAGE_KEY", PAGE_KEY="open sesame") as url:
        page = browser.new_page(viewport=DESKTOP)
        page.set_default_timeout(WAIT_MS)
        page.goto(url)
        page.wait_for_selector("#key-form:not([hidden])")
        page.fill("#key", "wrong")
        page.press("#key", "Enter")
        page.wait_for_selector("#message:not([hidden])")
        page.fill("#key", "open sesame")
        page.press("#key", "Enter")
        page.wait_for_selector("#key-form", state="hidden")
        choose(page, HOPPER)
        page.close()


def test_progress_is_shown(page):
    held = []
    page.route("**/v1/predict*", lambda route: held.append(route))
    page.set_input_files("#file", HOPPER)
    page.wait_for_selector("#panel-a .progress:not([hidden])")
    assert page.get_attribute("#panel-a", "aria-busy") == "true"
    assert page.inner_text("#status").startswith("Computing")
    # The picture is there already.
    page.wait_for_selector("#panel-a .picture:not([hidden])")
    held[0].continue_()
    finished(page)
    assert page.is_hidden("#panel-a .progress")
    assert "done" in page.inner_text("#status")


@pytest.mark.parametrize("event", ["drop", "paste"])
def test_pictures_come_by_drag_and_by_clipboard(page, event):
    page.evaluate(
        """async event => {
        const answer = await fetch('/v1/examples/hopper.jpg');
        const transfer = new DataTransfer();
        transfer.items.add(new File([await answer.blob()], 'given.jpg'));
        const how = {bubbles: true, cancelable: true};
        document.body.dispatchEvent(event === 'drop'
            ? new DragEvent('drop', {...how, dataTransfer: transfer})
            : new ClipboardEvent('paste', {...how, clipboardData: transfer})); }""",
        event,
    )
    finished(page)
    assert page.inner_text("#panel-a .title") == "given.jpg"


def test_box_by_finger(open_page, expected):
    page = open_page(has_touch=True)
    choose(page, HOPPER)
    fingers = page.context.new_cdp_session(page)

    def swipe():
        page.locator("#panel-a .result").scroll_into_view_if_needed()
        view = page.locator("#panel-a .result .view").bounding_box()
        kinds, places = ("Start", "Move", "Move", "End"), (0.2, 0.3, 0.4, None)
        for kind, place in zip(kinds, places, strict=True):
            x = view["x"] + (place or 0) * view["width"]
            y = view["y"] + (place or 0) * view["height"]
            points = [] if place is None else [{"x": x, "y": y}]
            event = {"type": f"touch{kind}", "touchPoints": points}
            fingers.send("Input.dispatchTouchEvent", event)

    swipe()
    assert page.input_value("#box-width") == ""
    page.check("#draw")
    swipe()
    x, y, width, height = box_fields(page)
    assert (x, y, width, height) == pytest.approx((102, 120, 103, 121), abs=2)
    density = np.exp(expected.astype(np.float64))
    np.testing.assert_allclose(
        float(share(page)), density[y : y + height, x : x + width].sum(), rtol=1e-9
    )


def test_wrong_number_is_not_asked_for(page):
    choose(page, HOPPER)
    page.fill("#dva", "-3")
    page.wait_for_selector("#message:not([hidden])")
    assert "positive number" in page.inner_text("#message")
    page.fill("#dva", "")
    page.wait_for_selector("#message", state="hidden")


@pytest.mark.slow
def test_only_the_last_request_counts(page, expected):
    aborted = []
    page.on("requestfailed", lambda request: aborted.append(request.failure))
    choose(page, HOPPER)
    page.evaluate(
        "() => { const list = document.getElementById('center-bias');"
        " for (const value of ['uniform', 'osie', 'uniform', '']) { list.value = value;"
        " list.dispatchEvent(new Event('change')); } }"
    )
    finished(page)
    _, path = saved(page, "npy")
    np.testing.assert_array_equal(np.load(path), expected)
    assert len(aborted) == 3
    assert not page.is_visible("#message")


@pytest.mark.slow
def test_two_pictures_on_one_scale(page, expected, tmp_path):
    model = load_pretrained("icf")
    other = tmp_path / "other.png"
    with Image.open(HOPPER) as picture:
        picture.rotate(180).resize((300, 200)).save(other)
    page.check("#compare")
    choose(page, HOPPER, "a")
    choose(page, other, "b")
    give_box(page, 128, 150, 256, 300)
    a, b = float(share(page, "a")), float(share(page, "b"))
    density = np.exp(expected.astype(np.float64))
    np.testing.assert_allclose(a, density[150:450, 128:384].sum(), rtol=1e-9)
    # The same place of a picture of another size.
    density_b = np.exp(model.predict(other).astype(np.float64))
    np.testing.assert_allclose(b, density_b[50:150, 75:225].sum(), rtol=1e-9)
    page.check("input[value=density]", force=True)
    page.wait_for_function(
        "() => document.querySelector('#legend .ticks').textContent.includes('×')"
    )
    highest = float(page.inner_text("#legend .ticks").split()[-1].rstrip("×"))
    # A narrow blur hides the steps of the model's grid, and lowers the highest a bit.
    peak = max(density.max() * density.size, density_b.max() * density_b.size)
    assert 0.85 * peak < highest <= peak + 0.06
    page.uncheck("#compare")
    assert page.is_hidden("#panel-b")


def test_what_was_hidden_follows_the_settings(page, tmp_path):
    small = tmp_path / "small.png"
    Image.new("RGB", (60, 40), "orange").save(small)
    page.check("#compare")
    choose(page, small, "a")
    choose(page, small, "b")
    page.uncheck("#compare")
    page.select_option("#center-bias", "uniform")
    page.locator("#panel-a .settings", has_text="center bias: uniform").wait_for()
    page.check("#compare")
    page.locator("#panel-b .settings", has_text="center bias: uniform").wait_for()
    finished(page, "b")


def test_page_without_its_worker_says_so(open_page, tmp_path):
    small = tmp_path / "small.png"
    Image.new("RGB", (60, 40), "orange").save(small)
    page = open_page(route=("**/worker.js", lambda route: route.abort()))
    page.expected += ["Failed to load resource", "worker.js"]
    page.set_input_files("#file", small)
    page.wait_for_selector("#message:not([hidden])")
    assert "could not be loaded as a whole" in page.inner_text("#message")
    assert page.get_attribute("#panel-a", "aria-busy") == "false"


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_turned_photographs_are_upright(page, tmp_path, orientation):
    turned = tmp_path / "turned.jpg"
    with Image.open(HOPPER) as picture:
        small = picture.resize((160, 100))
    exif = Image.Exif()
    exif[0x0112] = orientation
    small.save(turned, exif=exif, quality=95)
    choose(page, turned)
    width, height = (160, 100) if orientation == 3 else (100, 160)
    assert f"{width} × {height} pixels" in page.inner_text("#panel-a .settings")
    assert page.is_hidden("#panel-a .empty")
    turn = {3: 180, 6: 270, 8: 90}[orientation]
    drawn = pixels(page, "picture")
    upright = small.rotate(turn, expand=True).resize(drawn.shape[1::-1])
    assert np.abs(drawn - np.asarray(upright, np.float64)).mean() < 6


def test_picture_that_browsers_do_not_know(page, tmp_path):
    path = tmp_path / "picture.tif"
    with Image.open(HOPPER) as picture:
        picture.resize((128, 150)).save(path)
    choose(page, path)
    assert "grey" in page.inner_text("#panel-a .empty")
    assert page.is_hidden("#panel-a .picture")


@pytest.mark.slow
def test_overlay_is_that_of_the_command_line(page, tmp_path):
    path = tmp_path / "large.png"
    with Image.open(HOPPER) as picture:
        picture.resize((768, 900)).save(path)
    choose(page, path)
    drawn = pixels(page, "result")
    wanted = overlay(path, load_pretrained("icf").predict(path)).astype(np.float64)
    assert drawn.shape == wanted.shape
    difference = np.abs(drawn - wanted)
    # Lines are drawn by other programs.
    assert difference.mean() < 1
    assert np.quantile(difference, 0.98) <= 3


def drawn_fixations(page, n, *, other_than=None):
    """The points in the file, once there are n, other ones than before."""
    for _ in range(100):
        if page.is_visible("#panel-a [data-save=fixations]"):
            _, path = saved(page, "fixations")
            points = np.loadtxt(path, delimiter=",", skiprows=1, ndmin=2)
            if len(points) == n and not np.array_equal(points, other_than):
                return points
        page.wait_for_timeout(100)
    raise AssertionError(f"{n} fixations were not drawn")


def test_drawn_fixations_follow_the_density_and_the_seed(page, expected):
    choose(page, HOPPER)
    without = pixels(page, "result")
    page.check("#samples")
    page.fill("#sample-number", "4000")
    points = drawn_fixations(page, 4000)
    x, y = points.T
    assert (x >= 0).all() and (x < 512).all() and (y >= 0).all() and (y < 600).all()
    density = np.exp(expected.astype(np.float64))
    for rows in (slice(0, 200), slice(200, 400)):
        for columns in (slice(0, 256), slice(256, 512)):
            p = density[rows, columns].sum()
            inside = (y >= rows.start) & (y < rows.stop)
            inside &= (x >= columns.start) & (x < columns.stop)
            assert abs(inside.mean() - p) < 4 * np.sqrt(p * (1 - p) / 4000)
    assert np.abs(pixels(page, "result") - without).max() > 50
    # The same seed gives the same points, another one others.
    page.fill("#sample-seed", "1")
    others = drawn_fixations(page, 4000, other_than=points)
    assert not np.isin(others, points).any()
    page.fill("#sample-seed", "0")
    again = drawn_fixations(page, 4000, other_than=others)
    np.testing.assert_array_equal(again, points)


def test_degrees_are_worked_out_from_the_screen(page):
    centimetres = 24 * 2.54 * 1920 / np.hypot(1920, 1080)
    wanted = pixels_per_dva(1920, centimetres, 60)
    page.click("#calculator summary")
    page.click("#dva-use")
    assert float(page.input_value("#dva")) == pytest.approx(wanted, abs=0.05)
    page.fill("#distance", "0")
    assert page.is_disabled("#dva-use")


@pytest.mark.parametrize("width", [320, 390])
def test_phone_does_not_scroll_sideways(open_page, width):
    page = open_page(has_touch=True, is_mobile=True)
    page.set_viewport_size({"width": width, "height": 740})
    choose(page, HOPPER)
    # The result is below the controls: it comes into sight.
    assert 0 <= page.locator("#panel-a .result .view").bounding_box()["y"] < 100
    page.check("#compare")
    choose(page, HOPPER, "b")
    give_box(page, 0, 0, 512, 600)
    for help_note in page.locator("summary").all():
        help_note.click()
    share(page, "b")
    wide = "document.documentElement.scrollWidth"
    assert page.evaluate(wide) == width
    # A tap moves the cursor.
    page.locator("#panel-a .result .view").tap()
    assert _pixel(page) == pytest.approx([256, 300], abs=2)


def test_dark_where_people_want_it_dark(open_page):
    def brightness(scheme):
        page = open_page(color_scheme=scheme)
        colours = page.evaluate(
            "() => ['backgroundColor', 'color'].map("
            "name => getComputedStyle(document.body)[name])"
        )
        return [np.mean([int(n) for n in re.findall(r"\d+", one)]) for one in colours]

    (light, ink), (dark, chalk) = brightness("light"), brightness("dark")
    assert light > 230 > 60 > dark
    assert ink < 60 < 200 < chalk


def test_nothing_from_elsewhere_is_allowed(page, address):
    with urllib.request.urlopen(address) as response:
        policy = response.headers["Content-Security-Policy"]
    rules = dict(rule.split(None, 1) for rule in policy.split("; "))
    assert rules.pop("img-src") == "'self' blob: data:"
    assert set(rules.values()) <= {"'self'", "'none'"}
    # And it holds: what would run inline does not.
    page.expected.append("Content Security Policy")
    page.evaluate(
        "() => { const script = document.createElement('script');"
        " script.textContent = 'window.ran = true'; document.body.append(script); }"
    )
    assert page.evaluate("() => window.ran") is None


def test_every_control_has_a_name(page):
    choose(page, HOPPER)
    for help_note in page.locator("summary").all():
        help_note.click()
    page.check("#samples")
    nameless = page.evaluate(
        """() => [...document.querySelectorAll('input, select, button, summary, a')]
        .filter(one => one.checkVisibility())
        .filter(one => !one.getAttribute('aria-label') && !one.labels?.length
            && !one.textContent.trim() && !one.querySelector('img[alt]:not([alt=""])'))
        .map(one => one.outerHTML)"""
    )
    assert nameless == []


@pytest.mark.slow
def test_large_photographs_do_not_freeze_the_page(page, tmp_path):
    path = tmp_path / "large.jpg"
    with Image.open(HOPPER) as picture:
        picture.resize((3000, 4000)).save(path, quality=90)
    page.fill("#dva", "160")
    page.evaluate(
        """() => { window.longest = 0; let last = performance.now();
        const tick = () => { const now = performance.now();
            window.longest = Math.max(window.longest, now - last); last = now;
            setTimeout(tick, 10); };
        tick(); }"""
    )
    choose(page, path)
    # The browser decodes and draws beside; one step of it may take a moment.
    assert page.evaluate("window.longest") < 1000
    assert pixels(page, "result").shape == (1600, 1200, 3)
    give_box(page, 0, 0, 3000, 4000)
    assert float(share(page)) == pytest.approx(1, abs=1e-5)
