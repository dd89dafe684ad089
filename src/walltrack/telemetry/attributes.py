"""The attributes of metrics and spans, by the semantic conventions of OpenTelemetry for HTTP."""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import fields
from functools import lru_cache
from typing import Final

import httpx

from walltrack.core.events import Event
from walltrack.core.extensions import SERVICE
from walltrack.core.naming import Server, origin_of, server_at, shown_key
from walltrack.core.observer import Measure, Reading

Attributes = dict[str, str | int | float | bool]

_METHODS: Final = frozenset(
    {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"}
)
_OTHER: Final = "_OTHER"  # as the conventions call a method that they do not know
_ERRORS: Final = 400

_COMBINE: Final[dict[Measure, Callable[[float, float], float]]] = {
    "circuit_state": max,
    "queue_waiting": lambda one, other: one + other,
    "budget_balance": min,
}
"""What remains of several readings with the same attributes."""


def about(method: str | None, service: str, server: Server | None) -> Attributes:
    """Return the attributes of a service and its server, and of a method if there is one."""
    attributes: Attributes = {"walltrack.service": service}
    if server is not None:
        attributes["server.address"] = server.address
        if server.port is not None:
            attributes["server.port"] = server.port
    if method is not None:
        attributes["http.request.method"] = method if method in _METHODS else _OTHER
    return attributes


def of_call(request: httpx.Request) -> Attributes:
    """Return the attributes of the call of `request`; calls share them, so do not change them."""
    name = request.extensions.get(SERVICE)
    return _of_call(request.method, name if isinstance(name, str) else None, origin_of(request))


@lru_cache(maxsize=1024)
def _of_call(method: str, service: str | None, origin: Hashable) -> Attributes:
    if service is None:
        service = shown_key(origin).partition("://")[2]
    return about(method, str.__str__(service), server_at(origin))


def outcome_of(outcome: httpx.Response | BaseException) -> Attributes:
    """Return the `error.type` of a call, if it failed: a status or the class of an exception."""
    if isinstance(outcome, BaseException):
        return {"error.type": type(outcome).__qualname__}
    status = outcome.status_code
    return {"error.type": str(status)} if status >= _ERRORS else {}


def of_span(event: Event) -> Attributes:
    """Return the fields of an event as attributes of a span event; they contain no secret."""
    values = ((field.name, getattr(event, field.name)) for field in fields(event))
    return {
        f"walltrack.{name}": str(value) if isinstance(value, str) else value
        for name, value in values
        if name != "server" and value is not None
    }


def combined(readings: Iterable[Reading]) -> list[tuple[Attributes, float]]:
    """Return one value for each set of attributes: the worst, or the sum of what waits.

    A key that is not an origin is an attribute.

    Args:
        readings: Numbers of one measure.
    """
    values: dict[tuple[tuple[str, str | int | float | bool], ...], float] = {}
    for reading in readings:
        attributes = tuple(_place_of(reading).items())
        combine = _COMBINE[reading.measure]
        before = values.get(attributes)
        values[attributes] = reading.value if before is None else combine(before, reading.value)
    return [(dict(attributes), value) for attributes, value in values.items()]


def _place_of(reading: Reading) -> Attributes:
    attributes: Attributes = {}
    server = server_at(reading.key)
    if reading.measure == "circuit_state":
        attributes = about(None, reading.name, server)
    else:
        if server is not None:
            attributes = about(None, "", server)
            del attributes["walltrack.service"]
        if reading.name:
            attributes["walltrack.queue"] = reading.name
    if server is None and reading.key is not None:
        attributes["walltrack.key"] = shown_key(reading.key)
    return attributes
