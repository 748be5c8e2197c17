"""The HTTP service, with its real application and models."""

import io
import json

import jsonschema
import numpy as np
import pytest
from PIL import Image
from scipy.special import logsumexp
from service import NPY, OCTETS, client_of, counted, npy, picture, problem, refused

from deepgaze_jax.errors import ConfigError
from deepgaze_jax.images import load_image
from deepgaze_jax.plotting import overlay
from deepgaze_jax.server.answers import pooled_log_density
from deepgaze_jax.server.app import create_app
from deepgaze_jax.server.config import ServeConfig

pytestmark = pytest.mark.anyio

MAX_BYTES = 200_000
MAX_PIXELS = 60_000


@pytest.fixture(scope="module")
async def app(icf):
    config = ServeConfig(max_upload_bytes=MAX_BYTES, max_pixels=MAX_PIXELS)
    app = create_app([icf], config)
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
async def client(app):
    async with client_of(app) as client:
        yield client


def facts(response):
    start = "x-deepgaze-"
    named = {k: v for k, v in response.headers.items() if k.startswith(start)}
    return {name.removeprefix(start): value for name, value in named.items()}


# --- predictions --------------------------------------------------------------------


async def test_npy_is_what_predict_returns(client, icf):
    data = picture()
    response = await client.post("/v1/predict", content=data, headers=NPY)
    log_density = npy(response)
    assert log_density.dtype == np.float32 and log_density.flags.c_contiguous
    np.testing.assert_array_equal(log_density, icf.predict(data))
    assert facts(response) == {
        "model": "icf-osie",
        "fold": "mixture",
        "center-bias": "pooled",
        "pixels-per-dva": "24.0",
    }
    assert response.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("as_form", [False, True])
async def test_options_reach_the_model(client, icf, as_form):
    data = picture(61, 83, 1)
    options = {"center_bias": "uniform", "pixels_per_dva": "30", "fold": "4"}
    options["model"] = "icf"
    headers = {"Accept": "application/x-npy"}
    if as_form:
        response = await client.post(
            "/v1/predict", files={"image": data}, data=options, headers=headers
        )
    else:
        response = await client.post(
            "/v1/predict", params=options, content=data, headers=NPY
        )
    expected = icf.predict(data, center_bias="uniform", pixels_per_dva=30, fold=4)
    np.testing.assert_array_equal(npy(response), expected)
    said = {"model": "icf-osie", "fold": "4", "center-bias": "uniform"}
    assert facts(response) == {**said, "pixels-per-dva": "30.0"}


async def test_pictures_of_all_kinds_stand_upright(client, icf):
    exif = Image.Exif()
    exif[0x0112] = 6
    for data in (
        picture(50, 70, kind="JPEG", exif=exif),
        picture(50, 70, kind="WEBP"),
        picture(50, 70, kind="TIFF"),
        picture(50, 70, kind="GIF"),
    ):
        response = await client.post("/v1/predict", content=data, headers=NPY)
        expected = icf.predict(data)
        assert expected.shape == load_image(data).shape[:2]
        np.testing.assert_array_equal(npy(response), expected)


async def test_json_holds_the_density_in_cells(client, icf):
    data = picture(90, 200)
    response = await client.post("/v1/predict", content=data, headers=OCTETS)
    assert response.headers["content-type"] == "application/json"
    said = response.json()
    grid = said.pop("log_density")
    assert said == {
        "model": "icf-osie",
        "height": 90,
        "width": 200,
        "fold": "mixture",
        "center_bias": "pooled",
        "pixels_per_dva": 24.0,
        "model_height": 131,
        "model_width": 292,
    }
    assert (grid["height"], grid["width"]) == (29, 64)
    # Pixel by pixel, as the interface says it.
    mass = np.zeros((29, 64))
    for (y, x), value in np.ndenumerate(np.exp(icf.predict(data).astype(np.float64))):
        mass[y * 29 // 90, x * 64 // 200] += value
    np.testing.assert_allclose(grid["values"], np.log(mass), atol=1e-6)
    assert abs(logsumexp(grid["values"])) < 1e-5


def test_small_densities_keep_their_pixels():
    log_density = np.log(np.array([[0.25, 0.5], [0.125, 0.125]]))
    np.testing.assert_allclose(pooled_log_density(log_density), log_density)
    unlikely = np.array([[-3000.0, 0.0]])
    assert np.isfinite(pooled_log_density(unlikely)).all()


async def test_png_is_the_overlay(client, icf):
    data = picture()
    headers = {**OCTETS, "Accept": "image/png"}
    response = await client.post("/v1/predict", content=data, headers=headers)
    assert response.headers["content-type"] == "image/png"
    assert facts(response)["model"] == "icf-osie"
    image, log_density = load_image(data).astype(np.uint8), icf.predict(data)
    drawn = np.asarray(Image.open(io.BytesIO(response.content)))
    np.testing.assert_array_equal(drawn, overlay(image, log_density))
    query = "?opacity=0.9&contours=false"
    response = await client.post(f"/v1/predict{query}", content=data, headers=headers)
    drawn = np.asarray(Image.open(io.BytesIO(response.content)))
    other = overlay(image, log_density, opacity=0.9, contours=False)
    np.testing.assert_array_equal(drawn, other)
    assert (other != overlay(image, log_density)).any()


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("*/*", "application/json"),
        ("application/*", "application/json"),
        ("text/html, image/*;q=0.8, application/x-npy;q=0.9", "application/x-npy"),
        ("application/json;q=0, */*", "application/x-npy"),
        ("image/png; q=0.2, application/json; q=0.1", "image/png"),
    ],
)
async def test_accept(client, accept, kind):
    headers = {**OCTETS, "Accept": accept}
    response = await client.post(
        "/v1/predict", content=picture(20, 20), headers=headers
    )
    assert response.headers["content-type"] == kind


