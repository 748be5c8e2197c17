"""Listening: a socket, uvicorn, and an end that loses nobody."""

import logging
import math
import socket
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI

from deepgaze_jax.errors import ConfigError
from deepgaze_jax.server.engine import Engine

__all__ = ["listen", "serve"]


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Args:
        host: address or name of an interface; 0.0.0.0 or :: for all of them.
        port: 0 for any free one.

    Raises:
        ConfigError: it is taken, not allowed, or the host is not of this machine.
    """
    if not 0 <= port <= 65535:
        raise ConfigError(f"the port is {port}; expected 0 to 65535")
    try:
        family, *_, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(address, family=family, backlog=2048)
    except (OSError, UnicodeError) as error:
        # Names of hosts that cannot be encoded are no OSError.
        why = getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            f"cannot listen on {host} port {port} ({why}); give another --port (0 for "
            "any) or --host, or stop what listens there"
        ) from None


def serve(
    app: FastAPI,
    listener: socket.socket,
    *,
    access_log: bool = False,
    on_drain: Callable[[int], None] = lambda n_admitted: None,
) -> None:
    """Answer until the process is asked to end; returns nothing.

    After SIGTERM or SIGINT new requests for predictions get 503, admitted ones are
    finished, and only then the socket is closed. A second signal ends it at once.

    Args:
        app: from `create_app`.
        listener: from `listen`.
        access_log: print a line for each request.
        on_drain: is told how many requests are to be finished.
    """
    # It comments on every broken form; the client is told.
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)
    service = app.state.service
    config = uvicorn.Config(
        app,
        # Not every broken request of whoever scans the network.
        log_level="info" if access_log else "error",
        access_log=access_log,
        server_header=False,
        lifespan="on",
        # Whatever else is installed: this one bounds the headers of a request.
        http="h11",
        ws="none",
        # What is left then are clients that do not read.
        timeout_graceful_shutdown=math.ceil(service.config.timeout_s),
    )
    server = _Server(config, service.engine, on_drain, service.config.timeout_s)
    server.run(sockets=[listener])


class _Server(uvicorn.Server):
    """Uvicorn, but refusing in words for as long as admitted requests take.

    Connections without a request, or with the beginning of one, end after a while: each
    takes one of the files that a process may have open.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        engine: Engine,
        on_drain: Callable[[int], None],
        idle_s: float,
    ):
        super().__init__(config)
        self._idle_s = idle_s
        # Connections -> since when, and their latest request.
        self._idle: dict[Any, tuple[float, Any]] = {}
        self._engine = engine
        self._on_drain = on_drain
        self._told = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._engine.draining:
            self.should_exit = self.force_exit = True
        self._engine.draining = True

    async def on_tick(self, counter: int) -> bool:
        if self._engine.draining and not self._told:
            self._told = True
            self._on_drain(self._engine.n_admitted)
        if self._engine.draining and self._engine.n_admitted == 0:
            return True
        if counter % 10 == 0:  # About once a second.
            self._end_idle_connections()
        return await super().on_tick(counter)

    def _end_idle_connections(self) -> None:
        now, idle = time.monotonic(), {}
        for connection in self.server_state.connections:
            request = connection.cycle
            if request is not None and not request.response_complete:
                continue
            since, latest = self._idle.get(connection, (now, request))
            idle[connection] = since if latest is request else now, request
            if now - idle[connection][0] > self._idle_s:
                connection.transport.close()
        self._idle = idle
