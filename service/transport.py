"""uvicorn's HTTP protocol, with a short way for an answer that is whole, and a word when the client leaves.

An ASGI application hands over head and body of an answer one after the other, and uvicorn checks each header and writes
twice: two system calls, two packets, and a client that wakes up twice. `Cycle.answer` takes both, with the head's lines
ready, and they go out with one write. `Cycle.whole_body` is the body of a request that came in one piece.

That a client has left an ASGI application finds out by waiting for its next message, in a task of its own. Here
`Cycle.when_client_leaves` has a function called.

And uvicorn waits for ever for the first request of a connection, and for the end of a head that has begun. Here both
are given as long as a kept connection is to be idle; a body has the request's deadline.

A request that comes in one piece may be refused before it is parsed: `Protocol.judge`. And one whose head came before
is not parsed: `service.heads`. Refusals of whoever asks again and again may wait: `service.pacing`. And so may those
who are let in while others wait before them: `service.bursts`.
"""

import asyncio
import functools
import math
import time
from collections.abc import Callable, Iterable
from typing import Any

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from service.bursts import Burst, LetIn
from service.engine.places import Place
from service.heads import Head, Heads
from service.pacing import Pace
from service.rests import Rests
from service.timers import LazyTimer

_CYCLE = "genserve.cycle"
_END_OF_HEAD = b"\r\n\r\n"
_LONGEST = 4096  # bytes of a request that is looked at before it is parsed

Refusal = Callable[[], tuple[int, bytes, bytes]]
Verdict = Refusal | LetIn | None


class Cycle(RequestResponseCycle):
    """A request and its answer.

    Attributes:
        left: Called if the client leaves before it has its answer.
        deadline: Of the connection, for the request that is answered.
        task: Answers it.
        connection: That it came on; None when it has been answered.
        place: That it was promised when it came.
        waited_s: Seconds between its arrival and the beginning of its task, if that was put off.
    """

    connection: "Protocol | None" = None
    left: Callable[[], None] | None = None
    deadline: LazyTimer
    task: asyncio.Task[None] | None = None
    place: Place | None = None
    waited_s = 0.0

    def whole_body(self, limit: int) -> bytes | None:
        """The request's body, if all of it is there and has at most `limit` bytes; else it is to be received."""
        if self.more_body or self.disconnected or len(self.body) > limit:
            return None
        body = bytes(self.body)
        self.body = bytearray()
        return body

    def when_client_leaves(self, call: Callable[[], None]) -> None:
        """Have a function called once if the client leaves before it has its answer, or has left already."""
        self.left = call
        self.flow.resume_reading()  # a large body had it paused, and whoever does not read hears of no end
        if self.disconnected:
            call()

    async def turn_to_refuse(self) -> None:
        """Wait until it may be refused; to be called before it is, because of others."""
        connection = self.connection
        if connection is not None and connection.pace is not None:
            await connection.pace.turn(connection.refused_at)
            connection.refused_at = time.monotonic()

    async def answer(self, status: int, head: bytes, body: bytes) -> None:
        """Send a whole answer.

        Args:
            status: Of the answer.
            head: Header lines, each with its line end, and among them Content-Length.
            body: So many bytes.
        """
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        self.response_started = self.response_complete = True
        self.waiting_for_100_continue = False
        end = b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n"
        self.transport.write(_whole(status, self.default_headers, head + end, body))
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()


