"""A connection without a network: what an application's protocol writes, and nothing else."""

import asyncio
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.server import ServerState

from service.heads import Heads
from service.transport import Protocol


class Wire(asyncio.Transport):
    """What reaches the socket."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.closed = False
        self.paused = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ARG002
        return None

    def write(self, data: Any) -> None:
        self.writes.append(bytes(data))

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


def connect(app: ASGIApp, keep_alive_s: float = 0.05) -> tuple[Protocol, Wire, ServerState]:
    """A connection that has just been made; in an event loop."""
    config = uvicorn.Config(app, http=Protocol, log_config=None, access_log=False, ws="none")
    config.timeout_keep_alive = keep_alive_s  # type: ignore[assignment]
    config.load()
    state = ServerState()
    protocol, wire = Protocol(config=config, server_state=state, app_state={}), Wire()
    protocol.heads = Heads()
    protocol.connection_made(wire)
    return protocol, wire, state
