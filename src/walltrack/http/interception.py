"""Detect mocks, recorders and instrumentations that replace httpx's own transport.

respx, pytest-httpx, vcrpy and the instrumentation of OpenTelemetry replace a method of httpx's
transport or of httpcore's pool. Requests that do not call these methods would bypass them: a test
would send to the real service. So while such a method is replaced, requests use httpx's own
transport.
"""

import sys
from types import FunctionType, ModuleType
from typing import Any

import httpx

from walltrack.http.options import Options

_CORE = "httpcore"


def is_intercepted(home: ModuleType) -> bool:
    """Return whether a method of the transport of a family is replaced."""
    # The pool of httpcore2 is not checked: it is the one that is used anyway, even if replaced.
    core = sys.modules.get(_CORE) if home is httpx else None
    return _is_replaced(home, "AsyncHTTPTransport") or (
        core is not None and _is_replaced(core, "AsyncConnectionPool")
    )


def own_transport(
    home: ModuleType, options: Options, proxy: httpx.Proxy | None
) -> httpx.AsyncBaseTransport:
    """Return the own transport of a family, with these options."""
    make: Any = home
    transport: httpx.AsyncBaseTransport = make.AsyncHTTPTransport(
        verify=options.contexts.of(home),
        http1=options.http1,
        http2=options.http2,
        limits=options.limits,
        trust_env=options.trust_env,
        proxy=proxy,
        uds=options.uds,
        local_address=options.local_address,
        retries=options.retries,
        socket_options=options.socket_options,
    )
    return transport


def _is_replaced(package: Any, name: str) -> bool:  # noqa: ANN401 - a module
    # By the module that defines the function: a wrapper may copy the name of what it wraps.
    method: Any = getattr(getattr(package, name), "handle_async_request", None)
    if type(method) is not FunctionType:
        return True
    defined_in: str = method.__globals__["__name__"]
    expected: str = package.__name__
    return defined_in.partition(".")[0] != expected
