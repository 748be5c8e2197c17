"""`deepgaze serve`."""

import os
from pathlib import Path
from typing import Annotated

import tyro

from deepgaze_jax.cli.messages import say
from deepgaze_jax.cli.options import unset
from deepgaze_jax.errors import ConfigError
from deepgaze_jax.prediction import load_pretrained

__all__ = ["serve"]


def serve(
    host: Annotated[str, tyro.conf.arg(metavar="ADDRESS")] = "127.0.0.1",
    port: int = 7860,
    models: Annotated[tuple[str, ...], tyro.conf.arg(metavar="MODEL...")] = (
        "deepgaze2",
        "icf",
    ),
    max_upload_mb: float = 20.0,
    max_megapixels: float = 16.0,
    queue: int = 32,
    timeout: float = 60.0,
    concurrency: int = 1,
    api_key_file: Annotated[Path | None, unset("FILE")] = None,
    api_key_env: Annotated[str | None, unset("NAME")] = None,
    cors: Annotated[tuple[str, ...], unset("ORIGIN...")] = (),
    access_log: bool = False,
) -> int:
    """Serve predictions over HTTP, with a page for browsers.

    The page is at http://ADDRESS:PORT/, the description of the interface at
    /openapi.json. SIGTERM or Ctrl-C finishes the requests that have been admitted.

    Args:
        host: Where to listen; 0.0.0.0 for other machines, behind a proxy.
        port: 0 for any free one.
        models: Names, .safetensors files or training runs; the first is the default.
        max_upload_mb: Larger uploads are refused.
        max_megapixels: Larger pictures are refused before they are decoded.
        queue: Requests that may wait; the next one is told to come back.
        timeout: Seconds that a request may take.
        concurrency: Pictures that are computed at the same time.
        api_key_file: File with a key on each line, of which clients need one.
        api_key_env: Environment variable with such a key.
        cors: Origins of other pages that may ask.
        access_log: Print a line for each request.
    """
    try:
        from deepgaze_jax.server.app import create_app
        from deepgaze_jax.server.config import ServeConfig
        from deepgaze_jax.server.serving import listen
        from deepgaze_jax.server.serving import serve as serve_app
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"deepgaze serve needs {error.name}; pip install 'deepgaze-jax[serve]'"
        ) from error
    config = ServeConfig(
        max_upload_bytes=_millions(max_upload_mb, "max_upload_mb"),
        max_pixels=_millions(max_megapixels, "max_megapixels"),
        max_queue=queue,
        timeout_s=timeout,
        concurrency=concurrency,
        api_keys=_api_keys(api_key_file, api_key_env),
        cors_origins=cors,
    )
    # What takes no time is checked before what does.
    listener = listen(host, port)
    with listener:
        predictors = [load_pretrained(model) for model in models]
        for predictor in predictors:
            predictor.feature_stage.prepare()
        app = create_app(predictors, config)
        shown = f"[{host}]" if ":" in host else host
        names = ", ".join(predictor.name for predictor in predictors)
        say(
            f"serving {names} at http://{shown}:{listener.getsockname()[1]}/ "
            "(Ctrl-C stops)"
        )
        serve_app(
            app,
            listener,
            access_log=access_log,
            on_drain=lambda n: say(f"stopping; requests to be finished: {n}"),
        )
    say(f"stopped; requests answered: {app.state.service.monitor.n_answered}")
    return 0


def _millions(number: float, name: str) -> int:
    """Return a limit in ones."""
    # Written so that NaN fails too; what rounds to 0 the configuration refuses.
    if not 0 < number < float("inf"):
        raise ConfigError(f"{name} is {number}; expected a number above 0")
    return round(number * 1e6)


def _api_keys(file: Path | None, variable: str | None) -> tuple[str, ...]:
    """Return the keys, of which a client needs one."""
    keys: list[str] = []
    if file is not None:
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is no text"
            raise ConfigError(f"{file}: cannot be read ({why})") from None
        found = [line.strip() for line in lines if line.strip()]
        if not found:
            raise ConfigError(f"{file}: has no API key; write one on each line")
        keys += found
    if variable is not None:
        if not os.environ.get(variable):
            raise ConfigError(
                f"the environment variable {variable} is not set, or empty; expected "
                "an API key in it"
            )
        keys.append(os.environ[variable])
    return tuple(keys)
