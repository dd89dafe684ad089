"""What sends requests by default."""

from importlib import import_module
from typing import Any, Unpack

from walltrack.core import family
from walltrack.http.options import HTTPOptions


def http_transport(**options: Unpack[HTTPOptions]) -> family.AsyncBaseTransport:
    """Return an `HTTPTransport` with these options.

    It is imported when the first one is made: httpcore2 takes longer to import than the rest of
    this library, and programs that give a transport of their own do without it.
    """
    module: Any = import_module("walltrack.http.transport")
    transport: family.AsyncBaseTransport = module.HTTPTransport(**options)
    return transport
