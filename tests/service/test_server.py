"""`python -m service` as people run it: a process, sockets, signals."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from tests.service.support import Client, file_of, picture, plain_environment, pngs_of, process, until

SLOW = {"GENSERVE_MAX_WAIT_MS": "1000"}  # a lone request waits so long for company: time to do something to it


@pytest.fixture(scope="module")
def address(store: Path) -> Iterator[str]:
    with process(store) as (_, url):
        yield url


def counted(url: str, name: str, **labels: str) -> float:
    samples = [sample for family in parse(httpx.get(f"{url}/metrics").text) for sample in family.samples]
    return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())


def ended(url: str, ending: str) -> float:
    return counted(url, "genserve_engine_requests_total", ending=ending)


def in_flight(url: str) -> float:
    """Requests being answered, the one that asks among them."""
    return counted(url, "genserve_requests_in_flight")


def fail_to_start(**environment: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "service"],
        env=plain_environment() | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("model", ["fashion-vae", "gan", "cvae"])
def test_second_process_draws_the_same_bytes(client: Client, address: str, model: str) -> None:
    body = {"model": model, "n": 12, "seed": 7, "start": 5}
    assert pngs_of(httpx.post(f"{address}/sample", json=body)) == pngs_of(client.post("/sample", body))


def test_restarted_process_draws_the_same_bytes(store: Path, address: str) -> None:
    body = {"n": 12, "seed": 7}
    with process(store, GENSERVE_LANES="2", GENSERVE_MAX_BATCH_SIZE="5") as (_, url):
        assert pngs_of(httpx.post(f"{url}/sample", json=body)) == pngs_of(httpx.post(f"{address}/sample", json=body))


def test_load_over_sockets_does_not_change_a_byte(address: str) -> None:
    bodies = [{"seed": i, "n": 1 + i % 9, "model": ["fashion-vae", "gan"][i % 2]} for i in range(30)]
    with httpx.Client(base_url=address, timeout=60) as http:
        alone = [pngs_of(http.post("/sample", json=body)) for body in bodies]
        with ThreadPoolExecutor(10) as pool:
            together = list(pool.map(lambda body: pngs_of(http.post("/sample", json=body)), bodies))
    assert together == alone


def test_upload_over_a_socket_is_encoded(address: str) -> None:
    files = {"images": ("a.png", file_of(picture(16, 16)), "image/png")}
    assert len(httpx.post(f"{address}/encode", files=files).json()["images"][0]["latent"]) == 8


def test_client_that_leaves_cancels_its_work_and_disturbs_nobody(store: Path) -> None:
    body = b'{"seed": 1}'
    head = f"POST /sample HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    with process(store, **SLOW) as (_, url), ThreadPoolExecutor(1) as pool:
        host, port = url.removeprefix("http://").split(":")
        for _attempt in range(20):  # on a busy machine the work may be done before we look
            neighbour = pool.submit(httpx.post, f"{url}/sample", json={"seed": 2}, timeout=60)
            with socket.create_connection((host, int(port))) as leaving:
                leaving.sendall(head.encode() + b"\r\n\r\n" + body)
                until(lambda: in_flight(url) >= 3 or neighbour.done())  # noqa: B023
            assert len(pngs_of(neighbour.result())) == 1
            until(lambda: in_flight(url) == 1)
            if ended(url, "cancelled"):
                break
        assert ended(url, "cancelled") > 0
        assert 'status="499"' in httpx.get(f"{url}/metrics").text


def test_sigterm_drains_and_ends_with_zero(store: Path) -> None:
    with process(store, **SLOW) as (running, url), ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(httpx.post, f"{url}/sample", json={"seed": 2}, timeout=60)
        until(lambda: in_flight(url) >= 2 or waiting.done())
        running.send_signal(signal.SIGTERM)
        assert len(pngs_of(waiting.result())) == 1
        assert running.wait(60) == 0
        assert running.stderr is not None
        assert "Traceback" not in running.stderr.read()


def test_sigterm_while_idle_ends_with_zero(store: Path) -> None:
    with process(store) as (running, _):
        running.send_signal(signal.SIGINT)
        assert running.wait(60) == 0


def test_log_lines_are_json_with_the_request_id(store: Path) -> None:
    with process(store) as (running, url):
        httpx.post(f"{url}/sample", json={"n": 3}, headers={"x-request-id": "mine"})
        httpx.get(f"{url}/nothing", headers={"x-request-id": "other"})
        running.send_signal(signal.SIGTERM)
        running.wait(60)
        assert running.stderr is not None
        lines: list[dict[str, Any]] = [json.loads(line) for line in running.stderr.read().splitlines()]
    found = {line["request_id"]: line for line in lines if line["event"] == "request"}
    assert (found["mine"]["route"], found["mine"]["status"], found["mine"]["n"]) == ("/sample", 200, 3)
    assert found["mine"]["model"] == "fashion-vae@2"
    assert found["mine"]["ms"] > 0
    assert (found["other"]["route"], found["other"]["code"]) == ("unmatched", "not_found")
    assert any(line["event"] == "bundle refused" for line in lines)


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"GENSERVE_DEVICE": "cuda"}, ["cuda", "CPUExecutionProvider"]),
        ({"GENSERVE_DEVICE": "tpu"}, ["device", "'tpu'"]),
        ({"GENSERVE_STORE": "/nowhere/at/all"}, ["/nowhere/at/all"]),
        ({"GENSERVE_PORT": "many"}, ["port", "'many'"]),
        ({"GENSERVE_MAX_IMAGES": "0"}, ["max_images"]),
        ({"GENSERVE_SETTINGS": "/nowhere.toml"}, ["GENSERVE_SETTINGS", "/nowhere.toml"]),
    ],
)
def test_settings_that_cannot_be_end_it_with_one_line_that_says_why(
    store: Path, environment: dict[str, str], words: list[str]
) -> None:
    code, out, err = fail_to_start(**{"GENSERVE_STORE": str(store), "GENSERVE_PORT": "0"} | environment)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1, err
    assert err.startswith("genserve: ")
    for word in words:
        assert word in err


def test_port_that_is_taken_ends_it_with_one_line_that_says_so(store: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, _, err = fail_to_start(GENSERVE_STORE=str(store), GENSERVE_PORT=port)
    assert code == 2
    assert port in err
    assert len(err.splitlines()) == 1


def test_settings_come_from_a_file_and_the_environment_wins(store: Path, tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('max_images = 3\ndefault_model = "gan"\n')
    with process(store, GENSERVE_SETTINGS=str(file), GENSERVE_DEFAULT_MODEL="cvae") as (_, url):
        assert httpx.post(f"{url}/sample", json={"n": 4}).json()["limit"] == 3
        assert httpx.post(f"{url}/sample").json()["model"]["name"] == "cvae"
