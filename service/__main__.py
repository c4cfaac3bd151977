"""`python -m service`: load the settings, serve until SIGTERM or SIGINT, drain, and end with 0.

Settings or devices that cannot be end it with 2 and one line that says why.
"""

import asyncio
import signal
import socket
import sys
from types import FrameType

import structlog
import uvicorn
from fastapi import FastAPI
from pydantic import ValidationError

from service.app import create_app
from service.context import Context
from service.errors import StartupError
from service.logs import configure_logs
from service.settings import Settings

_CANNOT_START = 2

log = structlog.get_logger("service")


class _Server(uvicorn.Server):
    """Says that it is not ready before it stops to listen."""

    def __init__(self, config: uvicorn.Config, context: Context) -> None:
        super().__init__(config)
        self._context = context

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called by the signals that end a service."""
        self._context.draining = True
        super().handle_exit(sig, frame)


def main() -> int:
    """Serve; returns the exit code."""
    try:
        settings = Settings()
    except (ValidationError, OSError, ValueError) as error:  # ValueError: the file is no TOML
        return _complain(f"settings: {_first_line(error)}")
    configure_logs(settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)  # uvicorn raises them again when it is done: that must not kill us
    try:
        with _listen(settings) as listener:
            app = create_app(settings)
            server = _Server(_configure(app, settings), app.state.context)
            with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
                runner.run(_serve(server, app.state.context, listener))
    except StartupError as error:
        return _complain(str(error))
    return 0


def _configure(app: FastAPI, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=max(1, round(settings.drain_s)),
    )


async def _serve(server: _Server, context: Context, listener: socket.socket) -> None:
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    announcing = asyncio.create_task(_announce(context, listener))
    await asyncio.wait((serving, announcing), return_when=asyncio.FIRST_COMPLETED)
    if announcing.done() and announcing.exception():
        server.should_exit = True
    await serving
    announcing.cancel()
    await asyncio.wait((announcing,))
    failure = context.failure()
    if failure is not None:
        raise failure


async def _announce(context: Context, listener: socket.socket) -> None:
    """Print one line when the models are there."""
    await context.begun.wait()
    assert context.opened is not None
    catalog = await asyncio.shield(context.opened)
    host, port = listener.getsockname()[:2]
    where = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    names = ", ".join(sorted({model.name for model in catalog.models()})) or "no models"
    print(f"genserve: {names} on {where} (docs at {where}/docs)", flush=True)
    for ref, reason in catalog.problems().items():
        log.warning("bundle refused", bundle=ref, reason=reason)


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=2048)
    except OSError as error:
        raise StartupError(
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror}; set GENSERVE_PORT to another port"
        ) from error


def _first_line(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    return f"{field}: {first['msg']}; got {first['input']!r}"


def _complain(message: str) -> int:
    print(f"genserve: {message}", file=sys.stderr, flush=True)
    return _CANNOT_START


if __name__ == "__main__":
    sys.exit(main())
