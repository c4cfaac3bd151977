"""Load at a rate, whatever comes of it, from this process."""

import random
import select
import socket
import time
from types import TracebackType
from typing import Self

from benchmarks.arrivals import Answers, allow_connections
from benchmarks.connection import BROKEN
from benchmarks.errors import BenchmarkError
from benchmarks.reader import Reader

_AFTER_S = 10.0  # for answers to what was sent last
_MOST_WAITING = 10_000
_TICK_S = 0.002  # see `_OpenLoop`
_PIECE = 1 << 16  # bytes read at once: more is memory that the system has to find each time
_INPUT = select.EPOLLIN | select.EPOLLRDHUP
_END = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR


def open_loop(port: int, request: bytes, rate: float, seconds: float) -> Answers:
    """Send `rate` requests a second, their gaps exponentially distributed, and wait for all answers.

    Raises:
        BenchmarkError: If more than 10,000 wait for an answer at once.
    """
    allow_connections()
    cpu = time.process_time()
    with _OpenLoop(port, request) as work:
        work.run(rate, seconds)
        answers = work.answers
    answers.cpu_s = time.process_time() - cpu
    return answers


class _Client:
    """A connection, and what it waits for."""

    __slots__ = ("began", "reader", "socket", "waiting")

    def __init__(self) -> None:
        try:
            self.socket = socket.socket()
        except OSError as error:
            raise BenchmarkError(f"no socket for another connection: {error}; raise `ulimit -n`") from error
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.reader = Reader()
        self.began = 0.0
        self.waiting = False


class _OpenLoop:
    """Requests that begin when they are due, each on a connection that waits for no answer: a new one if need be.

    Between ticks it sleeps, whatever comes: what is due meanwhile begins together, and answers are found up to a tick
    after they came. A generator that each answer wakes takes the server's event loop off its core in the middle of its
    work, a thousand times a second; clients on machines of their own do not
    (docs/decisions/0011-refusing-at-the-door.md). And it has no event loop: its CPU is not the server's. With ticks of
    1 ms it took 0.095 cores at 1,560 requests a second, with these 0.082.
    """

    def __init__(self, port: int, request: bytes) -> None:
        self.answers = Answers()
        self._address = ("127.0.0.1", port)
        self._request = request
        self._poll = select.epoll()
        self._clients: dict[int, _Client] = {}
        self._idle: list[_Client] = []  # who was answered last is asked first
        self._waiting = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        for client in self._clients.values():
            client.socket.close()
        self._poll.close()

    def run(self, rate: float, seconds: float) -> None:
        """See `open_loop`."""
        draw = random.Random(0)
        due = start = time.perf_counter()
        self.answers.end = start + seconds
        self.answers.seconds = seconds
        while due < start + seconds:
            self._tick()
            now = time.perf_counter()
            while due <= now and due < start + seconds:
                self._begin(due)
                due += draw.expovariate(rate)
            if self._waiting > _MOST_WAITING:
                raise BenchmarkError(f"{_MOST_WAITING} requests wait for an answer at once: nothing is refused")
        give_up = time.perf_counter() + _AFTER_S
        while self._waiting and time.perf_counter() < give_up:
            self._tick()
        self.answers.latencies.setdefault(BROKEN, []).extend([_AFTER_S] * self._waiting)

    def _tick(self) -> None:
        time.sleep(_TICK_S)
        for descriptor, events in self._poll.poll(0, len(self._clients) or 1):
            client = self._clients[descriptor]
            if events & select.EPOLLOUT:
                self._poll.modify(descriptor, _INPUT)
                self._send(client)
            else:
                self._read(client, bool(events & _END))

    def _begin(self, due: float) -> None:
        began = time.perf_counter()
        self.answers.lags.append(began - due)
        client = self._idle.pop() if self._idle else self._connect()
        client.began, client.waiting = began, True
        self._waiting += 1
        self._send(client)

    def _connect(self) -> _Client:
        client = _Client()
        self._clients[client.socket.fileno()] = client
        self._poll.register(client.socket, _INPUT)
        client.socket.connect_ex(self._address)  # says that it is in progress, though on loopback it is done mostly
        return client

    def _send(self, client: _Client) -> None:
        try:
            sent = client.socket.send(self._request)
        except BlockingIOError:  # it is being connected
            self._poll.modify(client.socket, select.EPOLLOUT)
        except OSError:
            self._lose(client)
        else:
            assert sent == len(self._request)  # it is far smaller than the buffer of a socket that waits for nothing

    def _read(self, client: _Client, ends: bool) -> None:
        """All of an answer that is there, and, if the connection has ended, all that came before."""
        status = None
        while status is None or ends:
            try:
                data = client.socket.recv(_PIECE)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            if not data or not client.waiting or status is not None:  # the end, or what nobody asked for
                if status is not None:
                    self._end(client, status)
                self._lose(client)
                return
            status = client.reader.feed(data)
        if status is not None:
            self._end(client, status)
            self._idle.append(client)

    def _lose(self, client: _Client) -> None:
        del self._clients[client.socket.fileno()]
        client.socket.close()
        if client.waiting:
            self._end(client, BROKEN)
        elif client in self._idle:
            self._idle.remove(client)

    def _end(self, client: _Client, status: int) -> None:
        client.waiting = False
        self._waiting -= 1
        self.answers.add(client.began, status)
