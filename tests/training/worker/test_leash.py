"""When a run has to end, and when it may not be ended."""

import os
import threading
import time
from collections.abc import Iterator

import pytest

from tests.training.worker.rig import until
from training.worker.leash import Leash
from training.worker.protocol import STOPPED, Word


class Pipe:
    """The worker's end of the leash, and what the leash has done to the process."""

    def __init__(self, silence_s: float = 60.0) -> None:
        self.read_end, self.write_end = os.pipe()
        self.left: list[int] = []
        self.leash = Leash(self.read_end, silence_s, self.left.append)

    def say(self, *words: str) -> None:
        os.write(self.write_end, b"".join(Word.model_validate({"say": word}).line() for word in words))


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    os.close(made.write_end)


def test_run_that_can_save_is_asked_to_stop_and_one_that_cannot_is_ended(pipe: Pipe) -> None:
    pipe.leash.graceful(True)
    assert not pipe.leash.stopped()
    pipe.say("alive", "stop")
    until(pipe.leash.stopped, "not stopped")
    assert (pipe.leash.reason, pipe.left) == ("it was told to", [])
    pipe.leash.graceful(False)  # it goes on to export, which nobody wants any more
    assert pipe.left == [STOPPED]


def test_words_that_arrive_in_pieces_are_understood(pipe: Pipe) -> None:
    raw = Word(say="stop").line()
    os.write(pipe.write_end, raw[:5])
    time.sleep(0.05)
    os.write(pipe.write_end, raw[5:])
    until(lambda: pipe.left, "not ended")
    assert pipe.left == [STOPPED]


def test_worker_that_is_gone_ends_the_run() -> None:
    pipe = Pipe()
    os.close(pipe.write_end)
    until(lambda: pipe.left, "not ended")
    assert pipe.leash.reason == "its worker is gone"


def test_worker_that_falls_silent_ends_the_run() -> None:
    pipe = Pipe(silence_s=0.5)
    pipe.leash.graceful(True)
    for _ in range(5):
        pipe.say("alive")
        time.sleep(0.2)
    assert not pipe.leash.stopped()  # twice the silence, with signs of life
    until(pipe.leash.stopped, "not stopped")
    assert pipe.leash.reason == "its worker said nothing for 0.5 s"
    os.close(pipe.write_end)


def test_nothing_stops_a_run_that_may_publish(pipe: Pipe) -> None:
    waiting = threading.Thread(target=pipe.leash.wait_for_permission)
    waiting.start()
    pipe.say("publish", "stop")
    waiting.join(10)
    assert not waiting.is_alive()
    time.sleep(0.3)
    assert (pipe.leash.reason, pipe.left) == (None, [])
