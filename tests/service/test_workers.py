"""Several processes behind one port."""

import os
import signal
import socket
import subprocess
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from service import __main__ as command
from service.cores import usable_cores
from service.engine.devices import Device
from service.engine.plan import lane_count, worker_count
from service.settings import Settings
from tests.service.load import clients, quiet_process
from tests.service.support import plain_environment, pngs_of, process, until

BODY = {"model": "gan", "n": 3, "seed": 7}


def workers_of(parent: "subprocess.Popen[str]") -> dict[int, psutil.Process]:
    """The workers that live, by process id."""
    return {child.pid: child for child in psutil.Process(parent.pid).children()}


def total(url: str, name: str) -> float:
    families = parse(httpx.get(f"{url}/metrics").text)
    return sum(sample.value for family in families for sample in family.samples if sample.name == name)


def ask_over_a_fresh_connection(url: str, workers: dict[int, psutil.Process]) -> tuple[int, list[str]]:
    """Who answered, and what."""
    with httpx.Client(base_url=url, timeout=60) as client:
        answer = client.post("/sample", json=BODY)
        ours = answer.extensions["network_stream"].get_extra_info("client_addr")
        holders = [
            pid
            for pid, worker in workers.items()
            if any(found.raddr and found.raddr.port == ours[1] for found in worker.net_connections())
        ]
    assert len(holders) == 1
    return holders[0], pngs_of(answer)


def test_every_worker_draws_the_same_bytes_and_metrics_count_them_all(store: Path) -> None:
    with quiet_process(store, GENSERVE_WORKERS="3") as (running, url):
        workers = workers_of(running)
        assert len(workers) == 3
        answers: list[tuple[int, list[str]]] = []
        while len({pid for pid, _ in answers}) < 3:
            answers.append(ask_over_a_fresh_connection(url, workers))
            assert len(answers) < 200, "one worker gets no connection"
        assert {tuple(pngs) for _, pngs in answers} == {tuple(answers[0][1])}
        until(lambda: total(url, "genserve_images_total") == 3 * len(answers))
        until(lambda: total(url, "genserve_lanes") == 3 * lane_count(Settings(workers=3), Device("cpu")))
        until(lambda: total(url, "genserve_workers") == 3)
        worked = total(url, "genserve_event_loop_seconds_total")
        until(lambda: total(url, "genserve_event_loop_seconds_total") > worked > 0)


def test_killed_worker_is_replaced_while_the_others_serve(store: Path) -> None:
    with quiet_process(store, GENSERVE_WORKERS="2") as (running, url):
        before = workers_of(running)
        victim = min(before)
        os.kill(victim, signal.SIGKILL)
        until(lambda: victim not in workers_of(running))
        with clients(url, keeping=0, fresh=2) as outcomes:  # from now on, through the start of the new one
            until(lambda: len(workers_of(running)) == 2)
            (new,) = workers_of(running).keys() - before.keys()
            until(lambda: _listens(new))
            answered = outcomes.answered
            until(lambda: outcomes.answered > answered + 20)
        assert (outcomes.broken, outcomes.refused, set(outcomes.statuses)) == ([], 0, {"200"})
        assert ask_over_a_fresh_connection(url, workers_of(running))[1]