class Protocol(HttpToolsProtocol):
    """For `uvicorn.Config(http=...)`.

    Attributes:
        judge: Given a head with its empty line, and what came behind it. If that is one whole request which is to be
            refused, it gives what makes its answer (status, head lines and body) when the time for it has come; if it
            is one that is let in, its place. None for all else.
        burst: In which those begin that are let in; None if they need not wait for each other.
        heads: That the parser has read before; None if it is to read them all.
        pace: Of refusals; None if none is to be held back.
        rests: Of the event loop; None if it has none.
        refused_at: When something was last refused here because of others (monotonic seconds).
    """

    judge: Callable[[bytes, bytes], Verdict] | None = None
    burst: Burst | None = None
    heads: Heads | None = None
    pace: Pace | None = None
    rests: Rests | None = None
    refused_at = -math.inf
    _running: Cycle | None = None  # `cycle` is the last one that came, which waits if requests are pipelined
    _let_in: LetIn | None = None  # what is being read
    _owes_head = True  # a first one, or the rest of one that has begun

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See asyncio.Protocol."""
        super().connection_made(transport)
        self.deadline = LazyTimer(self.loop)
        self._patience = LazyTimer(self.loop)  # with a client that owes us a request's head
        self._await_head()
        if self.rests is not None:
            self.rests.came += 1

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if self.rests is not None:
            self.rests.came += 1
        end = data.find(_END_OF_HEAD) + len(_END_OF_HEAD) if len(data) <= _LONGEST else 0
        if end < len(_END_OF_HEAD) or not self._is_between_requests():
            self._parse(data)
            return
        head, body = data[:end], data[end:]
        verdict = None if self.judge is None else self.judge(head, body)
        if verdict is None:
            self._read(head, body, data)
        elif isinstance(verdict, LetIn):
            self._read_let_in(verdict, head, body, data)
        else:
            self._refuse(verdict)

    def _read_let_in(self, let_in: LetIn, head: bytes, body: bytes, data: bytes) -> None:
        self._let_in = let_in
        try:
            self._read(head, body, data)
        finally:
            if self._let_in is not None:  # the parser found no request
                self._let_in = None
                let_in.place.give_up()

    def _read(self, head: bytes, body: bytes, data: bytes) -> None:
        """What came where a request may begin, and is not refused."""
        known = None if self.heads is None else self.heads.find(head, body)
        if known is not None:
            self._begin(known, body)
            return
        before = self.cycle
        self._parse(data)
        if self.heads is not None and self.cycle is not None and self.cycle is not before:
            self.heads.remember(head, body, self.cycle)

    def _parse(self, data: bytes) -> None:
        super().data_received(data)
        if not self._owes_head and self._is_idle():
            self._owes_head = True
            self._await_head()  # uvicorn waits for the end of a head for ever

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        super().connection_lost(exc)
        self.deadline.close()
        self._patience.close()
        cycle, self._running = self._running, None
        if cycle is None or cycle.response_complete:
            return
        cycle.disconnected = True
        cycle.message_event.set()
        if cycle.place is not None:
            cycle.place.give_up()
        if cycle.left is not None:
            cycle.left()

    def on_response_complete(self) -> None:
        """An answer is out: the next request that waits has its turn, or one is waited for."""
        if self.pipeline or self.transport.is_closing():
            super().on_response_complete()
            return
        self.server_state.total_requests += 1
        self.flow.resume_reading()
        self._await_head()

    def _is_between_requests(self) -> bool:
        """Whether the next byte is the first one of a request, and its answer may be written at once."""
        cycle = self.cycle
        if cycle is None:
            nothing = self.scope is None  # the parser makes one with the first byte of a request
        else:
            nothing = cycle.response_complete and not cycle.more_body and self.scope is cycle.scope
        return nothing and not (self.pipeline or self.flow.write_paused or self.transport.is_closing())

    def _refuse(self, refusal: Refusal) -> None:
        self._owes_head = False
        if self.pace is None or self.pace.lets_out(self.refused_at):
            self._answer_now(refusal)
        else:
            self._patience.unset(self._give_up)
            self.flow.pause_reading()  # what the client sends meanwhile is not between requests
            self.pace.hold(functools.partial(self._answer_now, refusal))

    def _answer_now(self, refusal: Refusal) -> None:
        status, head, body = refusal()
        self.refused_at = time.monotonic()
        self.flow.resume_reading()
        if self.transport.is_closing():
            return
        self.server_state.total_requests += 1
        self.transport.write(_whole(status, self.server_state.default_headers, head + b"\r\n", body))
        self._await_head()

    def _begin(self, head: Head, body: bytes) -> None:
        """As the parser would, of a whole request."""
        connection = {"server": self.server, "client": self.client, "scheme": self.scheme}
        scope: Any = head.scope | connection | {"headers": [*head.headers], "state": self.app_state.copy()}
        cycle = Cycle(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=True,
            on_response=self.on_response_complete,
        )
        cycle.body, cycle.more_body = body, False  # type: ignore[assignment]
        cycle.message_event.set()
        self.scope, self.cycle = scope, cycle
        self._start_asgi_task(cycle, self.app)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._owes_head = False
        self._patience.unset(self._give_up)
        # uvicorn makes the object itself, from a class that it does not let one choose.
        cycle.__class__ = Cycle
        ours: Cycle = cycle  # type: ignore[assignment]
        ours.deadline, ours.connection = self.deadline, self
        self._running = ours
        scope: dict[str, Any] = cycle.scope  # type: ignore[assignment]
        scope[_CYCLE] = ours
        let_in, self._let_in = self._let_in, None
        if let_in is None:
            self._start(ours, app)
            return
        ours.place = let_in.place
        if self.burst is None:
            self._start(ours, app)
        else:
            self.burst.add(functools.partial(self._start_later, ours, app, self.loop.time()), let_in.may_wait_s)

    def _start_later(self, cycle: Cycle, app: Any, came: float) -> None:
        cycle.waited_s = self.loop.time() - came
        self._start(cycle, app)  # if the client has left, whoever answers finds out

    def _start(self, cycle: Cycle, app: Any) -> None:
        cycle.task = self.loop.create_task(self._answer(cycle, app))
        self.tasks.add(cycle.task)

    async def _answer(self, cycle: Cycle, app: Any) -> None:
        try:
            await cycle.run_asgi(app)
        finally:
            if cycle.task is not None:
                self.tasks.discard(cycle.task)
            if cycle.place is not None:
                cycle.place.give_up()
            cycle.task = cycle.connection = None  # these and the next line were circles for the garbage collector
            scope: dict[str, Any] = cycle.scope  # type: ignore[assignment]
            scope.pop(_CYCLE, None)

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _await_head(self) -> None:
        self._patience.set(self.loop.time() + self.timeout_keep_alive, self._give_up)

    def _give_up(self) -> None:
        if self._is_idle() and not self.transport.is_closing():
            self.transport.close()


def _whole(status: int, defaults: Iterable[tuple[bytes, bytes]], head: bytes, body: bytes) -> bytes:
    lines = [STATUS_LINE[status]]
    for name, value in defaults:
        lines += (name, b": ", value, b"\r\n")
    lines += (head, body)
    return b"".join(lines)


def cycle_of(scope: Scope) -> Cycle | None:
    """The request and its answer as this server knows them; None if it is another server."""
    found: Cycle | None = scope.get(_CYCLE)
    return found


def hang_up(scope: Scope) -> None:
    """Cut the connection off, with all that was written and not read: for a client that reads nothing any more."""
    cycle = cycle_of(scope)
    if cycle is not None:
        cycle.transport.abort()
