"""The OpenAPI document: bodies in every form, answers in every format, problems for every status."""

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.responses import Response

from service.answers import (
    ImagesAnswer,
    LatentsAnswer,
    LiveAnswer,
    ModelDetails,
    ModelsAnswer,
    Problem,
    ReadyAnswer,
)
from service.context import Context
from service.delivery.schemas import AliasChangedAnswer, AliasesAnswer, AliasRequest, RollbackRequest
from service.examples import request_examples
from service.formats.negotiation import IMAGE_FORMATS, JSON, NPY
from service.problems import MEDIA_TYPE as PROBLEM
from service.schemas import EncodeRequest, InterpolateRequest, ReconstructRequest, SampleRequest
from service.training.answers import MODELS as TRAINING_ANSWERS
from service.training.bodies import JobRequest

Json = dict[str, Any]

_REF = "#/components/schemas/{model}"
_ANSWERS = (
    ImagesAnswer,
    LatentsAnswer,
    ModelsAnswer,
    ModelDetails,
    AliasesAnswer,
    AliasChangedAnswer,
    LiveAnswer,
    ReadyAnswer,
    *TRAINING_ANSWERS,
)
_REQUESTS = (
    SampleRequest,
    InterpolateRequest,
    EncodeRequest,
    ReconstructRequest,
    AliasRequest,
    RollbackRequest,
    JobRequest,
)
_BINARY: Json = {"schema": {"type": "string", "format": "binary"}}
_PROBLEMS = {
    400: "malformed_body: the body cannot be read",
    404: "unknown_model, not_found",
    406: "not_acceptable: no format in Accept can carry the answer",
    409: "graph_missing, prior_missing: the model cannot do this; model_refused: its bundle is damaged",
    413: "body_too_large",
    415: "unsupported_media_type",
    422: "invalid_request, invalid_image, invalid_latents",
    500: "internal, runtime_failed",
    503: "overloaded, not_ready, stopping, model_unavailable; Retry-After where it helps",
    504: "deadline_exceeded",
}
_PARAMETERS: list[Json] = [
    {
        "name": "X-Timeout-Ms",
        "in": "header",
        "description": "deadline in milliseconds; a request that cannot meet it is refused",
        "schema": {"type": "number", "exclusiveMinimum": 0},
    },
    {
        "name": "X-Request-Id",
        "in": "header",
        "description": "comes back in the answer, the log and any problem document",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$"},
    },
]
_IMAGE_PARAMETERS: list[Json] = [
    {
        "name": "quality",
        "in": "query",
        "description": "1 to 100 for JPEG (90 if left out) and WebP (lossless if left out)",
        "schema": {"type": "integer", "minimum": 1, "maximum": 100},
    },
    {
        "name": "fps",
        "in": "query",
        "description": "frames a second of GIF, APNG and animated WebP",
        "schema": {"type": "number", "minimum": 0.1, "maximum": 100, "default": 20},
    },
]


def describe(operation: str, schema: type[BaseModel], formats: Sequence[str]) -> Json:
    """Arguments of a route whose handler reads the body itself.

    Args:
        operation: Its id.
        schema: Fields of the body.
        formats: Media types of the answer.
    """
    answer = ImagesAnswer if formats is IMAGE_FORMATS else LatentsAnswer
    content = {media_type: _schema_of(answer) if media_type == JSON else _BINARY for media_type in formats}
    body: Json = {JSON: _schema_of(schema), "multipart/form-data": {"schema": _form(schema)}}
    if {"images", "latents"} & set(schema.model_fields):
        body[NPY] = _BINARY
    if "images" in schema.model_fields:
        body["image/*"] = _BINARY
    extra = {"requestBody": {"content": body}, "parameters": _PARAMETERS + _IMAGE_PARAMETERS}
    ok: Json = {"description": "In the format that Accept asks for", "content": content}
    return _route(operation, {200: ok, **_problems(*_PROBLEMS)}) | {"openapi_extra": extra, "tags": ["images"]}


def plain(summary: str, answer: type[BaseModel], *statuses: int) -> Json:
    """Arguments of a route without body that answers JSON, or a problem of one of the statuses."""
    return _plain(summary, {JSON: _schema_of(answer)}, *statuses)


def text(summary: str, media_type: str) -> Json:
    """Arguments of a route without body that answers text."""
    return _plain(summary, {media_type: {"schema": {"type": "string"}}})


def _plain(summary: str, content: Json, *statuses: int) -> Json:
    ok: Json = {"description": summary, "content": content}
    return _route(None, {200: ok, **_problems(*statuses)}) | {"summary": summary, "tags": ["service"]}


def install(app: FastAPI, context: Context) -> None:
    """Let the application make its document by this module, with examples for the models that are loaded."""

    def document() -> Json:
        if app.openapi_schema:
            return app.openapi_schema
        made = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        made.setdefault("components", {}).setdefault("schemas", {}).update(_components())
        if not context.is_open():
            return made  # made again when there are models to show
        for path, examples in request_examples(context.catalog(), context.settings.default_model).items():
            made["paths"][path]["post"]["requestBody"]["content"][JSON]["examples"] = examples
        app.openapi_schema = made
        return made

    app.openapi = document  # type: ignore[method-assign]


def _route(operation: str | None, responses: dict[int | str, Any]) -> Json:
    return {"operation_id": operation, "response_class": Response, "response_model": None, "responses": responses}


def _problems(*statuses: int) -> dict[int | str, Json]:
    content = {PROBLEM: _schema_of(Problem)}
    return {status: {"description": _PROBLEMS[status], "content": content} for status in statuses}


def _schema_of(model: type[BaseModel]) -> Json:
    return {"schema": {"$ref": _REF.format(model=model.__name__)}}


def _form(schema: type[BaseModel]) -> Json:
    """Form fields: files for images, text for the rest (JSON where it is no plain word or number)."""
    properties: Json = {}
    for name, field in schema.model_fields.items():
        shown = field.alias or name
        file: Json = {"type": "string", "format": "binary"}
        if shown in ("images", "via"):
            properties[shown] = {"type": "array", "items": file}
        else:
            properties[shown] = (
                file if shown in ("from", "to") else {"type": "string", "description": field.description}
            )
    return {"type": "object", "properties": properties}


def _components() -> Json:
    models = (*_REQUESTS, *_ANSWERS, Problem)
    _, schema = models_json_schema([(model, "validation") for model in models], ref_template=_REF)
    found: Json = schema["$defs"]
    return found
