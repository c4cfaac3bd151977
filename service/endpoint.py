"""What all endpoints that run a model have in common: read, supervise, answer."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from bundle.manifest import GraphName
from service.body import Fields, parse_body, read_body, typed
from service.catalog import Catalog
from service.context import Context
from service.engine.rows import Rows
from service.errors import DeadlineError, InvalidRequestError, OverloadedError
from service.formats.negotiation import NPY, RAW, negotiate
from service.formats.render import Drawing, Options, head, render
from service.model import Model
from service.problems import invalid
from service.replies import Answer
from service.schemas import QueryOptions
from service.supervision import Supervision
from service.trace import Trace, trace_of
from service.workers import SMALL

Array = NDArray[Any]
Body = TypeVar("Body", bound=BaseModel)

_MAX_TIMEOUT_MS = 86_400_000.0  # a day
_OPTIONS = frozenset(QueryOptions.model_fields)
_NO_OPTIONS = Options()
_NO_QUERY = QueryParams()


@dataclass(slots=True)
class Call:
    """A request on its way: what the plan of any endpoint needs beside the body.

    Attributes:
        deadline: When the answer has to be out, by the clock of the event loop; None if nobody minds.
        engine_deadline: When the engine has to be done with it: earlier, where its images have to be compressed.
    """

    context: Context
    catalog: Catalog  # as it was when the request came in: a drain does not take it away half-way
    trace: Trace
    media_type: str
    options: Options
    deadline: float | None
    engine_deadline: float | None

    def about(self, model: Model, graph: GraphName, n: int) -> None:
        """Note what the request is about, and leave time to compress its images.

        Args:
            model: What is asked.
            graph: Which of its graphs runs first.
            n: Images of the answer.

        Raises:
            OverloadedError: If so many images wait to be compressed that the deadline could not be met.
        """
        self.trace.about(model.name, model.version, n)
        if self.deadline is not None and n * model.values > SMALL:
            self._leave_time_to_compress(model, graph, n, self.deadline)

    def admit(self, model: Model, graph: GraphName, n: int, *, drawn: bool = True) -> None:
        """Before there are inputs, which take time to make: note it, and refuse it now if it could not be in time.

        Args:
            model, graph, n: As for `about`.
            drawn: The answer has images, which take time to compress after the engine is done.

        Raises:
            ServiceError: What `about` and `Batcher.admit` raise.
        """
        if drawn:
            self.about(model, graph, n)
        else:
            self.trace.about(model.name, model.version, n)
        model.admit(graph, n, self.engine_deadline)

    def run(
        self, model: Model, graph: GraphName, inputs: Mapping[str, Rows], outputs: Sequence[str]
    ) -> Awaitable[dict[str, Array]]:
        """`Model.run` with the request's deadline; what it took goes into the trace."""
        trace, until = self.trace, self.engine_deadline
        return model.run(graph, inputs, outputs, until, trace.timings, alone=trace.alone, place=trace.place)

    async def encode(self, size: int, write: Callable[[], bytes], kind: str = "") -> bytes:
        """Compress the answer, off the event loop unless it is small.

        Args:
            size: Bytes or values of what is compressed.
            write: Compresses it.
            kind: As for `Workers.run`.

        Raises:
            DeadlineError: If nobody waits for it any more.
        """
        if self.deadline is not None and asyncio.get_running_loop().time() > self.deadline:
            raise DeadlineError("the deadline passed before the images were compressed")
        begun = time.perf_counter()
        content = write() if size <= SMALL else await self.context.workers.run(size, write, kind)
        self.trace.encode_s += time.perf_counter() - begun
        return content

    def _leave_time_to_compress(self, model: Model, graph: GraphName, n: int, deadline: float) -> None:
        workers = self.context.workers
        own = workers.expected_s(_work(n * model.values, self.media_type), self.media_type)
        if not own:
            return
        self.engine_deadline = deadline - own
        left = self.engine_deadline - asyncio.get_running_loop().time()
        if left < (wait := workers.wait_s):
            detail = (
                f"others' images take about {wait * 1000:.0f} ms to compress, and these {own * 1000:.0f} ms; the "
                f"deadline is in {(left + own) * 1000:.0f} ms: send it later, allow more time, or ask for raw images"
            )
            raise model.refused(graph, OverloadedError(detail, retry_after_s=wait - left))


