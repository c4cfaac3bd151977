"""Devices by name."""

import pytest

from training.worker.device import DeviceError, kind, normalised, reserved, suits


@pytest.mark.parametrize(("given", "meant"), [("cpu", "cpu"), ("cuda", "cuda:0"), ("cuda:3", "cuda:3")])
def test_names_are_normalised(given: str, meant: str) -> None:
    assert normalised(given) == meant


@pytest.mark.parametrize("name", ["", "gpu", "cuda:", "cuda:x", "cpu:0", "CPU"])
def test_unknown_names_are_refused(name: str) -> None:
    with pytest.raises(DeviceError, match="expected cpu, cuda or cuda:N"):
        normalised(name)


@pytest.mark.parametrize(
    ("wanted", "device", "fits"),
    [
        (None, "cpu", True),
        (None, "cuda:1", True),
        ("cpu", "cpu", True),
        ("cpu", "cuda:0", False),
        ("cuda", "cuda:1", True),
        ("cuda:1", "cuda:1", True),
        ("cuda:0", "cuda:1", False),
        ("cuda", "cpu", False),
    ],
)
def test_job_goes_to_a_device_that_it_asks_for(wanted: str | None, device: str, fits: bool) -> None:
    assert suits(wanted, device) is fits
    assert kind(device) in ("cpu", "cuda")


def test_device_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(DeviceError, match="cuda:99 is not usable here; there are: cpu"), reserved("cuda:99"):
        pytest.fail("it was reserved")
