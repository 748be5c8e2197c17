"""The HTTP service under load: right statuses, flat memory, and an end without losses.

    python experiments/benchmarks/serve_load.py -o experiments/results/serve_load.json

Fifty clients on the same machine ask a service of its own process for a minute, as
fast as it answers: pictures of many sizes and formats, one request in ten wrong in one
of ten ways. Every status is compared with the one that the request deserves (429 may
take its place: the queue is shorter than there are clients), and every array with
`predict`. The service's memory is read once a second. Then it gets SIGTERM while the
clients go on, and what it says it has answered is compared with what they have got.

`--batches` measures instead what it brings to compute pictures of one size together,
and `--concurrency 1 2` how many requests are answered with other numbers of threads.
"""

import argparse
import asyncio
import collections
import hashlib
import io
import itertools
import json
import os
import platform
import random
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import jax
import numpy as np
from PIL import Image

from deepgaze_jax.prediction import load_pretrained

SIZES = (
    *((240, 320), (320, 240), (384, 512), (480, 640)),
    *((640, 480), (600, 800), (533, 800), (768, 1024)),
)
OTHER_SIZES = 0.2  # of the good requests have a size of their own
BAD = 0.1
MAX_BYTES = 2_000_000
MAX_MEGAPIXELS = 2
QUEUE = 44  # Not enough for fifty clients.


@dataclass(frozen=True)
class Wanted:
    """A request, and the status that it deserves."""

    kind: str
    status: int
    body: bytes
    query: str = ""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Seen:
    """What clients met."""

    wanted: Wanted
    status: int | str
    seconds: float
    at: float
    digest: str = ""


