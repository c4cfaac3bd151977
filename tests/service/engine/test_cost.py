"""What a run costs is learnt from the runs, and stays sane where they say little."""

import numpy as np
import pytest

from service.engine.cost import CostModel


def true_seconds(rows: int) -> float:
    return 0.002 + 0.0005 * rows


def test_both_parts_are_found_among_runs_of_all_sizes() -> None:
    rng, cost = np.random.default_rng(0), CostModel()
    for rows in rng.integers(1, 33, size=200):
        cost.learn(int(rows), true_seconds(int(rows)) * rng.uniform(0.9, 1.1))
    for rows in (1, 8, 32):
        assert cost.seconds(rows) == pytest.approx(true_seconds(rows), rel=0.15)


def test_nothing_is_expected_before_anything_ran() -> None:
    assert CostModel().seconds(8) == 0


def test_first_measurements_are_believed_as_they_are() -> None:
    cost = CostModel([(1, true_seconds(1)), (16, true_seconds(16))])
    for rows in (1, 8, 16, 64):
        assert cost.seconds(rows) == pytest.approx(true_seconds(rows), rel=0.02)


def test_runs_of_one_size_leave_the_ratio_of_the_parts_and_move_the_scale() -> None:
    cost = CostModel([(1, true_seconds(1)), (16, true_seconds(16))])
    for _ in range(200):
        cost.learn(16, 3 * true_seconds(16))
    for rows in (1, 8, 64):
        assert cost.seconds(rows) == pytest.approx(3 * true_seconds(rows), rel=0.1)


def test_cost_that_changes_is_followed() -> None:
    rng, cost = np.random.default_rng(1), CostModel([(8, 0.001)])
    for rows in rng.integers(1, 17, size=200):
        cost.learn(int(rows), 50 * true_seconds(int(rows)))
    assert cost.seconds(8) == pytest.approx(50 * true_seconds(8), rel=0.1)


def test_machine_that_stalls_once_is_no_rule() -> None:
    cost = CostModel([(1, true_seconds(1)), (16, true_seconds(16))])
    for _ in range(50):
        cost.learn(8, true_seconds(8))
    cost.learn(8, 1000.0)
    assert cost.seconds(8) < 2 * true_seconds(8)


@pytest.mark.parametrize("seconds", [[1.0, 0.1], [0.1, 1.0], [0.0, 0.0]])
def test_neither_part_is_below_zero_whatever_was_measured(seconds: list[float]) -> None:
    cost = CostModel(zip((1, 16), seconds, strict=True))
    for rows in (16, 1, 16, 1, 8):
        cost.learn(rows, seconds[0] / rows)
        assert cost.fixed >= 0
        assert cost.per_row >= 0
        assert np.isfinite(cost.seconds(100))


def test_many_rows_are_so_many_full_batches() -> None:
    cost = CostModel([(1, true_seconds(1)), (16, true_seconds(16))])
    assert cost.runs(33, 16) == pytest.approx(3 * cost.fixed + 33 * cost.per_row)