# --- refusals -----------------------------------------------------------------------


async def test_options_that_there_are_not(client):
    assert "no option 'colour'" in await refused(client, 400, query="?colour=red")
    assert "fold is given twice" in await refused(client, 400, query="?fold=1&fold=2")
    response = await client.post(
        "/v1/predict?fold=1", files={"image": picture()}, data={"fold": "2"}
    )
    assert "fold is given twice" in problem(response, 400)


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("fold=first", "fold is 'first'; expected mixture, auto or the number"),
        ("fold=99", "fold is 99; icf-osie has the folds 0 to 9; give one of them"),
        ("fold=-1", "fold is '-1'; expected mixture, auto or the number of a fold"),
        ("pixels_per_dva=wide", "pixels_per_dva is 'wide'; expected a number above 0"),
        ("pixels_per_dva=nan", "pixels_per_dva is 'nan'; expected a number above 0"),
        ("pixels_per_dva=1e9", "check pixels_per_dva"),
        ("opacity=2", "opacity is '2'; expected a number from 0 to 1"),
        ("contours=maybe", "contours is 'maybe'; expected true or false"),
        ("model=deepgaze9", "no model 'deepgaze9'; there are: icf-osie"),
        ("center_bias=mit", "no center bias 'mit'; there are: uniform, osie"),
        ("center_bias=", "no center bias ''"),
    ],
)
async def test_values_that_an_option_cannot_have(client, query, detail):
    assert detail in await refused(client, 422, query=f"?{query}")


async def test_the_sentence_is_that_of_the_library(client, icf):
    with pytest.raises(ConfigError) as raised:
        icf.predict(picture(), fold=10)
    assert await refused(client, 422, query="?fold=10") == str(raised.value)


async def test_no_file_of_this_machine_is_read(client, tmp_path):
    path = tmp_path / "bias.npy"
    np.save(path, np.full((90, 120), -np.log(90 * 120)))
    assert "no center bias" in await refused(client, 422, query=f"?center_bias={path}")
    assert "no model" in await refused(client, 422, query=f"?model={path}")


async def test_what_is_not_a_picture(client):
    array, pickled = io.BytesIO(), io.BytesIO()
    np.save(array, np.zeros((20, 20, 3), np.float32))
    np.save(pickled, np.array([{"a": 1}], object), allow_pickle=True)
    for data in (
        array.getvalue(),
        pickled.getvalue(),
        b"<html>no</html>",
        b"\0\0\0\x18ftypheic" + bytes(20),
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"https://example.org/a.png",
    ):
        assert "picture: is " in await refused(client, 415, data)
    assert "'text/html'" in await refused(client, 415, **{"Content-Type": "text/html"})
    encoded = {"Content-Encoding": "gzip"}
    assert "gzip" in await refused(client, 415, **encoded)


async def test_broken_pictures(client):
    assert "cut off" in await refused(client, 422, picture(80, 90, kind="JPEG")[:-900])
    assert "is empty" in await refused(client, 422, b"")


