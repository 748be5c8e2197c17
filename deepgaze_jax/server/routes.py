"""Addresses and what they answer."""

import asyncio
from dataclasses import dataclass

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response

from deepgaze_jax.named_center_bias import center_bias_names
from deepgaze_jax.server import openapi
from deepgaze_jax.server.accept import wanted_kind
from deepgaze_jax.server.answers import Answer, Question, batch_key
from deepgaze_jax.server.config import ServeConfig
from deepgaze_jax.server.engine import Engine
from deepgaze_jax.server.examples import Example
from deepgaze_jax.server.guard import HELD
from deepgaze_jax.server.models import ServedModels
from deepgaze_jax.server.monitor import CONTENT_TYPE, Monitor
from deepgaze_jax.server.options import read_options
from deepgaze_jax.server.page_files import page_file
from deepgaze_jax.server.problems import Problem, problem_of
from deepgaze_jax.server.uploads import Upload, check_headers, read_upload

__all__ = ["Service", "router"]


@dataclass(frozen=True)
class Service:
    """What the addresses share.

    Attributes:
        config: limits.
        models: loaded ones.
        engine: computes.
        monitor: counts.
        examples: photographs to try.
    """

    config: ServeConfig
    models: ServedModels
    engine: Engine
    monitor: Monitor
    examples: dict[str, Example]


router = APIRouter()


def _service(request: Request) -> Service:
    return request.app.state.service


@router.post("/v1/predict", **openapi.PREDICT)
async def predict(request: Request) -> Response:
    """Predict where people look in a picture."""
    service = _service(request)
    # Whatever can be refused at once needs no place.
    kind = wanted_kind(request.headers.get("accept", "*/*"))
    form = check_headers(request.headers, service.config.max_upload_bytes)
    named = request.query_params.multi_items()
    service.models.find(read_options(named).model)
    # Until the answer has been sent: whatever a request takes of memory is bounded.
    deadline = request.scope[HELD].enter_context(service.engine.place())
    upload = await _upload(request, deadline, form)
    options = read_options((*named, *upload.fields))
    question = Question(
        service.models.find(options.model),
        upload.data,
        options,
        kind,
        service.config.max_pixels,
    )
    try:
        done = await _answer(request, question, deadline)
    except Exception as error:
        raise problem_of(error) from error
    service.monitor.count_pixels(done.n_pixels)
    return Response(done.body, media_type=done.media_type, headers=done.headers)


async def _upload(request: Request, deadline: float, form: bool) -> Upload:
    config = _service(request).config
    try:
        async with asyncio.timeout_at(deadline):
            return await read_upload(request, config.max_upload_bytes, form=form)
    except TimeoutError:
        raise Problem(
            408,
            f"the upload took longer than {config.timeout_s:g} s, which is the limit; "
            "send a smaller picture",
            {"Connection": "close"},
        ) from None


async def _answer(request: Request, question: Question, deadline: float) -> Answer:
    """Return the answer; give up when the client does."""
    engine = _service(request).engine
    key = None
    if engine.max_batch > 1:
        key = await asyncio.to_thread(batch_key, question)
    answering = asyncio.ensure_future(engine.run(question, deadline, key))
    leaving = asyncio.ensure_future(_end_of(request))
    try:
        await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not answering.done():
            raise Problem(400, "the client went away before it was answered")
        return answering.result()
    finally:
        for task in (answering, leaving):
            task.cancel()
        await asyncio.gather(answering, leaving, return_exceptions=True)


async def _end_of(request: Request) -> None:
    """Return when the client has gone; its body has been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


@router.get("/v1/models", **openapi.MODELS)
async def models(request: Request) -> JSONResponse:
    """Say which models, center biases and limits there are."""
    service = _service(request)
    config = service.config
    return JSONResponse(
        {
            "models": service.models.describe(),
            "center_biases": list(center_bias_names()),
            "limits": {
                "max_upload_bytes": config.max_upload_bytes,
                "max_pixels": config.max_pixels,
                "max_queue": config.max_queue,
                "timeout_s": config.timeout_s,
                "max_concurrency": config.concurrency,
            },
        }
    )


@router.get("/v1/examples", **openapi.EXAMPLES)
async def examples(request: Request) -> JSONResponse:
    """List photographs to try."""
    return JSONResponse(
        {
            "examples": [
                {
                    "name": one.name,
                    "title": one.title,
                    "url": f"/v1/examples/{one.name}",
                    "credit": one.credit,
                }
                for one in _service(request).examples.values()
            ]
        }
    )


@router.get("/v1/examples/{name}", **openapi.EXAMPLE)
async def example(request: Request, name: str) -> FileResponse:
    """Return a photograph to try."""
    found = _service(request).examples.get(name)
    if found is None or found.path is None:
        raise Problem(404, f"there is no example {name[:40]!r}; see /v1/examples")
    return FileResponse(found.path, headers={"Cache-Control": "max-age=3600"})


@router.get("/healthz", **openapi.HEALTHZ)
async def healthz() -> JSONResponse:
    """Say that the process answers."""
    return JSONResponse({"status": "ok"})


@router.get("/readyz", **openapi.READYZ)
async def readyz(request: Request) -> JSONResponse:
    """Say whether requests should be sent: models are loaded and warm."""
    service = _service(request)
    if service.engine.draining:
        raise Problem(503, "the service is stopping", {"Retry-After": "5"})
    if not service.models.ready:
        raise Problem(503, "models are being loaded; ask again", {"Retry-After": "2"})
    return JSONResponse({"status": "ready"})


@router.get("/metrics", **openapi.METRICS)
async def metrics(request: Request) -> Response:
    """Return counts for Prometheus."""
    report = _service(request).monitor.report()
    return Response(report, headers={"Content-Type": CONTENT_TYPE})


@router.get("/", include_in_schema=False)
async def index(request: Request) -> Response:
    """Return the page."""
    return page_file(request, "index.html")


@router.get("/page/{name}", include_in_schema=False)
async def page(request: Request, name: str) -> Response:
    """Return what the page consists of."""
    return page_file(request, name)
