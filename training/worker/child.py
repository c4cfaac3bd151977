"""`python -m training.worker.child`: one run, ordered on stdin, reported on stdout. torch lives here and dies here.

Not for people: `python -m training worker` starts it.
"""

import contextlib
import logging
import os
import sys
import traceback

from bundle.store import Bundle, Store
from training.errors import CheckpointError
from training.worker import failures, lock
from training.worker.leash import Leash
from training.worker.ordered import ordered
from training.worker.protocol import (
    FAILED,
    PUBLISHED,
    STOPPED,
    Failed,
    Log,
    Order,
    Published,
    Ready,
    Stopped,
)
from training.worker.reporting import Reporter
from training.worker.speech import Speech

_FLUSH_S = 10.0
_NICENESS = 15  # a service on the same machine answers people, and its lanes have 5


def main() -> int:
    """Do what the order says; the exit code is `PUBLISHED`, `FAILED` or `STOPPED`."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("training").setLevel(logging.INFO)
    order = Order.model_validate_json(_first_line(sys.stdin.fileno()))
    os.nice(_NICENESS)
    speech = Speech(_private_stdout())
    leash = Leash(sys.stdin.fileno(), order.silence_s)
    try:
        with lock.hold(order.folder, lambda who: speech.tell(Log(message=f"waiting for {who}, which has this run"))):
            return _Run(order, speech, leash).result()
    finally:
        speech.flush(_FLUSH_S)


class _Run:
    def __init__(self, order: Order, speech: Speech, leash: Leash) -> None:
        self.order = order
        self.speech = speech
        self.leash = leash
        self.store = Store(order.store)

    def result(self) -> int:
        try:
            bundle = self.store.published(str(self.order.recipe["name"]), self.order.job) or self._trained()
        except Exception as error:  # every kind of failure has a code, and the worker lives on
            traceback.print_exc()
            self._tidy()
            self.speech.tell(Failed(failure=failures.explained(error)))
            return FAILED
        if bundle is None:
            self.speech.tell(Stopped(reason=self.leash.reason or "it was told to"))
            return STOPPED
        metrics = {metric.name: metric.value for metric in bundle.manifest.metrics}
        manifest = bundle.manifest
        self.speech.tell(Published(name=manifest.name, version=manifest.version, digest=bundle.digest, metrics=metrics))
        return PUBLISHED

    def _trained(self) -> Bundle | None:
        try:
            return self._train()
        except CheckpointError as error:
            # Damaged by a crash of the machine, or of an older program: the run is lost, the job need not be.
            checkpoint = self.order.folder / "checkpoint.pt"
            checkpoint.replace(checkpoint.with_suffix(".unusable"))
            self.speech.tell(Log(message=f"starting afresh: {error}"))
            return self._train()

    def _train(self) -> Bundle | None:
        from training.run import Hooks, infer, train  # here, so that what is slow to import can already be cancelled

        order = self.order
        hooks = Hooks(
            folder=order.name,
            run=order.job,
            sinks=[lambda about: self._reporter(Reporter(about, self.speech.tell, self._exporting))],
            ready=self._ask,
            checkpoint_s=order.checkpoint_s,
            device=order.device,
            own_files=False,  # an order comes from anywhere
        )
        recipe, parent = ordered(order.recipe, order.folder, self.store)
        if parent is not None:
            return infer(parent, recipe, order.runs, self.store, self.leash.stopped, hooks=hooks)
        return train(recipe, order.runs, self.store, self.leash.stopped, hooks=hooks)

    def _reporter(self, reporter: Reporter) -> Reporter:
        """From the first round on, a stop is answered with a checkpoint."""
        self.leash.graceful(True)
        return reporter

    def _exporting(self) -> None:
        """The checkpoint of the last round is written: what follows can be ended at any moment."""
        self.leash.graceful(False)

    def _ask(self) -> None:
        self.speech.tell(Ready())
        self.leash.wait_for_permission()

    def _tidy(self) -> None:
        """A checkpoint that did not fit on the disk must not fill it."""
        with contextlib.suppress(OSError):
            (self.order.folder / "checkpoint.writing").unlink(missing_ok=True)


def _first_line(descriptor: int) -> bytes:
    """The order, read byte by byte: what follows it belongs to the leash."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(descriptor, 1)
        if not byte:
            raise SystemExit("no order came on stdin; `python -m training worker` starts this program")
        line += byte
    return line


def _private_stdout() -> int:
    """Standard output for reports alone: what libraries print goes where the log goes."""
    descriptor = os.dup(1)
    os.dup2(2, 1)
    return descriptor


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    os._exit(code)  # libraries' threads have nothing left to say, and must not hold up the lock's release
