"""The end of a running service: nobody under way is lost, and nothing is left."""

import asyncio
import http.client
import json
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import pytest

from service.app import create_app
from service.catalog import Catalog
from service.processes.listening import listen
from service.processes.server import Server
from service.settings import Settings
from tests.service.load import clients, quiet_process
from tests.service.support import pngs_of, serving, until

LARGE = {"model": "gan", "n": 128, "seed": 1}
WORKERS = pytest.mark.parametrize("workers", ["1", "2"])


@pytest.mark.parametrize("load_first", [False, True])
def test_server_says_that_all_is_ready_once_clients_can_connect(store: Path, load_first: bool) -> None:
    settings = Settings(store=store, port=0)
    app, said = create_app(settings), []

    def announce(catalog: Catalog) -> None:
        said.append((len(server.servers), catalog.ready()[0]))
        server.stop()

    async def main() -> None:
        server._loop = asyncio.get_running_loop()
        await asyncio.wait_for(server.serve(), 60)

    server = Server(app, settings, lambda: listen(settings), announce, load_first=load_first)
    asyncio.run(main())
    assert said == [(1, True)]


@WORKERS
def test_sigterm_under_load_loses_no_request(store: Path, workers: str) -> None:
    with quiet_process(store, GENSERVE_WORKERS=workers) as (running, url):
        with clients(url, keeping=24, fresh=8) as outcomes:
            until(lambda: outcomes.answered > 100)
            running.send_signal(signal.SIGTERM)
            assert running.wait(60) == 0
        assert outcomes.broken == []
        assert set(outcomes.statuses) <= {"200", "stopping"}


@WORKERS
def test_within_the_grace_period_readiness_is_false_and_requests_are_answered(store: Path, workers: str) -> None:
    with quiet_process(store, GENSERVE_WORKERS=workers, GENSERVE_SHUTDOWN_GRACE_S="3") as (running, url):
        with clients(url, keeping=8, fresh=0) as outcomes:  # they stop as soon as an answer ends their connection
            until(lambda: outcomes.answered > 20)
            running.send_signal(signal.SIGTERM)
            until(lambda: httpx.get(f"{url}/health/ready").status_code == 503)
            late = httpx.post(f"{url}/sample", json={"n": 1, "seed": 1})
            assert httpx.get(f"{url}/health/live").status_code == 200
        assert (late.status_code, late.headers["connection"]) == (200, "close")
        assert running.wait(60) == 0
        assert outcomes.broken == []
        assert set(outcomes.statuses) == {"200"}


def test_idle_connection_is_told_that_the_service_ends_rather_than_cut(store: Path) -> None:
    def ask(client: socket.socket) -> http.client.HTTPResponse:
        client.sendall(b"GET /models HTTP/1.1\r\nHost: x\r\n\r\n")
        return _read(client)

    answer = _ask_once_it_ends(store, ask)
    assert (answer.status, answer.getheader("connection")) == (503, "close")
    assert json.loads(answer.read())["code"] == "stopping"


def test_refusal_reaches_a_client_that_is_still_sending_its_body(store: Path) -> None:
    body = json.dumps({"images": ["A" * 200_000]}).encode()
    head = f"POST /encode HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"

    def ask(client: socket.socket) -> http.client.HTTPResponse:
        client.sendall(head.encode())
        for i in range(0, len(body), 50_000):
            client.sendall(body[i : i + 50_000])
            time.sleep(0.05)
        return _read(client)

    answer = _ask_once_it_ends(store, ask)
    assert answer.status == 503
    assert json.loads(answer.read())["code"] == "stopping"


@WORKERS
def test_second_signal_ends_it_at_once(store: Path, workers: str) -> None:
    with quiet_process(store, GENSERVE_WORKERS=workers, GENSERVE_SHUTDOWN_GRACE_S="600") as (running, url):
        family = _family(running.pid)
        running.send_signal(signal.SIGTERM)
        until(lambda: httpx.get(f"{url}/health/ready").status_code == 503)
        running.send_signal(signal.SIGTERM)
        assert running.wait(60) == 128 + signal.SIGTERM
        until(lambda: not any(map(_lives, family)))


