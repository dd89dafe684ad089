"""What caused an exception of httpx: the evidence in its chain of causes."""

import errno
import ssl
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Final

from walltrack.core import family

_NO_RESOURCES: Final = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.EADDRNOTAVAIL, errno.ENOMEM}
)
_CLIENTS: Final = frozenset({*family.LOGGERS, __name__.partition(".")[0]})
_REFUSED_STREAM: Final = 7  # RFC 9113, section 7


def chain_of(error: BaseException | None) -> Iterator[BaseException]:
    """Iterate over an exception, what it was raised from, and so on."""
    # httpcore raises with `from None`, which hides the cause but leaves the context in place.
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__context__ if error.__cause__ is None else error.__cause__


def _evidence_in(error: BaseException) -> Iterator[BaseException]:
    """Iterate over the part of an exception's chain that is about the same call.

    A caller may make a call while it handles the exception of an earlier call. Then the new
    exception has the earlier one as its context, which is evidence about the earlier call only.
    """
    before: BaseException | None = None
    for cause in chain_of(error):
        if before is not None and before.__cause__ is None and _package_of(cause) in _CLIENTS:
            return
        yield cause
        before = cause


def is_bad_certificate(error: BaseException) -> bool:
    """Return whether the server's certificate failed verification."""
    return any(isinstance(cause, ssl.SSLCertVerificationError) for cause in _evidence_in(error))


def is_closed_locally(error: BaseException) -> bool:
    """Return whether the connection was closed on this side, while it was in use."""
    return any(
        type(cause).__name__ == "ClosedResourceError" and _package_of(cause) in {"anyio", "trio"}
        for cause in _evidence_in(error)
    )


def is_out_of_resources(error: BaseException) -> bool:
    """Return whether this machine had no file, port or memory left for a connection."""
    return any(map(_lacks_resources, _evidence_in(error)))


def is_out_of_streams(error: BaseException) -> bool:
    """Return whether an HTTP/2 connection had no stream left: nothing was sent."""
    return any(_is(cause, "h2.exceptions", "TooManyStreamsError") for cause in _evidence_in(error))


def is_breach_by_server(error: BaseException) -> bool:
    """Return whether the server violated HTTP/2, whichever exception httpcore raised for it.

    httpcore reports every violation that h2 detects as a LocalProtocolError. Only those that h2
    detects while it reads were made by the server.
    """
    return any(
        _package_of(cause) == "h2" and _was_reading(cause.__traceback__)
        for cause in _evidence_in(error)
    )


def proves_unprocessed(error: BaseException, stream_id: int | None) -> bool:
    """Return whether the server said that it did not process the request (RFC 9113).

    Args:
        error: What the attempt raised.
        stream_id: The HTTP/2 stream of the request, if it is known.
    """
    # 1. REFUSED_STREAM: closed before any processing (section 8.7).
    # 2. GOAWAY: streams above the last one that it names were not processed (section 6.8).
    for cause in _evidence_in(error):
        event: Any = cause.args[0] if cause.args else None
        if _is(event, "h2.events", "StreamReset") and event.error_code == _REFUSED_STREAM:
            return True
        if _is(event, "h2.events", "ConnectionTerminated"):
            last = event.last_stream_id
            return last == 0 or (stream_id is not None and last is not None and stream_id > last)
    return False


def is_by_httpcore(error: BaseException) -> bool:
    """Return whether httpx created this exception from one of httpcore."""
    return _package_of(error.__cause__) in family.CORES


def _lacks_resources(cause: BaseException) -> bool:
    if isinstance(cause, BaseExceptionGroup):  # one for each address that was tried
        return all(map(is_out_of_resources, cause.exceptions))
    return isinstance(cause, OSError) and cause.errno in _NO_RESOURCES


def _is(value: object, module: str, name: str) -> bool:
    kind = type(value)
    return kind.__name__ == name and kind.__module__ == module


def _package_of(value: object) -> str:
    return type(value).__module__.partition(".")[0]


def _was_reading(traceback: TracebackType | None) -> bool:
    while traceback is not None:
        frame = traceback.tb_frame
        if frame.f_code.co_name == "receive_data" and (
            frame.f_globals.get("__name__") == "h2.connection"
        ):
            return True
        traceback = traceback.tb_next
    return False
