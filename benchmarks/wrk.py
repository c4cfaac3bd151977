"""The load generator: wrk, one thread, closed loop. https://github.com/wg/wrk

Its quantiles count, for each answer that came late, the requests that its connection would else have sent meanwhile.
"""

import json
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.errors import BenchmarkError

_PATIENCE_S = 60
_DONE = """
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\\n{"requests": %d, "seconds": %f, "bytes": %d, "p50_ms": %f, "p99_ms": %f, "failed": %d}\\n',
    summary.requests, summary.duration / 1e6, summary.bytes, latency:percentile(50) / 1e3,
    latency:percentile(99) / 1e3, e.connect + e.read + e.write + e.status + e.timeout))
end
"""


@dataclass(frozen=True)
class Request:
    """A POST, the same again and again."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    def raw(self, **headers: str) -> bytes:
        """The bytes on the wire, with further headers."""
        fields = {"Host": "bench", **self.headers, **headers, "Content-Length": str(len(self.body))}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        return f"POST {self.path} HTTP/1.1\r\n{head}\r\n".encode() + self.body


@dataclass(frozen=True)
class Load:
    """What wrk has seen; `failed` counts answers of 400 and more, time-outs and broken connections."""

    requests: int
    seconds: float
    bytes: int
    p50_ms: float
    p99_ms: float
    failed: int


def require_wrk() -> None:
    """Raises:
    BenchmarkError: If it is not installed.
    """
    if not shutil.which("wrk"):
        raise BenchmarkError("the load generator wrk is not installed; on Debian: apt-get install wrk")


def drive(port: int, request: Request, connections: int, seconds: int, folder: Path) -> Load:
    """Load a server on loopback.

    Args:
        port: Where it listens.
        request: What is sent.
        connections: Open at once.
        seconds: For so long.
        folder: Where wrk's script may lie.

    Raises:
        BenchmarkError: If wrk fails.
    """
    script = folder / "request.lua"
    script.write_text(_script(request))
    url = f"http://127.0.0.1:{port}{request.path}"
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", f"--timeout={_PATIENCE_S}s", "-s", str(script), url]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line for line in ended.stdout.splitlines() if line.startswith("{")]
    if ended.returncode or not lines:
        said = (ended.stderr or ended.stdout).strip().splitlines() or ["it printed nothing"]
        raise BenchmarkError(f"wrk ended with {ended.returncode}: {said[-1]}")
    found: dict[str, Any] = json.loads(lines[-1])
    return Load(**found)


def _script(request: Request) -> str:
    headers = "".join(f"wrk.headers[ {_lua(name)} ] = {_lua(value)}\n" for name, value in request.headers.items())
    return f'wrk.method = "POST"\nwrk.body = {_lua(request.body.decode())}\n{headers}{_DONE}'


def _lua(text: str) -> str:
    return f"[==[{text}]==]"
