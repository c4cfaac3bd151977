"""Lanes, batches and devices follow from the machine and the latency table, unless they are set."""

import os

import pytest

from bundle.manifest import Latency
from service.engine.devices import Device, resolve_device
from service.engine.plan import lane_count, largest_batch
from service.errors import StartupError
from service.settings import Settings

CPU, GPU = Device("cpu"), Device("cuda", 1)


def table(**milliseconds: float) -> list[Latency]:
    return [Latency(batch=int(batch[1:]), milliseconds=value) for batch, value in milliseconds.items()]


@pytest.mark.parametrize(
    ("latency", "expected"),
    [
        (table(b1=2.0, b4=8.0, b16=32.0), 1),  # a convolutional decoder: nothing is gained
        (table(b1=1.0, b4=1.5, b16=4.0, b64=15.8), 16),  # 64 is only 1 % better than 16
        (table(b1=1.0, b4=1.5, b16=4.0, b64=8.0), 64),
        (table(b1=0.02, b4=0.08, b16=0.32, b64=1.28), 64),  # nothing in the run, but the way to it is shared
        ([], 16),
    ],
)
def test_largest_batch_is_the_smallest_that_is_nearly_best_per_image(latency: list[Latency], expected: int) -> None:
    assert largest_batch(Settings(), "any", CPU, latency) == expected


def test_weights_that_each_run_reads_again_ask_for_larger_batches() -> None:
    latency = table(b1=2.3, b4=9.2, b16=36.8, b64=147.2)
    sizes = [largest_batch(Settings(), "any", CPU, latency, weights) for weights in (0, 2_000_000, 14_000_000)]
    assert sizes == [1, 4, 16]


def test_size_that_happened_to_be_measured_in_a_better_moment_is_not_preferred() -> None:
    latency = table(b1=3.55, b2=6.59, b4=12.41, b8=25.04, b16=48.77, b32=90.92, b64=193.62)  # 32: 7 % below both
    assert largest_batch(Settings(), "any", CPU, latency, 14_000_000) == 16
    assert largest_batch(Settings(), "any", CPU, [*reversed(latency)], 14_000_000) == 16


def test_latency_table_of_a_cpu_says_nothing_of_a_gpu() -> None:
    assert largest_batch(Settings(), "any", GPU, table(b1=1.0, b2=2.0)) > 2


def test_largest_batch_that_is_set_wins() -> None:
    assert largest_batch(Settings(max_batch_size=5), "any", CPU, table(b1=2.0)) == 5


def test_lanes_fill_the_cores_of_a_cpu_and_one_fills_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)))
    assert lane_count(Settings(), CPU) == 6
    assert lane_count(Settings(threads=4), CPU) == 1
    assert lane_count(Settings(), GPU) == 1
    assert lane_count(Settings(lanes=3), GPU) == 3


@pytest.mark.parametrize(
    ("wanted", "cuda_works", "expected"),
    [
        ("auto", True, Device("cuda", 0)),
        ("auto", False, Device("cpu")),
        ("cpu", True, Device("cpu")),
        ("cuda", True, Device("cuda", 0)),
        ("cuda:3", True, Device("cuda", 3)),
    ],
)
def test_device_is_the_one_asked_for(wanted: str, cuda_works: bool, expected: Device) -> None:
    assert resolve_device(wanted, lambda _: None if cuda_works else "there is none") == expected


def test_cuda_that_cannot_be_used_ends_the_start_with_the_reason() -> None:
    with pytest.raises(StartupError, match=r"device is 'cuda:2', but device 2 is on fire"):
        resolve_device("cuda:2", lambda index: f"device {index} is on fire")
