"""What the HTTP service does with requests that nobody who means well would send."""

import dataclasses
import tempfile

import numpy as np
import pytest
from service import NPY, OCTETS, client_of, npy, picture, problem

from deepgaze_jax.prediction import load_pretrained
from deepgaze_jax.server.app import create_app
from deepgaze_jax.server.config import ServeConfig

pytestmark = pytest.mark.anyio


@pytest.fixture
async def client(icf):
    async with client_of(create_app([icf])) as client:
        yield client


async def test_forms_are_kept_in_memory(client, icf, monkeypatch):
    def on_disk(*args, **options):
        raise OSError("the disk cannot be written")

    monkeypatch.setattr(tempfile, "TemporaryFile", on_disk)
    monkeypatch.setattr(tempfile, "_TemporaryFileWrapper", on_disk)
    # Parsers roll files over to the disk after 1 MB.
    data = picture(20, 30) + bytes(2_000_000)
    response = await client.post("/v1/predict", files={"image": data}, headers=None)
    assert response.status_code == 200, response.text


async def test_names_of_models_with_any_letters(icf):
    name = "Größe 100% 顔.safetensors"
    app = create_app([dataclasses.replace(icf, name=name)])
    async with client_of(app) as client:
        response = await client.post("/v1/predict", content=picture(), headers=NPY)
        np.testing.assert_array_equal(npy(response), icf.predict(picture()))
        said = response.headers["x-deepgaze-model"]
        assert said == "Gr%C3%B6%C3%9Fe 100%25 %E9%A1%94.safetensors"
        response = await client.post(
            "/v1/predict", params={"model": name}, content=picture(), headers=OCTETS
        )
        assert response.json()["model"] == name


async def test_head_is_get_without_a_body(client):
    paths = ("/", "/page/main.js", "/healthz", "/v1/models", "/v1/examples/hopper.jpg")
    for path in paths:
        got, head = await client.get(path), await client.head(path)
        assert head.status_code == got.status_code == 200
        assert head.content == b"" and got.content
        for name in ("content-type", "content-length", "etag"):
            assert head.headers.get(name) == got.headers.get(name)
    assert (await client.head("/v1/predict")).status_code == 405
    assert (await client.head("/nothing")).status_code == 404


async def test_uploads_are_refused_while_they_are_read(icf):
    app = create_app([icf], ServeConfig(max_upload_bytes=100_000))
    n_read, said = 0, []

    async def receive():
        nonlocal n_read
        n_read += 10_000
        return {
            "type": "http.request",
            "body": bytes(10_000),
            "more_body": n_read < 1_000_000,
        }

    async def send(message):
        said.append((n_read, message.get("status"), message.get("more_body")))

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/predict",
        "query_string": b"",
        "headers": [],
    }
    await app(scope, receive, send)
    assert said == [
        (110_000, 413, None),
        (110_000, None, True),
        # Clients that read when they have sent everything see it, too.
        (1_000_000, None, None),
    ]


async def test_no_redirections(client):
    for method, path in (("POST", "/v1/predict/"), ("GET", "/v1/models/")):
        problem(await client.request(method, path), 404)


async def test_lengths_that_are_no_numbers(client):
    headers = {**OCTETS, "Content-Length": "²".encode("latin-1")}
    response = await client.post("/v1/predict", content=b"x", headers=headers)
    problem(response, 415)


async def test_a_key_is_needed_for_head_too(icf):
    app = create_app([icf], ServeConfig(api_keys=("first",)))
    async with client_of(app) as client:
        assert (await client.head("/v1/models")).status_code == 401
        headers = {"X-API-Key": "first"}
        assert (await client.head("/v1/models", headers=headers)).is_success


@pytest.mark.weights
async def test_deepgaze2_is_that_of_the_library():
    # Pictures of this size take VGG-19 by bands of rows on a CPU.
    data = picture(350, 420)
    model = load_pretrained("deepgaze2")
    assert model.plan((350, 420)) is not None
    async with client_of(create_app([model])) as client:
        response = await client.post("/v1/predict", content=data, headers=NPY)
        np.testing.assert_array_equal(npy(response), model.predict(data))
