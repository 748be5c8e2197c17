"""The HTTP service, with its real application and models."""

import io

import httpx
import numpy as np
import oracles
import pytest
from PIL import Image

from deepgaze_jax.prediction import load_pretrained
from deepgaze_jax.server.app import create_app
from deepgaze_jax.server.config import ServeConfig

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def anyio_backend():
    return "asyncio"


@pytest.fixture(scope="module")
def icf():
    return load_pretrained("icf")


@pytest.fixture(scope="module")
async def app(icf):
    """The application, warmed."""
    app = create_app([icf], ServeConfig(max_upload_bytes=200_000, max_pixels=60_000))
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
async def client(app):
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


def picture(height=90, width=120, seed=0, kind="PNG"):
    """The bytes of a picture file."""
    image = oracles.random_image(seed, height, width).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(image).save(file, format=kind)
    return file.getvalue()


def problem(response, status):
    """The detail of a refusal."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    said = response.json()
    assert said["status"] == status
    assert said["type"] == "about:blank"
    assert said["title"] and said["instance"]
    return said["detail"]


OCTETS = {"Content-Type": "application/octet-stream"}
NPY = {**OCTETS, "Accept": "application/x-npy"}


async def test_npy_is_what_predict_returns(client, icf):
    data = picture()
    response = await client.post("/v1/predict", content=data, headers=NPY)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/x-npy"
    log_density = np.load(io.BytesIO(response.content), allow_pickle=False)
    assert log_density.dtype == np.float32 and log_density.flags.c_contiguous
    np.testing.assert_array_equal(log_density, icf.predict(data))
    said = {
        name.removeprefix("x-deepgaze-"): value
        for name, value in response.headers.items()
        if name.startswith("x-deepgaze-")
    }
    assert said == {
        "model": "icf-osie",
        "fold": "mixture",
        "center-bias": "pooled",
        "pixels-per-dva": "24.0",
    }