class Pictures:
    """Makes requests; the same ones in every run."""

    def __init__(self, seed: int):
        self._random = random.Random(seed)
        generator = np.random.default_rng(seed)
        small = generator.integers(0, 256, (40, 40, 3), dtype=np.uint8)
        self._photograph = Image.fromarray(small)
        self._known = {
            (size, kind): self._file(size, kind)
            for size in SIZES
            for kind in ("JPEG", "PNG")
        }
        self._bad = itertools.cycle(self._bad_ones())

    def _file(self, size: tuple[int, int], kind: str) -> bytes:
        file = io.BytesIO()
        picture = self._photograph.resize(size[::-1], Image.Resampling.BICUBIC)
        picture.save(file, format=kind)
        return file.getvalue()

    def next(self) -> Wanted:
        """Return the next request."""
        if self._random.random() < BAD:
            return next(self._bad)
        if self._random.random() < OTHER_SIZES:
            size = self._random.randrange(200, 800), self._random.randrange(200, 800)
            body = self._file(size, "JPEG")
        else:
            body = self._known[
                self._random.choice(SIZES), self._random.choice(("JPEG", "PNG"))
            ]
        accept = self._random.choice(
            ("application/x-npy", "application/x-npy", "application/json", "image/png")
        )
        return Wanted("good", 200, body, headers={"Accept": accept})

    def _bad_ones(self) -> list[Wanted]:
        good = self._known[SIZES[0], "JPEG"]
        array, large = io.BytesIO(), io.BytesIO()
        np.save(array, np.zeros((100, 100, 3), np.uint8))
        Image.new("L", (4000, 3000)).save(large, format="PNG")
        form = {"Content-Type": "multipart/form-data; boundary=b"}
        return [
            Wanted("no picture", 415, b"<html>" * 100),
            Wanted("an array", 415, array.getvalue()),
            Wanted("another type", 415, good, headers={"Content-Type": "text/plain"}),
            Wanted("cut off", 422, good[: len(good) // 2]),
            Wanted("too many bytes", 413, bytes(MAX_BYTES + 1)),
            Wanted("too many pixels", 413, large.getvalue()),
            Wanted("unknown option", 400, good, "?colour=red"),
            Wanted("a fold there is not", 422, good, "?fold=99"),
            Wanted("nothing accepted", 406, good, headers={"Accept": "text/html"}),
            Wanted("a broken form", 400, b"--x", headers=form),
        ]


class Service:
    """A service in a process of its own."""

    def __init__(self, model: str, concurrency: int):
        options = ["--models", model, "--port", "0", "--queue", str(QUEUE)]
        options += ["--max-upload-mb", str(MAX_BYTES / 1e6)]
        options += ["--max-megapixels", str(MAX_MEGAPIXELS)]
        options += ["--concurrency", str(concurrency)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "deepgaze_jax", "serve", *options],
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []
        self._started = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()
        self._started.wait(120)
        self.url = re.search(r"http://\S+:\d+", self.lines[0]).group()
        self.n_checks = 0
        while True:
            self.n_checks += 1
            if httpx.get(f"{self.url}/readyz").is_success:
                break
            time.sleep(0.2)

    def _read(self) -> None:
        for line in self.process.stderr:
            self.lines.append(line.rstrip())
            self._started.set()

    def resident_mb(self) -> float:
        """Return the process's memory."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) / 1000


async def ask(client: httpx.AsyncClient, wanted: Wanted, start: float) -> Seen:
    """Return what a request met."""
    begun = time.perf_counter()
    headers = {"Content-Type": "application/octet-stream", **wanted.headers}
    digest = ""
    try:
        response = await client.post(
            f"/v1/predict{wanted.query}", content=wanted.body, headers=headers
        )
        status: int | str = response.status_code
        if response.headers["content-type"] == "application/x-npy":
            digest = hashlib.sha256(response.content).hexdigest()
        seconds = time.perf_counter() - begun
        if status == 429:
            await asyncio.sleep(min(1.0, float(response.headers["retry-after"])))
    except httpx.HTTPError as error:
        status, seconds = type(error).__name__, time.perf_counter() - begun
    return Seen(wanted, status, seconds, begun - start, digest)


async def load(
    service: Service, n_clients: int, seconds: float, stop: bool
) -> tuple[list[Seen], list[float], float]:
    """Return what clients met, the memory of each second, and when it was stopped."""
    seen: list[Seen] = []
    resident: list[float] = []
    pictures = Pictures(0)
    limits = httpx.Limits(max_connections=None)
    start = time.perf_counter()
    ended = asyncio.Event()
    async with httpx.AsyncClient(
        base_url=service.url, timeout=120, limits=limits
    ) as client:

        async def one() -> None:
            while not ended.is_set():
                seen.append(await ask(client, pictures.next(), start))
                if isinstance(seen[-1].status, str):
                    await asyncio.sleep(0.05)

        clients = [asyncio.create_task(one()) for _ in range(n_clients)]
        while (now := time.perf_counter() - start) < seconds:
            resident.append(service.resident_mb())
            await asyncio.sleep(1.0 - now % 1.0)
        stopped = time.perf_counter() - start
        if stop:
            service.process.send_signal(signal.SIGTERM)
            while service.process.poll() is None:
                await asyncio.sleep(0.05)
        ended.set()
        await asyncio.gather(*clients)
    return seen, resident, stopped


def percentiles(values: list[float]) -> dict[str, float]:
    """Return how long requests took, in seconds."""
    points = np.percentile(values, (50, 90, 99, 100)) if values else [np.nan] * 4
    named = zip(("p50", "p90", "p99", "max"), points, strict=True)
    return {name: round(float(value), 3) for name, value in named}


def wrong_arrays(seen: list[Seen], model: str) -> int:
    """Return how many arrays are not those of `predict`."""
    predictor = load_pretrained(model)
    answers: dict[bytes, set[str]] = collections.defaultdict(set)
    for one in seen:
        if one.digest:
            answers[one.wanted.body].add(one.digest)
    wrong = 0
    for body, digests in answers.items():
        file = io.BytesIO()
        np.save(file, np.ascontiguousarray(predictor.predict(body)))
        wrong += digests != {hashlib.sha256(file.getvalue()).hexdigest()}
    return wrong


def under_load(model: str, n_clients: int, seconds: float) -> dict:
    """Return what a minute of load and an end under load showed."""
    service = Service(model, 1)
    seen, resident, stopped = asyncio.run(load(service, n_clients, seconds, True))
    code = service.process.wait()
    before = [one for one in seen if one.at < stopped]
    after = [one for one in seen if one.at >= stopped]
    statuses: dict[str, collections.Counter] = collections.defaultdict(
        collections.Counter
    )
    for one in before:
        statuses[f"{one.wanted.kind}: {one.wanted.status}"][str(one.status)] += 1
    # Admitted before the signal, or turned away by the full queue or by the stop.
    allowed = {429, 503}
    wrong = [s for s in before if s.status not in {s.wanted.status, 429}]
    late = [s for s in wrong if s.status == 503 and s.at + s.seconds > stopped]
    n_got = sum(isinstance(one.status, int) for one in seen) + service.n_checks
    third = len(resident) // 3
    good = [one.seconds for one in before if one.status == 200]
    refused = [s.seconds for s in before if s.status not in {200, 429, 503}]
    return {
        "clients": n_clients,
        "seconds": round(stopped, 1),
        "requests": len(before),
        "statuses_by_expectation": {k: dict(v) for k, v in sorted(statuses.items())},
        "wrong_statuses": len(wrong) - len(late),
        "different_pictures_with_arrays": len(
            {one.wanted.body for one in seen if one.digest}
        ),
        "wrong_arrays": wrong_arrays(seen, model),
        "predictions_per_second": round(len(good) / stopped, 2),
        "seconds_of_predictions": percentiles(good),
        "seconds_of_refusals": percentiles(refused),
        "seconds_of_429": percentiles([s.seconds for s in before if s.status == 429]),
        "resident_mb": [round(value) for value in resident],
        "resident_mb_of_thirds": [
            round(float(np.median(resident[k * third : (k + 1) * third])))
            for k in range(3)
        ],
        "end": {
            "lines": service.lines[1:],
            "exit_code": code,
            "answered_by_service": int(service.lines[-1].rpartition(" ")[2]),
            "received_by_clients": n_got,
            "begun_before_signal_and_refused_with_503": len(late),
            "begun_after_signal": dict(
                collections.Counter(str(one.status) for one in after)
            ),
            "other_statuses_after_signal": sum(
                isinstance(s.status, int)
                and s.status not in {s.wanted.status, *allowed}
                for s in after
            ),
            "broken_before_signal": sum(isinstance(s.status, str) for s in before),
        },
    }


def throughput(model: str, n_clients: int, seconds: float, threads: int) -> dict:
    """Return how many predictions a service makes with some threads."""
    service = Service(model, threads)
    seen, resident, _ = asyncio.run(load(service, n_clients, seconds, False))
    service.process.send_signal(signal.SIGTERM)
    service.process.wait()
    good = [one.seconds for one in seen if one.status == 200]
    return {
        "concurrency": threads,
        "predictions_per_second": round(len(good) / seconds, 2),
        "seconds_of_predictions": percentiles(good),
        "resident_mb": round(max(resident)),
    }


def batches(model: str, repeats: int = 5) -> list[dict]:
    """Return how long the features of 1, 2, 4 and 8 pictures take, computed at once."""
    predictor = load_pretrained(model)
    generator = np.random.default_rng(0)
    pictures = generator.uniform(0, 255, (8, 480, 640, 3)).astype(np.float32)
    rows = []
    for size in (1, 2, 4, 8):
        given = pictures[:size] if size > 1 else pictures[0]
        jax.block_until_ready(predictor.features(given))
        times = []
        for _ in range(repeats):
            begun = time.perf_counter()
            jax.block_until_ready(predictor.features(given))
            times.append((time.perf_counter() - begun) / size)
        row = {"model": predictor.name, "pictures_at_once": size}
        rows.append({**row, "seconds_per_picture": round(float(np.median(times)), 3)})
    return rows


def main() -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--model", default="icf")
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--concurrency", type=int, nargs="+", default=[])
    parser.add_argument("--batches", nargs="+", metavar="MODEL", default=[])
    options = parser.parse_args()
    if options.batches:
        name = "batches"
        result = [row for model in options.batches for row in batches(model)]
    elif options.concurrency:
        name = "concurrency"
        result = [
            throughput(options.model, options.clients, options.seconds, threads)
            for threads in options.concurrency
        ]
    else:
        name = "load"
        result = under_load(options.model, options.clients, options.seconds)
    print(json.dumps(result, indent=1))
    if options.output:
        # The three measurements stand in one file.
        there = options.output.is_file()
        kept = json.loads(options.output.read_text()) if there else {}
        kept["machine"] = (
            f"{platform.machine()}, {os.cpu_count()} cores, jax {jax.__version__}, "
            f"{jax.default_backend()}"
        )
        kept[name] = result
        options.output.write_text(json.dumps(kept, indent=1) + "\n")
    if name != "load":
        return 0
    end = result["end"]
    failed = (
        result["wrong_statuses"]
        or result["wrong_arrays"]
        or end["answered_by_service"] != end["received_by_clients"]
        or end["other_statuses_after_signal"]
        or end["broken_before_signal"]
        or end["exit_code"]
    )
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
