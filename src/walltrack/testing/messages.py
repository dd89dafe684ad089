"""Responses and errors as from a network, of the family of httpx that the request belongs to."""

from types import ModuleType
from typing import Any

import httpx

from walltrack.core import family
from walltrack.core.delivery import Delivery
from walltrack.core.exceptions import WallTrackError
from walltrack.core.extensions import DELIVERY
from walltrack.core.family import home_of
from walltrack.core.outcome import NOT_SENT_ERRORS
from walltrack.testing.one_pass import OnePass

RESPONSES = family.each("Response")

_REQUEST_ERRORS = family.each("RequestError")
_INFORMATIONAL_BELOW = 200
_WITHOUT_CONTENT = frozenset({204, 304})


def bare_response(request: httpx.Request, status: int) -> httpx.Response:
    """Return a response with `status` and an empty body, which can be read once."""
    home = home_of(request)
    bodiless = status < _INFORMATIONAL_BELOW or status in _WITHOUT_CONTENT
    headers = {} if bodiless else {"content-length": "0"}
    response: httpx.Response = home.Response(
        status, headers=headers, stream=OnePass(home.ByteStream(b""), home)
    )
    return response


def fresh_response(request: httpx.Request, response: httpx.Response) -> httpx.Response:
    """Return a copy of `response` as if it had just come over a connection: readable once.

    If its body is in memory, this works any number of times; if it is a stream, only once.
    """
    home = home_of(request)
    body: Any = response.stream
    if isinstance(body, family.SYNC_STREAMS):
        body = home.ByteStream(b"".join(body))
    fresh: httpx.Response = home.Response(
        response.status_code,
        headers=response.headers.raw,
        stream=OnePass(body, home),
        extensions=response.extensions,
        default_encoding=response.default_encoding,
    )
    return fresh


def is_used_up(response: httpx.Response) -> bool:
    """Return whether the body of `response` was a stream that has already been read."""
    return response.is_closed and not isinstance(response.stream, family.SYNC_STREAMS)


def error_for(request: httpx.Request, error: Exception | type[Exception], origin: str) -> Exception:
    """Return the exception to raise for `error`, and note on the request what it proves.

    1. An exception of httpx is converted to the request's family, and gets the request.
    2. The text of an exception made from a class begins with `origin`.
    3. An exception that httpcore raises only if nothing was sent proves the same here.

    Raises:
        TypeError: `error` is a class that needs other arguments than a text.
    """
    kind = _kin(home_of(request), error if isinstance(error, type) else type(error))
    if isinstance(error, type):
        made = _made(kind, request, f"{origin} {kind.__name__}")
    elif isinstance(error, kind):
        made = error.with_traceback(None)  # else it would grow each time it is raised
    else:
        made = kind(str(error))
        made.__cause__ = error.__cause__
    if isinstance(made, _REQUEST_ERRORS):
        made.request = request
    request.extensions.pop(DELIVERY, None)
    if isinstance(made, NOT_SENT_ERRORS):
        request.extensions[DELIVERY] = Delivery.NOT_SENT
    return made


def check_class(name: str, kind: type[Exception]) -> None:
    """Reject an exception class of which `error_for` cannot make an instance.

    Raises:
        TypeError: `kind` needs other arguments than a text.
    """
    try:
        error_for(httpx.Request("GET", "http://sample.test"), kind, "sample")
    except TypeError as error:
        raise TypeError(
            f"{name} must be an exception: {kind.__name__} cannot be made without its arguments"
        ) from error


def _made(kind: type[Exception], request: httpx.Request, text: str) -> Exception:
    if issubclass(kind, WallTrackError):  # these make their own texts
        options: dict[str, Any] = {"request": request}
        return kind(**options)
    return kind(text)


def _kin(home: ModuleType, kind: type[Exception]) -> type[Exception]:
    for other in family.FAMILIES if issubclass(kind, _REQUEST_ERRORS) else ():
        if getattr(other, kind.__name__, None) is kind:
            kin: type[Exception] = getattr(home, kind.__name__)
            return kin
    return kind
