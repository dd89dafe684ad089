"""How requests and keys are named in events and errors: without userinfo or a query string."""

import math
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import httpx

from walltrack.core.extensions import ROUTE, SERVICE

_PORTS: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443}


class Server(NamedTuple):
    """The server that a request is for.

    Args:
        address: Its host name or IP address.
        port: Its port; None if the scheme has no default port.
    """

    address: str
    port: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AboutServer:
    """The common field of all events.

    Args:
        server: The server that the event is about; None if there is none.
    """

    server: Server | None = field(default=None, repr=False, compare=False)


def service_of(request: httpx.Request) -> str:
    """Return the service's name as the caller gave it, or else `host[:port]`."""
    name = request.extensions.get(SERVICE)
    return _plain(name) if isinstance(name, str) else request.url.netloc.decode("ascii")


def path_of(request: httpx.Request) -> str:
    """Return the route as the caller gave it, or else the path without the query.

    The path is as it is sent: percent-encoded, and so on one line. A route that is no text hides
    the path, because that may contain a secret.
    """
    route = request.extensions.get(ROUTE)
    if route is not None:
        return _plain(route) if isinstance(route, str) else "/..."
    return request.url.raw_path.partition(b"?")[0].decode("ascii")


def _plain(text: str) -> str:
    """Return the same text as a `str`: of an enum, loggers and exporters show another."""
    return str.__str__(text)


def server_of(request: httpx.Request) -> Server:
    """Return the server that `request` is for."""
    url = request.url
    return Server(
        url.raw_host.decode("ascii"), _PORTS.get(url.scheme) if url.port is None else url.port
    )


def names_of(request: httpx.Request) -> dict[str, Any]:
    """Return the fields that every event about a request has."""
    return {
        "service": service_of(request),
        "method": request.method,
        "path": path_of(request),
        "server": server_of(request),
    }


def origin_of(request: httpx.Request) -> Hashable:
    """Return scheme, host and port (RFC 6454): the same origin means the same server."""
    url = request.url
    return url.scheme, url.raw_host, url.port


def server_at(key: Hashable) -> Server | None:
    """Return the server of a key that `origin_of` made; None for any other key."""
    match key:
        case (str() as scheme, bytes() as host, int() | None as port):
            return Server(host.decode("ascii"), _PORTS.get(scheme) if port is None else port)
    return None


def finite(number: float) -> float | None:
    """Return `number`, or None in place of an infinite one, which JSON does not have."""
    return None if math.isinf(number) else number


def shown_key(key: Hashable) -> str:
    """Return a key as text; an origin as `scheme://host[:port]`."""
    match key:
        case (str() as scheme, bytes() as host, int() | None as port):
            name = f"[{host.decode('ascii')}]" if b":" in host else host.decode("ascii")
            return f"{scheme}://{name}" if port is None else f"{scheme}://{name}:{port}"
    return str(key)
