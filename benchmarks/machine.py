"""Where and with what was measured, in words."""

import os
import platform
import re
import subprocess
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

from benchmarks.bare import cores
from benchmarks.contenders import CONTENDERS
from benchmarks.environments import pinned

_LIBRARIES = ("onnxruntime", "numpy", "fastapi", "uvicorn", "uvloop", "httptools", "pillow")


def conditions(load: float) -> str:
    """Machine and versions; `load` is the load average before the run."""
    libraries = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    return (
        f"{cores()} cores of {_processor()}, load {load:.2f} before the run; Linux {platform.release()}, "
        f"Python {platform.python_version()}, {libraries}."
    )


def peers(contenders: Iterable[str]) -> str:
    """Versions of the load generator and of other servers."""
    packages = ((key, CONTENDERS[key].package) for key in contenders)
    return ", ".join([_wrk(), *(pinned(key, package) for key, package in packages if package)])


def load_average() -> float:
    """Of the last minute."""
    return os.getloadavg()[0]


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*:\s*(.+)$", info.read_text(), re.M) if info.is_file() else None
    return found[1] if found else platform.machine()


def _wrk() -> str:
    output = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False).stdout
    return " ".join(output.split()[:2]) or "wrk"
