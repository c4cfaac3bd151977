"""The parent of several workers: starts them, replaces those that die, and ends them all.

The first worker loads alone: it answers probes meanwhile, and what is wrong with the settings shows once. The others
wait for it with all imported, listen only when they have loaded, and so do replacements: as soon as one worker is
ready, every request is answered. But the service is not ready before all are: who begins then finds all of them, and
clients that keep their connections would stay with the first.
"""

import asyncio
import contextlib
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Awaitable, Iterator
from pathlib import Path

import structlog
from prometheus_client.multiprocess import mark_process_dead
from pydantic import ValidationError

from service.errors import StartupError
from service.processes.announcing import announce
from service.processes.listening import reserve
from service.processes.messages import Orders, Report
from service.processes.signals import ending_signals
from service.settings import Settings
from service.team.gathering import Gathering, gather
from service.team.pulse import Pulse
from service.team.team import SILENCE_S

_MOST_STARTS = 5  # in a row that may fail while nobody serves
_FIRST_PAUSE_S = 0.25  # after a start that failed; doubled each time
_LONGEST_PAUSE_S = 30.0
_LOOK_S = 1.0  # between two looks at who still does something
_LEAST_PATIENCE_S = 2 * SILENCE_S  # a busy worker may be late with its note
_MARGIN_S = 10.0  # that stopping may take over what the settings allow

log = structlog.get_logger("service.workers")


def serve(settings: Settings) -> None:
    """Serve with `settings.workers` processes until SIGTERM or SIGINT.

    Raises:
        StartupError: If the settings cannot be served, or no worker comes up.
    """
    with reserve(settings) as address, _metrics_folder() as metrics, gather(settings.workers or 1) as gathering:
        parent = _Parent(settings, address, metrics, gathering)
        with asyncio.Runner() as runner:
            loop = runner.get_loop()
            with ending_signals(lambda: loop.call_soon_threadsafe(parent.stop), parent.kill):
                runner.run(parent.run())


