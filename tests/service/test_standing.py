"""A refusal stands for a moment: who asks for the same hears the same, and nobody else does."""

import asyncio
import dataclasses
import json
from collections.abc import Callable
from typing import cast

import pytest

from service import standing
from service.errors import OverloadedError
from service.model import Model
from service.rests import Rests
from service.standing import StandingRefusals
from tests.service.scene import HEAD, Scene, let_in, parts_of, post, split

LONGEST_S, BACKLOG_S = 1e6, 1e9  # so that nothing ends by itself


def busy(seconds: float) -> Callable[[Model, str], float]:
    """So long has the decoder to do, and nobody is to ask about anything else."""
    return lambda _, graph: {"decode": seconds}[graph]


@pytest.fixture
def judged(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """How often the engine judges while some requests are looked at, where refusals stand."""
    monkeypatch.setattr(standing, "_LONGEST_S", LONGEST_S)
    monkeypatch.setattr(Model, "backlog_s", busy(BACKLOG_S))
    monkeypatch.setattr(Rests, "want", lambda *_: None)
    times: list[int] = []
    promise = Model.promise

    def count(model: Model, graph: str, n: int, seconds: float | None) -> object:
        times.append(n)
        return promise(model, graph, n, seconds)  # type: ignore[arg-type]

    monkeypatch.setattr(Model, "promise", count)

    def judge(*requests: bytes) -> int:
        times.clear()
        for request in requests:
            assert callable(scene.shedder.judge(*split(request)))
        return len(times)

    return judge


def test_who_asks_for_the_same_hears_the_same(scene: Scene, judged: Callable[..., int]) -> None:
    async def main(scene: Scene) -> None:
        await scene.ask(post())
        answers = [await scene.ask(post(head=HEAD + b"X-Request-Id: r%d\r\n" % i)) for i in range(3)]
        assert all(at_once for at_once, _ in answers)
        for i, (status, lines, problem) in enumerate(map(parts_of, (answer for _, answer in answers))):
            assert status == b"HTTP/1.1 503 Service Unavailable"
            assert lines[b"x-request-id"].decode() == problem["request_id"] == f"r{i}"
            assert problem | {"request_id": ""} == parts_of(answers[0][1])[2] | {"request_id": ""}
            assert lines[b"retry-after"] == parts_of(answers[0][1])[1][b"retry-after"]
        assert judged(post(), post(b'{"seed": 8, "n": 3}'), post(b'{"n": 3, "model": "fashion-vae@2"}')) == 0

    scene.run(main)


def test_who_asks_for_something_else_is_judged(scene: Scene, judged: Callable[..., int]) -> None:
    async def main(scene: Scene) -> None:
        await scene.ask(post())
        assert judged(post(), post()) == 1
        assert judged(post(b'{"n": 2}'), post(b'{"n": 2}')) == 1
        sooner = HEAD.replace(b"60000", b"59000")
        assert judged(post(head=sooner), post(head=sooner)) == 1
        let_in(scene, post(b'{"n": 1}')).place.give_up()

    scene.run(main)


@pytest.mark.parametrize(("longest_s", "backlog_s"), [(0.0, BACKLOG_S), (LONGEST_S, 0.0)])
def test_nothing_stands_that_could_be_otherwise_by_now(
    scene: Scene, judged: Callable[..., int], monkeypatch: pytest.MonkeyPatch, longest_s: float, backlog_s: float
) -> None:
    async def main(scene: Scene) -> None:
        await scene.ask(post())
        monkeypatch.setattr(standing, "_LONGEST_S", longest_s)
        monkeypatch.setattr(Model, "backlog_s", busy(backlog_s))
        assert judged(post(), post(), post()) == 3

    scene.run(main)


@pytest.mark.usefixtures("judged")
def test_refusals_that_stand_are_counted_and_logged_like_all_others(
    scene: Scene, capfd: pytest.CaptureFixture[str]
) -> None:
    async def main(scene: Scene) -> None:
        for i in range(5):
            await scene.ask(post(b'{"n": 2}', head=HEAD + b"X-Request-Id: stands%d\r\n" % i))

    scene.run(main)
    metrics = scene.client.get("/metrics").text
    assert 'genserve_requests_total{method="POST",route="/sample",status="503"} 5.0' in metrics
    waited = 1
    assert f'genserve_request_seconds_count{{method="POST",route="/sample"}} {5 + waited}.0' in metrics
    assert 'genserve_problems_total{code="overloaded",route="/sample"} 5.0' in metrics
    refused = 'genserve_engine_requests_total{ending="overloaded",graph="decode",model="fashion-vae",version="2"} 5.0'
    assert refused in metrics
    scene.client.app.state.context.access.flush()
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines() if '"stands' in line]
    assert [line["request_id"] for line in lines] == [f"stands{i}" for i in range(5)]
    assert {line["n"] for line in lines} == {2}
    assert len({json.dumps({**line, "ms": 0, "timestamp": "", "request_id": ""}) for line in lines}) == 1