def test_worker_that_is_told_to_end_loses_no_request_and_is_replaced(store: Path) -> None:
    with quiet_process(store, GENSERVE_WORKERS="2") as (running, url):
        before = workers_of(running)
        with clients(url, keeping=0, fresh=8) as outcomes:
            until(lambda: outcomes.answered > 20)
            os.kill(min(before), signal.SIGTERM)
            until(lambda: workers_of(running).keys() - before.keys())
            until(lambda: all(map(_listens, workers_of(running))))
        assert outcomes.broken == []
        assert set(outcomes.statuses) <= {"200", "stopping"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_of_a_service_that_is_ended_while_its_workers_begin(
    store: Path, number: signal.Signals
) -> None:
    settings = {"GENSERVE_STORE": str(store), "GENSERVE_PORT": "0", "GENSERVE_WORKERS": "2", "GENSERVE_DRAIN_S": "1"}
    running = subprocess.Popen(
        [sys.executable, "-m", "service"], env=plain_environment() | settings, stderr=subprocess.DEVNULL
    )
    until(lambda: workers_of(running))
    workers = workers_of(running)
    running.send_signal(number)
    running.wait(60)
    until(lambda: all(map(_has_ended, workers.values())))


def test_workers_end_when_their_parent_is_killed(store: Path, tmp_path: Path) -> None:
    with quiet_process(store, GENSERVE_WORKERS="2", TMPDIR=str(tmp_path)) as (running, url):
        workers = workers_of(running)
        httpx.post(f"{url}/sample", json=BODY)
        running.kill()
        until(lambda: all(map(_has_ended, workers.values())))
        assert list(tmp_path.glob("genserve-*")) == []


def test_orphan_that_ends_later_than_the_others_still_counts_and_writes_its_last_lines(
    store: Path, tmp_path: Path
) -> None:
    with process(store, GENSERVE_WORKERS="2", TMPDIR=str(tmp_path)) as (running, url):
        first, last = workers_of(running).values()
        httpx.post(f"{url}/sample", json=BODY)
        last.suspend()
        running.kill()
        until(lambda: _has_ended(first))
        last.resume()
        until(lambda: _has_ended(last))
        assert list(tmp_path.glob("genserve-*")) == []
        assert running.stderr is not None
        said = running.stderr.read()
    assert "Traceback" not in said
    assert "failed" not in said


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"GENSERVE_DEVICE": "cuda"}, ["cuda", "CPUExecutionProvider"]),
        ({"GENSERVE_STORE": "/nowhere/at/all"}, ["/nowhere/at/all"]),
        ({"GENSERVE_WORKERS": "0"}, ["workers", "'0'"]),
        ({"GENSERVE_WORKERS": "65"}, ["workers", "'65'"]),
    ],
)
def test_workers_that_cannot_start_end_it_all_with_one_line(
    store: Path, environment: dict[str, str], words: list[str]
) -> None:
    code, err = _fail_to_start({"GENSERVE_STORE": str(store), "GENSERVE_WORKERS": "2"} | environment)
    assert code == 2
    assert len(err.splitlines()) == 1, err
    assert all(word in err for word in words), err