class _Parent:
    def __init__(self, settings: Settings, address: socket.socket, metrics: Path, gathering: Gathering) -> None:
        self._settings = settings.model_copy(update={"port": address.getsockname()[1]})
        self._workers = settings.workers or 1
        self._address = address
        self._metrics = metrics
        self._gathering = gathering
        self._gathering.board.awaited = True
        # the server drains, and then the engine
        self._stopping_s = settings.shutdown_grace_s + 2 * settings.drain_s + _MARGIN_S
        self._alive: dict[int, asyncio.subprocess.Process] = {}
        self._ready: dict[int, Report] = {}
        self._failed_starts = 0
        self._stopping = asyncio.Event()
        self._first_is_ready = asyncio.Event()
        self._announced = False

    async def run(self) -> None:
        """Keep all workers alive until `stop`."""
        keepers = [asyncio.create_task(self._keep(place)) for place in range(self._workers)]
        keepers.append(asyncio.create_task(self._watch()))
        try:
            await asyncio.gather(*keepers)
        finally:
            self.stop()
            await asyncio.gather(*keepers, return_exceptions=True)

    def stop(self) -> None:
        """Tell all workers to finish what they do, and end."""
        self._stopping.set()
        for process in self._alive.values():
            _close_stdin(process)

    def kill(self) -> None:
        """End all workers at once."""
        for process in self._alive.values():
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        shutil.rmtree(self._metrics, ignore_errors=True)

    async def _keep(self, place: int) -> None:
        while not self._stopping.is_set():
            reason = await self._live(place)
            if reason is not None and not self._stopping.is_set():
                await self._recover(reason)

    async def _watch(self) -> None:
        """Kill workers whose event loop hangs: they are replaced like those that die."""
        pulse = Pulse(self._gathering.board)
        patience_s = max(self._settings.hang_s, _LEAST_PATIENCE_S)
        while not self._stopping.is_set():
            await self._or_stop(asyncio.sleep(_LOOK_S))
            for pid, looks in pulse.look().items():
                if looks * _LOOK_S >= patience_s and not self._stopping.is_set():
                    log.error("worker hangs and is killed", pid=pid, silent_s=looks * _LOOK_S)
                    if pid in self._alive:
                        self._alive[pid].kill()

    async def _live(self, place: int) -> str | None:
        """The life of one worker; returns why it never was ready, if it was not."""
        try:
            process = await self._start()
        except OSError as error:
            return f"the system lets no process begin: {error.strerror}"
        try:
            if place:
                await self._or_stop(self._first_is_ready.wait())
            self._order(process, place)
            report = await self._first_report_or_stop(process)
            if report is not None and report.state == "ready":
                self._note_ready(process.pid, report)
            code = await self._end_of(process)
        finally:
            self._alive.pop(process.pid)
            self._gathering.board.clear(place)
            was_ready = self._ready.pop(process.pid, None) is not None
            mark_process_dead(process.pid, str(self._metrics))  # type: ignore[no-untyped-call]
        if self._stopping.is_set():
            return None
        if was_ready:
            log.error("worker died and is replaced", pid=process.pid, exit_code=code)
            return None
        if report is not None:
            if not self._first_is_ready.is_set():  # it is the settings, and no moment's trouble
                raise StartupError(report.reason)
            return report.reason
        return f"it ended with exit code {code} while it started"

    async def _start(self) -> asyncio.subprocess.Process:
        environment = {name: value for name, value in os.environ.items() if name != "GENSERVE_SETTINGS"}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "service.processes.worker", str(os.getpid())),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=environment | {"PROMETHEUS_MULTIPROC_DIR": str(self._metrics)},
            pass_fds=self._gathering.descriptors,
            start_new_session=True,  # a terminal's Ctrl-C is for the parent alone
        )
        self._alive[process.pid] = process
        if self._stopping.is_set():
            _close_stdin(process)
        return process

    def _order(self, process: asyncio.subprocess.Process, place: int) -> None:
        orders = Orders(
            settings=self._settings,
            load_first=self._first_is_ready.is_set(),
            seat=self._gathering.seat(place),
            stopping_s=self._stopping_s,
        )
        assert process.stdin is not None
        process.stdin.write(f"{orders.model_dump_json()}\n".encode())  # all the same if it has ended, or is to end

    async def _first_report_or_stop(self, process: asyncio.subprocess.Process) -> Report | None:
        reading = asyncio.ensure_future(self._first_report(process))
        await self._or_stop(asyncio.shield(reading))
        if not reading.done():
            reading.cancel()
            return None
        return reading.result()

    async def _first_report(self, process: asyncio.subprocess.Process) -> Report | None:
        assert process.stdout is not None
        line = await process.stdout.readline()
        try:
            return Report.model_validate_json(line) if line else None
        except ValidationError:
            return None  # it died while it wrote

    def _note_ready(self, pid: int, report: Report) -> None:
        self._ready[pid] = report
        self._failed_starts = 0
        self._first_is_ready.set()
        log.info("worker is ready", pid=pid)
        if len(self._ready) == self._workers:
            self._begin()

    def _begin(self) -> None:
        """With those workers that are there, at least one; the first time that it is called."""
        if not self._announced:
            self._announced = True
            self._gathering.board.awaited = False
            announce(self._address, next(iter(self._ready.values())).models, len(self._ready))

    async def _end_of(self, process: asyncio.subprocess.Process) -> int:
        ended = asyncio.ensure_future(process.wait())
        await self._or_stop(asyncio.shield(ended))
        if not ended.done():
            await asyncio.wait((ended,), timeout=self._stopping_s)
        if not ended.done():
            log.error("worker hangs and is killed", pid=process.pid)
            process.kill()
        return await ended

    async def _recover(self, reason: str) -> None:
        self._failed_starts += 1
        if not self._ready and self._failed_starts >= _MOST_STARTS:
            raise StartupError(f"no worker comes up: {self._failed_starts} starts failed, the last because {reason}")
        if self._ready:
            self._begin()
        pause_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** (self._failed_starts - 1))
        log.error("worker could not start; another one is tried", reason=reason, pause_s=pause_s)
        await self._or_stop(asyncio.sleep(pause_s))

    async def _or_stop(self, work: Awaitable[object]) -> None:
        """Wait for something, but no longer than until all is to end."""
        tasks = (asyncio.ensure_future(work), asyncio.ensure_future(self._stopping.wait()))
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()


def _close_stdin(process: asyncio.subprocess.Process) -> None:
    assert process.stdin is not None
    process.stdin.close()


@contextlib.contextmanager
def _metrics_folder() -> Iterator[Path]:
    """Where each worker counts in files of its own, which the one that is asked adds up."""
    try:
        folder = Path(tempfile.mkdtemp(prefix="genserve-metrics-"))
    except OSError as error:
        raise StartupError(
            f"workers count in a temporary folder, and none can be made: {error}; set TMPDIR, or workers to 1"
        ) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