def test_model_that_was_opened_anew_is_asked_itself(
    scene: Scene, judged: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main(scene: Scene) -> None:
        await scene.ask(post())
        assert judged(post(), post()) == 1
        catalog = scene.client.app.state.context.catalog()
        other = dataclasses.replace(catalog.find("fashion-vae"))
        monkeypatch.setattr(type(catalog), "find", lambda *_: other)
        assert judged(post(), post()) == 1

    scene.run(main)


def test_every_second_all_are_forgotten(scene: Scene, judged: Callable[..., int]) -> None:
    async def main(scene: Scene) -> None:
        await scene.ask(post())
        assert judged(post()) == 1
        scene.shedder.tick()
        assert judged(post()) == 1

    scene.run(main)


def test_they_are_not_kept_without_end(scene: Scene, judged: Callable[..., int]) -> None:
    async def main(scene: Scene) -> None:
        await scene.ask(post())
        for ms in range(60000, 61000):
            judged(post(head=HEAD.replace(b"60000", b"%d" % ms)))
            assert len(scene.shedder._refusals._kept) <= 64

    scene.run(main)


def test_what_several_ask_for_stands_side_by_side(scene: Scene, judged: Callable[..., int]) -> None:
    async def main(scene: Scene) -> None:
        await scene.ask(post())
        assert judged(*[post(b'{"n": %d}' % n) for n in (2, 3, 4, 2, 3, 4)]) == 3

    scene.run(main)


def test_answer_says_how_long_it_took_itself(scene: Scene, judged: Callable[..., int]) -> None:
    async def main(scene: Scene) -> None:
        await scene.ask(post())
        assert judged(post()) == 1
        times = []
        for pause_s in (0.0, 0.02):
            refusal = scene.shedder.judge(*split(post()))
            assert callable(refusal)
            await asyncio.sleep(pause_s)  # as if it were held back
            times.append(float(refusal()[1].split(b"total;dur=")[1].split(b"\r\n")[0]))
        assert times[1] >= times[0] + 10

    scene.run(main)


@pytest.mark.parametrize(
    ("backlog_s", "later_s", "stands"),
    [
        (0.05, 0.0, True),
        (0.05, 0.0009, True),
        (0.05, 0.0011, False),
        (0.05, 1.0, False),
        (10.0, 0.0019, True),
        (10.0, 0.0021, False),
    ],
)
def test_one_stands_for_a_fiftieth_of_the_backlog_and_two_milliseconds_at_most(
    backlog_s: float, later_s: float, stands: bool
) -> None:
    refusals, model = StandingRefusals(), cast(Model, object())
    made = refusals.add((model, 1, None), OverloadedError("too much to do", retry_after_s=3.0), 5.0, backlog_s)
    assert refusals.find(model, 1, None, 5.0 + later_s) is (made if stands else None)
