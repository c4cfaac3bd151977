"""Devices by name: what a worker offers, and what a job asks for."""

import contextlib
import fcntl
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from training.errors import TrainingError

_NAME = re.compile(r"cpu|cuda(:\d+)?")
_ASK = "import torch; print(torch.cuda.device_count() if torch.cuda.is_available() else 0)"


class DeviceError(TrainingError):
    """The device is unknown, not there, or another worker's."""


def normalised(name: str) -> str:
    """`cpu`, or `cuda:N`.

    Raises:
        DeviceError: If it is neither.
    """
    if not _NAME.fullmatch(name):
        raise DeviceError(f"device {name!r} is unknown; expected cpu, cuda or cuda:N")
    return "cuda:0" if name == "cuda" else name


def kind(device: str) -> str:
    """`cpu` or `cuda`."""
    return device.partition(":")[0]


def suits(wanted: str | None, device: str) -> bool:
    """Whether a job that asks for a device can run on this one; `cuda` is any of that kind."""
    return wanted in (None, device, kind(device))


@contextlib.contextmanager
def reserved(device: str) -> Iterator[None]:
    """Hold a GPU as long as we live: one run at a time on each. A CPU is shared by as many workers as were started.

    Raises:
        DeviceError: If it is not usable here, or another worker's.
    """
    if kind(device) == "cpu":
        yield
        return
    _check(device)
    path = Path(tempfile.gettempdir()) / f"genserve-{device.replace(':', '-')}.lock"
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DeviceError(f"{device} is another worker's ({path} is locked); name another device") from error
        yield
    finally:
        os.close(handle)


def _check(device: str) -> None:
    """Ask torch in a process of its own: this one never imports it."""
    answer = subprocess.run([sys.executable, "-c", _ASK], capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        raise DeviceError(f"torch cannot be asked for {device}: {answer.stderr.strip().splitlines()[-1]}")
    found = [f"cuda:{i}" for i in range(int(answer.stdout))]
    if device not in found:
        raise DeviceError(f"{device} is not usable here; there are: {', '.join(['cpu', *found])}")
