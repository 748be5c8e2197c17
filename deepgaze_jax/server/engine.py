"""Who may come in, who waits, and who is computed: the only threads of the service."""

import asyncio
import collections
import contextlib
import math
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from deepgaze_jax.server.problems import Problem

__all__ = ["Engine"]

# Weight of the latest duration in the running mean, from which waits are estimated.
_LATEST = 0.2


@dataclass(eq=False)
class _Job:
    question: Any
    key: Hashable
    done: Future = field(default_factory=Future)


class Engine:
    """Computes a few jobs at a time, lets some wait, and turns the others away.

    Args:
        work: answers questions, as many as it is given; an error is an answer. Called
            in a thread.
        concurrency: calls of `work` at a time.
        max_queue: admitted requests beyond those.
        timeout_s: how long an admitted request may take.
        max_batch: questions of one key that are answered together, if they wait.
    """

    def __init__(
        self,
        work: Callable[[list[Any]], list[Any]],
        *,
        concurrency: int,
        max_queue: int,
        timeout_s: float,
        max_batch: int = 1,
    ):
        self.draining = False
        self.n_admitted = 0
        self.n_computing = 0
        self.max_batch = max_batch
        self._work = work
        self._concurrency = concurrency
        self._max_queue = max_queue
        self._timeout_s = timeout_s
        self._mean_s = 1.0
        self._lock = threading.Lock()
        self._waiting: collections.deque[_Job] = collections.deque()
        self._threads = ThreadPoolExecutor(concurrency, "compute")

    @property
    def n_waiting(self) -> int:
        """Questions that nobody works on yet."""
        return len(self._waiting)

    @contextlib.contextmanager
    def place(self) -> Iterator[float]:
        """Return a context in which a request is admitted; yields its deadline.

        The deadline is one of `asyncio.get_running_loop().time()`.

        Raises:
            Problem: 429 if too many have been admitted, 503 if the service stops.
        """
        if self.draining:
            raise Problem(
                503,
                "the service is stopping; ask again when it is back",
                {"Retry-After": "5"},
            )
        if self.n_admitted >= self._concurrency + self._max_queue:
            raise Problem(
                429,
                f"{self.n_admitted} requests have been admitted, which is the limit "
                f"({self._concurrency} computed and {self._max_queue} waiting); ask "
                "again after the seconds in Retry-After",
                {"Retry-After": self._retry_after()},
            )
        self.n_admitted += 1
        try:
            yield asyncio.get_running_loop().time() + self._timeout_s
        finally:
            self.n_admitted -= 1

    async def run(self, question: Any, deadline: float, key: Hashable = None) -> Any:
        """Return the answer to a question, or raise it if it is an error.

        Work that has begun is not interrupted: after the deadline its answer is thrown
        away when it comes. Work that has not begun by then never begins; neither does
        that of a task that is cancelled.

        Args:
            question: for `work`.
            deadline: of the event loop's clock.
            key: questions of equal keys may be answered together; None for none.

        Raises:
            Problem: 503 at the deadline.
        """
        job = _Job(question, key)
        with self._lock:
            self._waiting.append(job)
        self._threads.submit(self._answer_next)
        try:
            async with asyncio.timeout_at(deadline):
                answer = await asyncio.wrap_future(job.done)
        except TimeoutError:
            raise Problem(
                503,
                f"the request took longer than {self._timeout_s:g} s, which is the "
                "limit; ask again after the seconds in Retry-After, or with a smaller "
                "picture",
                {"Retry-After": self._retry_after()},
            ) from None
        finally:
            with self._lock, contextlib.suppress(ValueError):
                self._waiting.remove(job)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        """Wait for the work that has begun, and end the threads."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _retry_after(self) -> str:
        """Return the seconds after which half of those that are admitted are done."""
        wait_s = self._mean_s * self.n_admitted / self._concurrency / 2
        return str(max(1, math.ceil(wait_s)))

    def _answer_next(self) -> None:
        jobs = self._take()
        if not jobs:
            return
        begun = time.monotonic()
        with self._lock:
            self.n_computing += 1
        try:
            answers = self._work([job.question for job in jobs])
        except Exception as error:
            answers = [error] * len(jobs)
        seconds = (time.monotonic() - begun) / len(jobs)
        with self._lock:
            self.n_computing -= 1
            self._mean_s += _LATEST * (seconds - self._mean_s)
        for job, answer in zip(jobs, answers, strict=True):
            job.done.set_result(answer)

    def _take(self) -> list[_Job]:
        """Return the next job, and those that are answered together with it.

        Their number is a power of two: every number of pictures is another program.
        """
        with self._lock:
            while self._waiting:
                first = self._waiting.popleft()
                if first.done.set_running_or_notify_cancel():
                    break
            else:  # Those that were submitted have given up.
                return []
            jobs = [first]
            if self.max_batch > 1 and first.key is not None:
                same = [job for job in self._waiting if job.key == first.key]
                size = 1 << (min(self.max_batch, 1 + len(same)).bit_length() - 1)
                for job in same[: size - 1]:
                    self._waiting.remove(job)
                    if job.done.set_running_or_notify_cancel():
                        jobs.append(job)
            return jobs
