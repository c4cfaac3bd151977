"""The proposal is the fastest that meets the target, and follows from the measured points alone."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.tuning.measure import BETWEEN_S, Point, measure
from service.tuning.proposal import propose
from tests.service.tuning.fakes import Clock, CostlyRuntime, contender, point

POINTS = st.lists(
    st.builds(
        point,
        lanes=st.integers(1, 8),
        batch=st.integers(1, 64),
        p99_ms=st.floats(0.01, 1000),
        images_per_s=st.floats(1, 1e6),
    ),
    min_size=1,
    max_size=20,
)


@given(POINTS, st.floats(0.0001, 3))
def test_proposal_meets_the_target_whenever_any_point_does(points: list[Point], target_s: float) -> None:
    proposal = propose(points, target_s)
    fitting = [found for found in points if found.predicted_p99_s <= target_s]
    assert proposal.meets == bool(fitting)
    if fitting:
        assert proposal.point in fitting
        assert proposal.point.images_per_s * 1.03 >= max(found.images_per_s for found in fitting)
    else:
        assert proposal.point.predicted_p99_s == min(found.predicted_p99_s for found in points)


@given(POINTS, st.floats(0.0001, 3), st.randoms())
def test_order_of_the_points_does_not_matter(points: list[Point], target_s: float, shuffle: Random) -> None:
    shuffled = points.copy()
    shuffle.shuffle(shuffled)
    chosen, again = propose(points, target_s).point, propose(shuffled, target_s).point
    assert (again.predicted_p99_s, again.images_per_s) == (chosen.predicted_p99_s, chosen.images_per_s)


def test_among_nearly_equal_points_the_one_with_the_least_latency_is_proposed() -> None:
    points = [point(2, 64, 40, 10_100), point(2, 16, 10, 10_000), point(2, 4, 3, 9_000)]
    assert propose(points, 0.1).point.setup.batch == 16


@pytest.mark.parametrize(
    ("target_ms", "batch", "meets"),
    [(2.0, 1, False), (2.7, 1, True), (4.5, 4, True), (14, 16, True), (1000, 64, True)],
)
def test_graph_of_known_cost_gets_the_largest_batch_whose_doubled_cost_fits(
    target_ms: float, batch: int, meets: bool
) -> None:
    """A run of b images takes 1 ms + 0.3 ms x b: the larger the batch, the more images per second."""
    clock = Clock()
    runtime = CostlyRuntime(clock, lambda rows: 0.001 + 0.0003 * rows)
    points = measure([contender(runtime, [1, 2, 4, 8, 16, 32, 64])], seconds=0.5, clock=clock)
    proposal = propose(points, target_ms / 1000 + 2 * BETWEEN_S)
    assert (proposal.point.setup.batch, proposal.meets) == (batch, meets)
    assert proposal.meets == (target_ms >= 2 * 1.3)
