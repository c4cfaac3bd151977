"""`python -m training worker`."""

import argparse
import contextlib
import logging
import os
import select
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

from training.worker import device
from training.worker.process import exists
from training.worker.settings import DATABASE, WorkerSettings, default_database, default_password_file

_LOOK_S = 0.5


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    default = WorkerSettings(name="name")
    parser.add_argument("--name", default=None, help="for people; the host's name by default")
    parser.add_argument("--device", default=default.device, help="cpu, cuda or cuda:N; one run at a time (cpu)")
    parser.add_argument("--database", metavar="URL", help=f"of the jobs (GENSERVE_DATABASE, {DATABASE})")
    parser.add_argument(
        "--database-password-file", type=Path, default=default_password_file(), help="holds PostgreSQL's password"
    )
    _seconds(parser, "--beat", default.beat_s, "between two signs of life")
    _seconds(parser, "--lapse", default.lapse_s, "of silence after which a worker counts as dead")
    _seconds(parser, "--poll", default.poll_s, "between two looks at the queue")
    _seconds(parser, "--away", default.away_s, "without the database after which a run stops until it is back")
    _seconds(parser, "--grace", default.grace_s, "that a run has to save and end before it is killed")
    _seconds(parser, "--checkpoint", default.checkpoint_s, "between two checkpoints")
    parser.add_argument(
        "--quota",
        type=float,
        default=default.quota_bytes / 1e9,
        metavar="GB",
        help="for folders of runs that are over (%(default)g)",
    )
    parser.add_argument("--while", dest="companion", type=int, metavar="PID", help="end when this process has ended")
    parser.set_defaults(command=_worker)


def _seconds(parser: argparse.ArgumentParser, option: str, default: float, meaning: str) -> None:
    parser.add_argument(option, type=float, default=default, metavar="SECONDS", help=f"{meaning} (%(default)g)")


def _worker(options: argparse.Namespace) -> int:
    from training.worker.service import Worker  # DBOS takes a second to import; `--help` need not wait

    _log_in_lines()
    settings = WorkerSettings(
        **({} if options.name is None else {"name": options.name}),
        device=device.normalised(options.device),
        database=options.database or default_database(),
        password_file=options.database_password_file,
        runs=options.runs,
        store=options.store,
        beat_s=options.beat,
        lapse_s=options.lapse,
        poll_s=options.poll,
        away_s=options.away,
        grace_s=options.grace,
        checkpoint_s=options.checkpoint,
        quota_bytes=int(options.quota * 1e9),
    )
    with device.reserved(settings.device):
        worker = Worker(settings)

        def leave(number: int, _: FrameType | None) -> None:
            if worker.leaving.is_set():
                os._exit(128 + number)  # asked twice: the run notices, saves and ends by itself
            worker.leaving.set()

        signal.signal(signal.SIGTERM, leave)
        signal.signal(signal.SIGINT, leave)
        if options.companion is not None:
            threading.Thread(target=_accompany, args=(options.companion, worker.leaving), daemon=True).start()
        worker.run()
        logging.shutdown()
        os._exit(0)  # executions that were taken from us wait in threads for an end that does not concern us any more


def _log_in_lines() -> None:
    """One line each where nobody sits at the terminal: for files, journals and containers."""
    if not sys.stderr.isatty():
        logging.basicConfig(
            level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr, force=True
        )


def _accompany(companion: int, leaving: threading.Event) -> None:
    if hasattr(os, "pidfd_open"):  # of this very process, whoever gets its number later
        with contextlib.suppress(ProcessLookupError):
            select.select([os.pidfd_open(companion)], [], [])
    else:
        while exists(companion) and not leaving.wait(_LOOK_S):
            pass
    leaving.set()
