"""Where a model comes from: code, machine, libraries."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

_LIBRARIES = ("torch", "numpy", "onnx", "onnxscript", "onnxruntime")


def code_revision() -> str:
    """Commit of this program, with "-dirty" where files differ from it; "unknown" outside a checkout."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        found = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip() or "unknown"


def hardware(threads: int) -> str:
    """The processor and how much of it was used."""
    return f"{_processor()}, {len(os.sched_getaffinity(0))} cores, {threads} torch threads"


def libraries() -> dict[str, str]:
    """Versions that results depend on."""
    return {name: version(name) for name in _LIBRARIES}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
