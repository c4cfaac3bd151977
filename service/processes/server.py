"""The HTTP server of one process: from loading the models to the last answer."""

import asyncio
import contextlib
import gc
import socket
import sys
import time
from collections.abc import Callable
from typing import cast

import uvicorn
from fastapi import FastAPI

from service.app import entrance
from service.catalog import Catalog
from service.context import Context
from service.heads import Heads
from service.pacing import Pace
from service.processes.closing import Closing
from service.processes.listening import refuse_new, somebody_waits
from service.processes.signals import ending_signals
from service.settings import Settings
from service.shedding import Shedder
from service.transport import Protocol

# Requests leave next to no cycles behind; Python's 700 would have its collector look for them every dozen requests.
_OBJECTS_BETWEEN_COLLECTIONS = (20_000, 50, 100)
_SWITCH_S = 0.0005  # a lane that comes back with a batch waits so long for Python's lock; Python's own is 5 ms
_KEEP_ALIVE_S = 75  # common proxies close idle connections after 60 s: it must be they, who know what they send next
_HANDSHAKE_S = 0.2  # for connections that began before new ones were refused
_SILENCE_S = 1.0  # after which an idle client is taken to send nothing more
_LOOK_S = 0.02


class Server(uvicorn.Server):
    """uvicorn's server, which ends without a reset or a lost answer.

    On `stop` readiness turns false. For `shutdown_grace_s` everything is answered as ever, but each answer ends its
    connection; whoever balances the load looks elsewhere meanwhile. Then new work is refused, connections that have
    begun are accepted and told so, the socket is closed, connections that are silent are closed, and work under way is
    finished.

    Args:
        app: From `create_app`.
        settings: The same as the application's.
        listen: Makes the listening socket.
        announce: Told when the models are loaded and clients can connect.
        load_first: Listen only when the models are loaded; else at once, and answer probes meanwhile.
    """

    def __init__(
        self,
        app: FastAPI,
        settings: Settings,
        listen: Callable[[], socket.socket],
        announce: Callable[[Catalog], None],
        *,
        load_first: bool = False,
    ) -> None:
        super().__init__(_configure(app, settings))
        self._context: Context = app.state.context
        self._shedder: Shedder | None = app.state.shedder
        self._pace: Pace = app.state.pace
        self._heads = Heads()
        self._settings = settings
        self._listen = listen
        self._announce = announce
        self._load_first = load_first
        self._stopped = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._asked_to_stop = False

    def run_until_stopped(self) -> None:
        """Serve until SIGTERM or SIGINT, or until `stop` is called.

        Raises:
            StartupError: If the settings cannot be served.
        """
        sys.setswitchinterval(_SWITCH_S)
        gc.set_threshold(*_OBJECTS_BETWEEN_COLLECTIONS)
        with asyncio.Runner(loop_factory=self.config.get_loop_factory()) as runner:
            self._loop = runner.get_loop()
            if self._asked_to_stop:  # before there was a loop
                self._stop()
            with ending_signals(self.stop):
                runner.run(self.serve())
        failure = self._context.failure()
        if failure is not None:
            raise failure

    def stop(self) -> None:
        """Begin to shut down; from any thread or signal handler, any number of times."""
        self._asked_to_stop = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stop)

    def _stop(self) -> None:
        self._context.leaving = True
        self._context.tell()
        self.should_exit = True
        self._stopped.set()
        self._pace.end()
        if self._shedder is not None:
            self._shedder.end()

    def capture_signals(self) -> contextlib.AbstractContextManager[None]:  # type: ignore[override]
        """Not uvicorn's way: it would raise them again when all is done."""
        return contextlib.nullcontext()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002 (uvicorn's signature)
        """Begin to load the models, and listen."""
        await super().startup(sockets=[])
        opened = self._context.opened
        assert opened is not None  # the application's lifespan has begun
        opened.add_done_callback(self._end_if_it_failed)
        if self._load_first:
            stopped = asyncio.ensure_future(self._stopped.wait())
            await asyncio.wait((opened, stopped), return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
        if not self.should_exit:
            await self._begin_to_listen()
            opened.add_done_callback(self._announce_if_it_is_open)

    async def main_loop(self) -> None:
        """Every second renew the date of answers and what other workers see of this one, until the end is asked for."""
        while not self.should_exit:
            await self._tick()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), 1.0)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """See the class."""
        if self.servers and self._context.failure() is None:
            self._end_connections_with_their_answers()
            await self._tick_for(self._settings.shutdown_grace_s)
        self._context.drain()
        await self._stop_listening()
        await self._wait_for_silent_clients()
        await super().shutdown(sockets)

    async def _tick(self) -> None:
        await self.on_tick(0)
        self._context.tell()
        self._context.metrics.tick()
        if self._shedder is not None:
            self._shedder.tick()
        if (self._settings.workers or 1) > 1:
            self._context.metrics.count()

    async def _tick_for(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            await self._tick()
            await asyncio.sleep(min(1.0, left))

    def _end_if_it_failed(self, opened: asyncio.Task[Catalog]) -> None:
        if not opened.cancelled() and opened.exception() is not None:
            self._stop()

    def _announce_if_it_is_open(self, opened: asyncio.Task[Catalog]) -> None:
        if not opened.cancelled() and opened.exception() is None:
            self._context.tell()
            self._announce(opened.result())

    async def _begin_to_listen(self) -> None:
        await self._context.begin_to_listen()
        self._listener = self._listen()
        backlog = self.config.backlog
        self.servers.append(
            await asyncio.get_running_loop().create_server(self._protocol, sock=self._listener, backlog=backlog)
        )

    def _end_connections_with_their_answers(self) -> None:
        last = self.config.loaded_app = Closing(self.config.loaded_app)
        for connection in self._connections():
            connection.app = last
            if connection.cycle is not None and not connection.cycle.response_started:
                connection.cycle.keep_alive = False

    async def _stop_listening(self) -> None:
        for serving in self.servers:
            refuse_new(self._listener)
            await asyncio.sleep(_HANDSHAKE_S)
            end = time.monotonic() + _SILENCE_S  # where new ones cannot be refused, the queue may never be empty
            while somebody_waits(self._listener) and time.monotonic() < end:
                await asyncio.sleep(0)
            serving.close()
            self._listener.close()
        self._context.end_listening()

    async def _wait_for_silent_clients(self) -> None:
        end = time.monotonic() + _SILENCE_S
        while time.monotonic() < end and any(map(_is_idle, self._connections())):
            await asyncio.sleep(_LOOK_S)

    def _protocol(self) -> Protocol:
        made = Protocol(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)
        if self._shedder is not None:
            made.judge, made.burst, made.rests = self._shedder.judge, self._shedder.burst, self._shedder.rests
        made.pace = self._pace
        made.heads = self._heads
        return made

    def _connections(self) -> list[Protocol]:
        return cast(list[Protocol], list(self.server_state.connections))


def _is_idle(connection: Protocol) -> bool:
    return connection.cycle is None or connection.cycle.response_complete


def _configure(app: FastAPI, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        entrance(app),
        http=Protocol,
        proxy_headers=False,  # nothing here asks who the client is
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, round(settings.drain_s)),
    )
