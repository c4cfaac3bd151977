"""A contender that answers: started in a folder of its own, asked until it does, stopped at the end."""

import contextlib
import http.client
import io
import os
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from benchmarks.cells import Cell
from benchmarks.contenders import Contender, base_python
from benchmarks.environments import environment
from benchmarks.errors import BenchmarkError
from benchmarks.models import Model
from benchmarks.processes import ServerProcess
from benchmarks.wrk import Request

_ROOT = Path(__file__).parents[1]
_START_S = 120.0
_POLL_S = 0.25
_ANSWER_S = 60.0
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Workspace:
    """Where the benchmark keeps what it makes."""

    root: Path

    @property
    def store(self) -> Path:
        """Of the models that are measured."""
        return self.root / "store"

    @property
    def environments(self) -> Path:
        """Of the peers."""
        return self.root / "environments"

    @property
    def results(self) -> Path:
        """Of the last comparison."""
        return self.root / "results.json"

    def log(self, key: str) -> Path:
        """What a server prints."""
        return self.root / "logs" / f"{key}.log"


@dataclass(frozen=True)
class Running:
    """A server that answers."""

    process: ServerProcess
    port: int
    folder: Path


@contextlib.contextmanager
def running(
    contender: Contender, model: Model, workspace: Workspace, settings: Mapping[str, str] | None = None
) -> Iterator[Running]:
    """Start a contender with a model, and stop it and all that it left.

    Args:
        contender: Which.
        model: Which.
        workspace: Its environment and log lie here, and our store.
        settings: Further environment variables.

    Raises:
        BenchmarkError: If it cannot be installed, does not answer within two minutes, or answers something else.
    """
    python = sys.executable
    if contender.package is not None:
        python = str(environment(contender.key, base_python(contender), workspace.environments.resolve()))
    port = _free_port()
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        variables = _variables(model, port, folder, workspace) | {**contender.settings, **(settings or {})}
        command = [python, *contender.arguments(port)]
        process = ServerProcess(command, variables, folder, workspace.log(contender.key))
        try:
            wait_until_it_answers(process, port, contender.request(Cell(model.name, 1, 1)))
            yield Running(process, port, folder)
        finally:
            left = process.stop()
            if left:
                print(f"{contender.key} left {len(left)} processes behind: {', '.join(left)}", file=sys.stderr)


def wait_until_it_answers(process: ServerProcess, port: int, request: Request) -> None:
    """Ask until there is a 200.

    Raises:
        BenchmarkError: If it ends, or there is none within two minutes.
    """
    end = time.monotonic() + _START_S
    last = "it does not listen"
    while time.monotonic() < end:
        if process.ended:
            raise BenchmarkError(f"it ended at its start: {process.last_words()}")
        try:
            status, body = ask(port, request)
        except OSError:
            time.sleep(_POLL_S)
            continue
        if status == http.client.OK:
            return
        last = f"it answered {status}: {body[:200]!r}"
        time.sleep(_POLL_S)
    raise BenchmarkError(f"no answer within {_START_S:g} s: {last}; it said: {process.last_words()}")


def ask(port: int, request: Request) -> tuple[int, bytes]:
    """Status and body of one answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_ANSWER_S)
    try:
        connection.request("POST", request.path, request.body, dict(request.headers))
        answer = connection.getresponse()
        return answer.status, answer.read()
    except http.client.HTTPException as error:
        raise OSError(str(error)) from error
    finally:
        connection.close()


def check_answer(port: int, request: Request, cell: Cell, model: Model) -> None:
    """Whether the answer holds the images that the cell asks for.

    Raises:
        BenchmarkError: If it does not.
    """
    status, body = ask(port, request)
    if status != http.client.OK:
        raise BenchmarkError(f"expected 200; it answered {status}: {body[:200]!r}")
    expected = cell.images * model.image_bytes
    found = _png_bytes(body) if cell.png else len(body)
    if found < expected:
        raise BenchmarkError(f"the answer holds {found} bytes of pixels; expected {expected}")


def _png_bytes(body: bytes) -> int:
    """Bytes of the pixels of a PNG, which Triton puts behind a JSON header."""
    begin = body.find(_PNG_SIGNATURE)
    if begin < 0:
        raise BenchmarkError(f"the answer holds no PNG; it begins with {body[:50]!r}")
    image = Image.open(io.BytesIO(body[begin:]))
    return image.width * image.height * len(image.getbands())


def _variables(model: Model, port: int, folder: Path, workspace: Workspace) -> dict[str, str]:
    """The same for all subjects: our own settings do nothing to peers, and theirs nothing to us."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GENSERVE_")}
    return kept | {
        "PYTHONPATH": str(_ROOT),
        "OMP_NUM_THREADS": "1",
        "GENSERVE_STORE": str(workspace.store.resolve()),
        "GENSERVE_DEFAULT_MODEL": model.name,
        "GENSERVE_PORT": str(port),
        "BENCH_MODEL": str(model.onnx),
        "BENCH_PORT": str(port),
        "BENCH_TEMP": str(folder),
        "BENTOML_HOME": str(folder),
        "BENTOML_DO_NOT_TRACK": "True",
        "RAY_USAGE_STATS_ENABLED": "0",
    }


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
