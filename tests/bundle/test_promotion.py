"""When a new version takes the place of the one in use."""

import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from bundle.errors import NotFoundError
from bundle.manifest import Metric
from bundle.promotion import IN_USE, Direction, decide, promote
from bundle.store import Bundle, Store
from tests.bundle.factory import manifest, write_files

NAME = "tiny"
FID = "frechet_distance"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def measured(store: Store, value: float | None, **changes: Any) -> Bundle:
    """The next version, with this value of the metric, or without the metric."""
    metrics = [Metric(name="other", value=1.0, unit="", protocol="p", split="test")]
    if value is not None:
        given: dict[str, Any] = {"name": FID, "unit": "", "protocol": "10 samples", "split": "test"}
        metrics.append(Metric(value=value, **given | changes))
    with store.stage(NAME) as staging:
        write_files(staging.path)
        return staging.publish(manifest(staging.path, NAME).model_copy(update={"metrics": metrics}))


@pytest.mark.parametrize(
    ("ours", "theirs", "direction", "expected"),
    [
        (1.0, 2.0, "lower", True),
        (2.0, 1.0, "lower", False),
        (2.0, 1.0, "higher", True),
        (1.0, 2.0, "higher", False),
        (1.0, 1.0, "lower", True),
        (1.0, 1.0, "higher", True),
    ],
)
def test_version_that_is_no_worse_is_promoted_and_the_reason_has_both_figures(
    store: Store, ours: float, theirs: float, direction: Direction, expected: bool
) -> None:
    in_use, candidate = measured(store, theirs), measured(store, ours)
    decision = decide(candidate, in_use, FID, direction)
    assert decision.promote is expected
    assert all(word in decision.reason for word in (FID, f"{ours:g}", f"{theirs:g}", "version 1"))


def test_version_without_a_figure_replaces_nothing_but_may_be_the_first(store: Store) -> None:
    candidate, in_use = measured(store, None), measured(store, 5.0)
    replacing, first = decide(candidate, in_use, FID, "lower"), decide(candidate, None, FID, "lower")
    assert (replacing.promote, first.promote) == (False, True)
    assert FID in replacing.reason
    assert "no version is in use" in first.reason


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_version_whose_figure_is_no_number_is_never_promoted(store: Store, value: float) -> None:
    sound, in_use = measured(store, 1.0), measured(store, 1.0)
    metrics = [sound.manifest.metrics[1].model_copy(update={"value": value})]
    candidate = Bundle(sound.path, sound.manifest.model_copy(update={"metrics": metrics}), sound.digest)
    directions: tuple[Direction, ...] = ("lower", "higher")
    assert not any(decide(candidate, other, FID, way).promote for other in (in_use, None) for way in directions)


def test_first_version_with_a_figure_is_promoted(store: Store) -> None:
    assert decide(measured(store, 5.0), None, FID, "lower").promote


@pytest.mark.parametrize("change", [{"protocol": "20 samples"}, {"split": "train"}, {"unit": "nats"}])
def test_figures_that_were_measured_otherwise_replace_nothing(store: Store, change: dict[str, str]) -> None:
    decision = decide(measured(store, 1.0, **change), measured(store, 2.0), FID, "lower")
    assert not decision.promote
    assert next(iter(change.values())) in decision.reason


def test_version_in_use_without_the_metric_is_not_replaced(store: Store) -> None:
    assert not decide(measured(store, 1.0), measured(store, None), FID, "lower").promote


def test_better_versions_are_promoted_one_after_the_other_and_worse_ones_are_not(store: Store) -> None:
    promoted = []
    for version, value in enumerate([3.0, 4.0, 2.0, None, 2.5], start=1):
        measured(store, value)
        promoted.append(promote(store, NAME, version, FID, "lower", by=f"job {version}").promote)
    assert promoted == [True, False, True, False, False]
    assert store.aliases(NAME) == {IN_USE: 3}
    history = store.aliases_of(NAME).history(IN_USE)
    assert [(change.version, change.by) for change in history] == [(1, "job 1"), (3, "job 3")]
    assert "3" in history[1].reason


def test_promotion_that_is_repeated_does_not_undo_a_rollback(store: Store) -> None:
    for version, value in ((1, 3.0), (2, 2.0)):
        measured(store, value)
        first = promote(store, NAME, version, FID, "lower", by=f"job {version}")
    with store.aliases_of(NAME).editing("somebody") as editor:
        editor.roll_back(IN_USE)
    assert promote(store, NAME, 2, FID, "lower", by="job 2") == first
    assert store.aliases(NAME) == {IN_USE: 1}


@pytest.mark.parametrize("lost", [shutil.rmtree, lambda folder: (folder / "manifest.json").write_text("{")])
def test_version_in_use_that_is_gone_or_cannot_be_read_is_replaced(store: Store, lost: Any) -> None:
    for version in (1, 2):
        measured(store, float(version))
    store.set_alias(NAME, IN_USE, 1)
    lost(store.root / NAME / "1")
    assert promote(store, NAME, 2, FID, "lower", by="job").promote
    assert store.aliases(NAME) == {IN_USE: 2}


def test_version_that_is_not_there_cannot_be_promoted(store: Store) -> None:
    measured(store, 1.0)
    with pytest.raises(NotFoundError):
        promote(store, NAME, 2, FID, "lower", by="job")
