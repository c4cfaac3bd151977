"""`make serve`: the service, and a worker beside it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.training.samples import ROOT
from tests.training.worker.rig import until

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGKILL]
Processes = list["subprocess.Popen[bytes]"]


@pytest.fixture
def started() -> Iterator[Processes]:
    """Processes that end with the test."""
    processes: Processes = []
    yield processes
    for process in processes:
        process.kill()
        process.wait()


def serve(folder: Path, **settings: str) -> "subprocess.Popen[bytes]":
    """Start the launcher in a folder, on any port, with no models."""
    (folder / "models").mkdir(exist_ok=True)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "GENSERVE_PORT": "0", "GENSERVE_WORKERS": "1", **settings}
    with (folder / "service.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, str(ROOT / "scripts" / "serve.py")], cwd=folder, env=environment, stdout=log, stderr=log
        )


def said(path: Path) -> str:
    return path.read_text() if path.exists() else ""


@pytest.mark.slow
@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_worker_starts_with_the_service_and_ends_with_it_however_it_ends(
    number: signal.Signals, tmp_path: Path, started: Processes
) -> None:
    service = serve(tmp_path)
    started.append(service)
    log = tmp_path / "runs" / "worker.log"
    until(lambda: "takes jobs for cpu" in said(log), lambda: said(log) + said(tmp_path / "service.log"), 120)
    until(lambda: "genserve:" in said(tmp_path / "service.log"), lambda: said(tmp_path / "service.log"), 120)
    service.send_signal(number)
    assert service.wait(60) == (-number if number == signal.SIGKILL else 0)
    until(lambda: "has left" in said(log), lambda: said(log), 60)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"GENSERVE_LOCAL_WORKER": "0"}, {"GENSERVE_TRAINING": "false"}], ids=str)
def test_worker_can_be_left_out(settings: dict[str, str], tmp_path: Path, started: Processes) -> None:
    service = serve(tmp_path, **settings)
    started.append(service)
    until(lambda: "genserve:" in said(tmp_path / "service.log"), lambda: said(tmp_path / "service.log"), 120)
    service.terminate()
    assert service.wait(60) == 0
    assert not (tmp_path / "runs" / "worker.log").exists()


def test_service_alone_is_started_where_training_is_not_installed(tmp_path: Path) -> None:
    """A Python without torch stands for a machine without it: the launcher needs the standard library alone."""
    code = (
        "import importlib.util, os, runpy, sys\n"
        "importlib.util.find_spec = lambda name: None\n"
        "os.execv = lambda program, arguments: print(*arguments[1:])\n"
        f"runpy.run_path({str(ROOT / 'scripts' / 'serve.py')!r}, run_name='__main__')\n"
        "print(sorted({'pydantic', 'service', 'torch'} & set(sys.modules)))\n"
    )
    answer = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert answer.stdout == "-m service\n[]\n", answer.stderr
    assert list(tmp_path.iterdir()) == []
