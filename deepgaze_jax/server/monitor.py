"""What the service counts, for Prometheus."""

from collections.abc import Callable

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

__all__ = ["CONTENT_TYPE", "Monitor"]

CONTENT_TYPE = CONTENT_TYPE_LATEST

_SECONDS = (0.01, 0.03, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 120)


class Monitor:
    """Counts of one service; nothing is shared between services of a process.

    Attributes:
        n_answered: requests whose answers were sent as a whole.

    Args:
        n_waiting: returns how many questions wait.
        n_computing: returns how many are computed.
    """

    def __init__(self, n_waiting: Callable[[], int], n_computing: Callable[[], int]):
        self.n_answered = 0
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "deepgaze_requests",
            "Requests that were answered.",
            ("path", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "deepgaze_request_seconds",
            "Time from the first byte of a request to the last of its answer.",
            ("path",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._pixels = Counter(
            "deepgaze_pixels",
            "Pixels of the pictures that were predicted.",
            registry=self._registry,
        )
        for name, text, count in (
            ("deepgaze_queue_length", "Requests that wait to be computed.", n_waiting),
            ("deepgaze_computing", "Pictures that are computed.", n_computing),
        ):
            Gauge(name, text, registry=self._registry).set_function(count)
        ProcessCollector(registry=self._registry)

    def count_request(self, path: str, status: int, seconds: float) -> None:
        """Count a request.

        Args:
            path: one of few; not whatever a client made up.
            status: of the answer; 0 if it could not be sent as a whole.
            seconds: that it took.
        """
        self.n_answered += status != 0
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def count_pixels(self, n_pixels: int) -> None:
        """Count the pixels of a picture."""
        self._pixels.inc(n_pixels)

    def report(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self._registry)
