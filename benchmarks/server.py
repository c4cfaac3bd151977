"""The real service as a process of its own, on loopback, with its default settings."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from benchmarks.load import drive
from benchmarks.subject import BenchmarkError, Sample, Subject

_SHUTDOWN_S = 60.0


@contextlib.contextmanager
def serving(store: Path) -> Iterator[tuple[psutil.Process, tuple[str, int]]]:
    """`python -m service`: its process, and its host and port; stopped by SIGTERM.

    Raises:
        BenchmarkError: If it does not start.
    """
    own = {name: value for name, value in os.environ.items() if not name.startswith("GENSERVE_")}
    running = subprocess.Popen(
        [sys.executable, "-m", "service"],
        env=own | {"GENSERVE_STORE": str(store), "GENSERVE_PORT": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert running.stdout is not None
        line = running.stdout.readline()
        if " on http://" not in line:
            raise BenchmarkError(f"the service did not start on {store}; `GENSERVE_STORE={store} make serve` says why")
        where = urlsplit(line.split(" on ")[1].split()[0])
        yield psutil.Process(running.pid), (str(where.hostname), int(where.port or 0))
    finally:
        running.send_signal(signal.SIGTERM)
        running.communicate(timeout=_SHUTDOWN_S)


class Server(Subject):
    """A server that answers `request` with so many images; the CPU time of `process` and its children counts."""

    def __init__(
        self,
        name: str,
        process: psutil.Process,
        address: tuple[str, int],
        request: bytes,
        images: int,
        connections: int,
    ) -> None:
        self.name = f"{name}, {connections} connection{'s' if connections > 1 else ''}"
        self.images = images
        self._process = process
        self._load = (*address, request, connections)

    def measure(self, seconds: float) -> Sample:
        """See `Subject`."""
        cpu, start = _cpu_seconds(self._process), time.perf_counter()
        latencies = drive(*self._load, seconds)
        took, used = time.perf_counter() - start, _cpu_seconds(self._process) - cpu
        return Sample(self.images * len(latencies), took, used, latencies)


def sample_request(model: str, images: int, accept: str) -> bytes:
    """POST /sample of our service, as it goes over the wire."""
    body = json.dumps({"model": model, "n": images, "seed": 7}).encode()
    head = f"Host: bench\r\nAccept: {accept}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return f"POST /sample HTTP/1.1\r\n{head}\r\n\r\n".encode() + body


def _cpu_seconds(process: psutil.Process) -> float:
    times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
    return float(sum(time.user + time.system for time in times))
