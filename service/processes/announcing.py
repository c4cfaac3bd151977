"""The one line on stdout: what is served, and where."""

import socket
from collections.abc import Sequence

from service.processes.listening import url


def announce(bound: socket.socket, models: Sequence[str], workers: int = 1) -> None:
    """Say that all is ready.

    Args:
        bound: To the address that clients use.
        models: Names.
        workers: Processes that serve.
    """
    where = url(bound)
    several = f"; {workers} workers" if workers > 1 else ""
    print(f"genserve: {', '.join(models) or 'no models'} on {where} (docs at {where}/docs{several})", flush=True)
