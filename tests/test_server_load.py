"""The HTTP service under load: queues, time, clients that leave, and an end."""

import asyncio
import threading
import time

import numpy as np
import pytest
from service import NPY, OCTETS, client_of, counted, npy, picture, problem

from deepgaze_jax.programs import features_program
from deepgaze_jax.server.app import create_app
from deepgaze_jax.server.config import ServeConfig
from deepgaze_jax.server.engine import Engine
from deepgaze_jax.server.housekeeping import Housekeeping

pytestmark = pytest.mark.anyio


class Brake:
    """A model that answers when it is let go; everything else is that of ICF."""

    def __init__(self, icf, monkeypatch):
        self.go, self.begun = threading.Event(), threading.Semaphore(0)
        # Of one picture, and of several.
        for name in ("predict_picture", "features"):
            braked = self._braked(getattr(type(icf), name))
            monkeypatch.setattr(type(icf), name, braked)

    def _braked(self, real):
        def waits(predictor, picture, **options):
            self.begun.release()
            assert self.go.wait(30)
            return real(predictor, picture, **options)

        return waits

    async def until_begun(self):
        assert await asyncio.to_thread(self.begun.acquire, timeout=30)


@pytest.fixture
def brake(icf, monkeypatch):
    brake = Brake(icf, monkeypatch)
    yield brake
    brake.go.set()


def post(client, data=None):
    data = picture() if data is None else data
    sending = client.post("/v1/predict", content=data, headers=NPY)
    return asyncio.create_task(sending)


async def until(condition):
    for _ in range(3000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came to that")


async def test_a_full_queue_turns_requests_away(icf, brake):
    app = create_app([icf], ServeConfig(max_queue=2))
    engine = app.state.service.engine
    async with client_of(app) as client:
        admitted = [post(client) for _ in range(3)]
        await brake.until_begun()
        await until(lambda: engine.n_waiting == 2)
        metrics = (await client.get("/metrics")).text
        assert counted(metrics, "deepgaze_queue_length") == 2
        assert counted(metrics, "deepgaze_computing") == 1
        response = await post(client)
        assert "(1 computed and 2 waiting)" in problem(response, 429)
        assert int(response.headers["retry-after"]) >= 1
        brake.go.set()
        expected = icf.predict(picture())
        for request in admitted:
            np.testing.assert_array_equal(npy(await request), expected)
        assert engine.n_admitted == 0
        assert (await post(client)).is_success


async def test_requests_that_take_too_long(icf, brake):
    app = create_app([icf], ServeConfig(max_queue=4, timeout_s=0.3))
    engine = app.state.service.engine
    async with client_of(app) as client:
        computed, waiting = post(client), post(client)
        await brake.until_begun()
        for request in (computed, waiting):
            response = await request
            assert "longer than 0.3 s, which is the limit" in problem(response, 503)
            assert response.headers["retry-after"]
        # What is computed cannot be stopped; what waited is not begun any more.
        assert (engine.n_computing, engine.n_waiting, engine.n_admitted) == (1, 0, 0)
        brake.go.set()
        await until(lambda: engine.n_computing == 0)
        assert not brake.begun.acquire(blocking=False)


async def test_uploads_that_take_too_long(icf):
    app = create_app([icf], ServeConfig(timeout_s=0.2))

    async def slowly():
        for _ in range(100):
            yield b"x"
            await asyncio.sleep(0.05)

    async with client_of(app) as client:
        response = await client.post("/v1/predict", content=slowly(), headers=OCTETS)
        assert "upload took longer than 0.2 s" in problem(response, 408)
    assert app.state.service.engine.n_admitted == 0


async def test_stopping_refuses_new_requests_and_finishes_admitted_ones(icf, brake):
    app = create_app([icf])
    engine = app.state.service.engine
    async with client_of(app) as client:
        admitted = post(client)
        await brake.until_begun()
        engine.draining = True
        assert "is stopping" in problem(await post(client), 503)
        assert "is stopping" in problem(await client.get("/readyz"), 503)
        brake.go.set()
        assert (await admitted).is_success


async def test_clients_that_leave_are_forgotten(icf, brake):
    app = create_app([icf])
    engine = app.state.service.engine
    left = asyncio.Event()

    async def receive():
        if not sent:
            sent.append(True)
            return {"type": "http.request", "body": picture(), "more_body": False}
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        said.append(message)

    sent, said = [], []
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/predict",
        "query_string": b"",
        "headers": [],
    }
    async with client_of(app) as client:
        first = post(client)
        await brake.until_begun()
        leaver = asyncio.create_task(app(scope, receive, send))
        await until(lambda: engine.n_waiting == 1)
        left.set()
        await leaver
        assert (engine.n_waiting, engine.n_admitted) == (0, 1)
        brake.go.set()
        assert (await first).is_success


