"""The OpenAPI document: what FastAPI cannot see, because it is not done by FastAPI."""

import copy
import functools
from collections.abc import Callable, Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.responses import Response

from deepgaze_jax.named_center_bias import center_bias_names
from deepgaze_jax.server.options import PredictOptions
from deepgaze_jax.server.problems import title_of

__all__ = [
    "DESCRIPTION",
    "EXAMPLE",
    "EXAMPLES",
    "HEALTHZ",
    "METRICS",
    "MODELS",
    "PREDICT",
    "READYZ",
    "describe",
]

DESCRIPTION = (
    "A density of fixations over the pixels of a picture. Log densities are natural "
    "logarithms of probabilities; log-sum-exp over all of them is 0. Errors are "
    "RFC 9457 problems whose detail says what was found, what was expected and what "
    "to do."
)

_NUMBER = {"type": "number"}
_WHOLE = {"type": "integer", "minimum": 0}
_TEXT = {"type": "string"}
_BINARY = {"type": "string", "format": "binary"}


def _object(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "required": list(properties),
        "properties": properties,
    }


_SCHEMAS = {
    "Problem": _object(
        type=_TEXT, title=_TEXT, status=_WHOLE, detail=_TEXT, instance=_TEXT
    ),
    "Prediction": _object(
        model=_TEXT,
        height={**_WHOLE, "description": "of the picture, upright"},
        width=_WHOLE,
        fold={"anyOf": [_WHOLE, {"const": "mixture"}]},
        center_bias=_TEXT,
        pixels_per_dva={"type": ["number", "null"]},
        model_height={**_WHOLE, "description": "of the picture as the model sees it"},
        model_width=_WHOLE,
        log_density={
            **_object(
                height=_WHOLE,
                width=_WHOLE,
                values={"type": "array", "items": {"type": "array", "items": _NUMBER}},
            ),
            "description": "Log of the probability of each cell of a grid with at most "
            "64 cells on the longest side.",
        },
    ),
    "Models": _object(
        models={
            "type": "array",
            "items": _object(
                name=_TEXT,
                default={"type": "boolean"},
                loaded={"type": "boolean"},
                pixels_per_dva={"type": ["number", "null"]},
                input_scale=_NUMBER,
                network=_TEXT,
                folds=_WHOLE,
                card={"type": "object"},
            ),
        },
        center_biases={"type": "array", "items": _TEXT},
        limits=_object(
            max_upload_bytes=_WHOLE,
            max_pixels=_WHOLE,
            max_queue=_WHOLE,
            timeout_s=_NUMBER,
            max_concurrency=_WHOLE,
        ),
    ),
    "Examples": _object(
        examples={
            "type": "array",
            "items": _object(name=_TEXT, title=_TEXT, url=_TEXT, credit=_TEXT),
        }
    ),
    "Status": _object(status=_TEXT),
}

# What each status means, and an example of its sentence.
_PROBLEMS = {
    400: (
        "An option that there is not, or that is given twice, or a broken form.",
        "the option fold is given twice; give it once",
    ),
    401: (
        "The service wants an API key.",
        "an API key is needed; send it as Authorization: Bearer KEY, or as X-API-Key",
    ),
    404: (
        "There is no such thing.",
        "there is no example 'sea.jpg'; see /v1/examples",
    ),
    406: (
        "None of the accepted types can be made.",
        "the client accepts 'text/html'; there are: application/json, "
        "application/x-npy, image/png",
    ),
    408: (
        "The upload took too long.",
        "the upload took longer than 60 s, which is the limit; send a smaller picture",
    ),
    413: (
        "Too many bytes or pixels.",
        "picture: has 8000x6000 = 48 megapixels; at most 16 are decoded: shrink it (or "
        "in Python raise max_pixels)",
    ),
    415: (
        "Not a picture, by its type or by its content.",
        "picture: is a HEIC photograph; convert it to JPEG or PNG",
    ),
    422: (
        "A damaged picture, or an option that cannot have this value.",
        "opacity is '2'; expected a number from 0 to 1",
    ),
    429: (
        "Too many requests wait; ask again after the seconds in Retry-After.",
        "33 requests have been admitted, which is the limit (1 computed and 32 "
        "waiting); ask again after the seconds in Retry-After",
    ),
    500: (
        "The service failed.",
        "the service failed; its log says why: tell its keeper",
    ),
    503: (
        "Not ready, stopping, or the request took too long.",
        "the service is stopping; ask again when it is back",
    ),
}
_RETRY = (429, 503)


