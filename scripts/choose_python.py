"""Print the Python to make environments with: the one that runs this, unless the system's is a good deal faster.

Interpreters of one version differ by how they were built: of two that were compared one needed 1.4 times as long for
the same code, and most of what an HTTP server does is such code.
See docs/decisions/0010-which-python.md. `make PYTHON=...` chooses outright.
"""

from __future__ import annotations  # a Python that is too old is to get as far as pip, which says so

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

_FOLDERS = ("/usr/bin", "/usr/local/bin")
_GOOD_DEAL = 1.2
_ROUNDS = 4
_PATIENCE_S = 30
# Calls, attributes, dictionaries and small objects, as a web framework has them; the least of several rounds.
_WORK = """
import ensurepip, sqlite3, ssl, sys, time, venv
class Point:
    def __init__(self, x, y): self.x, self.y = x, y
    def moved(self, by): return Point(self.x + by, self.y - by)
def work():
    seen = {}
    for i in range(10_000):
        point = Point(i, 1).moved(2)
        seen[f"{point.x}"] = (point.y, [point])
best = 9e9
for _ in range(3):
    begun = time.perf_counter()
    work()
    best = min(best, time.perf_counter() - begun)
print(*sys.version_info[:2], best)
"""


def choose(first: str, others: Sequence[str], seconds: Callable[[str], float | None]) -> str:
    """`first`, or the fastest of the others if it is a good deal faster.

    Args:
        first: A Python.
        others: Further ones.
        seconds: What a Python needs for a piece of work; None if it will not do. They are asked in turns, several
            times, and the least counts: other work on the machine must not decide.
    """
    least: dict[str, float] = {}
    for _ in range(_ROUNDS):
        for python in (first, *others):
            found = seconds(python)
            if found is not None:
                least[python] = min(found, least.get(python, found))
    if first not in least:
        return first  # whoever uses it will see why
    best = min(least, key=least.__getitem__)
    return best if least[first] > _GOOD_DEAL * least[best] else first


def seconds(python: str) -> float | None:
    """What a Python of this version needs for the work; None if it has another, or lacks what environments need."""
    try:
        ended = subprocess.run([python, "-c", _WORK], capture_output=True, text=True, check=True, timeout=_PATIENCE_S)
        major, minor, found = ended.stdout.split()
        return float(found) if (int(major), int(minor)) == sys.version_info[:2] else None
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def main() -> None:
    """See the module."""
    names = [Path(folder) / f"python{sys.version_info[0]}.{sys.version_info[1]}" for folder in _FOLDERS]
    found = [str(name) for name in names if name.is_file() and not name.samefile(sys.executable)]
    chosen = choose(sys.executable, found, seconds)
    if chosen != sys.executable:
        print(f"{chosen} is a good deal faster than {sys.executable}: it is used", file=sys.stderr)
    print(chosen)


if __name__ == "__main__":
    main()
