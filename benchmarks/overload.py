"""`python -m benchmarks overload`: three times what our service can do, with deadlines."""

import argparse
import re
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from benchmarks.arrivals import Answers, closed_loop
from benchmarks.bare import cores, measure_loops
from benchmarks.cells import Cell
from benchmarks.compare_command import PAGE
from benchmarks.connection import BROKEN
from benchmarks.contenders import CONTENDERS, OURS
from benchmarks.errors import BenchmarkError
from benchmarks.machine import before, conditions
from benchmarks.models import LARGE, Model, prepare
from benchmarks.open_loop import open_loop
from benchmarks.page import table, write
from benchmarks.processes import adopt_orphans
from benchmarks.running import Running, Workspace, running
from bundle.store import Store

_PEAK_CONNECTIONS = (32, 128)
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
    parser.add_argument("--seconds", type=float, default=6.0, help="of overload in each round (%(default)s)")
    parser.add_argument("--rounds", type=int, default=9, help="each with a peak of its own (%(default)s)")
    parser.add_argument(
        "--again", type=int, default=512, help="connections that ask again at once, in a load of its own (%(default)s)"
    )
    parser.add_argument("--write", action="store_true", help="put the results into benchmarks/README.md")
    parser.set_defaults(run=_overload)


def _overload(options: argparse.Namespace, workspace: Workspace) -> int:
    adopt_orphans()
    begun = before()
    model = prepare(options.model, Store(options.store), Store(workspace.store))
    rows: list[tuple[str, ...]] = []
    reached = True
    with running(CONTENDERS[OURS], model, workspace) as server:
        server.process.settle()  # it has just started
        batch_ms = _batch_ms(model, server.port)
        for images in options.images:
            verdict = Verdict([_round(server, images, options, model) for _ in range(options.rounds)], batch_ms)
            reached = reached and verdict.reached
            rows += [(what, str(images), wanted, found) for what, wanted, found in verdict.rows()]
            again = [_again(server, images, options, model) for _ in range(options.rounds)]
            rows += [(what, str(images), "", found) for what, found in again_rows(again, options.again)]
    head = ("figure", "images a request", "wanted", "measured")
    rounds = f"{options.rounds} rounds of {options.seconds:g} s"
    protocol = f"{options.times:g} times the peak, X-Timeout-Ms {options.timeout_ms:g}, {rounds}."
    text = f"{conditions(begun)} {model.name}, {protocol}\n\n{table([head, *rows])}"
    print(text, end="")
    if options.write:
        write(PAGE, "overload", text)
    return 0 if reached else 1


def _round(server: Running, images: int, options: argparse.Namespace, model: Model) -> "Round":
    """The peak just before an overload, since the machine's speed changes from minute to minute; and the overload."""
    peaks, raw = _peaks(server, images, options, model)
    answers = open_loop(server.port, raw, options.times * max(peaks), options.seconds)
    server.process.settle()
    return Round(answers, peaks, options.timeout_ms)


def _again(server: Running, images: int, options: argparse.Namespace, model: Model) -> "Round":
    """The peak, and a closed loop of far more connections, who take a refusal for an answer."""
    peaks, raw = _peaks(server, images, options, model)
    answers = closed_loop(server.port, raw, options.again, options.seconds)
    server.process.settle()
    return Round(answers, peaks, options.timeout_ms)


def _peaks(server: Running, images: int, options: argparse.Namespace, model: Model) -> tuple[list[float], bytes]:
    """Requests per second with so many connections each, and the request with its deadline."""
    request = CONTENDERS[OURS].request(Cell(model.name, images, 1))
    share = options.seconds / len(_PEAK_CONNECTIONS)
    peaks = [_rate(closed_loop(server.port, request.raw(), n, share)) for n in _PEAK_CONNECTIONS]
    server.process.settle()
    return peaks, request.raw(**{"X-Timeout-Ms": f"{options.timeout_ms:g}"})


def again_rows(rounds: Sequence["Round"], connections: int) -> Iterator[tuple[str, str]]:
    """What a closed loop of so many connections has shown: what, and what was found."""
    found = goodputs(rounds)
    yield f"in time over the peak, {connections:,} connections that ask again at once", _median_of(found)
    yield "answers by status meanwhile", _counts(latencies_of(rounds))


