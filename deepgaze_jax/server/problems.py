"""Refusals as RFC 9457 says: `application/problem+json`."""

import http
from collections.abc import Mapping

import jax
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from deepgaze_jax.errors import (
    ConfigError,
    InputError,
    NotAPictureError,
    TooLargeError,
)

__all__ = [
    "Problem",
    "on_http_exception",
    "on_problem",
    "problem_of",
    "problem_response",
    "title_of",
]

#: Titles, where HTTP's own phrase says too little.
_TITLES = {
    413: "Too large",
    415: "Not a picture",
    422: "Cannot be computed",
    429: "Too many requests are waiting",
}

# In what JAX says when the memory of a device is full.
_FULL = "RESOURCE_EXHAUSTED"


class Problem(Exception):
    """A request that is refused.

    Args:
        status: of HTTP.
        detail: one sentence: what was found, what was expected, what to do.
        headers: that go with it.
    """

    def __init__(
        self, status: int, detail: str, headers: Mapping[str, str] | None = None
    ):
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})


def problem_of(error: Exception) -> Problem:
    """Return the refusal that an error of the library means; others are raised."""
    if isinstance(error, Problem):
        return error
    detail = " ".join(str(error).split())
    if isinstance(error, TooLargeError):
        return Problem(413, detail)
    if isinstance(error, NotAPictureError):
        return Problem(415, detail)
    if isinstance(error, InputError | ConfigError):
        return Problem(422, detail)
    device_full = isinstance(error, jax.errors.JaxRuntimeError) and _FULL in detail
    if isinstance(error, MemoryError) or device_full:
        return Problem(
            503,
            "there was not enough memory; ask again later, or with a smaller picture",
            {"Retry-After": "5"},
        )
    raise error


def title_of(status: int) -> str:
    """Return what refusals with a status have in common."""
    return _TITLES.get(status, http.HTTPStatus(status).phrase)


class _ProblemJSON(JSONResponse):
    media_type = "application/problem+json"


def problem_response(path: str, problem: Problem) -> JSONResponse:
    """Return what the client gets.

    Args:
        path: of the request.
        problem: why it is refused.
    """
    return _ProblemJSON(
        {
            "type": "about:blank",
            "title": title_of(problem.status),
            "status": problem.status,
            "detail": problem.detail,
            "instance": path,
        },
        problem.status,
        problem.headers,
    )


async def on_problem(request: Request, problem: Problem) -> JSONResponse:
    """Return the answer to a refused request; a handler of Starlette's."""
    return problem_response(request.url.path, problem)


async def on_http_exception(request: Request, error: HTTPException) -> JSONResponse:
    """Return the answer to a request that fits no address; a handler of Starlette's."""
    details = {
        404: "there is nothing at this address; see /openapi.json",
        405: f"{request.method} is not done here; see /openapi.json",
    }
    detail = details.get(error.status_code, str(error.detail))
    problem = Problem(error.status_code, detail, error.headers)
    return problem_response(request.url.path, problem)
