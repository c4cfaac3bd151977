"""Sockets to listen on, and how to stop listening without turning away a client that is already in."""

import contextlib
import ctypes
import select
import socket
import struct

from service.errors import StartupError
from service.settings import Settings

_BACKLOG = 2048
_SO_ATTACH_FILTER = 26  # Linux; Python does not name it
# Classic BPF over a segment from its TCP header on: byte 13 has the flags, 2 is SYN, and 0 bytes kept is a drop.
_DROP_SYN = ((0x30, 0, 0, 13), (0x45, 0, 1, 2), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))


def listen(settings: Settings, *, shared: bool = False) -> socket.socket:
    """A socket that listens on the address of the settings.

    Args:
        settings: With `host` and `port`.
        shared: Other sockets may listen on the same address: the kernel spreads connections over them by a hash.

    Raises:
        StartupError: If the address cannot be had.
    """
    try:
        return socket.create_server(
            (settings.host, settings.port), family=_family(settings), backlog=_BACKLOG, reuse_port=shared
        )
    except OSError as error:
        raise _unusable(settings, error) from error


def reserve(settings: Settings) -> socket.socket:
    """A socket that keeps the address of the settings for those who `listen` with `shared`; nobody can connect to it.

    Raises:
        StartupError: If the address cannot be had.
    """
    if not hasattr(socket, "SO_REUSEPORT"):
        raise StartupError("workers need SO_REUSEPORT, which this system lacks; set workers to 1")
    with listen(settings) as alone:  # fails if anybody listens there, even another service with workers
        port = alone.getsockname()[1]
    reserved = socket.socket(_family(settings), socket.SOCK_STREAM)
    try:
        for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            reserved.setsockopt(socket.SOL_SOCKET, option, 1)
        if reserved.family == socket.AF_INET6:
            reserved.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        reserved.bind((settings.host, port))
    except OSError as error:
        reserved.close()
        raise _unusable(settings, error) from error
    return reserved


def url(bound: socket.socket) -> str:
    """Where clients find the service."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def refuse_new(listener: socket.socket) -> None:
    """Let no new connection begin; those that have begun can still be accepted.

    Closing a listening socket resets every connection that the kernel holds ready to be accepted, whose clients may
    have sent their request already. So the kernel is asked to drop SYNs first. Where it cannot (not Linux), a
    connection that begins between the last accept and the close is reset.
    """
    program = b"".join(struct.pack("HBBI", *instruction) for instruction in _DROP_SYN)
    code = ctypes.create_string_buffer(program, len(program))
    with contextlib.suppress(OSError):
        listener.setsockopt(
            socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", len(_DROP_SYN), ctypes.addressof(code))
        )


def somebody_waits(listener: socket.socket) -> bool:
    """Whether a connection is ready to be accepted."""
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    return bool(poll.poll(0))


def _family(settings: Settings) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in settings.host else socket.AF_INET


def _unusable(settings: Settings, error: OSError) -> StartupError:
    return StartupError(
        f"cannot listen on {settings.host}:{settings.port}: {error.strerror}; set GENSERVE_PORT to another port"
    )