@WORKERS
def test_probes_and_metrics_answer_while_the_engine_is_saturated(store: Path, workers: str) -> None:
    with quiet_process(store, GENSERVE_WORKERS=workers) as (_, url):
        with clients(url, keeping=16, fresh=0, bodies=[LARGE]) as outcomes:
            until(lambda: outcomes.answered >= 2)
            before = outcomes.answered
            for path in ("/health/live", "/health/ready", "/metrics") * 5:
                assert httpx.get(f"{url}{path}", timeout=60).status_code == 200
            until(lambda: outcomes.answered > before)
        assert outcomes.broken == []


@pytest.mark.slow
def test_twenty_rounds_of_starting_and_stopping_leave_no_descriptor_or_thread(store: Path) -> None:
    here = psutil.Process()
    threads, children = threading.active_count(), len(here.children())
    descriptors = []
    for seed in range(20):
        with serving(store, lanes=2) as client:
            assert len(pngs_of(client.post("/sample", {"n": 3, "seed": seed}))) == 3
        until(lambda: threading.active_count() <= threads)  # a lane may still be on its way out
        descriptors.append(here.num_fds())
    assert descriptors[-1] <= descriptors[0]  # the first round opens what stays, such as a library's own files
    assert len(here.children()) == children


@pytest.mark.slow
@WORKERS
def test_rounds_of_starting_and_stopping_leave_no_process(store: Path, tmp_path: Path, workers: str) -> None:
    for _ in range(5):
        with quiet_process(store, GENSERVE_WORKERS=workers, TMPDIR=str(tmp_path)) as (running, url):
            httpx.post(f"{url}/sample", json={"n": 3})
            family = _family(running.pid)
        assert running.returncode == 0
        assert not any(map(_lives, family))
        assert list(tmp_path.glob("genserve-*")) == []
        assert _is_refused(url)


def test_running_service_does_not_gather_descriptors_from_clients_that_come_and_go(store: Path) -> None:
    with quiet_process(store) as (running, url):
        here = psutil.Process(running.pid)
        httpx.get(f"{url}/health/live")
        until(lambda: len(here.net_connections()) == 1)
        before = here.num_fds()
        for seed in range(30):
            httpx.post(f"{url}/sample", json={"seed": seed})
        until(lambda: here.num_fds() <= before)


def _family(pid: int) -> list[psutil.Process]:
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]


def _lives(member: psutil.Process) -> bool:
    return member.is_running() and member.status() != psutil.STATUS_ZOMBIE


def _ask_once_it_ends(
    store: Path, ask: Callable[[socket.socket], http.client.HTTPResponse]
) -> http.client.HTTPResponse:
    """What an idle connection is answered after SIGTERM; on a busy machine we may be too late, and try again."""
    late: list[Exception] = []
    while len(late) < 3:
        with quiet_process(store) as (running, url):
            host, _, port = url.removeprefix("http://").partition(":")
            with socket.create_connection((host, int(port)), timeout=60) as client:
                client.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
                _read(client).read()
                running.send_signal(signal.SIGTERM)
                until(lambda: _is_refused(url))
                try:
                    answer = ask(client)
                except (ConnectionError, http.client.HTTPException) as error:
                    late.append(error)
                    continue
            assert running.wait(60) == 0
            return answer
    raise late[-1]


def _read(client: socket.socket) -> http.client.HTTPResponse:
    answer = http.client.HTTPResponse(client)
    answer.begin()
    return answer


def _is_refused(url: str) -> bool:
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.socket() as probe:
        probe.settimeout(0.2)  # connections are dropped for a moment before they are refused
        return probe.connect_ex((host, int(port))) != 0
