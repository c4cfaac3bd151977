"""Virtual environments of the peers, made on first use with the versions that are pinned beside them."""

import hashlib
import subprocess
import sys
from pathlib import Path

from benchmarks.errors import BenchmarkError

_PINS = Path(__file__).with_name("peers")
_READY = ".ready"


def pins(name: str) -> Path:
    """The requirements file of a peer."""
    return _PINS / f"requirements-{name}.txt"


def pinned(name: str, package: str) -> str:
    """`package` with the version that a peer gets of it."""
    lines = pins(name).read_text().split()
    return next(line.replace("==", " ") for line in lines if line.partition("==")[0].lower() == package.lower())


def environment(name: str, base: str, folder: Path) -> Path:
    """The python of a peer's environment, made if it is not there or its pins have changed.

    Args:
        name: Of the peer.
        base: The python that it is made with.
        folder: Where environments lie.

    Raises:
        BenchmarkError: If it cannot be made.
    """
    place = folder / name
    python = place / "bin" / "python"
    mark = hashlib.sha256(pins(name).read_bytes() + _build(base).encode()).hexdigest()
    ready = place / _READY
    if not ready.is_file() or ready.read_text() != mark:
        print(f"making the environment of {name} in {place}", file=sys.stderr, flush=True)
        _run([base, "-m", "venv", "--clear", str(place)])
        _run([str(python), "-m", "pip", "install", "--quiet", "--requirement", str(pins(name))])
        ready.write_text(mark)
    return python


def _build(python: str) -> str:
    """Which interpreter it is: environments of one name may have been made with another since."""
    return _run([python, "-c", "import sys; print(sys.version, sys.base_prefix)"])


def _run(command: list[str]) -> str:
    try:
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise BenchmarkError(f"{command[0]} cannot be started: {error.strerror}") from error
    if ended.returncode:
        lines = [line for line in (ended.stdout + ended.stderr).splitlines() if line.strip()]
        raise BenchmarkError(f"{' '.join(command[1:4])} failed: {lines[-1] if lines else ended.returncode}")
    return ended.stdout
