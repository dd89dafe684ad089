"""Convert exceptions of httpcore2 to those of httpx or httpx2."""

import ssl
from contextlib import suppress
from types import ModuleType
from typing import Any, Final

import httpcore2

_NAMES: Final[dict[type[BaseException], str]] = {
    getattr(httpcore2, name): name
    for name in (
        "TimeoutException",
        "ConnectTimeout",
        "ReadTimeout",
        "WriteTimeout",
        "PoolTimeout",
        "NetworkError",
        "ConnectError",
        "ReadError",
        "WriteError",
        "ProxyError",
        "UnsupportedProtocol",
        "ProtocolError",
        "LocalProtocolError",
        "RemoteProtocolError",
    )
}
# Exceptions of other packages that httpcore2 does not convert.
_NAMES[ssl.SSLError] = "ReadError"
_OUT_OF_STREAMS: tuple[type[Exception], ...] = ()
with suppress(ImportError):  # HTTP/2 is an extra of httpx
    from h2.exceptions import ProtocolError, TooManyStreamsError

    _NAMES[ProtocolError] = "RemoteProtocolError"
    _OUT_OF_STREAMS = (TooManyStreamsError,)
with suppress(ImportError):  # SOCKS proxies are an extra as well
    from socksio.exceptions import SOCKSError

    _NAMES[SOCKSError] = "ProxyError"


def mapped(error: Exception, home: ModuleType) -> Exception | None:
    """Return the exception of `home` that corresponds to `error`; None if there is none.

    Args:
        error: What httpcore2 raised.
        home: httpx or httpx2.
    """
    for kind in type(error).__mro__:
        if kind in _NAMES:
            made: Any = getattr(home, _NAMES[kind])
            standing: Exception = made(str(error))
            return standing
    return None


def is_out_of_streams(error: BaseException) -> bool:
    """Return whether an HTTP/2 connection had no stream left: nothing of the request was sent.

    httpcore2 does not reset a stream whose request was cancelled, so that it counts until the
    server ends it.
    """
    return isinstance(error, httpcore2.LocalProtocolError) and any(
        isinstance(argument, _OUT_OF_STREAMS) for argument in error.args
    )
