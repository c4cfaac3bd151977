"""`python -m benchmarks overload`: three times what our service can do, with deadlines."""

import argparse
import re
import urllib.request
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.arrivals import Answers, closed_loop, open_loop
from benchmarks.bare import cores, measure_loops
from benchmarks.cells import Cell
from benchmarks.compare_command import PAGE
from benchmarks.connection import BROKEN
from benchmarks.contenders import CONTENDERS, OURS
from benchmarks.errors import BenchmarkError
from benchmarks.machine import conditions, load_average
from benchmarks.models import LARGE, Model, prepare
from benchmarks.page import table, write
from benchmarks.processes import adopt_orphans
from benchmarks.running import Workspace, running
from bundle.store import Store

_PEAK_CONNECTIONS = (4, 16, 32)
_LEAST_GOODPUT = 0.9
_LONGEST_REFUSAL_MS = 20.0
_OK, _OVERLOADED, _TOO_LATE = 200, 503, 504


def add(commands: Any, shared: argparse.ArgumentParser) -> None:
    """Add the command to the program's."""
    parser = commands.add_parser("overload", parents=[shared], help="our service at several times its capacity")
    parser.add_argument("--model", default=LARGE, help="(%(default)s)")
    parser.add_argument("--images", type=int, nargs="+", default=[1, 16], help="a request (%(default)s)")
    parser.add_argument("--times", type=float, default=3.0, help="its peak that is offered (%(default)s)")
    parser.add_argument("--timeout-ms", type=float, default=500.0, help="X-Timeout-Ms of each request (%(default)s)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of overload (%(default)s)")
    parser.add_argument("--write", action="store_true", help="put the results into benchmarks/README.md")
    parser.set_defaults(run=_overload)


def _overload(options: argparse.Namespace, workspace: Workspace) -> int:
    adopt_orphans()
    busy = load_average()
    model = prepare(options.model, Store(options.store), Store(workspace.store))
    rows: list[tuple[str, ...]] = []
    reached = True
    with running(CONTENDERS[OURS], model, workspace) as server:
        for images in options.images:
            request = CONTENDERS[OURS].request(Cell(model.name, images, 1))
            share = options.seconds / len(_PEAK_CONNECTIONS)
            peak = max(_rate(closed_loop(server.port, request.raw(), n, share)) for n in _PEAK_CONNECTIONS)
            server.process.settle()
            raw = request.raw(**{"X-Timeout-Ms": f"{options.timeout_ms:g}"})
            answers = open_loop(server.port, raw, options.times * peak, options.seconds)
            server.process.settle()
            verdict = Verdict(answers, peak, options.timeout_ms, _batch_ms(model, server.port))
            reached = reached and verdict.reached
            rows += [(what, str(images), wanted, found) for what, wanted, found in verdict.rows()]
    head = ("figure", "images a request", "wanted", "measured")
    protocol = f"{options.times:g} times the peak, X-Timeout-Ms {options.timeout_ms:g}, {options.seconds:g} s."
    text = f"{conditions(busy)} {model.name}, {protocol}\n\n{table([head, *rows])}"
    print(text, end="")
    if options.write:
        write(PAGE, "overload", text)
    return 0 if reached else 1


class Verdict:
    """What an overload has shown.

    Args:
        answers: Of the open loop.
        peak: Requests per second that were answered in a closed loop.
        timeout_ms: Deadline of each.
        batch_ms: How long a run of the largest batch takes.
    """

    def __init__(self, answers: Answers, peak: float, timeout_ms: float, batch_ms: float) -> None:
        served = 1000 * np.asarray(answers.of(_OK))
        self._answers, self._peak, self._timeout_ms, self._batch_ms = answers, peak, timeout_ms, batch_ms
        self._in_time = float(np.sum(served <= timeout_ms)) / answers.seconds
        self._latest = max(0.0, float(served.max(initial=0.0)) - timeout_ms)
        self._refusal = quantile_ms(answers.of(_OVERLOADED), 0.99)

    @property
    def goodput(self) -> float:
        """Answers in time, over the peak."""
        return self._in_time / self._peak

    @property
    def reached(self) -> bool:
        """Whether all is as wanted."""
        answers = self._answers
        return (
            self.goodput >= _LEAST_GOODPUT
            and self._refusal <= _LONGEST_REFUSAL_MS
            and self._latest <= self._batch_ms
            and not set(answers.latencies) - {_OK, _OVERLOADED, _TOO_LATE, BROKEN}
            and not answers.of(BROKEN)
        )

    def rows(self) -> Iterator[tuple[str, str, str]]:
        """What, what was wanted, what was found."""
        answers = self._answers
        yield "peak in a closed loop, requests/s", "", f"{self._peak:,.0f}"
        yield "offered, requests/s", "", f"{answers.count / answers.seconds:,.0f}"
        yield "answered with 200 in time, requests/s", "", f"{self._in_time:,.0f}"
        yield "the same over the peak", f"≥ {_LEAST_GOODPUT:.0%}", f"{self.goodput:.0%}"
        yield "answered with 503, p99 ms", f"≤ {_LONGEST_REFUSAL_MS:g}", f"{self._refusal:.1f}"
        yield "latest 200 behind its deadline, ms", f"≤ {self._batch_ms:.0f} (a batch)", f"{self._latest:.1f}"
        counts = ", ".join(
            f"{len(found)} of {status or 'none'}" for status, found in sorted(answers.latencies.items()) if found
        )
        yield "answers by status", "", counts
        yield "p99 of how late the generator sent, ms", "", f"{quantile_ms(answers.lags, 0.99):.1f}"
        yield "cores that the generator took", "", f"{answers.cpu_s / answers.seconds:.2f}"


def quantile_ms(seconds: list[float], quantile: float) -> float:
    """A quantile in milliseconds; 0 of nothing."""
    return 1000 * float(np.quantile(seconds, quantile)) if seconds else 0.0


def _rate(answers: Answers) -> float:
    found = len(answers.of(_OK)) / answers.seconds
    if not found:
        counts = {status: len(latencies) for status, latencies in answers.latencies.items()}
        raise BenchmarkError(f"no request was answered with 200 in a closed loop; answers by status: {counts}")
    return found


def _batch_ms(model: Model, port: int) -> float:
    """p99 of a bare run of the largest batch while all cores run one."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        metrics = answer.read().decode()
    lines = re.findall(r"^genserve_max_batch_images\{(.*)\} (\S+)$", metrics, re.M)
    sizes = [
        float(value) for labels, value in lines if f'model="{model.name}"' in labels and 'graph="decode"' in labels
    ]
    if not sizes:
        raise BenchmarkError(f"/metrics has no genserve_max_batch_images of {model.name}'s decode")
    return measure_loops(model, int(max(sizes)), cores(), 2.0).p99_ms
