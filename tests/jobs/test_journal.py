"""Events: numbered, in pages, bounded; pictures thinned."""

import itertools

import pytest

from jobs import execution, journal
from jobs.errors import JobNotFoundError
from jobs.ledger import Ledger
from tests.jobs.samples import progress, started


def test_events_are_read_in_pages_from_any_point(ledger: Ledger) -> None:
    job = started(ledger)
    for i in range(5):
        ledger.log(job.id, 1, {"message": str(i)})
    assert [event.id for event in ledger.events(job.id)] == [1, 2, 3, 4, 5, 6, 7]
    assert [event.id for event in ledger.events(job.id, after=3, limit=2)] == [4, 5]
    assert ledger.events(job.id, after=7) == []


def test_what_json_cannot_say_is_replaced(ledger: Ledger) -> None:
    job = started(ledger)
    ledger.epoch(job.id, 1, {"loss": float("nan"), "list": [float("inf"), 1], "text": "a\x00b\ud800c"})
    assert ledger.events(job.id)[-1].data == {"loss": None, "list": [None, 1], "text": "a\ufffdb?c"}


def test_a_text_without_end_is_cut(ledger: Ledger) -> None:
    job = started(ledger)
    ledger.log(job.id, 1, {"message": "x" * 1_000_000})
    assert len(ledger.events(job.id)[-1].data["message"]) == 8000


def test_progress_becomes_an_event_once_a_second_at_most_and_is_always_known(ledger: Ledger) -> None:
    job = started(ledger)
    for step in range(1, 6):
        ledger.progress(job.id, 1, progress(step), True)
        shown = ledger.get(job.id).progress
        assert shown is not None
        assert shown.step == step
    events = [event for event in ledger.events(job.id) if event.kind == "progress"]
    apart = [later.at - earlier.at for earlier, later in itertools.pairwise(events)]
    assert events[0].data["step"] == 1
    assert all(seconds >= 0.99 for seconds in apart)  # SQLite's clock is 1 ms fine


def test_progress_is_an_event_again_after_the_second(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "_PROGRESS_EVERY_S", 0.0)
    job = started(ledger)
    for step in (1, 2, 3):
        ledger.progress(job.id, 1, progress(step), step != 2)
    assert [event.data["step"] for event in ledger.events(job.id) if event.kind == "progress"] == [1, 3]


def test_of_many_pictures_the_first_and_the_last_are_kept(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "KEPT_PICTURES", 20)
    job = started(ledger)
    for i in range(26):
        ledger.picture(job.id, 1, f"png {i}".encode(), {"epoch": i})
    pictures = [event for event in ledger.events(job.id) if event.kind == "picture"]
    assert [event.data["epoch"] for event in pictures] == list(range(26))
    kept = [event for event in pictures if not event.data.get("dropped")]
    assert [event.data["epoch"] for event in kept] == [0, 1, *range(8, 26)]
    assert [ledger.read_picture(job.id, event.id) for event in kept] == [
        f"png {event.data['epoch']}".encode() for event in kept
    ]
    with pytest.raises(JobNotFoundError, match="was dropped: the first and the last of a run are kept"):
        ledger.read_picture(job.id, pictures[2].id)


def test_an_event_without_picture_has_none(ledger: Ledger) -> None:
    job = started(ledger)
    for event in (1, 99):
        with pytest.raises(JobNotFoundError, match=f"has no picture {event}"):
            ledger.read_picture(job.id, event)


def test_of_very_many_lines_the_first_and_the_last_are_kept(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(journal.KEPT_EVENTS, "log", 20)
    job = started(ledger)
    for i in range(150):
        ledger.log(job.id, 1, {"i": i})
    kept = [event for event in ledger.events(job.id) if event.kind == "log"]
    numbers = [event.data["i"] for event in kept]
    assert len(numbers) < 20 + 64
    assert numbers[:2] == [0, 1]
    assert numbers[-18:] == list(range(132, 150))
    assert [event.kind for event in ledger.events(job.id, limit=2)] == ["state", "state"]


@pytest.mark.parametrize(("count", "dropped"), [(0, []), (10, []), (11, [1]), (14, [1, 2, 3, 4])])
def test_the_oldest_of_the_middle_are_surplus(count: int, dropped: list[int]) -> None:
    assert journal.surplus(list(range(count)), keep=10) == dropped
