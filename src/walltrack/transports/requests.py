"""What a request says of itself, and how to change one without touching the caller's."""

import copy

import httpx

from walltrack.core.extensions import SERVICE


def service_of(request: httpx.Request) -> str:
    """The service's name as the caller gave it, or `host[:port]`."""
    name = request.extensions.get(SERVICE)
    return name if isinstance(name, str) else request.url.netloc.decode("ascii")


def path_of(request: httpx.Request) -> str:
    """The path as it is sent, percent-encoded and so on one line, without the query."""
    return request.url.raw_path.partition(b"?")[0].decode("ascii")


def can_replay(request: httpx.Request) -> bool:
    """Whether the body can be sent more than once.

    httpx gives bodies that it holds (bytes, JSON, forms, multipart) a stream of both kinds, and
    one of a single kind to an iterator that it was handed.
    """
    stream = request.stream
    return isinstance(stream, httpx.SyncByteStream) and isinstance(stream, httpx.AsyncByteStream)


def with_header(request: httpx.Request, name: str, value: str) -> httpx.Request:
    """A copy of `request` with one header set."""
    clone = copy.copy(request)  # keeps all but the stream and the extensions
    clone.stream = request.stream
    clone.extensions = dict(request.extensions)
    clone.headers = request.headers.copy()
    clone.headers[name] = value
    return clone
