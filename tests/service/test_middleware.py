"""What the middleware finds out about a request before its endpoint has it."""

from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from service import app as app_module
from service.access import AccessLog
from service.app import create_app, entrance
from service.engine.batcher import Batcher
from service.metrics import Metrics
from service.middleware import RequestMiddleware
from service.pacing import Pace
from service.settings import Settings
from service.trace import trace_of
from service.wakefulness import Wakefulness
from tests.service.engine.fakes import run
from tests.service.support import Client

FIRST, SECOND = ("127.0.0.1", 1), ("127.0.0.1", 2)


class Scene:
    """A middleware whose one endpoint notes who was alone."""

    def __init__(self) -> None:
        self.alone: list[bool] = []
        self.kept_awake: list[bool] = []
        app = Starlette()
        endpoints = {("GET", "/x"): self._endpoint}
        wakefulness = Wakefulness(0.0)
        wakefulness.answered = self.kept_awake.append  # type: ignore[method-assign]
        self.metrics = Metrics()
        self._middleware = RequestMiddleware(
            app, app, endpoints, self.metrics, AccessLog(Settings(log_level="error")), wakefulness, Pace(bool)
        )

    async def _endpoint(self, request: Request) -> Response:
        self.alone.append(trace_of(request.scope).alone)
        return Response()

    async def ask(self, client: tuple[str, int] | None) -> None:
        async def receive() -> Any:
            return {"type": "http.request"}

        async def send(_: Any) -> None:
            pass

        scope = {"type": "http", "method": "GET", "path": "/x", "headers": [], "query_string": b"", "client": client}
        await self._middleware(scope, receive, send)


@pytest.mark.parametrize(
    ("clients", "alone"),
    [
        ([FIRST, FIRST, FIRST], [False, True, True]),
        ([FIRST, FIRST, SECOND, FIRST, FIRST], [False, True, False, False, True]),
        ([None, None], [False, False]),
    ],
    ids=["one connection", "another comes between", "connections without an address"],
)
def test_who_asks_twice_in_a_row_is_alone(clients: list[tuple[str, int] | None], alone: list[bool]) -> None:
    scene = Scene()

    async def main() -> None:
        for client in clients:
            await scene.ask(client)

    run(main())
    assert scene.alone == alone
    assert scene.kept_awake == alone


def test_the_loop_is_not_kept_awake_while_others_are_answered() -> None:
    scene = Scene()

    async def main() -> None:
        await scene.ask(FIRST)
        scene.metrics.request_began()  # of somebody else, before, and not over
        await scene.ask(FIRST)

    run(main())
    assert scene.alone == [False, True]
    assert scene.kept_awake == [False, False]


@pytest.mark.parametrize(("cores", "awake_ms", "limit_s"), [(1, 5.0, 0.0), (2, 5.0, 0.005), (2, 0.0, 0.0)])
def test_the_setting_keeps_the_loop_awake_where_there_is_more_than_one_core(
    cores: int, awake_ms: float, limit_s: float, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app_module, "usable_cores", lambda: cores)
    made = entrance(create_app(Settings(store=store, awake_ms=awake_ms)))
    assert isinstance(made, RequestMiddleware)
    assert made._wakefulness._limit_s == limit_s


def test_the_engine_is_told_who_is_alone(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[bool] = []
    genuine = Batcher.run

    def noted(self: Batcher, *args: Any, alone: bool = False, **more: Any) -> Any:
        told.append(alone)
        return genuine(self, *args, alone=alone, **more)

    monkeypatch.setattr(Batcher, "run", noted)
    middleware = client.app.middleware_stack
    assert isinstance(middleware, RequestMiddleware)
    middleware._last_client = None
    for _ in range(2):
        assert client.post("/sample", {"model": "gan", "n": 1, "seed": 1}).status_code == 200
    assert told == [False, True]
