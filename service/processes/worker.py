"""`python -m service.processes.worker PARENT`: one of several processes that serve on one port; the parent starts it.

The parent writes `Orders` to its stdin when it may load, and closes it to say that the service ends; should the parent
die, the kernel closes it. On stdout the worker answers with a `Report`.
"""

import contextlib
import os
import sys
import threading
import time
from io import FileIO
from pathlib import Path

from service.app import create_app
from service.catalog import Catalog
from service.errors import StartupError
from service.logs import configure_logs
from service.processes.listening import listen
from service.processes.messages import Orders, Report
from service.processes.server import Server

_STDIN, _STDOUT, _STDERR = 0, 1, 2
_CANNOT_START = 2


def main() -> int:
    """Serve until stdin ends; returns the exit code."""
    parent = int(sys.argv[1])  # a process id; it may have been killed by now
    with _take_stdout() as reports:
        line = _read_line()
        try:
            if line:  # else it was not needed
                _serve(Orders.model_validate_json(line), reports)
        except StartupError as error:
            _say(reports, Report(state="failed", reason=str(error)))
            return _CANNOT_START
    if os.getppid() != parent:  # it would have removed them
        _remove_counters(Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]))
    return 0


def _serve(orders: Orders, reports: FileIO) -> None:
    settings = orders.settings
    configure_logs(settings)

    def announce(catalog: Catalog) -> None:
        names = sorted({model.name for model in catalog.models()})
        _say(reports, Report(state="ready", models=names))

    app = create_app(settings)
    app.state.context.team = orders.seat.take()
    server = Server(app, settings, lambda: listen(settings, shared=True), announce, load_first=orders.load_first)
    threading.Thread(target=_obey, args=(server, orders.stopping_s), daemon=True).start()
    server.run_until_stopped()


def _remove_counters(folder: Path) -> None:
    """Those of the workers that have ended; the last of them takes the folder along."""
    for file in folder.glob("*_*.db"):
        pid = file.stem.rpartition("_")[2]
        if pid == str(os.getpid()) or not Path("/proc", pid).exists():
            file.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # others still count in it
        folder.rmdir()


def _obey(server: Server, patience_s: float) -> None:
    while os.read(_STDIN, 1024):
        pass
    server.stop()
    time.sleep(patience_s)
    os._exit(1)  # it hangs, and there may be no parent to end it


def _read_line() -> bytes:
    line = b""
    while not line.endswith(b"\n") and (more := os.read(_STDIN, 4096)):
        line += more
    return line


def _take_stdout() -> FileIO:
    """Keep stdout for reports; what anything else prints goes to stderr."""
    mine = FileIO(os.dup(_STDOUT), "w")  # without a buffer, which would be flushed to a dead parent once more
    os.dup2(_STDERR, _STDOUT)
    return mine


def _say(reports: FileIO, report: Report) -> None:
    with contextlib.suppress(BrokenPipeError):  # the parent has died; stdin says so too
        reports.write(f"{report.model_dump_json()}\n".encode())


if __name__ == "__main__":
    sys.exit(main())
