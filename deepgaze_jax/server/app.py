"""The ASGI application: addresses and what they answer."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from fastapi import APIRouter, FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response

import deepgaze_jax
from deepgaze_jax.named_center_bias import center_bias_names
from deepgaze_jax.predictor import Predictor
from deepgaze_jax.server.accept import wanted_kind
from deepgaze_jax.server.answers import Question, answer
from deepgaze_jax.server.config import ServeConfig
from deepgaze_jax.server.engine import Engine
from deepgaze_jax.server.examples import Example, installed_examples
from deepgaze_jax.server.models import ServedModels
from deepgaze_jax.server.options import read_options
from deepgaze_jax.server.page_files import page_file
from deepgaze_jax.server.problems import Problem, on_problem, problem_of
from deepgaze_jax.server.uploads import read_upload

__all__ = ["Service", "create_app"]


@dataclass(frozen=True)
class Service:
    """What the addresses share.

    Attributes:
        config: limits.
        models: loaded ones.
        engine: computes.
        examples: photographs to try.
    """

    config: ServeConfig
    models: ServedModels
    engine: Engine
    examples: dict[str, Example]


def create_app(
    predictors: Sequence[Predictor], config: ServeConfig | None = None
) -> FastAPI:
    """Return the service as an ASGI application.

    Args:
        predictors: loaded models; the first is the default.
        config: limits.

    Raises:
        ConfigError: no models, or two of one name.
    """
    config = config or ServeConfig()
    service = Service(
        config,
        ServedModels(predictors),
        Engine(config.concurrency, config.max_queue, config.timeout_s),
        installed_examples(),
    )

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        warming = asyncio.create_task(asyncio.to_thread(service.models.warm))
        yield
        await warming
        await asyncio.to_thread(service.engine.close)

    app = FastAPI(
        title="deepgaze-jax",
        version=deepgaze_jax.__version__,
        lifespan=lifespan,
        # They load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = service
    app.include_router(_router)
    app.add_exception_handler(Problem, on_problem)
    app.add_exception_handler(HTTPException, _on_http_exception)
    return app


_router = APIRouter()


def _service(request: Request) -> Service:
    return request.app.state.service


@_router.post("/v1/predict")
async def predict(request: Request) -> Response:
    """Predict where people look in a picture."""
    service = _service(request)
    kind = wanted_kind(request.headers.get("accept", "*/*"))
    with service.engine.place() as deadline:
        try:
            async with asyncio.timeout_at(deadline):
                upload = await read_upload(request, service.config.max_upload_bytes)
        except TimeoutError:
            raise Problem(
                408,
                f"the upload took longer than {service.config.timeout_s:g} s, which is "
                "the limit; send a smaller picture",
                {"Connection": "close"},
            ) from None
        options = read_options((*request.query_params.multi_items(), *upload.fields))
        question = Question(
            service.models.find(options.model),
            upload.data,
            options,
            kind,
            service.config.max_pixels,
        )
        try:
            done = await service.engine.run(lambda: answer(question), deadline)
        except Exception as error:
            raise problem_of(error) from error
    return Response(done.body, media_type=done.media_type, headers=done.headers)


@_router.get("/v1/models")
async def models(request: Request) -> JSONResponse:
    """Say which models, center biases and limits there are."""
    service = _service(request)
    return JSONResponse(
        {
            "models": service.models.describe(),
            "center_biases": list(center_bias_names()),
            "limits": {
                "max_upload_bytes": service.config.max_upload_bytes,
                "max_pixels": service.config.max_pixels,
                "max_queue": service.config.max_queue,
                "timeout_s": service.config.timeout_s,
                "max_concurrency": service.config.concurrency,
            },
        }
    )


@_router.get("/v1/examples")
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


@_router.get("/v1/examples/{name}")
async def example(request: Request, name: str) -> FileResponse:
    """Return a photograph to try."""
    found = _service(request).examples.get(name)
    if found is None or found.path is None:
        raise Problem(404, f"there is no example {name[:40]!r}; see /v1/examples")
    return FileResponse(found.path, headers={"Cache-Control": "max-age=3600"})


@_router.get("/healthz")
async def healthz() -> JSONResponse:
    """Say that the process answers."""
    return JSONResponse({"status": "ok"})


@_router.get("/readyz")
async def readyz(request: Request) -> JSONResponse:
    """Say whether requests are taken: models are loaded and warm."""
    service = _service(request)
    if service.engine.draining:
        raise Problem(503, "the service is stopping")
    if not service.models.ready:
        raise Problem(503, "models are being loaded; ask again", {"Retry-After": "2"})
    return JSONResponse({"status": "ready"})


@_router.get("/", include_in_schema=False)
async def index(request: Request) -> Response:
    """Return the page."""
    return page_file(request, "index.html")


@_router.get("/page/{name}", include_in_schema=False)
async def page(request: Request, name: str) -> Response:
    """Return what the page consists of."""
    return page_file(request, name)


async def _on_http_exception(request: Request, error: HTTPException) -> Response:
    details = {
        404: "there is nothing at this address; see /openapi.json",
        405: f"{request.method} is not done here; see /openapi.json",
    }
    detail = details.get(error.status_code, str(error.detail))
    problem = Problem(error.status_code, detail, dict(error.headers or {}))
    return await on_problem(request, problem)
