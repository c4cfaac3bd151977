"""Watching a job: every event once and in order, however often the watcher leaves, and no watcher is in the way."""

import base64
import http.client
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from tests.service.load import quiet_process
from tests.service.support import until
from tests.service.training.support import JOBS, Received, Runner, ordered, png, sqlite, watching
from tests.support.postgres import PostgresServer

LONG_DRAIN = {"GENSERVE_DRAIN_S": "600"}  # a stream that held up the end would hold it up for longer than a test waits


@pytest.fixture(scope="module")
def url(store: Path, folder: Path) -> Iterator[str]:
    with quiet_process(store, GENSERVE_DATABASE=sqlite(folder), GENSERVE_LANES="1") as (_, address):
        yield address


@pytest.fixture(scope="module")
def finished(url: str, folder: Path) -> str:
    """A job with events of every kind."""
    job = ordered(url)
    runner = Runner(sqlite(folder), job)
    runner.log(1, 2)
    runner.progress(10)
    runner.picture(1)
    runner.ledger.epoch(job, runner.job.fence, {"epoch": 1})
    runner.succeed()
    return job


def numbers(events: list[Received]) -> list[int]:
    return [event.id for event in events]


def messages(events: list[Received]) -> list[str]:
    return [event.data["message"] for event in events if event.kind == "log"]


def in_flight(url: str) -> float:
    samples = [sample for family in parse(httpx.get(f"{url}/metrics").text) for sample in family.samples]
    return sum(sample.value for sample in samples if sample.name == "genserve_requests_in_flight")


def test_stream_of_a_job_that_is_over_is_whole_and_ends(url: str, finished: str) -> None:
    with watching(url, finished) as stream:
        events = stream.events()
    assert numbers(events) == [*range(1, len(events) + 1)]
    assert [event.data["state"] for event in events if event.kind == "state"] == ["queued", "running", "succeeded"]
    assert {event.kind for event in events} == {"state", "log", "progress", "picture", "epoch", "result"}
    assert events[-1].kind == "state"
    assert stream.retry_ms is not None


def test_stream_is_not_to_be_stored_or_buffered(url: str, finished: str) -> None:
    with watching(url, finished) as stream:
        headers = stream.response.headers
    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    assert (headers["cache-control"], headers["x-accel-buffering"]) == ("no-store", "no")


def test_watcher_that_comes_back_gets_exactly_the_rest(url: str, finished: str) -> None:
    with watching(url, finished) as stream:
        events = stream.events()
    for known in range(1, len(events)):
        with watching(url, finished, last=known) as stream:
            assert stream.events() == events[known:]
        with watching(url, finished, after=known) as stream:
            assert stream.events() == events[known:]


def test_watcher_that_knows_all_of_a_job_that_is_over_is_told_to_stay_away(url: str, finished: str) -> None:
    with watching(url, finished) as stream:
        last = stream.events()[-1].id
    answer = httpx.get(f"{url}{JOBS}/{finished}/events", headers={"last-event-id": str(last)})
    assert (answer.status_code, answer.content) == (204, b"")


@pytest.mark.parametrize("last", ["9999", "-1", "x", "1.5"])
def test_event_that_is_none_is_refused(url: str, finished: str, last: str) -> None:
    answer = httpx.get(f"{url}{JOBS}/{finished}/events", headers={"last-event-id": last})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


def test_stream_is_for_those_who_accept_it(url: str, finished: str) -> None:
    answer = httpx.get(f"{url}{JOBS}/{finished}/events", headers={"accept": "image/png"})
    assert (answer.status_code, answer.json()["code"]) == (406, "not_acceptable")


def test_head_of_a_stream_ends_at_once_even_of_a_job_that_waits(url: str) -> None:
    answer = httpx.head(f"{url}{JOBS}/{ordered(url)}/events", timeout=60)
    assert (answer.status_code, answer.content) == (200, b"")


def test_picture_is_where_its_event_says_or_in_it(url: str, finished: str) -> None:
    with watching(url, finished) as stream:
        linked = next(event for event in stream.events() if event.kind == "picture")
    answer = httpx.get(f"{url}{linked.data['url']}")
    assert (answer.headers["content-type"], answer.content) == ("image/png", png(1))
    with watching(url, finished, pictures="inline") as stream:
        inline = next(event for event in stream.events() if event.kind == "picture")
    assert base64.b64decode(inline.data["png"]) == png(1)


def test_watcher_sees_events_as_they_come_and_the_end(url: str, folder: Path) -> None:
    job = ordered(url)
    with watching(url, job) as stream:
        assert stream.events(1)[0].data["state"] == "queued"
        runner = Runner(sqlite(folder), job)
        assert stream.events(1)[0].data["state"] == "running"
        runner.log(7)
        assert messages(stream.events(1)) == ["7"]
        runner.succeed()
        assert [event.kind for event in stream.events()] == ["result", "state"]


