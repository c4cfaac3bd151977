"""What all endpoints that run a model have in common: read, supervise, answer."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.datastructures import QueryParams
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from service.body import Fields, parse_body, read_body, typed
from service.catalog import Catalog, Model
from service.context import Context
from service.errors import DeadlineError, InvalidRequestError
from service.formats.negotiation import negotiate
from service.formats.render import Drawing, Options, headers, render
from service.problems import invalid
from service.schemas import QueryOptions
from service.trace import Trace, trace_of

Body = TypeVar("Body", bound=BaseModel)
T = TypeVar("T")

_MAX_TIMEOUT_MS = 86_400_000.0  # a day
_OPTIONS = frozenset(QueryOptions.model_fields)


@dataclass(frozen=True)
class Call:
    """A request on its way: what the plan of any endpoint needs beside the body."""

    context: Context
    catalog: Catalog  # as it was when the request came in: a drain does not take it away half-way
    trace: Trace
    media_type: str
    options: Options
    deadline: float | None  # by the clock of the event loop

    def about(self, model: Model, n: int) -> None:
        """Say for the access line what the request is about."""
        self.trace.model = f"{model.name}@{model.version}"
        self.trace.n = n


async def answer(
    request: Request,
    schema: type[Body],
    array_field: str,
    offered: Sequence[str],
    work: Callable[[Call, Body], Coroutine[Any, Any, Response]],
) -> Response:
    """Read the request as the schema, then do the work, unless the client leaves or its deadline passes.

    Args:
        request: The request, its body unread.
        schema: Fields of the body.
        array_field: Which of them a `.npy` body is; empty if none.
        offered: Media types of the answer, the default first.
        work: Plan, run and render.
    """
    context: Context = request.app.state.context
    catalog = context.catalog()  # refuses before the body is read
    deadline = _deadline(request, context.settings.default_timeout_ms)
    media_type = negotiate(request.headers.get("accept"), offered)
    options, query = _split_query(request.query_params)
    raw = await read_body(request, context.max_body)
    fields = await parse_body(raw, request.headers, query, array_field, context.settings.max_images, context.workers)
    body = await context.workers.run(len(raw), lambda: _validate(schema, fields))
    call = Call(context, catalog, trace_of(request.scope), media_type, options, deadline)
    return await _supervise(request, deadline, work(call, body))


async def draw(call: Call, model: Model, drawing: Drawing) -> Response:
    """The answer for images, compressed off the event loop."""
    size = drawing.pixels.size
    content = await call.context.workers.run(size, lambda: render(drawing, call.media_type, call.options))
    call.context.metrics.images(model.name, model.version, len(drawing.pixels))
    return Response(content, media_type=call.media_type, headers=headers(drawing, call.media_type))


def identity(model: Model) -> dict[str, Any]:
    """The model as every answer names it."""
    return {"name": model.name, "version": model.version, "digest": model.digest}


async def _supervise(request: Request, deadline: float | None, work: Coroutine[Any, Any, T]) -> T:
    """Do the work; cancel it when the client leaves or the deadline passes."""
    loop = asyncio.get_running_loop()
    working = loop.create_task(work)
    leaving = loop.create_task(_left(request.receive))
    try:
        timeout = None if deadline is None else max(0.0, deadline - loop.time())
        await asyncio.wait((working, leaving), timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        if leaving.done():
            raise ClientDisconnect
        raise DeadlineError("the deadline has passed (X-Timeout-Ms, or setting default_timeout_ms)")
    finally:
        leaving.cancel()
        if not working.done():
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)  # what it still raises, nobody needs to hear


async def _left(receive: Callable[[], Awaitable[Any]]) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue


def _deadline(request: Request, default_ms: float | None) -> float | None:
    text = request.headers.get("x-timeout-ms")
    milliseconds = default_ms
    if text is not None:
        try:
            milliseconds = float(text)
        except ValueError:
            milliseconds = math.nan
        if not 0 < milliseconds <= _MAX_TIMEOUT_MS:  # NaN is not either
            raise InvalidRequestError(
                f"X-Timeout-Ms is {text[:40]!r}; expected milliseconds, above 0 and at most a day"
            )
    return None if milliseconds is None else asyncio.get_running_loop().time() + milliseconds / 1000


def _split_query(query: QueryParams) -> tuple[Options, QueryParams]:
    if not query:
        return Options(), query
    chosen = {name: typed(name, text) for name, text in query.items() if name in _OPTIONS}
    rest = QueryParams([(name, text) for name, text in query.multi_items() if name not in _OPTIONS])
    return Options(**_validate(QueryOptions, chosen).model_dump()), rest


def _validate(schema: type[Body], fields: Fields) -> Body:
    try:
        return schema.model_validate(fields)
    except ValidationError as error:
        raise invalid(error) from error
