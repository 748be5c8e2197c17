"""Who may come in, who waits, and who is computed: the only threads of the service."""

import asyncio
import collections
import contextlib
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from deepgaze_jax.server.problems import Problem

__all__ = ["Engine"]

# Weight of the latest duration in the running mean, from which waits are estimated.
_LATEST = 0.2


@dataclass
class _Job:
    work: Callable[[], Any]
    done: Future = field(default_factory=Future)


class Engine:
    """Computes a few jobs at a time, lets some wait, and turns the others away.

    All but the work itself happens on the event loop's thread.

    Args:
        concurrency: jobs at a time.
        max_queue: admitted requests beyond those.
        timeout_s: how long an admitted request may take.
    """

    def __init__(self, concurrency: int, max_queue: int, timeout_s: float):
        self.draining = False
        self.n_admitted = 0
        self.n_computing = 0
        self._concurrency = concurrency
        self._max_admitted = concurrency + max_queue
        self._timeout_s = timeout_s
        self._mean_s = 1.0
        self._waiting: collections.deque[_Job] = collections.deque()
        self._threads = ThreadPoolExecutor(concurrency, "compute")

    @property
    def n_waiting(self) -> int:
        """Jobs that nobody works on yet."""
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
                {"Retry-After": "5", "Connection": "close"},
            )
        if self.n_admitted >= self._max_admitted:
            raise Problem(
                429,
                f"{self.n_admitted} requests are admitted, which is the limit "
                f"({self._concurrency} computed, "
                f"{self._max_admitted - self._concurrency} waiting); "
                "ask again after the time in Retry-After",
                {"Retry-After": self.retry_after()},
            )
        self.n_admitted += 1
        try:
            yield asyncio.get_running_loop().time() + self._timeout_s
        finally:
            self.n_admitted -= 1

    def retry_after(self) -> str:
        """Return the seconds after which half of those that wait will be done."""
        wait_s = self._mean_s * self.n_admitted / self._concurrency / 2
        return str(max(1, math.ceil(wait_s)))

    async def run(self, work: Callable[[], Any], deadline: float) -> Any:
        """Return what the work returns, or raise what it raises.

        Work that has begun is not interrupted: after the deadline its result is thrown
        away when it comes. Work that has not begun by then never begins; neither does
        that of a task that is cancelled.

        Args:
            work: is called in a thread.
            deadline: of the event loop's clock.

        Raises:
            Problem: 503 at the deadline.
        """
        job = _Job(work)
        self._waiting.append(job)
        self._threads.submit(self._work_on_next)
        try:
            async with asyncio.timeout_at(deadline):
                return await asyncio.wrap_future(job.done)
        except TimeoutError:
            raise Problem(
                503,
                f"the request took longer than {self._timeout_s:g} s, which is the "
                "limit; ask again later, or with a smaller picture",
                {"Retry-After": self.retry_after()},
            ) from None
        finally:
            with contextlib.suppress(ValueError):
                self._waiting.remove(job)

    def close(self) -> None:
        """Wait for the work that has begun, and end the threads."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _work_on_next(self) -> None:
        try:
            job = self._waiting.popleft()
        except IndexError:  # Those that were submitted have given up.
            return
        if not job.done.set_running_or_notify_cancel():
            return
        begun = time.monotonic()
        self.n_computing += 1
        try:
            result = job.work()
        except BaseException as error:
            job.done.set_exception(error)
        else:
            job.done.set_result(result)
        finally:
            self.n_computing -= 1
            self._mean_s += _LATEST * (time.monotonic() - begun - self._mean_s)
