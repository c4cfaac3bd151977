"""The service, and a training worker beside it where training is installed: `make serve`.

The worker is a process of its own, looks at the same store and database, writes to `runs/worker.log`, and ends when
the service has ended, however it did. GENSERVE_LOCAL_WORKER=0 leaves it out; so do settings that the service refuses.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

_NEEDS = ("torch", "dbos", "sqlalchemy", "rich")
_LOG = Path("runs/worker.log")


def main() -> None:
    """Start both; this process becomes the service."""
    if _wanted():
        _start_worker()
    os.execv(sys.executable, [sys.executable, "-m", "service", *sys.argv[1:]])


def _wanted() -> bool:
    if os.environ.get("GENSERVE_LOCAL_WORKER", "1").lower() in ("0", "false", "no", "off", ""):
        return False
    return all(importlib.util.find_spec(name) for name in _NEEDS)


def _start_worker() -> None:
    from pydantic import ValidationError  # the service's own start is not to wait for these

    from service.settings import Settings

    try:
        settings = Settings()
    except (ValidationError, OSError, ValueError):
        return  # the service is about to say what is wrong
    if not settings.training:
        return
    _LOG.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "training", "--store", str(settings.store), "worker", "--while", str(os.getpid())]
    environment = os.environ | {"GENSERVE_DATABASE": settings.database, "GENSERVE_UPLOADS": str(settings.uploads)}
    if settings.data:
        environment["GENSERVE_DATA"] = str(settings.data)
    if settings.database_password_file:
        environment["GENSERVE_DATABASE_PASSWORD_FILE"] = str(settings.database_password_file)
    with _LOG.open("ab") as log:
        # The shell is its parent, and gone at once: the service must not inherit a child that it knows nothing of.
        # A session of its own keeps Ctrl-C from it; it ends when the service does.
        subprocess.run(
            ["/bin/sh", "-c", '"$@" & ', "sh", *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
            check=False,
        )


if __name__ == "__main__":
    main()
