"""Pictures for the HTTP service, requests to it, and what its answers should be."""

import io

import httpx
import numpy as np
import oracles
from PIL import Image

OCTETS = {"Content-Type": "application/octet-stream"}
NPY = {**OCTETS, "Accept": "application/x-npy"}


def client_of(app):
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://test", timeout=60)


def picture(height=90, width=120, seed=0, kind="PNG", **options):
    """The bytes of a picture file."""
    image = oracles.random_image(seed, height, width).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(image).save(file, format=kind, **options)
    return file.getvalue()


def problem(response, status):
    """The detail of a refusal."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    said = response.json()
    assert set(said) == {"type", "title", "status", "detail", "instance"}
    assert said["status"] == status and said["type"] == "about:blank"
    assert said["title"] and "\n" not in said["detail"]
    return said["detail"]


async def refused(client, status, data=None, query="", **headers):
    response = await client.post(
        f"/v1/predict{query}",
        content=picture() if data is None else data,
        headers={**OCTETS, **headers},
    )
    return problem(response, status)


def npy(response):
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/x-npy"
    return np.load(io.BytesIO(response.content), allow_pickle=False)


def counted(text, name, *labels):
    """A value out of Prometheus' text."""
    for line in text.splitlines():
        if line.startswith(name) and all(label in line for label in labels):
            return float(line.rpartition(" ")[2])
    return 0.0