async def test_too_many_pixels_are_refused_before_they_are_decoded(client):
    for width, words in (
        (20_000, "larger than Pillow decodes"),
        (12_000, "has 12000x10000 = 120 megapixels; at most 0.06 are decoded"),
    ):
        bomb = io.BytesIO()
        Image.new("1", (width, 10_000)).save(bomb, format="PNG")
        assert len(bomb.getvalue()) < MAX_BYTES
        assert words in await refused(client, 413, bomb.getvalue())
    # A picture that is enlarged beyond the limit, because its degrees are small.
    detail = await refused(client, 413, query="?pixels_per_dva=8")
    assert "take as much as 0.097" in detail and "at most 0.06" in detail


async def chunks(n_bytes, read):
    """A body whose length is not announced; notes what has been taken of it."""
    while n_bytes > 0:
        size = min(n_bytes, 50_000)
        n_bytes -= size
        read.append(size)
        yield bytes(size)


async def test_uploads_are_counted(client):
    detail = await refused(client, 413, bytes(MAX_BYTES + 1))
    assert "200,001 bytes" in detail and "at most 200,000" in detail
    read = []
    response = await client.post(
        "/v1/predict", content=chunks(50_000_000, read), headers=OCTETS
    )
    assert "at most 200,000" in problem(response, 413)
    # It was refused before; then the client could go on for a moment.
    assert sum(read) == 50_000_000
    files = {"image": bytes(MAX_BYTES + 1)}
    response = await client.post("/v1/predict", files=files)
    assert "at most 200,000" in problem(response, 413)


async def test_forms(client):
    post = client.post
    response = await post("/v1/predict", files={"picture": picture()})
    assert "no file image" in problem(response, 422)
    response = await post("/v1/predict", files={"image": b""})
    assert "is empty" in problem(response, 422)
    two = [("image", picture()), ("image", picture())]
    response = await post("/v1/predict", files=two)
    assert "form cannot be read" in problem(response, 400)
    headers = {"Content-Type": "multipart/form-data"}
    response = await post("/v1/predict", content=b"x", headers=headers)
    assert "form cannot be read" in problem(response, 400)
    data = {f"f{n}": "x" for n in range(99)}
    response = await post("/v1/predict", files={"image": picture()}, data=data)
    assert "form cannot be read" in problem(response, 400)


async def test_what_the_client_does_not_accept(client):
    detail = await refused(client, 406, Accept="text/html")
    assert "application/json, application/x-npy, image/png" in detail


async def test_addresses_that_there_are_not(client):
    for path in (
        "/v2",
        "/page/../app.py",
        "/page/%2e%2e%2fapp.py",
        "/page/__init__.py",
    ):
        problem(await client.get(path), 404)
    problem(await client.get("/v1/examples/..%2f..%2fetc%2fpasswd"), 404)
    response = await client.get("/v1/predict")
    assert "GET is not done here" in problem(response, 405)
    assert response.headers["allow"] == "POST"


# --- the rest of the interface ------------------------------------------------------


async def test_models(client, icf):
    said = (await client.get("/v1/models")).json()
    (model,) = said["models"]
    card = model.pop("card")
    assert model == {
        "name": "icf-osie",
        "default": True,
        "loaded": True,
        "pixels_per_dva": 24.0,
        "input_scale": icf.card["input_scale"],
        "network": "icf",
        "folds": 10,
    }
    assert card["licence"] == icf.card["licence"]
    assert "images" not in card and len(json.dumps(card)) < 10_000
    assert said["center_biases"] == ["uniform", "osie"]
    assert said["limits"] == {
        "max_upload_bytes": MAX_BYTES,
        "max_pixels": MAX_PIXELS,
        "max_queue": 32,
        "timeout_s": 60.0,
        "max_concurrency": 1,
    }


async def test_examples_are_pictures(client):
    listed = (await client.get("/v1/examples")).json()["examples"]
    assert listed[0]["name"] == "hopper.jpg"
    for one in listed:
        assert one["title"] and one["credit"]
        response = await client.get(one["url"])
        assert response.headers["content-type"].startswith("image/")
        assert load_image(response.content).ndim == 3


async def test_health(client):
    assert (await client.get("/healthz")).json() == {"status": "ok"}
    assert (await client.get("/readyz")).json() == {"status": "ready"}


