"""How a request is named in events and errors: never with userinfo or a query string."""

from collections.abc import Hashable

import httpx

from walltrack.core.extensions import SERVICE


def service_of(request: httpx.Request) -> str:
    """Return the service's name as the caller gave it, or else `host[:port]`."""
    name = request.extensions.get(SERVICE)
    return name if isinstance(name, str) else request.url.netloc.decode("ascii")


def path_of(request: httpx.Request) -> str:
    """Return the path as it is sent, percent-encoded, and so on one line, without the query."""
    return request.url.raw_path.partition(b"?")[0].decode("ascii")


def origin_of(request: httpx.Request) -> Hashable:
    """Return scheme, host and port (RFC 6454): the same origin means the same server."""
    url = request.url
    return url.scheme, url.raw_host, url.port
