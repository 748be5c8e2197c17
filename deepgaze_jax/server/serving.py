"""Listening: a socket, uvicorn, and an end that loses nobody."""

import logging
import math
import socket
from collections.abc import Callable
from types import FrameType

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
        log_level="info" if access_log else "warning",
        access_log=access_log,
        server_header=False,
        lifespan="on",
        # Whatever else is installed: this one bounds the headers of a request.
        http="h11",
        ws="none",
        # What is left then are clients that do not read.
        timeout_graceful_shutdown=math.ceil(service.config.timeout_s),
    )
    _Server(config, service.engine, on_drain).run(sockets=[listener])


class _Server(uvicorn.Server):
    """Uvicorn, but refusing in words for as long as admitted requests take."""

    def __init__(
        self,
        config: uvicorn.Config,
        engine: Engine,
        on_drain: Callable[[int], None],
    ):
        super().__init__(config)
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
        return await super().on_tick(counter)
