"""From requests under /training to what they say: body, query, headers."""

import re
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from service.body import parse_body, read_body
from service.context import Context
from service.errors import BodyTooLargeError, InvalidRequestError, StoppingError, UnsupportedMediaTypeError
from service.formats.negotiation import JSON
from service.sites import refuse_other_sites
from service.trace import trace_of
from service.training.bodies import JobRequest, ListQuery, WatchQuery
from service.training.desk import Desk
from service.training.refusals import schema_refusal

Model = TypeVar("Model", bound=BaseModel)

_MOST_BYTES = 1_000_000  # of an order; recipes have a few thousand
_KEY = re.compile(r"[\x20-\x7e]{1,255}")
_NUMBER = re.compile(r"[0-9]{1,18}")


def context_of(request: Request) -> Context:
    """What the application holds, if it takes training jobs now; every endpoint under /training comes by here.

    Raises:
        InvalidRequestError: If a page of another site wants to change something.
        StoppingError: If the service is shutting down.
        TrainingOffError: If the setting `training` is off.
    """
    refuse_other_sites(request)
    context: Context = request.app.state.context
    context.desk.require()
    if context.draining:
        raise StoppingError("the service is shutting down; ask another one", retry_after_s=1.0)
    return context


def desk_of(request: Request) -> Desk:
    """As `context_of`."""
    return context_of(request).desk


async def read_order(request: Request, context: Context) -> JobRequest:
    """The body of an order.

    Raises:
        UnsupportedMediaTypeError: If it is no JSON: a form could be sent by any page that a browser shows.
        BodyTooLargeError: If it has more bytes than any recipe.
        MalformedBodyError: If it cannot be parsed.
        InvalidRequestError: If a field is unknown, missing or of a wrong type.
    """
    headers = trace_of(request.scope).headers
    kind = headers.get(b"content-type", JSON.encode()).decode("latin-1")
    if kind.partition(";")[0].strip().lower() != JSON:
        raise UnsupportedMediaTypeError(f"the content type is {kind[:80]!r}; expected {JSON}")
    limit = min(context.max_body, _MOST_BYTES)
    try:
        raw = await read_body(request.receive, headers.get(b"content-length", b""), limit)
    except BodyTooLargeError as error:
        raise BodyTooLargeError(f"the body has more than {limit} bytes, which no recipe has", limit=limit) from error
    fields = parse_body(raw, JSON, request.query_params, "", limit)
    return _checked(JobRequest, fields)


def read_key(request: Request) -> str | None:
    """`Idempotency-Key`: a string in quotes as the IETF's draft has it, or as most send it, without.

    Raises:
        InvalidRequestError: If it is empty, too long or not printable.
    """
    given = trace_of(request.scope).headers.get(b"idempotency-key")
    if given is None:
        return None
    text = given.decode("latin-1").strip()
    key = text[1:-1].replace('\\"', '"') if len(text) > 1 and text[0] == text[-1] == '"' else text
    if not _KEY.fullmatch(key):
        raise InvalidRequestError(
            f"Idempotency-Key is {text[:40]!r}; expected 1 to 255 printable ASCII characters, such as a UUID",
            errors=[{"field": "Idempotency-Key", "message": "expected 1 to 255 printable ASCII characters"}],
        )
    return key


def read_list_query(request: Request) -> ListQuery:
    """Filters and page of a list.

    Raises:
        InvalidRequestError: If a parameter is unknown, repeated or out of range.
    """
    states = [word.strip() for text in request.query_params.getlist("state") for word in text.split(",")]
    fields = _single(request, "name", "family", "before") | _numbers(request, "limit") | _others(request, ListQuery)
    return _checked(ListQuery, fields | ({"state": states} if states else {}))


def read_watch_query(request: Request) -> WatchQuery:
    """How to watch, `Last-Event-ID` included.

    Raises:
        InvalidRequestError: If a parameter or the header cannot be.
    """
    fields = _single(request, "pictures") | _numbers(request, "after") | _others(request, WatchQuery)
    last = trace_of(request.scope).headers.get(b"last-event-id", b"").decode("latin-1").strip()
    if last and not _NUMBER.fullmatch(last):
        raise InvalidRequestError(
            f"Last-Event-ID is {last[:40]!r}; expected the id of an event, or none",
            errors=[{"field": "Last-Event-ID", "message": "expected a whole number"}],
        )
    return _checked(WatchQuery, fields | ({"after": int(last)} if last else {}))


def refuse_query(request: Request) -> None:
    """For endpoints that take no query.

    Raises:
        InvalidRequestError: If there is one.
    """
    if request.query_params:
        raise InvalidRequestError(f"unknown query parameters {sorted(request.query_params)}; this takes none")


def _single(request: Request, *names: str) -> dict[str, object]:
    found = {name: request.query_params.getlist(name) for name in names}
    return {name: values[0] if len(values) == 1 else values for name, values in found.items() if values}


def _numbers(request: Request, *names: str) -> dict[str, object]:
    found = _single(request, *names)
    return {
        name: int(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else value
        for name, value in found.items()
    }


def _others(request: Request, model: type[BaseModel]) -> dict[str, object]:
    """What the model does not know, for it to refuse."""
    return {name: value for name, value in request.query_params.items() if name not in model.model_fields}


def _checked(model: type[Model], fields: dict[str, object]) -> Model:
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise schema_refusal(error, model) from error
