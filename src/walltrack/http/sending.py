"""The transport that sends requests if none is given."""

import inspect
from collections.abc import Callable
from importlib import import_module
from typing import Any, Unpack

import httpx

from walltrack.core import family, validation
from walltrack.http.options import HTTPOptions


def http_transport(**options: Unpack[HTTPOptions]) -> family.AsyncBaseTransport:
    """Return an `HTTPTransport` with these options.

    Its module is imported only here: importing httpcore2 takes longer than importing the rest of
    this library, and programs that give their own transport do not need it.
    """
    module: Any = import_module("walltrack.http.transport")
    transport: family.AsyncBaseTransport = module.HTTPTransport(**options)
    return transport


def inner_transport(
    owner: Callable[..., object], transport: family.Transport | None, options: HTTPOptions
) -> httpx.AsyncBaseTransport:
    """Return what sends: the given transport, or an `HTTPTransport` with these options.

    Args:
        owner: The function or class that was given them; its last parameter takes them.
        transport: The transport, if one was given.
        options: The options.

    Raises:
        TypeError: There is no such option, or there is a transport, which would ignore them; or
            `transport` is none.
        ValueError, ImportError, OSError: As by `HTTPTransport`.
    """
    name = owner.__name__
    if unknown := options.keys() - HTTPOptions.__annotations__:
        *own, _ = inspect.signature(owner).parameters
        validation.known(f"{name}()", unknown, [*own, *HTTPOptions.__annotations__])
    if transport is None:
        return http_transport(**options)
    if options:
        raise TypeError(
            f"{name}() makes no transport if it is given one by transport=, and would ignore "
            f"{', '.join(sorted(options))}: give that to the transport itself, as in "
            f"{name}(transport=HTTPTransport({min(options)}=...))"
        )
    return family.typed(transport)
