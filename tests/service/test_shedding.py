"""Under overload whoever would be refused is told so at once, in the words of the usual way; all else goes that way."""

import asyncio
import json
import re
import socket
from pathlib import Path
from typing import Any

import pytest

from service import shedding
from service.app import create_app
from service.processes.server import Server
from service.settings import Settings
from tests.service.scene import BODY, HEAD, Scene, parts_of, post, split


def test_refusal_says_what_the_usual_way_says_but_needs_no_turn_of_the_event_loop(scene: Scene) -> None:
    async def main(scene: Scene) -> None:
        (first_at_once, first), (at_once, second) = await scene.ask(post()), await scene.ask(post())
        assert (first_at_once, at_once) == (False, True)  # it takes one refusal to begin
        (status, usual, usual_problem), (again, found, problem) = parts_of(first), parts_of(second)
        assert status == again == b"HTTP/1.1 503 Service Unavailable"
        assert list(usual) == list(found)
        assert problem["code"] == "overloaded"
        assert problem["request_id"].encode() == found[b"x-request-id"] != usual[b"x-request-id"]
        assert problem | {"request_id": ""} == usual_problem | {"request_id": ""}
        timing = [re.sub(rb"[0-9.]+", b"#", lines[b"server-timing"]) for lines in (usual, found)]
        assert timing[0] == timing[1]
        for name in (b"retry-after", b"content-type", b"content-length"):
            assert usual[name] == found[name]

    scene.run(main)


@pytest.mark.parametrize(
    "data",
    [
        post(line=b"POST /encode HTTP/1.1"),
        post(line=b"POST /sample?quality=3 HTTP/1.1"),
        post(line=b"GET /sample HTTP/1.1"),
        post(line=b"POST /sample HTTP/1.0"),
        post(head=HEAD + b"Connection: close\r\n"),
        post(head=HEAD + b"Expect: 100-continue\r\n"),
        post(head=HEAD + b"Transfer-Encoding: identity\r\n"),
        post(head=HEAD + b"X-Timeout-Ms: 100\r\n"),
        post(head=HEAD + b"X Y: 1\r\n"),
        post(head=HEAD.replace(b"60000", b"soon")),
        post(head=HEAD.replace(b"json", b"x-npy")),
        post(head=b"X-Long: " + b"x" * 5000 + b"\r\n" + HEAD),
        post(b'{"n": 3, "prompt": "' + b"x" * 5000 + b'"}'),
        post(head=HEAD + b"X: b\n\nPOST /other HTTP/1.1\r\n"),
        post(head=HEAD + b"X: a\rb\r\n"),
        post(head=HEAD + b"X: a\0b\r\n"),
        post(head=HEAD + b"X: a\r\n b\r\n"),
        post(head=HEAD + b"Content-Length: 19\r\n"),
        post()[:-1],
        post() + post(),
        b"POST /sample HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding: chunked\r\n\r\n13\r\n" + BODY + b"\r\n0\r\n\r\n",
        post(b""),
        post(b"{"),
        post(b"[]"),
        post(b'{"n": "3"}'),
        post(b'{"n": true}'),
        post(b'{"n": 0}'),
        post(b'{"n": 100000}'),
        post(b'{"n": 3, "model": 5}'),
        post(b'{"n": 3, "model": "nobody"}'),
        post(b'{"n": 3, "model": "damaged"}'),
        post(b'{"n": 3, "latents": [[0]]}'),
        post(b'{"n": 1}'),  # for which there is room
    ],
)
def test_whatever_is_unusual_goes_the_usual_way(scene: Scene, data: bytes) -> None:
    async def main(scene: Scene) -> None:
        await scene.ask(post())
        assert not (await scene.ask(data))[0]
        assert (await scene.ask(post()))[0]

    scene.run(main)


@pytest.mark.parametrize(
    "data",
    [
        post(head=HEAD + b"Connection: Keep-Alive\r\nUser-Agent: x\r\nAccept: image/png\r\n"),
        post(head=b"host:test\r\nCONTENT-TYPE:  application/json\r\n"),
        post(head=b""),
        post(b'{"n": 2, "model": "fashion-vae@2"}'),
        post(b'{"n": 2, "model": null, "seed": "wrong, but nobody looks"}'),
    ],
)
def test_usual_clients_are_refused_at_once(scene: Scene, data: bytes) -> None:
    async def main(scene: Scene) -> None:
        await scene.ask(post())
        at_once, answer = await scene.ask(data)
        assert at_once
        assert b"503" in answer[:20]

    scene.run(main)


@pytest.mark.parametrize(("given", "kept"), [(b"abc-123", True), (b"a b", False)])
def test_sane_request_id_comes_back(scene: Scene, given: bytes, kept: bool) -> None:
    async def main(scene: Scene) -> None:
        await scene.ask(post())
        at_once, answer = await scene.ask(post(head=HEAD + b"X-Request-Id: %b\r\n" % given))
        assert at_once
        assert (parts_of(answer)[1][b"x-request-id"] == given) is kept

    scene.run(main)


