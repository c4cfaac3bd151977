"""Where and with what was measured, in words."""

import os
import platform
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import psutil

from benchmarks.bare import cores
from benchmarks.contenders import CONTENDERS
from benchmarks.environments import pinned

_LIBRARIES = ("onnxruntime", "numpy", "fastapi", "uvicorn", "uvloop", "httptools", "pillow")


@dataclass(frozen=True)
class Before:
    """A machine before a run.

    Attributes:
        load: Average of the last minute.
        used_s: Processor time that was used until then, of all cores.
        stolen_s: That the hypervisor gave to other machines while this one had work; 0 where nobody says.
    """

    load: float
    used_s: float
    stolen_s: float


def before() -> Before:
    """The machine as it is now."""
    times = psutil.cpu_times()
    used = times.user + times.system + sum(getattr(times, name, 0.0) for name in ("nice", "irq", "softirq"))
    return Before(os.getloadavg()[0], used, getattr(times, "steal", 0.0))


def conditions(begun: Before) -> str:
    """Machine and versions, and what else went on, of a run that has begun then and ends now."""
    now = before()
    used, stolen = now.used_s - begun.used_s, now.stolen_s - begun.stolen_s
    share = stolen / (used + stolen) if used else 0.0
    libraries = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    return (
        f"{cores()} cores of {_processor()}, load {begun.load:.2f} before the run, "
        f"{share:.0%} of its processor time taken by other machines meanwhile; Linux {platform.release()}, "
        f"Python {platform.python_version()}, {libraries}."
    )


def peers(contenders: Iterable[str]) -> str:
    """Versions of the load generator and of other servers."""
    packages = ((key, CONTENDERS[key].package) for key in contenders)
    return ", ".join([_wrk(), *(pinned(key, package) for key, package in packages if package)])


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*:\s*(.+)$", info.read_text(), re.M) if info.is_file() else None
    return found[1] if found else platform.machine()


def _wrk() -> str:
    output = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False).stdout
    return " ".join(output.split()[:2]) or "wrk"
