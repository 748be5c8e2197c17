"""Around every request: keys, headers, counts, and clients that read slowly."""

import asyncio
import contextlib
import hashlib
import hmac
import logging
import time
from collections.abc import Iterator, Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deepgaze_jax.server.monitor import Monitor
from deepgaze_jax.server.problems import Problem, problem_response

__all__ = ["HELD", "Guard"]

#: Key of a request's scope: an ExitStack that is closed when the answer has been sent.
HELD = "deepgaze.held"

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; "
    "style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "font-src 'self'; worker-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}

# What needs a key where there are keys. The page has to be loaded before it can ask
# for one, its examples are public, and who watches over a process has none.
_WITH_KEY = ("/v1/predict", "/v1/models", "/metrics")

# Names in counts; all other addresses share one.
_PATHS = (
    *_WITH_KEY,
    "/",
    "/v1/examples",
    "/healthz",
    "/readyz",
    "/openapi.json",
)
_FOLDERS = ("/v1/examples/", "/page/")

# A body is handed over in pieces, so that what a slow client has not read yet is not
# all in the buffer of its connection.
_PIECE_BYTES = 262_144

_log = logging.getLogger("deepgaze_jax.server")


class _TooSlowError(Exception):
    """The client does not read its answer."""


class Guard:
    """An ASGI application around another one.

    Args:
        app: the other one.
        api_keys: one of them is needed, unless there is none.
        monitor: counts.
        send_timeout_s: how long a client may take to read a piece of its answer.
    """

    def __init__(
        self,
        app: ASGIApp,
        api_keys: Sequence[str],
        monitor: Monitor,
        send_timeout_s: float,
    ):
        self._app = app
        self._digests = [_digest(key) for key in api_keys]
        self._monitor = monitor
        self._send_timeout_s = send_timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path, begun = scope["path"], time.monotonic()
        head = scope["method"] == "HEAD"
        if head:  # What GET says, without its body.
            scope = {**scope, "method": "GET"}
        status, complete = 0, False

        async def send_on(message: Message) -> None:
            nonlocal status, complete
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                if path.startswith("/v1/predict"):
                    headers.setdefault("Cache-Control", "no-store")
            if head and "body" in message:
                message = {**message, "body": b""}
            for piece in _pieces(message):
                try:
                    async with asyncio.timeout(self._send_timeout_s):
                        await send(piece)
                except TimeoutError:
                    raise _TooSlowError from None
            body = message["type"] == "http.response.body"
            complete = body and not message.get("more_body", False)

        with contextlib.ExitStack() as held:
            scope[HELD] = held
            try:
                if path in _WITH_KEY and not self._has_key(Headers(scope=scope)):
                    problem = Problem(
                        401,
                        "an API key is needed; send it as Authorization: Bearer KEY, "
                        "or as X-API-Key",
                        {"WWW-Authenticate": "Bearer"},
                    )
                    await problem_response(path, problem)(scope, receive, send_on)
                else:
                    await self._app(scope, receive, send_on)
            except _TooSlowError:
                # Uvicorn ends the connection of an answer that is not complete.
                _log.warning("a client took too long to read its answer")
            except Exception:
                _log.exception("error while answering %s", path)
                if status:
                    return
                problem = Problem(
                    500, "the service failed; its log says why: tell its keeper"
                )
                await problem_response(path, problem)(scope, receive, send_on)
            finally:
                seconds = time.monotonic() - begun
                said = status if complete else 0
                self._monitor.count_request(_label(path), said, seconds)

    def _has_key(self, headers: Headers) -> bool:
        if not self._digests:
            return True
        kind, _, bearer = headers.get("authorization", "").partition(" ")
        given = bearer.strip() if kind.lower() == "bearer" else ""
        digest = _digest(given or headers.get("x-api-key", ""))
        # All are compared, each in constant time.
        return any([hmac.compare_digest(digest, known) for known in self._digests])


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("latin-1", "replace")).digest()


def _label(path: str) -> str:
    if path in _PATHS:
        return path
    folder = next((one for one in _FOLDERS if path.startswith(one)), None)
    return f"{folder}*" if folder else "other"


def _pieces(message: Message) -> Iterator[Message]:
    """Yield messages with small bodies that together say the same."""
    body = message.get("body", b"")
    if message["type"] != "http.response.body" or len(body) <= _PIECE_BYTES:
        yield message
        return
    view = memoryview(body)
    for start in range(0, len(body), _PIECE_BYTES):
        end = start + _PIECE_BYTES
        yield {
            "type": "http.response.body",
            "body": bytes(view[start:end]),
            "more_body": end < len(body) or message.get("more_body", False),
        }
