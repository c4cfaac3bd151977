"""What has to be true at the end, and what was found not to be."""

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.chaos_plan import Order

_SHOWN = 3
_PLACES = ("job", "at", "url")  # in the data of an event only as the API tells it


@dataclass(frozen=True)
class Version:
    """A version in the store.

    Attributes:
        ref: Name and version.
        run: Id of the job that its manifest names.
        weights: Digest of its weights.
        digest: Of its manifest.
        damage: What is wrong with its files, if something is.
    """

    ref: str
    run: str | None
    weights: str
    digest: str
    damage: str | None = None


@dataclass(frozen=True)
class Story:
    """All that is known of an order.

    Attributes:
        order: What was wanted.
        ids: That it was answered with.
        api: The job, as the API shows it.
        row: The job, as psql shows it.
        written: Its events as psql shows them: `id`, `kind`, `data`.
        told: Its events as they reached its watcher.
        sampled: What is wrong with an image drawn from what was published, if something is.
    """

    order: Order
    ids: Sequence[str]
    api: Mapping[str, Any]
    row: Mapping[str, Any]
    written: Sequence[Mapping[str, Any]]
    told: Sequence[Mapping[str, Any]]
    sampled: str | None = None


@dataclass(frozen=True)
class Evidence:
    """All that is known.

    Attributes:
        stories: Of each order.
        versions: In the store.
        rows: Jobs in the database.
        shared: Jobs whose folder two processes held.
        faults: Ends of processes, and answers, that should not have been.
        queued: Workflows that the queue still holds.
        left: Processes that are left.
    """

    stories: Sequence[Story]
    versions: Sequence[Version]
    rows: int
    shared: Sequence[str] = ()
    faults: Sequence[str] = ()
    queued: Sequence[str] = ()
    left: Sequence[str] = ()


@dataclass
class Finding:
    """One thing that has to be true.

    Attributes:
        what: It says.
        seen: How often it was looked at.
        against: What speaks against it.
    """

    what: str
    seen: int
    against: list[str] = field(default_factory=list)

    @property
    def row(self) -> tuple[str, str, str]:
        """Of a table: what, how often, and whether."""
        more = f"; and {len(self.against) - _SHOWN} more" if len(self.against) > _SHOWN else ""
        return (self.what, f"{self.seen:,}", f"no: {'; '.join(self.against[:_SHOWN])}{more}" if self.against else "yes")


def findings(evidence: Evidence) -> Iterator[Finding]:
    """Everything that has to be true."""
    stories = evidence.stories
    succeeded = [story for story in stories if story.row["state"] == "succeeded"]
    events = sum(len(story.written) for story in stories)
    yield Finding("every order is one job, however often it was sent", len(stories), [*_orders(evidence)])
    yield Finding("every job has ended as it was to", len(stories), [*_ends(stories)])
    yield Finding("every job that succeeded has one version, whole", len(succeeded), [*_published(evidence)])
    yield Finding("no version belongs to no such job", len(evidence.versions), [*_strays(evidence)])
    yield Finding("equal orders have equal weights", len(succeeded), [*_weights(evidence)])
    yield Finding(
        "images are drawn from every version", len(succeeded), [one.sampled for one in succeeded if one.sampled]
    )
    yield Finding("watchers were told 1 … n, no gap, none twice", events, [*_numbers(stories)])
    yield Finding("what they were told is what psql shows", events, [*_events(stories)])
    yield Finding("jobs are for the API what they are for psql", len(stories), [*_rows(stories)])
    starts = [fence for story in stories for fence in fences(story.written)]
    yield Finding("every execution has a higher fence than those before", len(starts), [*_fences(stories)])
    yield Finding("no two processes held one run's folder", len(stories), [*evidence.shared])
    yield Finding("no process ended unasked, no answer was wrong", 1, [*evidence.faults])
    yield Finding("the queue holds nothing any more", 1, [*evidence.queued])
    yield Finding("no process is left", 1, [*evidence.left])


