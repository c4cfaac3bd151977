"""How the endpoints under /training stand in the OpenAPI document."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from starlette.responses import Response

from service.answers import Problem
from service.formats.negotiation import JSON
from service.problems import MEDIA_TYPE as PROBLEM
from service.training.bodies import JobRequest, ListQuery, WatchQuery

Json = dict[str, Any]

OFF = "training_off: this service takes no jobs"
DATABASE = "database_unavailable: the jobs' database does not answer; stopping; both with Retry-After"
UNKNOWN = f"unknown_job; {OFF}"


def operation(
    summary: str,
    answers: Mapping[int, tuple[str, Json]],
    problems: Mapping[int, str],
    extra: Json | None = None,
) -> Json:
    """Arguments of a route.

    Args:
        summary: One line.
        answers: Status → what it means, and the media types of the answer with their schemas.
        problems: Status → codes.
        extra: Further members of the operation: its body, its parameters.
    """
    responses: dict[int | str, Json] = {}
    for status, (meaning, content) in answers.items():
        responses[status] = {"description": meaning} | ({"content": content} if content else {})
    for status, codes in sorted({422: "invalid_request: the query or the path", **problems}.items()):
        responses[status] = {"description": codes, "content": {PROBLEM: of(Problem)}}
    return {
        "summary": summary,
        "response_class": Response,
        "response_model": None,
        "status_code": min(answers),
        "responses": responses,
        "openapi_extra": extra,
        "tags": ["training"],
    }


def answer(model: type[BaseModel], example: object = None) -> Json:
    """Content of a JSON answer."""
    return {JSON: of(model) | ({} if example is None else {"example": example})}


def of(model: type[BaseModel]) -> Json:
    """A reference to a schema."""
    return {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}


def query(model: type[BaseModel]) -> list[Json]:
    """A query as parameters."""
    schema = model.model_json_schema()
    return [
        {"name": name, "in": "query", "description": place.pop("description", ""), "schema": place}
        for name, place in schema["properties"].items()
    ]


ORDER_EXTRA: Json = {
    "parameters": [
        {
            "name": "Idempotency-Key",
            "in": "header",
            "description": "1 to 255 printable characters, new for each order (a UUID, say): the same order with the "
            "same key is the same job, however often it comes",
            "schema": {"type": "string", "minLength": 1, "maxLength": 255},
        }
    ],
    "requestBody": {
        "required": True,
        "content": {
            JSON: of(JobRequest)
            | {
                "examples": {
                    "named": {
                        "summary": "A recipe by name, shortened",
                        "value": {"recipe": "fashion-vae", "overrides": {"train.epochs": 2}},
                    },
                    "data": {
                        "summary": "The same networks on other data, under another name",
                        "value": {"recipe": "fashion-vae", "data": "mnist", "name": "digits", "priority": 10},
                    },
                    "whole": {
                        "summary": "A whole recipe, promoted by hand",
                        "value": {
                            "recipe": {
                                "name": "small-vae",
                                "family": "vae",
                                "data": {"name": "fashion-mnist"},
                                "model": {"network": "mlp", "latent_dim": 8, "hidden": [64]},
                                "train": {"rounds": 500, "batch_size": 64},
                            },
                            "promotion": "manual",
                        },
                    },
                }
            }
        },
    },
}
LIST_EXTRA: Json = {"parameters": query(ListQuery)}
WATCH_EXTRA: Json = {
    "parameters": [
        *query(WatchQuery),
        {
            "name": "Last-Event-ID",
            "in": "header",
            "description": "id of the last event that is known: the stream goes on behind it; wins over `after`",
            "schema": {"type": "integer", "minimum": 0},
        },
    ]
}
STREAM: Json = {
    "text/event-stream": {
        "schema": {"type": "string"},
        "example": 'retry: 2000\n\nid: 1\nevent: state\ndata: {"job":"…","at":"2026-01-31T12:00:00.000Z",'
        '"state":"queued","attempt":1}\n\nid: 2\nevent: progress\ndata: {"step":40,"steps":938,"losses":{"loss":231.5}'
        ',"images_per_second":9120.4,"eta_s":12.6}\n\n: keep-alive\n\n',
    }
}
PNG: Json = {"image/png": {"schema": {"type": "string", "format": "binary"}}}
ANY_TABLE: Json = {JSON: {"schema": {"type": "object"}}}
