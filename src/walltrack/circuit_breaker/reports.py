"""The events of a transport's circuit breakers: changes of state and of mode, and rejections."""

import math

import httpx

from walltrack.circuit_breaker.breaker import CircuitBreaker
from walltrack.circuit_breaker.breakers import BreakersByKey
from walltrack.circuit_breaker.ledger import Entry
from walltrack.circuit_breaker.state import CircuitState
from walltrack.core.events import (
    CircuitClosed,
    CircuitHalfOpened,
    CircuitModeChanged,
    CircuitOpened,
    Event,
    Listener,
    RejectReason,
    RequestRejected,
)
from walltrack.core.exceptions import CircuitBreakerOpenError
from walltrack.core.extensions import WAITS_AT_GATE
from walltrack.core.naming import Server, names_of, server_at, server_of, service_of, shown_key
from walltrack.telemetry.emit import emit


class Reports:
    """Emit the events of the circuit breakers of one transport.

    Args:
        breakers: The breakers of the transport, one for each key.
        shared: One breaker for every request, instead of `breakers`; None if there is none.
        listener: Called with the events.
    """

    __slots__ = ("__weakref__", "_breakers", "_shared", "listener")

    def __init__(
        self, breakers: BreakersByKey, shared: CircuitBreaker | None, listener: Listener
    ) -> None:
        self._breakers = breakers
        self._shared = shared
        self.listener: Listener = listener

    def changed(
        self, request: httpx.Request | None, breaker: CircuitBreaker, state: CircuitState
    ) -> None:
        """Report that `breaker` changed to `state`, by `request` if it was one."""
        key, server = self._place_of(breaker)
        service = breaker.service
        if request is not None:
            service = service_of(request)
            if self._shared is not None:
                server = server_of(request)
        emit(self.listener, _event(service, breaker, state, key, server))

    def rejection(self, *, retry_after: float, request: httpx.Request) -> CircuitBreakerOpenError:
        """Return the error for a request that a breaker rejects; report it unless a layer does."""
        if not request.extensions.get(WAITS_AT_GATE):
            names, seconds = names_of(request), None if math.isinf(retry_after) else retry_after
            reason = RejectReason.CIRCUIT_OPEN
            emit(self.listener, RequestRejected(**names, reason=reason, retry_after=seconds))
        return CircuitBreakerOpenError(retry_after=retry_after, request=request)

    def mode_changed(self, breaker: Entry, previous: CircuitState) -> None:
        """Report that the mode of `breaker` was set manually, unless it was evicted."""
        assert isinstance(breaker, CircuitBreaker)  # noqa: S101 - an entry has no mode to set
        try:
            key, server = self._place_of(breaker)
        except KeyError:
            return
        emit(
            self.listener,
            CircuitModeChanged(
                breaker.service, breaker.mode, breaker.state, previous, key, server=server
            ),
        )

    def _place_of(self, breaker: CircuitBreaker) -> tuple[str | None, Server | None]:
        """Return the key of `breaker` if it is not an origin, and its server if it is one."""
        if self._shared is not None:
            return None, None
        key = self._breakers.key_of(breaker)
        server = server_at(key)
        return (shown_key(key) if server is None else None), server


def _event(
    service: str,
    breaker: CircuitBreaker,
    state: CircuitState,
    key: str | None,
    server: Server | None,
) -> Event:
    mode = breaker.mode
    if state is CircuitState.OPEN:
        return CircuitOpened(
            service,
            breaker.failure_count,
            breaker.current_cooldown,
            mode,
            breaker.previous,
            key,
            server=server,
        )
    if state is CircuitState.HALF_OPEN:
        return CircuitHalfOpened(service, mode, key, server=server)
    # If it has opened again by now, its `previous` is a later one. Only a fleet closes an open one.
    was_open = breaker.previous is CircuitState.OPEN
    previous = CircuitState.OPEN if was_open else CircuitState.HALF_OPEN
    return CircuitClosed(service, mode, key, previous, server=server)