def _header(text: str, schema: dict[str, Any] = _TEXT) -> dict[str, Any]:
    return {"description": text, "schema": schema}


def _problems(*statuses: int) -> dict[int, dict[str, Any]]:
    responses = {}
    for status in statuses:
        meaning, detail = _PROBLEMS[status]
        example = {"type": "about:blank", "title": title_of(status), "status": status}
        example |= {"detail": detail, "instance": "/v1/predict"}
        responses[status] = {
            "description": meaning,
            "content": {
                "application/problem+json": {
                    "schema": {"$ref": "#/components/schemas/Problem"},
                    "example": example,
                }
            },
        }
        if status in _RETRY:
            headers = {"Retry-After": _header("seconds", _WHOLE)}
            responses[status]["headers"] = headers
    return responses


def _json(schema: str, example: Any) -> dict[str, Any]:
    content = {"schema": {"$ref": f"#/components/schemas/{schema}"}, "example": example}
    return {"application/json": content}


def _route(content: dict[str, Any], *problems: int, **more: Any) -> dict[str, Any]:
    """Return arguments of a route."""
    ok = {"description": "Done.", "content": content}
    responses = {200: ok, **_problems(*problems)}
    named = {str(status): response for status, response in responses.items()}
    arguments: dict[str, Any] = {"openapi_extra": {"responses": named, **more}}
    if "application/json" not in content:
        # FastAPI would add its own type.
        arguments["response_class"] = Response
    return arguments


_PREDICTION = {
    "model": "icf-osie",
    "fold": "mixture",
    "center_bias": "pooled",
    "pixels_per_dva": 24.0,
    "height": 600,
    "width": 800,
    "model_height": 875,
    "model_width": 1167,
    "log_density": {
        "height": 1,
        "width": 2,
        "values": [[-0.693147, -0.693147]],
    },
}


