"""The ASGI application of a service."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import jax
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

import deepgaze_jax
from deepgaze_jax.predictor import Predictor
from deepgaze_jax.server.answers import answer_all
from deepgaze_jax.server.config import ServeConfig
from deepgaze_jax.server.engine import Engine
from deepgaze_jax.server.examples import installed_examples
from deepgaze_jax.server.guard import Guard
from deepgaze_jax.server.housekeeping import Housekeeping
from deepgaze_jax.server.models import ServedModels
from deepgaze_jax.server.monitor import Monitor
from deepgaze_jax.server.openapi import DESCRIPTION, describe
from deepgaze_jax.server.problems import Problem, on_http_exception, on_problem
from deepgaze_jax.server.routes import Service, router

__all__ = ["create_app"]

# Pictures of one size that are computed together on an accelerator. On a CPU they take
# as long together as one after the other (experiments/benchmarks/serve_load.py).
_MAX_BATCH = 8

_SAID = (
    "X-DeepGaze-Model",
    "X-DeepGaze-Fold",
    "X-DeepGaze-Center-Bias",
    "X-DeepGaze-Pixels-Per-Dva",
    "Retry-After",
)


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
    engine = Engine(
        answer_all,
        concurrency=config.concurrency,
        max_queue=config.max_queue,
        timeout_s=config.timeout_s,
        max_batch=1 if jax.default_backend() == "cpu" else _MAX_BATCH,
        housekeeping=Housekeeping(),
    )
    monitor = Monitor(lambda: engine.n_waiting, lambda: engine.n_computing)
    models = ServedModels(predictors)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        warming = asyncio.create_task(asyncio.to_thread(models.warm))
        yield
        await warming
        await asyncio.to_thread(engine.close)

    app = FastAPI(
        title="deepgaze-jax",
        summary="Where do people look in a picture?",
        description=DESCRIPTION,
        version=deepgaze_jax.__version__,
        lifespan=lifespan,
        # They would name the scheme and host that the service sees behind a proxy.
        redirect_slashes=False,
        # They load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = Service(config, models, engine, monitor, installed_examples())
    app.include_router(router)
    app.openapi = describe(app, models.names, with_keys=bool(config.api_keys))
    app.add_exception_handler(Problem, on_problem)
    app.add_exception_handler(HTTPException, on_http_exception)
    app.add_middleware(
        Guard,
        api_keys=config.api_keys,
        monitor=monitor,
        send_timeout_s=config.timeout_s,
    )
    if config.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=config.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "X-API-Key"],
            expose_headers=_SAID,
        )
    return app