def test_refusals_are_counted_and_logged_like_all_others(scene: Scene, capfd: pytest.CaptureFixture[str]) -> None:
    async def main(scene: Scene) -> None:
        for _ in range(5):
            await scene.ask(post(head=HEAD + b"X-Request-Id: counted\r\n"))

    scene.run(main)
    metrics = scene.client.get("/metrics").text
    assert 'genserve_requests_total{method="POST",route="/sample",status="503"} 5.0' in metrics
    assert 'genserve_problems_total{code="overloaded",route="/sample"} 5.0' in metrics
    refused = 'genserve_engine_requests_total{ending="overloaded",graph="decode",model="fashion-vae",version="2"} 5.0'
    assert refused in metrics
    scene.client.app.state.context.access.flush()
    lines = [line for line in capfd.readouterr().err.splitlines() if '"counted"' in line]
    assert len(lines) == 5
    assert len({json.dumps({**json.loads(line), "ms": 0, "timestamp": ""}) for line in lines}) == 1


def test_after_an_overload_nobody_is_looked_at(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shedding, "_LET_IN", 3)
    looked: list[bytes] = []
    asked = shedding._asked

    def look(body: bytes) -> Any:
        looked.append(body)
        return asked(body)

    monkeypatch.setattr(shedding, "_asked", look)

    async def main(scene: Scene) -> None:
        await scene.ask(post())
        for i in range(6):
            await scene.ask(post(b'{"n": 1, "seed": %d}' % i))

    scene.run(main)
    assert len(looked) == 3


def test_after_so_many_in_a_row_that_were_not_refused_nobody_is_looked_at(scene: Scene) -> None:
    async def main(scene: Scene) -> None:
        for _ in range(2):  # overloads
            assert (await scene.ask(post()))[1].startswith(b"HTTP/1.1 503")
            for left in range(shedding._LET_IN, 0, -1):
                assert scene.shedder._watchful == left
                assert scene.shedder.judge(*split(post(b'{"n": 1, "latents": []}'))) is None
            assert scene.shedder.judge(*split(post())) is None

    scene.run(main)


def test_an_overload_that_nothing_follows_ends_with_a_tick_without_a_refusal(scene: Scene) -> None:
    async def main(scene: Scene) -> None:
        for _ in range(2):  # on the usual way, and at once
            assert (await scene.ask(post()))[1].startswith(b"HTTP/1.1 503")
            scene.shedder.tick()  # it was just before
        assert callable(scene.shedder.judge(*split(post())))
        scene.shedder.tick()
        scene.shedder.tick()
        assert scene.shedder.judge(*split(post())) is None

    scene.run(main)


def test_a_server_ticks(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, ticks = Settings(store=store), []
    app = create_app(settings)
    monkeypatch.setattr(app.state.shedder, "tick", lambda: ticks.append(1))

    async def main() -> None:
        server = Server(app, settings, socket.socket, bool)
        server.config.load()
        await server._tick()

    asyncio.run(main())
    assert ticks == [1]


def test_who_asks_a_service_that_is_about_to_end_hears_it_the_usual_way(scene: Scene) -> None:
    async def main(scene: Scene) -> None:
        await scene.ask(post())
        assert callable(scene.shedder.judge(*split(post())))
        context = scene.client.app.state.context
        for state in ("leaving", "draining"):
            setattr(context, state, True)
            assert scene.shedder.judge(*split(post())) is None
            setattr(context, state, False)

    scene.run(main)


def test_who_asks_a_model_that_draws_nothing_goes_the_usual_way(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(scene: Scene) -> None:
        await scene.ask(post())
        model = scene.client.app.state.context.catalog().find("fashion-vae")
        monkeypatch.delitem(model.batchers, "decode")
        assert scene.shedder.judge(*split(post())) is None
        monkeypatch.undo()

    scene.run(main)


def test_answer_goes_out_even_if_nobody_can_take_note_of_it(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError("no space left on device")

    async def main(scene: Scene) -> None:
        await scene.ask(post())
        monkeypatch.setattr(scene.client.app.state.context.access, "note", full)
        assert (await scene.ask(post()))[0]

    scene.run(main)


def test_heads_are_not_kept_without_end(scene: Scene) -> None:
    async def main(scene: Scene) -> None:
        await scene.ask(post())
        for i in range(1000):
            assert callable(scene.shedder.judge(*split(post(head=HEAD + b"X-Number: %d\r\n" % i))))
            assert len(scene.shedder._heads) <= 256

    scene.run(main)


@pytest.mark.parametrize("name", [b"X-Request-Id", b"x-request-id", b"Traceparent"])
def test_heads_that_never_come_again_drive_no_others_out(scene: Scene, name: bytes) -> None:
    async def main(scene: Scene) -> None:
        await scene.ask(post())
        for i in range(256):
            assert callable(scene.shedder.judge(*split(post(head=HEAD + b"X-Number: %d\r\n" % i))))
        known = dict(scene.shedder._heads)
        assert len(known) == 256
        for i in range(300):
            assert callable(scene.shedder.judge(*split(post(head=HEAD + name + b": %d\r\n" % i))))
        assert scene.shedder._heads == known

    scene.run(main)