def test_stream_goes_on_behind_an_end_that_was_not_the_last(url: str, folder: Path) -> None:
    job = ordered(url)
    Runner(sqlite(folder), job).fail()
    assert httpx.post(f"{url}{JOBS}/{job}/resume").status_code == 202
    with watching(url, job) as stream:
        states = [event.data["state"] for event in stream.events(4)]
        Runner(sqlite(folder), job).succeed()
        states += [event.data["state"] for event in stream.events() if event.kind == "state"]
    assert states == ["queued", "running", "failed", "queued", "running", "succeeded"]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_watcher_that_keeps_leaving_loses_and_repeats_nothing(store: Path, tmp_path: Path, workers: str) -> None:
    database = sqlite(tmp_path)
    settings = {"GENSERVE_DATABASE": database, "GENSERVE_WORKERS": workers, "GENSERVE_LANES": "1"}
    with quiet_process(store, **settings) as (_, url):
        job = ordered(url)
        writing = threading.Thread(target=_write, args=(database, job, 150))
        writing.start()
        seen: list[Received] = []
        while not seen or seen[-1].data.get("state") != "succeeded":
            with watching(url, job, last=seen[-1].id if seen else None) as stream:
                for _ in range(7):
                    seen += stream.events(1)
                    if seen[-1].data.get("state") == "succeeded":
                        break
        writing.join()
    assert numbers(seen) == [*range(1, len(seen) + 1)]
    assert messages(seen) == [str(i) for i in range(150)]


def test_client_that_leaves_is_noticed(url: str) -> None:
    job = ordered(url)
    before = in_flight(url)
    with watching(url, job) as first, watching(url, job) as second:
        first.events(1)
        second.events(1)
        until(lambda: in_flight(url) == before + 2)
    until(lambda: in_flight(url) == before)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_open_streams_do_not_hold_up_the_end_of_the_service(store: Path, tmp_path: Path, workers: str) -> None:
    settings = {"GENSERVE_DATABASE": sqlite(tmp_path), "GENSERVE_WORKERS": workers, "GENSERVE_LANES": "1"}
    with quiet_process(store, **settings, **LONG_DRAIN) as (running, url):
        job = ordered(url)
        with watching(url, job) as first, watching(url, job) as second:
            assert numbers(first.events(1) + second.events(1)) == [1, 1]
            running.send_signal(signal.SIGTERM)
            assert first.events() + second.events() == []  # whole, or httpx would raise
        assert running.wait(60) == 0


def test_client_that_reads_nothing_does_not_hold_up_the_end_of_the_service(store: Path, tmp_path: Path) -> None:
    database = sqlite(tmp_path)
    settings = {"GENSERVE_DATABASE": database, "GENSERVE_LANES": "1"}
    with quiet_process(store, **settings, **LONG_DRAIN) as (running, url):
        job = ordered(url)
        runner = Runner(database, job)
        long = {f"line {i}": "x" * 8000 for i in range(40)}
        for _ in range(60):  # more than the system buffers for a connection
            runner.ledger.log(job, runner.job.fence, long)
        host, _, port = url.removeprefix("http://").partition(":")
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.connect((host, int(port)))
            deaf.sendall(f"GET {JOBS}/{job}/events HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert deaf.recv(12) == b"HTTP/1.1 200"
            while b"line 0" not in deaf.recv(4096):  # then all lines were written, and the system has no room for them
                continue
            running.send_signal(signal.SIGTERM)
            assert running.wait(60) == 0


def test_database_that_goes_and_comes_back_costs_no_event(
    store: Path, own_postgres: PostgresServer, tmp_path: Path
) -> None:
    password = tmp_path / "password"
    database = own_postgres.url()
    password.write_text(httpx.URL(database).password + "\n")
    settings = {
        "GENSERVE_DATABASE": own_postgres.url(password=None),
        "GENSERVE_DATABASE_PASSWORD_FILE": str(password),
        "GENSERVE_LANES": "1",
    }
    with quiet_process(store, **settings) as (_, url):
        job = ordered(url)
        Runner(database, job).log(1)
        with watching(url, job) as stream:
            seen = stream.events(3)
            own_postgres.stop(crash=True)
            refused = httpx.get(f"{url}{JOBS}/{job}", timeout=60)
            assert (refused.status_code, refused.json()["code"]) == (503, "database_unavailable")
            assert httpx.post(f"{url}/sample", json={"seed": 1}, timeout=60).status_code == 200
            own_postgres.start()
            until(lambda: httpx.get(f"{url}{JOBS}/{job}", timeout=60).status_code == 200)
            runner = Runner(database, job)
            runner.log(2)
            runner.succeed()
            seen += stream.events()
    assert numbers(seen) == [*range(1, len(seen) + 1)]
    assert messages(seen) == ["1", "2"]
    assert seen[-1].data["state"] == "succeeded"


def _write(database: str, job: str, count: int) -> None:
    runner = Runner(database, job)
    runner.log(*range(count))
    runner.succeed()


def test_connection_ends_with_the_stream(url: str, finished: str) -> None:
    host, _, port = url.removeprefix("http://").partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=60)
    connection.request("GET", f"{JOBS}/{finished}/events")
    response = connection.getresponse()
    assert response.getheader("connection") == "close"
    assert response.read().endswith(b"\n\n")
    connection.close()
