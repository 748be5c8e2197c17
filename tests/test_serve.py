"""`deepgaze serve`, as a process of its own."""

import asyncio
import io
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import httpx
import numpy as np
import oracles
import pytest
from PIL import Image

from deepgaze_jax.cli import main
from deepgaze_jax.prediction import load_pretrained

NPY = {"Content-Type": "image/png", "Accept": "application/x-npy"}


class Process:
    """A running service."""

    def __init__(self, *options, **environment):
        command = [sys.executable, "-W", "error", "-m", "deepgaze_jax", "serve"]
        self.process = subprocess.Popen(
            [*command, "--models", "icf", "--port", "0", *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        self.lines = []
        self._listening = threading.Event()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        assert self._listening.wait(60), self.lines
        self.url = re.search(r"http://\S+:\d+", self.lines[0]).group()

    def _read(self):
        for line in self.process.stderr:
            self.lines.append(line.rstrip())
            self._listening.set()
        self._listening.set()

    def end(self, sign=signal.SIGTERM):
        """The exit code."""
        self.process.send_signal(sign)
        code = self.process.wait(60)
        self._reader.join()
        return code

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.kill()
        self.process.wait()
        self._reader.join()
        self.process.stderr.close()


def picture(height, width, seed=0):
    image = oracles.random_image(seed, height, width).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="PNG")
    return file.getvalue()


def array(response):
    return np.load(io.BytesIO(response.content), allow_pickle=False)


def test_a_service_loses_no_admitted_request_when_it_is_stopped(tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("first\n\nsecond\n")
    options = ["--api-key-file", str(keys), "--api-key-env", "GAZE_KEY"]
    pictures = [picture(40, 60, 0), picture(40, 60, 1)]
    with Process("--queue", "50", *options, GAZE_KEY="third") as service:
        for key, status in (("second", 200), ("third", 200), ("fourth", 401)):
            response = httpx.get(
                f"{service.url}/v1/models", headers={"X-API-Key": key}, timeout=60
            )
            assert response.status_code == status
        answers, late, n_metrics = asyncio.run(
            load_and_stop(service, pictures, "first")
        )
        assert service.process.wait(60) == 0
    icf = load_pretrained("icf")
    expected = [icf.predict(data) for data in pictures]
    assert len(answers) == 40
    for number, response in answers.items():
        if response.status_code != 503:
            assert response.status_code == 200, response.text
            np.testing.assert_array_equal(array(response), expected[number % 2])
    n_done = sum(response.status_code == 200 for response in answers.values())
    assert n_done >= 20  # Those that waited when the signal came; others were slow.
    # Whoever comes later is refused in words, or finds nobody at the door.
    assert {503} <= set(late) <= {503, None, "closed"}
    assert [re.sub(r"\d+", "N", line) for line in service.lines] == [
        "serving icf-osie at http://N.N.N.N:N/ (Ctrl-C stops)",
        "stopping; requests to be finished: N",
        "stopped; requests answered: N",
    ]
    n_answered = int(service.lines[-1].rpartition(" ")[2])
    n_received = n_metrics + 3 + len(answers) + late.count(503)
    assert n_received <= n_answered <= n_received + late.count("closed")


async def load_and_stop(service, pictures, key):
    """Answers to requests before the signal, what later ones met, looks at counts."""
    answers, late = {}, []
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(
        base_url=service.url, timeout=60, limits=limits, headers={"X-API-Key": key}
    ) as client:

        async def ask(number):
            data = pictures[number % len(pictures)]
            answers[number] = await client.post(
                "/v1/predict", content=data, headers=NPY
            )

        asking = [asyncio.create_task(ask(number)) for number in range(40)]
        n_metrics = 1
        while waiting(await client.get("/metrics")) < 20:
            n_metrics += 1
            await asyncio.sleep(0.01)
        service.process.send_signal(signal.SIGTERM)
        while service.process.poll() is None:
            try:
                response = await client.post("/v1/predict", content=b"x", headers=NPY)
                late.append(response.status_code)
            except httpx.ConnectError:
                late.append(None)
            except httpx.TransportError:
                # It was at the door when that was closed for good.
                late.append("closed")
            await asyncio.sleep(0.02)
        await asyncio.gather(*asking)
    return answers, late, n_metrics


def waiting(response):
    found = re.search(r"^deepgaze_queue_length (\S+)$", response.text, re.MULTILINE)
    return float(found.group(1))


@pytest.mark.slow
def test_two_signals_end_it_at_once():
    with Process("--timeout", "600") as service:
        address = httpx.URL(service.url)
        with socket.create_connection((address.host, address.port)) as half:
            # A request of which nothing more comes keeps its place.
            half.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: a\r\n")
            half.sendall(b"Content-Type: image/png\r\nContent-Length: 9\r\n\r\n")
            time.sleep(0.5)
            service.process.send_signal(signal.SIGINT)
            time.sleep(1)
            assert service.process.poll() is None
            assert service.end(signal.SIGINT) == 0
    assert service.lines[1] == "stopping; requests to be finished: 1"


def refused(capsys, *argv):
    code = main(["serve", "--models", "icf", *argv])
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and said[0].startswith("deepgaze: ")
    return code, said[0].removeprefix("deepgaze: ")


def test_a_port_that_is_taken(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, line = refused(capsys, "--port", port)
    assert code == 2
    assert line.startswith(f"cannot listen on 127.0.0.1 port {port} (Address already")
    assert line.endswith("or stop what listens there")


def test_a_port_and_a_host_that_there_are_not(capsys):
    assert refused(capsys, "--port", "70000") == (
        2,
        "the port is 70000; expected 0 to 65535",
    )
    code, line = refused(capsys, "--port", "0", "--host", "256.1.1.1")
    assert code == 2 and line.startswith("cannot listen on 256.1.1.1 port 0 (")
    code, line = refused(capsys, "--port", "0", "--host", "a..b")
    assert code == 2 and line.startswith("cannot listen on a..b port 0 (")


def test_without_its_libraries_it_says_how_to_get_them(capsys, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("deepgaze_jax.serv")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "fastapi", None)
    code, line = refused(capsys)
    assert code == 2
    assert line == "deepgaze serve needs fastapi; pip install 'deepgaze-jax[serve]'"


def test_keys_that_cannot_be_read(capsys, tmp_path, monkeypatch):
    path = tmp_path / "keys"
    code, line = refused(capsys, "--api-key-file", str(path))
    assert code == 2 and line == f"{path}: cannot be read (No such file or directory)"
    path.write_text("\n")
    code, line = refused(capsys, "--api-key-file", str(path))
    assert line == f"{path}: has no API key; write one on each line"
    monkeypatch.delenv("GAZE_KEY", raising=False)
    code, line = refused(capsys, "--api-key-env", "GAZE_KEY")
    assert line.startswith("the environment variable GAZE_KEY is not set")


def test_limits_that_make_no_sense(capsys):
    code, line = refused(capsys, "--queue", "-1")
    assert (code, line) == (2, "max_queue is -1; expected 0 or more")
    for option in ("max_upload_mb", "max_megapixels"):
        for value in ("nan", "inf", "-1", "0"):
            code, line = refused(capsys, f"--{option.replace('_', '-')}", value)
            assert code == 2
            assert line == f"{option} is {float(value)}; expected a number above 0"
    code, line = refused(capsys, "--models", "icf", "icf")
    assert code == 2 and "icf-osie, icf-osie" in line


def test_missing_weights_are_named_before_anybody_asks(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("DEEPGAZE_CACHE", str(tmp_path))
    code = main(["serve", "--models", "deepgaze2", "--port", "0"])
    (line,) = capsys.readouterr().err.splitlines()
    assert code == 1 and "deepgaze weights fetch vgg19" in line