def test_worker_that_never_comes_up_ends_it_with_one_line_that_says_so(store: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\nif 'service.processes.worker' in sys.orig_argv: os._exit(7)\n"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    code, err = _fail_to_start({"GENSERVE_STORE": str(store), "GENSERVE_WORKERS": "2", "PYTHONPATH": path})
    assert code == 2
    assert "no worker comes up" in err.splitlines()[-1]
    assert "exit code 7" in err.splitlines()[-1]
    assert "Traceback" not in err


def test_service_is_ready_when_all_its_workers_are_and_answers_before(store: Path, tmp_path: Path) -> None:
    may_load = tmp_path / "may load"
    wait = f"while not os.path.exists({str(may_load)!r}): time.sleep(0.01)"
    with _beginning(store, tmp_path, wait) as (running, url):
        until(lambda: _why_not_ready(url).startswith("not all workers"))
        until(lambda: len(workers_of(running)) == 3)
        assert httpx.post(f"{url}/sample", json=BODY, timeout=60).status_code == 200
        assert "not all workers" in _why_not_ready(url)
        may_load.touch()
        until(lambda: not _why_not_ready(url))
        assert all(map(_listens, workers_of(running)))
        assert running.stdout is not None
        assert "3 workers" in running.stdout.readline()


def test_service_is_ready_with_those_workers_that_come_up(store: Path, tmp_path: Path) -> None:
    with _beginning(store, tmp_path, "os._exit(7)") as (running, url):
        until(lambda: not _why_not_ready(url))
        serving = {pid: worker for pid, worker in workers_of(running).items() if _listens(pid)}  # others come and go
        assert len(serving) == 1
        assert ask_over_a_fresh_connection(url, serving)[1]
        assert running.stdout is not None
        said = running.stdout.readline()  # or whoever waits for it would wait for ever
        assert said.startswith("genserve: ")
        assert "workers" not in said


def test_workers_that_wait_to_load_end_with_their_parent(store: Path, tmp_path: Path) -> None:
    held = tmp_path / "held"
    held.touch()
    hold = f"while os.path.exists({str(held)!r}): time.sleep(0.01)"
    with _beginning(store, tmp_path, hold, at='"load_first":false') as (running, _):
        until(lambda: len(workers_of(running)) == 3)
        workers = workers_of(running)
        running.kill()
        until(lambda: sum(map(_has_ended, workers.values())) == 2)
        held.unlink()  # now the first reads on
        until(lambda: all(map(_has_ended, workers.values())))


def test_port_of_a_service_with_workers_cannot_be_taken_by_another(store: Path) -> None:
    with quiet_process(store, GENSERVE_WORKERS="2") as (_, url):
        port = url.rpartition(":")[2]
        for workers in ("1", "2"):
            code, err = _fail_to_start(
                {"GENSERVE_STORE": str(store), "GENSERVE_WORKERS": workers, "GENSERVE_PORT": port}
            )
            assert (code, len(err.splitlines())) == (2, 1)
            assert port in err


def test_lanes_are_shared_among_workers() -> None:
    cores = usable_cores()
    assert lane_count(Settings(workers=1), Device("cpu")) == cores
    assert lane_count(Settings(workers=64), Device("cpu")) == max(min(2, cores), cores // 64)
    assert lane_count(Settings(workers=2, lanes=5), Device("cpu")) == 5
    assert lane_count(Settings(workers=2), Device("cuda")) == 1


def test_one_large_request_finds_two_lanes_in_any_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.engine.plan.usable_cores", lambda: 4)
    assert lane_count(Settings(workers=4), Device("cpu")) == 2
    assert lane_count(Settings(workers=4, threads=4), Device("cpu")) == 1


@pytest.mark.parametrize(("cores", "expected"), [(1, 1), (2, 2), (4, 4), (64, 4)])
def test_without_a_setting_there_is_a_worker_for_each_of_a_few_cores(
    cores: int, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.engine.plan.usable_cores", lambda: cores)
    monkeypatch.setattr(sys, "platform", "linux")
    assert worker_count(Settings(), tmp_path) == expected
    assert worker_count(Settings(workers=7), tmp_path) == 7


def test_a_gpu_that_may_be_used_is_for_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.engine.plan.usable_cores", lambda: 4)
    monkeypatch.setattr(sys, "platform", "linux")
    assert worker_count(Settings(device="cuda:1"), tmp_path) == 1
    (tmp_path / "nvidiactl").touch()  # a driver without a GPU
    assert worker_count(Settings(), tmp_path) == 4
    (tmp_path / "nvidia0").touch()
    assert worker_count(Settings(), tmp_path) == 1
    assert worker_count(Settings(device="cpu"), tmp_path) == 4


def test_elsewhere_than_on_linux_one_process_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.engine.plan.usable_cores", lambda: 4)
    monkeypatch.setattr(sys, "platform", "darwin")
    assert worker_count(Settings(), tmp_path) == 1


def test_a_service_without_settings_serves_with_a_worker_for_each_core(store: Path) -> None:
    with quiet_process(store, GENSERVE_WORKERS="") as (running, url):
        expected = worker_count(Settings())
        assert len(workers_of(running)) == (expected if expected > 1 else 0)
        assert httpx.get(f"{url}/health/ready").status_code == 200


def test_help_names_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(["--help"])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("serve", "tune MODEL", "docs/settings.md"))


def test_tune_is_given_its_own_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    tuning = types.ModuleType("service.tuning")
    tuning.main = lambda arguments: len(arguments)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "service.tuning", tuning)
    assert command.main(["tune", "gan", "--help"]) == 2


def test_unknown_command_ends_it_with_two(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(["train"])
    assert ended.value.code == 2
    assert "'train'" in capsys.readouterr().err


def _fail_to_start(environment: dict[str, str]) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "service", "serve"],
        env=plain_environment() | {"GENSERVE_PORT": "0"} | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout == ""
    return done.returncode, done.stderr


@contextmanager
def _beginning(
    store: Path, folder: Path, does: str, at: str = '"load_first":true'
) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """A service of three workers from its first moment, and its address.

    Args:
        does: What workers do when they are told to begin, as a line of Python.
        at: Words of what those are told that do it; if left out, all but the first.
    """
    (folder / "sitecustomize.py").write_text(
        "import os, sys, time\n"
        "real = os.read\n"
        "def read(file, most):\n"
        "    data = real(file, most)\n"
        f"    if file == 0 and {at.encode()} in data:\n"
        f"        {does}\n"
        "    return data\n"
        "if 'service.processes.worker' in sys.orig_argv:\n"
        "    os.read = read\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as chosen:
        port = chosen.getsockname()[1]
    settings = {"GENSERVE_STORE": str(store), "GENSERVE_PORT": str(port), "GENSERVE_WORKERS": "3"}
    settings |= {"GENSERVE_LOG_LEVEL": "error", "TMPDIR": str(folder)}
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    running = subprocess.Popen(
        [sys.executable, "-m", "service"],
        env=plain_environment() | settings | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield running, f"http://127.0.0.1:{port}"
    finally:
        running.terminate()
        running.communicate(timeout=60)
    assert list(folder.glob("genserve-*")) == []


def _why_not_ready(url: str) -> str:
    """Empty if it is ready."""
    try:
        answer = httpx.get(f"{url}/health/ready", timeout=60)
    except httpx.TransportError:
        return "nobody listens"
    return "" if answer.status_code == 200 else str(answer.json()["detail"])


def _listens(pid: int) -> bool:
    try:
        return any(found.status == psutil.CONN_LISTEN for found in psutil.Process(pid).net_connections())
    except psutil.NoSuchProcess:
        return False


def _has_ended(worker: psutil.Process) -> bool:
    try:
        return worker.status() == psutil.STATUS_ZOMBIE  # nobody may be there to ask how it ended
    except psutil.NoSuchProcess:
        return True