def fences(events: Sequence[Mapping[str, Any]]) -> list[int]:
    """Of all executions, in the order in which they began."""
    return [event["data"]["fence"] for event in events if event["kind"] == "state" and "fence" in event["data"]]


def _orders(evidence: Evidence) -> Iterator[str]:
    for story in evidence.stories:
        if len(set(story.ids)) != 1:
            yield f"{story.order.name} is {len(set(story.ids))} jobs: {', '.join(story.ids)}"
    if evidence.rows != len(evidence.stories):
        yield f"{len(evidence.stories)} orders are {evidence.rows} jobs in the database"


def _ends(stories: Sequence[Story]) -> Iterator[str]:
    for story in stories:
        state, wanted = story.row["state"], story.order.wanted
        if state != wanted:
            failure = story.row["failure"] or {}
            yield f"{story.order.name} is {state}, not {wanted} {failure.get('code', '')} {failure.get('message', '')}"


def _published(evidence: Evidence) -> Iterator[str]:
    for story in evidence.stories:
        if story.row["state"] != "succeeded":
            continue
        found = [version for version in evidence.versions if version.run == story.row["id"]]
        if len(found) != 1:
            yield f"{story.order.name} has {len(found)} versions: {', '.join(version.ref for version in found) or '-'}"
            continue
        result = story.row["result"]
        if (found[0].ref, found[0].digest) != (f"{result['name']}@{result['version']}", result["digest"]):
            yield f"{story.order.name} has {found[0].ref}, and its result says {result}"
        if found[0].damage:
            yield f"{found[0].ref}: {found[0].damage}"


def _strays(evidence: Evidence) -> Iterator[str]:
    known = {story.row["id"] for story in evidence.stories if story.row["state"] == "succeeded"}
    for version in evidence.versions:
        if version.run not in known:
            yield f"{version.ref} names the job {version.run}"


def _weights(evidence: Evidence) -> Iterator[str]:
    of_run = {version.run: version.weights for version in evidence.versions}
    by_rounds: dict[int, dict[str, str]] = {}
    for story in evidence.stories:
        if weights := of_run.get(story.row["id"]):
            by_rounds.setdefault(story.order.rounds, {})[story.order.name] = weights
    for rounds, found in by_rounds.items():
        if len(set(found.values())) > 1:
            yield f"of {rounds:,} rounds: {', '.join(f'{name} {weights[:8]}' for name, weights in found.items())}"


def _numbers(stories: Sequence[Story]) -> Iterator[str]:
    for story in stories:
        numbers = [event["id"] for event in story.told]
        if numbers != list(range(1, len(numbers) + 1)):
            twice = [number for number, count in Counter(numbers).items() if count > 1]
            missing = sorted(set(range(1, max(numbers, default=0) + 1)) - set(numbers))
            yield f"{story.order.name}: {numbers[-1]} events; twice {twice[:5]}, missing {missing[:5]}"


def _events(stories: Sequence[Story]) -> Iterator[str]:
    for story in stories:
        told = {event["id"]: (event["kind"], _plain(event["data"])) for event in story.told}
        written = {event["id"]: (event["kind"], _plain(event["data"])) for event in story.written}
        different = [number for number in sorted(told | written) if told.get(number) != written.get(number)]
        if different:
            number = different[0]
            yield (
                f"{story.order.name}: {len(different)} events differ, event {number} was told as {told.get(number)} "
                f"and written as {written.get(number)}"
            )


def _plain(data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key not in _PLACES}


def _rows(stories: Sequence[Story]) -> Iterator[str]:
    for story in stories:
        for key in ("id", "name", "state", "attempt", "progress", "result", "failure", "cancel_requested"):
            if story.api[key] != story.row[key]:
                yield f"{story.order.name}: {key} is {story.api[key]} for the API, {story.row[key]} for psql"


def _fences(stories: Sequence[Story]) -> Iterator[str]:
    for story in stories:
        found = fences(story.written)
        if any(later <= earlier for earlier, later in itertools.pairwise(found)):
            yield f"{story.order.name}: {found}"
