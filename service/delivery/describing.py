"""How changes of aliases stand in the OpenAPI document."""

from typing import Any

from service.delivery.schemas import AliasChangedAnswer, AliasRequest, RollbackRequest
from service.formats.negotiation import JSON
from service.training import describing

Json = dict[str, Any]

_PROBLEMS = {
    404: "unknown_model: no such model, version or alias",
    409: "store_read_only; model_refused: the version cannot serve; no_version_before: nothing to roll back to",
    413: "body_too_large",
    415: "unsupported_media_type",
    422: "invalid_request",
    503: "not_ready, stopping; Retry-After",
}
_TIMEOUT: Json = {
    "name": "X-Timeout-Ms",
    "in": "header",
    "description": "milliseconds to wait for all workers, at most 60000; the change stands even if one is late",
    "schema": {"type": "number", "exclusiveMinimum": 0},
}
CHANGED: Json = {"parameters": [_TIMEOUT]}
ALIAS: Json = CHANGED | {"requestBody": {"required": True, "content": {JSON: describing.of(AliasRequest)}}}
ROLLBACK: Json = CHANGED | {"requestBody": {"required": False, "content": {JSON: describing.of(RollbackRequest)}}}


def operation(summary: str, extra: Json) -> Json:
    """Arguments of a route that changes an alias."""
    answers = {200: ("The change stands", describing.answer(AliasChangedAnswer))}
    return describing.operation(summary, answers, _PROBLEMS, extra) | {"tags": ["service"]}
