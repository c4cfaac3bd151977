"""Which version is in use: the one that the alias `production` means, and when a new one takes its place by itself."""

import math
from dataclasses import dataclass
from typing import Literal

from bundle.errors import BundleError
from bundle.manifest import Metric
from bundle.store import Bundle, Store

IN_USE = "production"
Direction = Literal["lower", "higher"]


@dataclass(frozen=True)
class Decision:
    """Whether a version is to be the one in use, and why or why not."""

    promote: bool
    reason: str


def decide(candidate: Bundle, in_use: Bundle | None, metric: str, direction: Direction) -> Decision:
    """Compare a new version with the one in use by one metric.

    It is promoted where that is no worse, or where there is nothing in use. Figures that are missing or were measured
    otherwise (another protocol, split or unit) cannot be compared: what people use is not replaced for those.

    Args:
        candidate: The new version.
        in_use: The version in use; None if there is none.
        metric: Name of a metric of manifests.
        direction: Which values of it are better.
    """
    ours = _find(candidate, metric)
    if ours is None:
        missing = f"version {candidate.manifest.version} has no figure for {metric}"
        return Decision(in_use is None, missing if in_use else f"{missing}, and no version is in use")
    if not math.isfinite(ours.value):
        return Decision(False, f"{metric} of version {candidate.manifest.version} is {ours.value}, no number")
    if in_use is None:
        return Decision(True, f"{metric} is {ours.value:.6g}, and no version is in use")
    before = in_use.manifest.version
    theirs = _find(in_use, metric)
    if theirs is None:
        return Decision(False, f"version {before}, which is in use, has no figure for {metric} to compare with")
    if (ours.protocol, ours.split, ours.unit) != (theirs.protocol, theirs.split, theirs.unit):
        return Decision(
            False,
            f"{metric} was measured otherwise than for version {before}, which is in use: "
            f"{_way(ours)} and not {_way(theirs)}",
        )
    better = {"lower": ours.value <= theirs.value, "higher": ours.value >= theirs.value}[direction]
    figures = f"{metric} is {ours.value:.6g}, that of version {before} in use {theirs.value:.6g}; {direction} is better"
    return Decision(better, figures)


def promote(
    store: Store, name: str, version: int, metric: str, direction: Direction, *, by: str, alias: str = IN_USE
) -> Decision:
    """Let the alias mean a new version if it is no worse than the one that it means; see `decide`.

    Nobody else changes aliases of the model meanwhile, so of several new versions the best one stays. It may be called
    again, after a crash: a version that has been promoted by the same `by` is not promoted once more, even if it was
    rolled back since.

    Args:
        store: Holds both.
        name: Of the model.
        version: The new one.
        metric: Name of a metric of manifests.
        direction: Which values of it are better.
        by: Who asks, such as a job's id; stands in the history.
        alias: Which one.

    Raises:
        NotFoundError: If there is no such version.
        ManifestError: If its manifest cannot be read.
        ReadOnlyStoreError: If the store cannot be written to.
    """
    candidate = store.open(f"{name}@{version}")
    aliases = store.aliases_of(name)
    with aliases.editing(by) as editor:
        for change in aliases.history(alias):
            if by and (change.by, change.version, change.action) == (by, version, "set"):
                return Decision(True, change.reason)
        decision = decide(candidate, _in_use(store, name, alias), metric, direction)
        if decision.promote:
            editor.set(alias, version, decision.reason)
        return decision


def _in_use(store: Store, name: str, alias: str) -> Bundle | None:
    """None also for a version that is gone or cannot be read: nobody can use it."""
    try:
        return store.open(f"{name}@{alias}")
    except BundleError:
        return None


def _find(bundle: Bundle, metric: str) -> Metric | None:
    return next((found for found in bundle.manifest.metrics if found.name == metric), None)


def _way(metric: Metric) -> str:
    return f"{metric.protocol!r} ({metric.split}, {metric.unit})"
