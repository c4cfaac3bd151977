"""Several workers behave as one."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import psutil

from service.team.bells import cast_bells, has_rung, ring
from service.team.board import Board, Note
from service.team.pulse import Pulse
from service.team.team import State, Team
from service.watching import watch
from tests.service.load import quiet_process
from tests.service.support import until
from tests.support.bundles import publish


def note(**changes: object) -> Note:
    given = {"pid": 7, "listening": True, "ready": True, "reason": "", "written": 1.5, "seen": 0.5, "aliases": "a"}
    return Note(**(given | changes))  # type: ignore[arg-type]


def test_note_on_a_board_is_read_as_it_was_written_until_it_is_cleared() -> None:
    board = Board(3)
    board.write(1, note(reason="grün " * 1000))
    board.write(1, note())
    assert [board.read(place) for place in range(3)] == [None, note(), None]
    board.clear(1)
    assert board.read(1) is None


def test_board_says_that_workers_are_awaited_and_neither_they_nor_lanes_notice() -> None:
    board = Board(2)
    assert not board.awaited
    board.awaited = True
    assert board.busy(besides=0) == 0
    board.tell_busy(1, lanes=3)
    board.write(1, note())
    board.clear(1)
    assert board.awaited
    board.awaited = False
    assert (board.awaited, board.busy(besides=0)) == (False, 0)


def test_longest_reason_fits_its_place() -> None:
    board = Board(2)
    board.write(1, note())
    board.write(0, note(reason="\x01" * 10_000))
    assert board.read(1) == note()
    found = board.read(0)
    assert found is not None
    assert set(found.reason) == {"\x01"}


def test_note_that_was_cut_short_counts_as_a_worker_that_is_not_ready() -> None:
    board = Board(1)
    board.write(0, note(reason="all is well"))
    memory = board._memory
    memory[memory.find(b"well")] = ord("h")
    found = board.read(0)
    assert found is not None
    assert (found.listening, found.ready) == (True, False)


def test_bell_that_is_rung_too_often_still_has_rung_once() -> None:
    (bell,) = cast_bells(1)
    for _ in range(100_000):
        ring([bell])
    assert has_rung(bell)
    assert not has_rung(bell)
    for end in bell:
        os.close(end)


def test_who_finds_a_change_tells_the_others_and_who_was_called_does_not() -> None:
    async def look() -> tuple[int, int]:
        called, looks, found = asyncio.Event(), 0, 0

        async def refresh() -> bool:
            nonlocal looks
            looks += 1
            return True

        def found_change() -> None:
            nonlocal found
            found += 1
            watching.cancel()

        called.set()
        watching = asyncio.create_task(watch(refresh, 0.01, called, found_change))
        await asyncio.wait((watching,))
        return looks, found

    assert asyncio.run(look()) == (2, 1)


def test_worker_that_has_been_silent_for_long_is_not_waited_for() -> None:
    board = Board(3)
    team = Team(board, place=0)
    board.write(1, note(pid=8, seen=0.0, written=time.monotonic() - 100))
    begun = time.monotonic()
    (late,) = asyncio.run(team.agree(1.0, lambda: "a", until=begun + 1000))
    assert "process 8" in late
    assert "hangs" in late


def test_worker_to_which_an_alias_means_something_else_is_named() -> None:
    board = Board(2)
    board.write(1, note(pid=8, seen=2.0, aliases="b", written=time.monotonic()))
    (late,) = asyncio.run(Team(board).agree(1.0, lambda: "a", until=time.monotonic()))
    assert "process 8" in late
    assert "cannot load" in late


def test_worker_that_begins_to_listen_is_told_of_a_bell_that_rang_before_and_of_none_else() -> None:
    bells = cast_bells(2)
    board = Board(2)
    one, other = (Team(board, place, bells) for place in range(2))
    state = State(ready=True, reason="", seen=0.0, aliases="")
    assert not one.begin_to_listen(state)
    one.ring()
    assert other.begin_to_listen(state)
    assert not other.begin_to_listen(state)
    assert not one.begin_to_listen(state)
    for end in (end for bell in bells for end in bell):
        os.close(end)


@contextmanager
def client_of(url: str, worker: psutil.Process) -> Iterator[httpx.Client]:
    """A client whose connection this worker has: the kernel chooses, so several are opened."""
    for _ in range(200):
        with httpx.Client(base_url=url, timeout=60) as client:
            stream = client.get("/health/live").extensions["network_stream"]
            port = stream.get_extra_info("client_addr")[1]
            if any(found.raddr and found.raddr.port == port for found in worker.net_connections()):
                yield client
                return
    raise AssertionError(f"worker {worker.pid} gets no connection")


def workers_of(parent: "subprocess.Popen[str]") -> list[psutil.Process]:
    """The workers that live."""
    return psutil.Process(parent.pid).children()


def why_not_ready(client: httpx.Client) -> str:
    """Empty if it is ready."""
    answer = client.get("/health/ready")
    assert answer.status_code in (200, 503)
    return "" if answer.status_code == 200 else str(answer.json()["detail"])


def test_service_is_not_ready_while_one_of_its_workers_hangs_and_is_when_that_one_is_dead(
    store: Path, tmp_path: Path
) -> None:
    no_more = tmp_path / "no more"
    (tmp_path / "sitecustomize.py").write_text(f"import os\nif os.path.exists({str(no_more)!r}): os._exit(7)\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    with quiet_process(store, GENSERVE_WORKERS="2", PYTHONPATH=path) as (running, url):
        sound, hung = workers_of(running)
        with client_of(url, sound) as client:
            until(lambda: not why_not_ready(client))
            hung.suspend()
            until(lambda: why_not_ready(client))
            assert f"process {hung.pid}" in why_not_ready(client)
            assert "hangs" in why_not_ready(client)
            hung.resume()
            until(lambda: not why_not_ready(client))
            hung.suspend()
            until(lambda: why_not_ready(client))
            no_more.touch()  # nobody takes its place
            hung.kill()
            until(lambda: not why_not_ready(client))


def test_worker_that_hangs_for_good_is_replaced(store: Path) -> None:
    with quiet_process(store, GENSERVE_WORKERS="2", GENSERVE_HANG_S="10") as (running, url):
        sound, hung = workers_of(running)
        with client_of(url, sound) as client:
            until(lambda: not why_not_ready(client))
            hung.suspend()
            until(lambda: why_not_ready(client))
            until(lambda: hung.pid not in {worker.pid for worker in workers_of(running)})
            until(lambda: len(workers_of(running)) == 2 and not why_not_ready(client))
            assert sound.is_running()


def test_pulse_counts_the_looks_at_which_a_note_stays_the_same() -> None:
    board = Board(3)
    pulse = Pulse(board)
    board.write(0, note(pid=7, written=1))
    board.write(1, note(pid=8, written=1))
    board.write(2, note(pid=9, listening=False))
    assert [pulse.look(), pulse.look()] == [{7: 0, 8: 0}, {7: 1, 8: 1}]
    board.write(0, note(pid=7, written=2))
    assert pulse.look() == {7: 0, 8: 2}
    board.clear(1)
    assert pulse.look() == {7: 1}
    board.write(1, note(pid=10, written=1))  # who took its place begins anew
    assert pulse.look() == {7: 2, 10: 0}


def test_dead_worker_does_not_make_the_others_less_ready(store: Path) -> None:
    with quiet_process(store, GENSERVE_WORKERS="2") as (running, url):
        sound, victim = workers_of(running)
        with client_of(url, sound) as client:
            until(lambda: not why_not_ready(client))
            victim.kill()
            found = []
            while len(alive := {worker.pid for worker in workers_of(running)} - {victim.pid}) < 2:
                found.append(why_not_ready(client))
            (new,) = alive - {sound.pid}
            while not _listens(new):
                found.append(why_not_ready(client))
            found.extend(why_not_ready(client) for _ in range(20))
        assert set(found) == {""}


def test_worker_that_is_told_to_end_makes_all_unready_until_it_listens_no_more(store: Path) -> None:
    with quiet_process(store, GENSERVE_WORKERS="2", GENSERVE_SHUTDOWN_GRACE_S="2") as (running, url):
        staying, leaving = workers_of(running)
        with client_of(url, staying) as client:
            until(lambda: not why_not_ready(client))
            os.kill(leaving.pid, signal.SIGTERM)
            until(lambda: why_not_ready(client))
            assert f"process {leaving.pid}" in why_not_ready(client)
            assert "shutting down" in why_not_ready(client)
            until(lambda: not why_not_ready(client))


def _listens(pid: int) -> bool:
    return any(found.status == psutil.CONN_LISTEN for found in psutil.Process(pid).net_connections())


def meant_by(clients: Iterable[httpx.Client], ref: str) -> set[int]:
    """The versions that answer for a reference."""
    answers = [client.post("/sample", json={"model": ref}) for client in clients]
    assert {answer.status_code for answer in answers} == {200}
    return {int(answer.json()["model"]["version"]) for answer in answers}


def test_alias_that_one_worker_changes_is_served_by_all_when_the_answer_comes(tmp_path: Path) -> None:
    for seed in (1, 2, 3):
        publish(tmp_path, seed=seed)
    settings = {"GENSERVE_STORE_POLL_S": "0", "GENSERVE_KEEP_VERSIONS": "1"}  # nobody looks unless it is told to
    with quiet_process(tmp_path, GENSERVE_WORKERS="3", **settings) as (running, url), ExitStack() as stack:
        clients = [stack.enter_context(client_of(url, worker)) for worker in workers_of(running)]
        for number, version in enumerate((1, 2, 1, 3, 2)):
            answer = clients[number % 3].post("/models/tiny/aliases/prod", json={"version": version}).json()
            assert (answer["everywhere"], answer["waiting"]) == (True, [])
            assert meant_by(clients, "tiny@prod") == {version}
        answer = clients[0].post("/models/tiny/aliases/prod/rollback").json()
        assert (answer["version"], answer["everywhere"]) == (3, True)
        assert meant_by(clients, "tiny@prod") == {3}


def test_aliases_that_several_workers_change_at_once_mean_the_same_in_all(tmp_path: Path) -> None:
    for seed in (1, 2, 3):
        publish(tmp_path, seed=seed)
    settings = {"GENSERVE_STORE_POLL_S": "0", "GENSERVE_KEEP_VERSIONS": "1"}
    with quiet_process(tmp_path, GENSERVE_WORKERS="2", **settings) as (running, url), ExitStack() as stack:
        clients = [stack.enter_context(client_of(url, worker)) for worker in workers_of(running)]

        def move(client: httpx.Client) -> list[bool]:
            bodies = [{"version": version} for version in (1, 2, 3, 2, 1)]
            return [client.post("/models/tiny/aliases/prod", json=body).json()["everywhere"] for body in bodies]

        with ThreadPoolExecutor(2) as pool:
            assert all(all(everywhere) for everywhere in pool.map(move, clients))
        assert meant_by(clients, "tiny@prod") == {1}


def test_worker_that_hangs_is_named_in_the_answer_and_the_change_stands(tmp_path: Path) -> None:
    for seed in (1, 2):
        publish(tmp_path, seed=seed)
    with quiet_process(tmp_path, GENSERVE_WORKERS="2") as (running, url):
        sound, hung = workers_of(running)
        with client_of(url, sound) as client, client_of(url, hung) as other:
            hung.suspend()
            answer = client.post(
                "/models/tiny/aliases/prod", json={"version": 1}, headers={"x-timeout-ms": "300"}
            ).json()
            assert (answer["version"], answer["everywhere"]) == (1, False)
            assert f"process {hung.pid}" in answer["waiting"][0]
            assert meant_by([client], "tiny@prod") == {1}
            hung.resume()
            until(lambda: other.get("/models/tiny@prod").status_code == 200)
            assert meant_by([client, other], "tiny@prod") == {1}


def test_version_that_one_worker_finds_is_served_by_all_soon(tmp_path: Path) -> None:
    publish(tmp_path, seed=1)
    settings = {"GENSERVE_WORKERS": "2", "GENSERVE_STORE_POLL_S": "0.2"}
    with quiet_process(tmp_path, **settings) as (running, url), ExitStack() as stack:
        clients = [stack.enter_context(client_of(url, worker)) for worker in workers_of(running)]
        publish(tmp_path, seed=2)
        until(lambda: meant_by(clients, "tiny") == {2})
        listed = [client.get("/models").json() for client in clients]
        assert listed[0] == listed[1]


def test_worker_that_takes_a_dead_ones_place_has_the_aliases_that_changed_while_it_loaded(tmp_path: Path) -> None:
    for seed in (1, 2):
        publish(tmp_path, seed=seed)
    with quiet_process(tmp_path, GENSERVE_WORKERS="2", GENSERVE_STORE_POLL_S="0") as (running, url):
        staying, victim = workers_of(running)
        with client_of(url, staying) as client:
            victim.kill()
            version = 1
            while len(alive := {worker.pid for worker in workers_of(running)} - {victim.pid}) < 2:
                pass
            (new,) = alive - {staying.pid}
            while not _listens(new):
                version = 3 - version
                answer = client.post("/models/tiny/aliases/prod", json={"version": version}).json()
                assert answer["everywhere"], answer
            with client_of(url, psutil.Process(new)) as newcomer:
                assert meant_by([client, newcomer], "tiny@prod") == {version}
