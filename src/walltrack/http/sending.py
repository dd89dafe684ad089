"""The transport that sends requests if none is given."""

from importlib import import_module
from typing import Any, Unpack

from walltrack.core import family
from walltrack.http.options import HTTPOptions


def http_transport(**options: Unpack[HTTPOptions]) -> family.AsyncBaseTransport:
    """Return an `HTTPTransport` with these options.

    Its module is imported only here: importing httpcore2 takes longer than importing the rest of
    this library, and programs that give their own transport do not need it.
    """
    module: Any = import_module("walltrack.http.transport")
    transport: family.AsyncBaseTransport = module.HTTPTransport(**options)
    return transport
