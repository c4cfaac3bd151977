"""Errors as problem documents (RFC 9457): one shape, whatever went wrong and wherever."""

import math
from collections.abc import Mapping
from typing import Any

import orjson
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from service.errors import InvalidRequestError, MethodNotAllowedError, RouteNotFoundError, ServiceError
from service.replies import Answer
from service.trace import Trace, trace_of

MEDIA_TYPE = "application/problem+json"
_MAX_LISTED = 10
_MAX_SHOWN = 60


def problem(error: ServiceError, trace: Trace, headers: Mapping[str, str] | None = None) -> Response:
    """The response for an error. Members of `error.extra` stand beside the standard ones."""
    trace.code = error.code
    head = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    content, retry_after = document(error, trace.request_id)
    return Answer(content, MEDIA_TYPE, head.encode("latin-1") + retry_after, error.status)


def document(error: ServiceError, request_id: str) -> tuple[bytes, bytes]:
    """An error as a problem document; and the head line, with its line end, that says when to come back, if it does."""
    begun, retry_after = opening(error)
    return closed(begun, request_id.encode()), retry_after


def opening(error: ServiceError) -> tuple[bytes, bytes]:
    """The same, but of the document only what is before the request id."""
    body = {
        "type": f"urn:genserve:problem:{error.code}",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
        "request_id": "",
    }
    seconds = error.retry_after_s
    retry_after = b"" if seconds is None else b"retry-after: %d\r\n" % max(1, math.ceil(seconds))
    return orjson.dumps(error.extra | body, default=str)[:-2], retry_after


def closed(begun: bytes, request_id: bytes) -> bytes:
    """The whole document; request ids have nothing that JSON would escape."""
    return b'%b%b"}' % (begun, request_id)


def invalid(error: ValidationError | RequestValidationError) -> InvalidRequestError:
    """What pydantic found, as one of our errors: the first in words, all of them in `errors`."""
    found = error.errors() if isinstance(error, RequestValidationError) else error.errors(include_url=False)
    entries = [_entry(item) for item in found[:_MAX_LISTED]]
    first = entries[0]
    more = f" ({len(found) - 1} more)" if len(found) > 1 else ""
    return InvalidRequestError(f"{first['field']}: {first['message']}{more}", errors=entries)


async def handle_service_error(request: Request, error: Exception) -> Response:
    """For ServiceError."""
    assert isinstance(error, ServiceError)
    return problem(error, trace_of(request.scope))


async def handle_validation_error(request: Request, error: Exception) -> Response:
    """For what the framework itself finds wrong with a request."""
    assert isinstance(error, RequestValidationError)
    return problem(invalid(error), trace_of(request.scope))


async def handle_http_exception(request: Request, error: Exception) -> Response:
    """For 404, 405 and whatever else the framework raises."""
    assert isinstance(error, HTTPException)
    path, method = request.url.path, request.method
    found: ServiceError
    if error.status_code == 404:
        found = RouteNotFoundError(f"there is no {path!r}; /docs lists what there is")
    elif error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        found = MethodNotAllowedError(f"{path} does not answer to {method}; it does to: {allowed}")
    else:
        found = ServiceError(str(error.detail))
        found.status = error.status_code  # type: ignore[misc]
    return problem(found, trace_of(request.scope), error.headers)


def _entry(item: Mapping[str, Any]) -> dict[str, str]:
    field = ".".join(str(part) for part in item["loc"])[:_MAX_SHOWN] or "body"
    message = str(item["msg"])
    if item["type"] == "extra_forbidden":
        return {"field": field, "message": "there is no such field"}
    if item["type"] != "missing":
        message += f"; got {_shown(item.get('input'))}"
    return {"field": field, "message": message}


def _shown(value: object) -> str:
    if isinstance(value, str | int | float | None):
        text = repr(value)
        return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"
    return f"a {type(value).__name__}"
