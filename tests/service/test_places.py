"""Under overload whoever is let in at the door has a place in the queue, and may begin a little later."""

import asyncio
from typing import Any

import pytest

from service.app import entrance
from service.endpoint import Call
from service.engine.admission import Admission
from service.engine.batcher import Batcher
from service.engine.cost import CostModel
from service.engine.keeper import Keeper
from service.engine.lanes import Lanes
from service.errors import DeadlineError, OverloadedError
from service.plan import latent_dim
from service.transport import Cycle
from service.workers import SMALL, Workers
from tests.service.scene import Scene, let_in, post, split
from tests.service.wire import connect


def test_who_is_let_in_counts_until_it_is_in_the_queue_or_gone(scene: Scene) -> None:
    async def main(scene: Scene) -> None:
        await scene.ask(post())
        one = post(b'{"n": 1}')
        last_place = let_in(scene, one).place
        assert callable(scene.shedder.judge(*split(one)))
        last_place.give_up()
        last_place.give_up()
        last_place = let_in(scene, one).place
        assert callable(scene.shedder.judge(*split(one)))

    scene.run(main)


def test_who_asks_elsewhere_does_not_get_a_place_that_was_promised(scene: Scene) -> None:
    async def main(scene: Scene) -> None:
        await scene.ask(post())
        place = let_in(scene, post(b'{"n": 1}')).place
        model = scene.client.app.state.context.catalog().find("fashion-vae")
        codes = {"latents": [[0.0] * latent_dim(model)]}  # only the usual way knows how many images that are
        assert (await scene.client.http.post("/sample", json=codes)).status_code == 503
        place.give_up()
        waiting = asyncio.ensure_future(scene.client.http.post("/sample", json=codes))
        while scene.queued < 4:
            assert not waiting.done()
            await asyncio.sleep(0.001)
        waiting.cancel()
        await asyncio.wait((waiting,))

    scene.run(main)