class Round:
    """What an overload has shown.

    Args:
        answers: Of the open loop.
        peaks: Requests per second that were answered in closed loops, of one and the same sizes in each round.
        timeout_ms: Deadline of each.

    Attributes:
        in_time: Requests per second that were answered with 200 in time, while others still came.
        refusal_ms: p99 of what was answered with 503.
        latest_ms: How far behind its deadline the latest 200 was.
    """

    def __init__(self, answers: Answers, peaks: Sequence[float], timeout_ms: float) -> None:
        served, after = 1000 * np.asarray(answers.of(_OK)), 1000 * np.asarray(answers.after.get(_OK, []))
        self.answers, self.peaks = answers, peaks
        in_time = np.count_nonzero(served <= timeout_ms) - np.count_nonzero(after <= timeout_ms)
        self.in_time = in_time / answers.seconds
        self.latest_ms = max(0.0, float(served.max(initial=0.0)) - timeout_ms)
        self.refusal_ms = quantile_ms(answers.of(_OVERLOADED), 0.99)

    @property
    def offered(self) -> float:
        """Requests per second."""
        return self.answers.count / self.answers.seconds


class Verdict:
    """What all rounds have shown: of goodput the median counts, of what nobody should meet the worst.

    Args:
        rounds: At least one.
        batch_ms: How long a run of the largest batch takes.
    """

    def __init__(self, rounds: Sequence[Round], batch_ms: float) -> None:
        self._rounds, self._batch_ms = rounds, batch_ms
        self._refusal = max(each.refusal_ms for each in rounds)
        self._latest = max(each.latest_ms for each in rounds)
        self._latencies = latencies_of(rounds)
        self._goodputs = goodputs(rounds)

    @property
    def goodput(self) -> float:
        """Answers in time, over the peak."""
        return float(np.median(self._goodputs))

    @property
    def reached(self) -> bool:
        """Whether all is as wanted."""
        return (
            self.goodput >= _LEAST_GOODPUT
            and self._refusal <= _LONGEST_REFUSAL_MS
            and self._latest <= self._batch_ms
            and not set(self._latencies) - {_OK, _OVERLOADED, _TOO_LATE, BROKEN}
            and not self._latencies.get(BROKEN)
        )

    def rows(self) -> Iterator[tuple[str, str, str]]:
        """What, what was wanted, what was found."""
        yield "peak in a closed loop, requests/s", "", f"{np.median(peaks_of(self._rounds)):,.0f}"
        yield "offered, requests/s", "", f"{self._median(lambda each: each.offered):,.0f}"
        yield "answered with 200 in time, requests/s", "", f"{self._median(lambda each: each.in_time):,.0f}"
        yield "the same over the peak", f"≥ {_LEAST_GOODPUT:.0%}", _median_of(self._goodputs)
        yield "answered with 503, p99 ms, worst round", f"≤ {_LONGEST_REFUSAL_MS:g}", f"{self._refusal:.1f}"
        yield "latest 200 behind its deadline, ms", f"≤ {self._batch_ms:.0f} (a batch)", f"{self._latest:.1f}"
        yield "answers by status", "", _counts(self._latencies)
        lag = max(quantile_ms(each.answers.lags, 0.99) for each in self._rounds)
        yield "p99 of how late the generator sent, ms, worst round", "", f"{lag:.1f}"
        cores = self._median(lambda each: each.answers.cpu_s / each.answers.seconds)
        yield "cores that the generator took", "", f"{cores:.2f}"

    def _median(self, of: Callable[[Round], float]) -> float:
        return float(np.median([of(each) for each in self._rounds]))


def peaks_of(rounds: Sequence[Round]) -> list[float]:
    """Of each round, with as many connections as gave the highest median of all rounds.

    The best of each round would be compared with an overload that was measured once: what is best of two by chance
    alone is above both of their means.
    """
    sizes = [list(found) for found in zip(*(each.peaks for each in rounds), strict=True)]
    return max(sizes, key=lambda found: float(np.median(found)))


def goodputs(rounds: Sequence[Round]) -> list[float]:
    """Of each round, answers in time over the peak."""
    return [each.in_time / peak for each, peak in zip(rounds, peaks_of(rounds), strict=True)]


def _median_of(found: Sequence[float]) -> str:
    return f"{np.median(found):.1%} ({', '.join(f'{100 * each:.0f}' for each in found)})"


def latencies_of(rounds: Sequence[Round]) -> dict[int, list[float]]:
    """Of all rounds together, by status."""
    latencies: dict[int, list[float]] = {}
    for each in rounds:
        for status, found in each.answers.latencies.items():
            latencies.setdefault(status, []).extend(found)
    return latencies


def _counts(latencies: dict[int, list[float]]) -> str:
    return ", ".join(f"{len(found)} of {status or 'none'}" for status, found in sorted(latencies.items()) if found)


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
