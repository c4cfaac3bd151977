"""What is tried: from one lane for each core to one lane with all of them, and what is set now."""

import pytest

from service.engine.devices import Device
from service.settings import ModelSettings, Settings
from service.tuning.shapes import Setup, Shape, batches, present_setup, shapes

CPU, GPU = Device("cpu"), Device("cuda", 1)


@pytest.mark.parametrize(
    ("cores", "expected"),
    [
        (1, [(1, 1)]),
        (2, [(2, 1), (1, 2)]),
        (6, [(6, 1), (3, 2), (1, 4), (1, 6)]),
        (8, [(8, 1), (4, 2), (2, 4), (1, 8)]),
        (512, [(64, 1), (64, 2), (64, 4), (64, 8), (32, 16), (16, 32), (8, 64), (4, 128), (2, 256)]),
    ],
)
def test_lanes_and_threads_share_the_cores(cores: int, expected: list[tuple[int, int]]) -> None:
    found = [(shape.lanes, shape.threads) for shape in shapes(Settings(workers=1), CPU, cores)]
    assert found == expected
    for lanes, threads in found:
        Settings(lanes=lanes, threads=threads)  # what the service would refuse is never proposed


def test_processes_share_the_cores_and_are_measured_together() -> None:
    found = shapes(Settings(workers=2), CPU, 4)
    assert found == [Shape(2, 1, 2), Shape(1, 2, 2)]
    assert [shape.at_once for shape in found] == [4, 2]


def test_gpu_is_tried_with_few_lanes_and_the_threads_that_are_set() -> None:
    assert [(shape.lanes, shape.threads) for shape in shapes(Settings(workers=1, threads=3), GPU, 8)] == [
        (1, 3),
        (2, 3),
        (4, 3),
    ]


def test_torch_has_one_number_of_threads_for_the_whole_process() -> None:
    assert shapes(Settings(workers=1, runtime="torchscript", threads=2), CPU, 8) == [Shape(4, 2)]


@pytest.mark.parametrize(
    ("largest", "present", "expected"),
    [(64, 16, [1, 2, 4, 8, 16, 32, 64]), (10, 5, [1, 2, 4, 5, 8, 10]), (1, 16, [1])],
)
def test_batches_are_powers_of_two_the_largest_and_the_present_one(
    largest: int, present: int, expected: list[int]
) -> None:
    assert batches(largest, present) == expected


def test_present_setup_is_what_the_service_would_do() -> None:
    settings = Settings(
        workers=1, lanes=3, threads=2, max_batch_size=7, models={"mine": ModelSettings(max_batch_size=5)}
    )
    assert present_setup(settings, "mine", CPU, []) == Setup(Shape(3, 2), 5)
    assert present_setup(settings, "other", CPU, []) == Setup(Shape(3, 2), 7)