async def test_headers_protect_the_page(client):
    for path in ("/healthz", "/nothing", "/"):
        headers = (await client.get(path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert "access-control-allow-origin" not in headers


async def test_metrics(client):
    before = (await client.get("/metrics")).text
    await client.post("/v1/predict", content=picture(), headers=OCTETS)
    await refused(client, 422, query="?fold=99")
    response = await client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    after = response.text

    def grown(name, *labels):
        return counted(after, name, *labels) - counted(before, name, *labels)

    path = 'path="/v1/predict"'
    assert grown("deepgaze_requests_total", path, 'status="200"') == 1
    assert grown("deepgaze_requests_total", path, 'status="422"') == 1
    assert grown("deepgaze_request_seconds_count", path) == 2
    assert grown("deepgaze_pixels_total") == 90 * 120
    assert counted(after, "deepgaze_queue_length") == 0
    assert "process_resident_memory_bytes" in after


async def test_the_document_is_valid_and_true(client):
    document = (await client.get("/openapi.json")).json()
    assert document["openapi"].startswith("3.1")
    schemas = document["components"]["schemas"]

    def check(name, value):
        schema = {"$ref": f"#/components/schemas/{name}", "components": {}}
        jsonschema.validate(value, {**schema, "components": {"schemas": schemas}})

    post = client.post
    response = await post("/v1/predict", content=picture(), headers=OCTETS)
    check("Prediction", response.json())
    check("Problem", (await client.get("/v1/predict")).json())
    check("Models", (await client.get("/v1/models")).json())
    check("Examples", (await client.get("/v1/examples")).json())
    for path in document["paths"].values():
        for operation in path.values():
            for response in operation["responses"].values():
                for content in response["content"].values():
                    if "example" in content:
                        name = content["schema"]["$ref"].rpartition("/")[2]
                        check(name, content["example"])
    responses = document["paths"]["/v1/predict"]["post"]["responses"]
    assert set(responses["200"]["content"]) == {
        "application/json",
        "application/x-npy",
        "image/png",
    }


# --- other configurations -----------------------------------------------------------


async def test_keys(icf):
    app = create_app([icf], ServeConfig(api_keys=("first", "second")))
    async with client_of(app) as client:
        for headers in (
            {},
            {"X-API-Key": "third"},
            {"X-API-Key": ""},
            {"Authorization": "Bearer"},
            {"Authorization": "Basic first"},
        ):
            response = await client.get("/v1/models", headers=headers)
            assert "an API key is needed" in problem(response, 401)
            assert response.headers["www-authenticate"] == "Bearer"
        for path in ("/v1/predict", "/metrics"):
            problem(await client.request("POST", path), 401)
        for headers in ({"X-API-Key": "second"}, {"Authorization": "bearer first"}):
            assert (await client.get("/v1/models", headers=headers)).is_success
        for path in ("/healthz", "/v1/examples", "/openapi.json"):
            assert (await client.get(path)).is_success
        document = (await client.get("/openapi.json")).json()
        assert "401" in document["paths"]["/v1/predict"]["post"]["responses"]


async def test_cors_is_for_named_origins(icf):
    app = create_app([icf], ServeConfig(cors_origins=("https://lab.example",)))
    async with client_of(app) as client:
        ask = {"Access-Control-Request-Method": "POST"}
        for origin, allowed in (
            ("https://lab.example", "https://lab.example"),
            ("https://other.example", None),
        ):
            headers = {"Origin": origin}
            allow = "access-control-allow-origin"
            response = await client.get("/healthz", headers=headers)
            assert response.headers.get(allow) == allowed
            response = await client.options("/v1/predict", headers={**headers, **ask})
            assert response.headers.get(allow) == allowed


async def test_not_ready_before_models_are_warm(icf):
    app = create_app([icf])
    async with client_of(app) as client:
        response = await client.get("/readyz")
        assert "being loaded" in problem(response, 503)
        assert response.headers["retry-after"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_queue": -1}, "max_queue is -1; expected 0 or more"),
        ({"concurrency": 0}, "concurrency is 0; expected 1 or more"),
        ({"timeout_s": float("nan")}, "timeout_s is nan"),
        ({"max_pixels": 10**9}, "at most 150000000"),
        ({"api_keys": ("",)}, "API key is empty"),
        ({"api_keys": ("schlüssel",)}, "printable ASCII"),
        ({"cors_origins": ("lab.example",)}, "origin 'lab.example' is none"),
        ({"cors_origins": ("https://lab.example/a",)}, "without a path"),
    ],
)
def test_configurations_that_make_no_sense(options, words):
    with pytest.raises(ConfigError, match=words):
        ServeConfig(**options)


def test_models_have_different_names(icf):
    with pytest.raises(ConfigError, match="icf-osie, icf-osie; expected one or more"):
        create_app([icf, icf])
    with pytest.raises(ConfigError, match="none; expected one or more"):
        create_app([])