@pytest.mark.parametrize("known", [False, True])
def test_place_is_kept_while_its_request_waits_and_then_its_own(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    async def main(scene: Scene) -> None:
        await scene.ask(post())
        protocol, wire, state = connect(entrance(scene.client.app), 60.0)
        one, other = post(b'{"n": 1, "seed": 1}'), post(b'{"n": 1, "seed": 2}')
        if known:
            protocol.data_received(one.replace(b"seed", b"sead"))  # a field that is unknown
            while b" 422 " not in b"".join(wire.writes):
                await asyncio.sleep(0.001)
            monkeypatch.setattr(protocol, "_parse", lambda _: pytest.fail("its head is not known"))
        wire.writes.clear()
        protocol.judge, protocol.burst = scene.shedder.judge, scene.shedder.burst
        with monkeypatch.context() as patch:
            patch.setattr(Batcher, "left_to_do_s", lambda _: 1000.0)
            protocol.data_received(one)
        assert not state.tasks
        assert callable(scene.shedder.judge(*split(other)))
        with monkeypatch.context() as patch:
            patch.setattr(Admission, "_no_room", lambda *_: OverloadedError("others are in the way"))
            scene.shedder.burst.begin()
            while scene.queued < 4:
                assert wire.writes == []
                await asyncio.sleep(0.001)
        assert callable(scene.shedder.judge(*split(other)))  # it is in the queue now
        tasks = list(state.tasks)
        protocol.connection_lost(None)
        await asyncio.gather(*tasks, return_exceptions=True)
        let_in(scene, other).place.give_up()

    scene.run(main)


def test_place_of_a_client_that_leaves_while_it_is_put_off_is_free_at_once(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main(scene: Scene) -> None:
        await scene.ask(post())
        protocol, _, _ = connect(entrance(scene.client.app), 60.0)
        protocol.judge, protocol.burst = scene.shedder.judge, scene.shedder.burst
        one = post(b'{"n": 1}')
        with monkeypatch.context() as patch:
            patch.setattr(Batcher, "left_to_do_s", lambda _: 1000.0)
            protocol.data_received(one)
        assert callable(scene.shedder.judge(*split(one)))
        protocol.connection_lost(None)
        let_in(scene, one).place.give_up()

    scene.run(main)


def test_place_of_who_is_refused_because_of_the_encoders_is_free_before_the_refusal_goes_out(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main(scene: Scene) -> None:
        await scene.ask(post())
        held = asyncio.Event()

        async def hold(_: Cycle) -> None:
            await held.wait()

        def busy(*_: Any) -> None:
            raise OverloadedError("others' images take long")

        one = post(b'{"n": 1}')
        protocol, wire, state = connect(entrance(scene.client.app), 60.0)
        protocol.judge, protocol.burst = scene.shedder.judge, scene.shedder.burst
        with monkeypatch.context() as patch:
            patch.setattr(Cycle, "turn_to_refuse", hold)
            patch.setattr(Call, "about", busy)
            protocol.data_received(one)
            scene.shedder.burst.begin()
            for _ in range(10):
                await asyncio.sleep(0)
            assert state.tasks
            let_in(scene, one).place.give_up()
            held.set()
            while state.tasks:
                await asyncio.sleep(0)
        assert wire.writes[0].startswith(b"HTTP/1.1 503")

    scene.run(main)


@pytest.mark.parametrize(
    "body", [b'{"n": 1, "seed": "one"}', b'{"n": 1, "colour": 2}', b'{"n": 1, "prompt": "none is taken"}']
)
def test_place_of_whoever_turns_out_to_ask_in_vain_is_free_again(scene: Scene, body: bytes) -> None:
    async def main(scene: Scene) -> None:
        await scene.ask(post())
        for _ in range(3):
            assert b" 422 " in (await scene.ask(post(body)))[1][:20]
        let_in(scene, post(b'{"n": 1}')).place.give_up()

    scene.run(main)


def test_whose_own_deadline_cannot_be_met_has_no_place(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(scene: Scene) -> None:
        await scene.ask(post())
        monkeypatch.setattr(Admission, "_too_late", lambda *_: (9.0, DeadlineError("even an idle service is too slow")))
        assert scene.shedder.judge(*split(post(b'{"n": 1}'))) is None
        monkeypatch.undo()
        let_in(scene, post(b'{"n": 1}')).place.give_up()

    scene.run(main)


@pytest.mark.parametrize(("backlog_s", "waits_s"), [(0.0, 0.0), (0.08, 0.01), (0.2, 0.025), (10.0, 0.03)])
def test_who_is_let_in_waits_for_others_while_the_lanes_have_enough_to_do(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, backlog_s: float, waits_s: float
) -> None:
    async def main(scene: Scene) -> None:
        one = post(b'{"n": 1}')
        assert scene.shedder.judge(*split(one)) is None  # nobody was refused yet
        await scene.ask(post())
        monkeypatch.setattr(CostModel, "runs", lambda *_: backlog_s)
        monkeypatch.setattr(Lanes, "allowed", 2)
        verdict = let_in(scene, one)
        assert verdict.may_wait_s == pytest.approx(waits_s)
        verdict.place.give_up()

    scene.run(main)


def test_nobody_is_put_off_who_may_be_refused_yet_because_of_the_encoders(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main(scene: Scene) -> None:
        await scene.ask(post())
        monkeypatch.setattr(Batcher, "left_to_do_s", lambda _: 10.0)
        monkeypatch.setattr(Workers, "wait_s", 0.1)
        model = scene.client.app.state.context.catalog().find("fashion-vae")
        for values, waits_s in ((SMALL, 0.03), (SMALL + 1, 0.0)):
            monkeypatch.setitem(vars(model), "values", values)
            verdict = let_in(scene, post(b'{"n": 1}'))
            assert verdict.may_wait_s == waits_s
            verdict.place.give_up()
        monkeypatch.undo()

    scene.run(main)


def test_nobody_is_put_off_while_a_hung_runtime_is_opened_anew(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(scene: Scene) -> None:
        await scene.ask(post())
        monkeypatch.setattr(Batcher, "left_to_do_s", lambda _: 10.0)
        monkeypatch.setattr(Keeper, "usable", False)
        assert scene.shedder.judge(*split(post())) is None
        monkeypatch.undo()

    scene.run(main)
