"""Rows that are made with their batch are those that would have been made alone."""

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bundle.latents import SeededCodes, SeededLabels, latents
from bundle.philox import MAX_SEED, labels
from bundle.priors import Normal, Prior
from service.engine.rows import Rows, gather
from tests.bundle.priors import PRIORS
from tests.service.engine.fakes import FakeRuntime, affine, engine, run


@st.composite
def requests(draw: st.DrawFn, prior: Prior) -> tuple[Rows, Any]:
    """A request's codes, given outright or by a seed; and what they are."""
    seed, start, n = draw(st.integers(0, MAX_SEED)), draw(st.integers(0, 10**6)), draw(st.integers(1, 5))
    can_be_truncated = prior.kind in ("normal", "uniform", "mixture")
    truncation = draw(st.sampled_from([1.0, 0.5, 0.0] if can_be_truncated else [1.0]))
    codes = latents(prior, seed, start, n, truncation)
    return (SeededCodes(prior, seed, start, n, truncation) if draw(st.booleans()) else codes), codes


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_codes_of_a_batch_are_those_of_each_request_alone(data: st.DataObject) -> None:
    prior = data.draw(st.sampled_from(PRIORS))
    asked = data.draw(st.lists(requests(prior), min_size=1, max_size=8))
    padding = data.draw(st.integers(0, 3))
    found = gather([rows for rows, _ in asked], padding)
    expected = np.concatenate([codes for _, codes in asked])
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found[: len(expected)], expected)
    assert len(found) == len(expected) + padding


def test_slices_of_a_request_are_those_of_the_whole() -> None:
    codes, classes = SeededCodes(Normal(dim=3), 7, 100, 20, 0.5), SeededLabels(10, 7, 100, 20)
    np.testing.assert_array_equal(gather([codes[3:9]], 0), latents(Normal(dim=3), 7, 100, 20, 0.5)[3:9])
    np.testing.assert_array_equal(gather([classes[3:9]], 0), labels(10, 7, 100, 20)[3:9])
    assert codes[18:99].shape == (len(codes[18:99]), 3) == (2, 3)


def test_labels_of_a_batch_are_those_of_each_request_alone() -> None:
    asked = [SeededLabels(10, seed, 5, 3) for seed in (1, 2, 3)]
    np.testing.assert_array_equal(gather(asked, 0), np.concatenate([labels(10, seed, 5, 3) for seed in (1, 2, 3)]))


class CountedCodes(SeededCodes):
    """Remembers how many were drawn together."""

    drawn: list[int]

    @classmethod
    def draw(cls, parts: Sequence["CountedCodes"]) -> Any:
        cls.drawn.append(len(parts))
        return super().draw(parts).astype(np.float64)


def test_engine_draws_all_of_a_batch_in_one_go_and_nothing_for_who_is_late() -> None:
    CountedCodes.drawn = []
    prior = Normal(dim=2)

    async def main() -> None:
        runtime = FakeRuntime()
        async with engine(runtime) as batcher:
            loop = asyncio.get_running_loop()
            asked = [CountedCodes(prior, seed, 0, 1) for seed in range(4)]
            late = batcher.run({"x": asked[3]}, ["y"], loop.time() + 0.002)
            runtime.gate.clear()
            first = asyncio.create_task(batcher.run({"x": CountedCodes(prior, 9, 0, 1)}, ["y"]))
            await asyncio.sleep(0.01)
            others = [asyncio.create_task(batcher.run({"x": codes}, ["y"])) for codes in asked[:3]]
            gone = asyncio.create_task(late)
            await asyncio.sleep(0.02)
            runtime.gate.set()
            answers = [(await task)["y"] for task in (first, *others)]
            assert isinstance((await asyncio.gather(gone, return_exceptions=True))[0], Exception)
        expected = [latents(prior, seed, 0, 1) for seed in (9, 0, 1, 2)]
        for answer, codes in zip(answers, expected, strict=True):
            np.testing.assert_array_equal(answer, affine(codes.astype(np.float64)))

    run(main())
    assert CountedCodes.drawn == [1, 3]