async def test_pictures_of_one_size_are_computed_together(icf, brake):
    app = create_app([icf])
    engine = app.state.service.engine
    engine.max_batch = 4
    computed = []
    work = engine._work

    def recording(questions):
        computed.append(len(questions))
        return work(questions)

    engine._work = recording
    same = [picture(seed=n) for n in range(5)]
    other, broken = picture(50, 50), picture(seed=9)[:-300]
    async with client_of(app) as client:
        first = post(client, picture(20, 20))
        await brake.until_begun()
        requests = [post(client, data) for data in (same[0], other, *same[1:], broken)]
        await until(lambda: engine.n_waiting == 7)
        brake.go.set()
        answers = [await request for request in requests]
        await first
    problem(answers.pop(), 422)
    for data, response in zip((same[0], other, *same[1:]), answers, strict=True):
        np.testing.assert_allclose(npy(response), icf.predict(data), atol=1e-5)
    # The sixth of that size is cut off; it is found out when its group is decoded.
    assert computed == [1, 4, 1, 2]


class Sweeping:
    """Housekeeping that notes how many were computed meanwhile."""

    def __init__(self):
        self.times, self.engine = [], None

    def due(self):
        return not self.times

    def tidy(self):
        self.times.append(self.engine.n_computing)
        time.sleep(0.2)
        self.times.append(self.engine.n_computing)


async def test_nothing_is_computed_while_it_is_tidied():
    sweeping = Sweeping()
    both = threading.Barrier(2)

    def work(questions):
        if questions == ["slow"]:
            both.wait(10)
            time.sleep(0.2)
        elif questions == ["fast"]:
            both.wait(10)
        return questions

    options = {"concurrency": 2, "max_queue": 9, "timeout_s": 9}
    sweeping.engine = engine = Engine(work, housekeeping=sweeping, **options)
    deadline = asyncio.get_running_loop().time() + 9
    words = ["slow", "fast", "later", "last"]
    answers = [engine.run(word, deadline) for word in words]
    assert await asyncio.gather(*answers) == words
    assert await engine.run("again", deadline) == "again"
    await until(lambda: len(sweeping.times) == 2)
    assert sweeping.times == [0, 0]
    engine.close()


def test_many_sizes_are_tidied_away(icf):
    housekeeping = Housekeeping()
    before = icf.predict(picture())
    for width in range(20, 100):
        features_program(icf.model, (20, width))
    assert housekeeping.due()
    housekeeping.tidy()
    assert not housekeeping.due()
    assert features_program.cache_info().currsize == 0
    np.testing.assert_array_equal(icf.predict(picture()), before)


async def test_failures_are_told_and_logged(icf, monkeypatch, caplog):
    def broken(*args, **options):
        raise RuntimeError("secret")

    monkeypatch.setattr(type(icf), "predict_picture", broken)
    app = create_app([icf])
    async with client_of(app) as client:
        detail = problem(await post(client), 500)
    assert "secret" not in detail and "secret" in caplog.text
    assert app.state.service.engine.n_admitted == 0

    def full(*args, **options):
        raise MemoryError

    monkeypatch.setattr(type(icf), "predict_picture", full)
    async with client_of(app) as client:
        assert "not enough memory" in problem(await post(client), 503)


async def test_clients_that_read_slowly_lose_their_connection(icf):
    app = create_app([icf], ServeConfig(timeout_s=0.5))
    said, parts = [], [picture(400, 500)]

    async def receive():
        if not parts:
            await asyncio.sleep(60)
        return {"type": "http.request", "body": parts.pop(), "more_body": False}

    async def send(message):
        said.append(message)
        if message.get("more_body"):
            await asyncio.sleep(60)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/predict",
        "query_string": b"",
        "headers": [(b"accept", b"application/x-npy")],
    }
    icf.predict(picture(400, 500))
    await asyncio.wait_for(app(scope, receive, send), 30)
    assert [len(m.get("body", b"")) for m in said] == [0, 262_144]
    assert app.state.service.engine.n_admitted == 0
