"""Requests that a web page of another site makes of its visitor's browser."""

from urllib.parse import urlsplit

from starlette.requests import Request

from service.errors import InvalidRequestError
from service.trace import trace_of

_HARMLESS = ("GET", "HEAD", "OPTIONS")  # browsers keep the answers from pages of other sites


def refuse_other_sites(request: Request) -> None:
    """Refuse a request that changes something and comes from a page of another site.

    Browsers say so in `Sec-Fetch-Site`; where they leave it out (old ones; plain HTTP to anything but this machine) the
    host in `Origin` has to be the one in `Host`. Other clients send neither.

    Raises:
        InvalidRequestError: If it does.
    """
    if request.method in _HARMLESS:
        return
    headers = trace_of(request.scope).headers
    site, origin = headers.get(b"sec-fetch-site"), headers.get(b"origin")
    if site == b"cross-site":
        raise InvalidRequestError("a page of another site asked for it (Sec-Fetch-Site); this is not for those")
    if site is None and origin is not None and _host(origin) != _host(b"//" + headers.get(b"host", b"")):
        raise InvalidRequestError("a page of another site asked for it (Origin, Host); this is not for those")


def _host(url: bytes) -> str | None:
    try:
        return urlsplit(url.decode("latin-1")).hostname
    except ValueError:
        return None
