"""What people read: the table, the plot, the proposal."""

from collections.abc import Sequence

from service.tuning.measure import BETWEEN_S, Point
from service.tuning.plot import CHOSEN, Series, legend, plot
from service.tuning.proposal import Proposal
from service.tuning.shapes import Setup, Shape

_HEADER = ("lanes x threads", "batch", "run ms: median", "p99", "predicted p99 ms", "images/s", "runs", "")
_NOISY = 3.0  # a quiet machine's 99th percentile is within some ten per cent of its median
MODEL_OF_P99 = (
    f"predicted p99 = 2 x (p99 of a run with all lanes busy + {1000 * BETWEEN_S:g} ms between two runs): "
    "one batch that is under way, then one's own.\n"
    "Not in it: HTTP, compressing images; requests of more images than a batch; more load than there are images/s."
)


def table(points: Sequence[Point], now: Setup, chosen: Setup) -> list[str]:
    """One line for each point, by lanes and batch, under a header."""
    rows = [_HEADER]
    for point in sorted(points, key=lambda point: (-point.setup.shape.lanes, point.setup.batch)):
        notes = [note for note, setup in (("proposed", chosen), ("now", now)) if setup == point.setup]
        rows.append(
            (
                str(point.setup.shape),
                str(point.setup.batch),
                _ms(point.median_s),
                _ms(point.p99_s),
                _ms(point.predicted_p99_s),
                f"{point.images_per_s:,.0f}",
                f"{point.runs:,}",
                f"← {', '.join(notes)}" if notes else "",
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEADER) - 1)]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=False)) for row in rows]
    return [f"{line}  {row[-1]}".rstrip() for line, row in zip(lines, rows, strict=True)]


def plots(points: Sequence[Point], chosen: Setup, target_s: float) -> list[str]:
    """Predicted p99 and images/s against the batch size, for each shape."""
    shapes = sorted({point.setup.shape for point in points}, reverse=True)
    latency = [_series(points, shape, chosen, latency=True) for shape in shapes]
    rate = [_series(points, shape, chosen, latency=False) for shape in shapes]
    target = f"┄ the target, {1000 * target_s:g} ms, where it is in reach"
    return [
        *plot("predicted p99, ms", latency, log=True, line=1000 * target_s),
        "",
        *plot("images/s", rate, log=False),
        "",
        f"{legend(latency)}   {CHOSEN} proposed   {target}",
    ]


def verdict(proposal: Proposal, points: Sequence[Point], now: Setup, target_s: float) -> list[str]:
    """What is proposed, and what it is better than."""
    target = f"{1000 * target_s:g} ms"
    head = f"proposed for a p99 of {target}"
    if not proposal.meets:
        head = f"NO SETTING MEETS A P99 OF {target}; proposed is the one with the least"
    lines = [f"{head}: {describe(proposal.point.setup)}: {_figures(proposal.point)}"]
    lines += [f"as it is set now: {describe(now)}: {_figures(point)}" for point in points if point.setup == now]
    worst = max(point.p99_s / point.median_s for point in points)
    if worst > _NOISY:
        lines.append(
            f"the p99 of a run is up to {worst:.0f} times its median: something else uses this machine; "
            "repeat it when that is over, or with more --seconds"
        )
    return lines


def describe(setup: Setup) -> str:
    """As the settings have it."""
    return f"lanes = {setup.shape.lanes}, threads = {setup.shape.threads}, max_batch_size = {setup.batch}"


def _series(points: Sequence[Point], shape: Shape, chosen: Setup, latency: bool) -> Series:
    found = {
        point.setup.batch: 1000 * point.predicted_p99_s if latency else point.images_per_s
        for point in points
        if point.setup.shape == shape
    }
    label = f"{shape.lanes} lane{'s' * (shape.lanes > 1)} x {shape.threads} thread{'s' * (shape.threads > 1)}"
    return Series(label, found, chosen.batch if chosen.shape == shape else None)


def _figures(point: Point) -> str:
    return f"{point.images_per_s:,.0f} images/s, predicted p99 {_ms(point.predicted_p99_s)} ms"


def _ms(seconds: float) -> str:
    milliseconds = 1000 * seconds
    return f"{milliseconds:,.0f}" if milliseconds >= 1000 else f"{milliseconds:.3g}"
