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

from benchmarks.load import Request, drive, post
from benchmarks.subject import Sample, Subject

_SHUTDOWN_S = 60.0


class ServerError(Exception):
    """The service did not start."""


@contextlib.contextmanager
def serving(store: Path) -> Iterator[tuple[psutil.Process, str, int]]:
    """`python -m service`: its process, host and port; stopped by SIGTERM.

    Raises:
        ServerError: If it does not start.
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
            raise ServerError(f"the service did not start on {store}; `GENSERVE_STORE={store} make serve` says why")
        where = urlsplit(line.split(" on ")[1].split()[0])
        assert where.hostname is not None
        assert where.port is not None
        yield psutil.Process(running.pid), where.hostname, where.port
    finally:
        running.send_signal(signal.SIGTERM)
        running.communicate(timeout=_SHUTDOWN_S)


class Server(Subject):
    """A server under a load of equal requests.

    Args:
        name: Of the row.
        process: Whose CPU time counts, with that of its children.
        request: Sent again and again.
        images: Images that it asks for.
        connections: That are open at once.
    """

    def __init__(self, name: str, process: psutil.Process, request: Request, images: int, connections: int) -> None:
        self.name = name
        self.images = images
        self._process = process
        self._request = request
        self._connections = connections

    def measure(self, seconds: float) -> Sample:
        """See `Subject`."""
        cpu, start = _cpu_seconds(self._process), time.perf_counter()
        latencies = drive(self._request, self._connections, seconds)
        took, used = time.perf_counter() - start, _cpu_seconds(self._process) - cpu
        return Sample(self.images * len(latencies), took, used, latencies)


def sampling(
    process: psutil.Process, host: str, port: int, model: str, accept: str, images: int, connections: int
) -> Server:
    """POST /sample of our service."""
    body = json.dumps({"model": model, "n": images, "seed": 7}).encode()
    name = f"/sample, {accept.partition('/')[2]}, {connections} connection{'s' if connections > 1 else ''}"
    return Server(name, process, post(host, port, "/sample", accept, body), images, connections)


def _cpu_seconds(process: psutil.Process) -> float:
    times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
    return float(sum(time.user + time.system for time in times))