def _parameters() -> list[dict[str, Any]]:
    properties = PredictOptions.model_json_schema()["properties"]
    return [
        {
            "name": name,
            "in": "query",
            "required": False,
            "description": schema["description"],
            "schema": _without_null(schema),
        }
        for name, schema in properties.items()
    ]


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of what a query can say; it cannot say null."""
    schema = {k: v for k, v in schema.items() if k not in ("title", "description")}
    if schema.get("default", ...) is None:
        del schema["default"]
    kinds = [one for one in schema.pop("anyOf", ()) if one != {"type": "null"}]
    if len(kinds) == 1:
        return {**schema, **kinds[0]}
    return {**schema, "anyOf": kinds} if kinds else schema


def _form() -> dict[str, Any]:
    fields = {one["name"]: one["schema"] for one in _parameters()}
    return {
        "type": "object",
        "required": ["image"],
        "properties": {"image": _BINARY, **fields},
        "additionalProperties": False,
    }


_SAID = {
    "X-DeepGaze-Model": _header("name of the model, percent-encoded"),
    "X-DeepGaze-Fold": _header("mixture, or the number of a fold"),
    "X-DeepGaze-Center-Bias": _header("pooled, fold K, or a name"),
    "X-DeepGaze-Pixels-Per-Dva": _header("that was used, if known", _NUMBER),
}

PREDICT = _route(
    {
        **_json("Prediction", _PREDICTION),
        "application/x-npy": {
            "schema": {
                **_BINARY,
                "description": "File of numpy: float32 [height, width], the log of the "
                "probability of each pixel of the upright picture.",
            }
        },
        "image/png": {
            "schema": {
                **_BINARY,
                "description": "The picture under its density, at most 1600 pixels "
                "wide or high.",
            }
        },
    },
    *(400, 401, 406, 408, 413, 415, 422, 429, 500, 503),
    parameters=_parameters(),
    requestBody={
        "required": True,
        "description": "A picture file (AVIF, BMP, GIF, JPEG, JPEG 2000, PNG, PPM, "
        "TIFF, WebP), as the body or as the file `image` of a form. Options may be "
        "fields of the form, too.",
        "content": {
            "image/*": {"schema": _BINARY},
            "application/octet-stream": {"schema": _BINARY},
            "multipart/form-data": {"schema": _form()},
        },
    },
)
PREDICT["openapi_extra"]["responses"]["200"]["headers"] = _SAID

MODELS = _route(
    _json(
        "Models",
        {
            "models": [
                {
                    "name": "icf-osie",
                    "default": True,
                    "loaded": True,
                    "pixels_per_dva": 24.0,
                    "input_scale": 1.4583333333333333,
                    "network": "icf",
                    "folds": 10,
                    "card": {"format_version": 1},
                }
            ],
            "center_biases": ["uniform", "osie"],
            "limits": {
                "max_upload_bytes": 20_000_000,
                "max_pixels": 16_000_000,
                "max_queue": 32,
                "timeout_s": 60.0,
                "max_concurrency": 1,
            },
        },
    ),
    401,
)

EXAMPLES = _route(
    _json(
        "Examples",
        {
            "examples": [
                {
                    "name": "hopper.jpg",
                    "title": "Grace Hopper",
                    "url": "/v1/examples/hopper.jpg",
                    "credit": "United States Navy, public domain",
                }
            ]
        },
    )
)

EXAMPLE = _route(
    {"image/jpeg": {"schema": _BINARY}, "image/png": {"schema": _BINARY}}, 404
)

HEALTHZ = _route(_json("Status", {"status": "ok"}))
READYZ = _route(_json("Status", {"status": "ready"}), 503)
METRICS = _route({"text/plain": {"schema": _TEXT}}, 401)

_KEYS = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


def describe(
    app: FastAPI, models: Sequence[str], *, with_keys: bool
) -> Callable[[], dict[str, Any]]:
    """Return a function that returns the document, made once.

    Args:
        app: with all its routes.
        models: names by which models can be asked for.
        with_keys: whether the service wants API keys.
    """
    names = {"model": list(models), "center_bias": list(center_bias_names())}

    @functools.cache
    def document() -> dict[str, Any]:
        # The parts that routes have brought are those of all services.
        made = copy.deepcopy(
            get_openapi(
                title=app.title,
                summary=app.summary,
                description=app.description,
                version=app.version,
                routes=app.routes,
            )
        )
        components = {"schemas": _SCHEMAS}
        for operation in (o for path in made["paths"].values() for o in path.values()):
            _tidy(operation, with_keys)
        predict = made["paths"]["/v1/predict"]["post"]
        form = predict["requestBody"]["content"]["multipart/form-data"]["schema"]
        for parameter in predict["parameters"]:
            if parameter["name"] in names:
                kind = {"type": "string", "enum": names[parameter["name"]]}
                parameter["schema"] = kind
                form["properties"][parameter["name"]] = kind
        if with_keys:
            components["securitySchemes"] = _KEYS
        return {**made, "components": components}

    return document


def _tidy(operation: dict[str, Any], with_keys: bool) -> None:
    """Take out what FastAPI adds of its own accord, and what does not hold here."""
    responses = operation["responses"]
    ours = {"200", *(str(status) for status in _PROBLEMS)}
    for status in list(responses):
        content = responses[status].get("content", {})
        own = status != "200" and "application/problem+json" not in content
        if own or status not in ours or (status == "401" and not with_keys):
            del responses[status]
    if with_keys and "401" in responses:
        operation["security"] = [{name: []} for name in _KEYS]
