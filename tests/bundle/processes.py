"""What the tests of the store run in processes of their own, and how they start them."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path
from typing import Any

from bundle.store import Store
from tests.bundle.factory import manifest, publish, write_files

FORKSERVER = multiprocessing.get_context("forkserver")
FORKSERVER.set_forkserver_preload(["__main__", __name__])
NAME = "tiny"
DISK_EVENTS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "fcntl.flock")


@contextmanager
def running(target: Any, *arguments: Any) -> Iterator[ForkServerProcess]:
    """A process that runs `target(*arguments)`; killed at the end of the block if it still lives."""
    process = FORKSERVER.Process(target=target, args=arguments)
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


def publish_many(root: Path, count: int, together: Barrier) -> None:
    together.wait()
    for i in range(count):
        publish(Store(root), NAME, content=f"{os.getpid()} {i}".encode())


def publish_runs(root: Path, runs: list[str], together: Barrier, pipe: Connection) -> None:
    """Stage a bundle of each run, wait for the others, publish, send run → version."""
    versions = {}
    for run in runs:
        with Store(root).stage(NAME) as staging:
            write_files(staging.path, f"{os.getpid()} {run}".encode())
            made = manifest(staging.path, NAME, run)
            together.wait()
            versions[run] = staging.publish(made).manifest.version
    pipe.send(versions)


def publish_until_killed(root: Path, started: Event) -> None:
    started.set()
    while True:
        publish(Store(root), NAME)


def publish_and_die(root: Path, events: int, run: str | None = None) -> None:
    """Publish, but SIGKILL ourselves just before the given number of accesses to the store has been reached."""
    left = events

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if event in DISK_EVENTS and (event == "fcntl.flock" or str(arguments[0]).startswith(str(root))):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    publish(Store(root), NAME, run=run)


def move_alias(root: Path, count: int, together: Barrier) -> None:
    """Set one alias over and over; read it back each time."""
    store = Store(root)
    together.wait()
    for i in range(count):
        store.set_alias(NAME, "stable", 1 + i % 2)
        assert store.aliases(NAME)["stable"] in (1, 2)


def publish_when_told(root: Path, pipe: Connection) -> None:
    """Stage, say so, wait for a word, publish, send the version."""
    with Store(root).stage(NAME) as staging:
        write_files(staging.path)
        pipe.send(str(staging.path))
        pipe.recv()
        pipe.send(staging.publish(manifest(staging.path, NAME)).manifest.version)


def list_until_told(root: Path, started: Event, enough: Event, pipe: Connection) -> None:
    """List and verify over and over; send the number of listings, the problems seen and the largest listing."""
    store, rounds, largest = Store(root), 0, 0
    problems: list[str] = []
    while True:
        last = enough.is_set()
        listing = store.listing()
        rounds, largest = rounds + 1, max(largest, len(listing.bundles))
        problems += [f"{ref}: {error}" for ref, error in listing.problems.items()]
        for bundle in listing.bundles[-2:]:
            bundle.verify()
        started.set()
        if last:
            pipe.send((rounds, problems, largest))
            return