async def answer(
    request: Request,
    schema: type[Body],
    array_field: str,
    offered: Sequence[str],
    work: Callable[[Call, Body], Awaitable[Response]],
) -> Response:
    """Read the request as the schema, then do the work, unless the client leaves or its deadline passes.

    Args:
        request: The request, its body unread.
        schema: Fields of the body.
        array_field: Which of them a `.npy` body is; empty if none.
        offered: Media types of the answer, the default first.
        work: Plan, run and render.
    """
    scope = request.scope
    context: Context = scope["app"].state.context
    catalog = context.catalog()  # refuses before the body is read
    trace = trace_of(scope)
    headers = trace.headers
    deadline = deadline_of(headers.get(b"x-timeout-ms"), context.settings.default_timeout_ms, trace.waited_s)
    media_type = negotiate(headers.get(b"accept", b"").decode("latin-1"), offered)
    options, query = _split_query(request.query_params) if scope["query_string"] else (_NO_OPTIONS, _NO_QUERY)
    content_type = headers.get(b"content-type", b"application/json").decode("latin-1")
    call = Call(context, catalog, trace, media_type, options, deadline, deadline)
    with Supervision(request, deadline) as supervision:
        raw = supervision.whole_body(context.max_body)
        if raw is None:
            raw = await read_body(request.receive, headers.get(b"content-length", b""), context.max_body)
            supervision.body_was_read()

        def parse() -> Body:
            return validate(schema, parse_body(raw, content_type, query, array_field, context.settings.max_images))

        body = parse() if len(raw) <= SMALL else await context.workers.run(len(raw), parse)
        return await work(call, body)


async def draw(call: Call, drawing: Drawing) -> Response:
    """The answer for images."""
    media_type = call.media_type
    size = _work(drawing.pixels.size, media_type)
    content = await call.encode(size, lambda: render(drawing, media_type, call.options), media_type)
    call.trace.images = len(drawing.pixels)
    return Answer(content, media_type, head(drawing, media_type))


def _work(values: int, media_type: str) -> int:
    """Values to go through for an answer of so many; copying them costs a hundredth of compressing them."""
    return values // 128 if media_type in (RAW, NPY) else values


def deadline_of(given: bytes | None, default_ms: float, waited_s: float = 0.0) -> float | None:
    """When a request must be answered, by the clock of the event loop.

    Args:
        given: The header `X-Timeout-Ms`.
        default_ms: Instead of it; 0 is never.
        waited_s: Seconds since it came.

    Raises:
        InvalidRequestError: If the header says no time.
    """
    seconds = timeout_s(given, default_ms)
    return None if seconds is None else asyncio.get_running_loop().time() + seconds - waited_s


def timeout_s(given: bytes | None, default_ms: float) -> float | None:
    """Seconds in which a request must be answered, of the same arguments; None if nobody minds.

    Raises:
        InvalidRequestError: If the header says no time.
    """
    milliseconds = default_ms
    if given is not None:
        try:
            milliseconds = float(given)
        except ValueError:
            milliseconds = math.nan
        if not 0 < milliseconds <= _MAX_TIMEOUT_MS:  # NaN is not either
            raise InvalidRequestError(
                f"X-Timeout-Ms is {given.decode('latin-1')[:40]!r}; expected milliseconds, above 0 and at most a day"
            )
    return milliseconds / 1000 if milliseconds else None


def _split_query(query: QueryParams) -> tuple[Options, QueryParams]:
    chosen = {name: typed(name, text) for name, text in query.items() if name in _OPTIONS}
    rest = QueryParams([(name, text) for name, text in query.multi_items() if name not in _OPTIONS])
    return Options(**validate(QueryOptions, chosen).model_dump()), rest


def validate(schema: type[Body], fields: Fields) -> Body:
    """Fields as a schema.

    Raises:
        InvalidRequestError: If they do not fit it; says where.
    """
    try:
        return schema.model_validate(fields)
    except ValidationError as error:
        raise invalid(error) from error
