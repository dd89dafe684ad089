"""Report waits, admissions and rejections; make the error for a rejection."""

import httpx

from walltrack.core.events import Listener, RejectReason, RequestWaiting
from walltrack.core.exceptions import CircuitBreakerOpenError, WaitingRoomTimeoutError
from walltrack.core.extensions import Gate
from walltrack.core.naming import names_of
from walltrack.telemetry.emit import emit, emit_admitted, emit_rejected
from walltrack.waiting_room.room import Place


class Reporter:
    """Report what happens in a waiting room.

    Args:
        listener: Called with each event; None: there are no events.
    """

    __slots__ = ("_listener",)

    def __init__(self, listener: Listener | None) -> None:
        self._listener = listener

    def waits(self, request: httpx.Request, gate: Gate) -> None:
        """Report that `request` waits for its circuit."""
        if self._listener is not None:
            emit(self._listener, RequestWaiting(**names_of(request), shut_for=gate.shut_for()))

    def goes(self, request: httpx.Request, waited: float) -> None:
        """Report that `request` is sent after a wait."""
        emit_admitted(self._listener, request, "waiting_room", waited)

    def is_open_again(self, request: httpx.Request, gate: Gate) -> bool:
        """Return whether the circuit that rejected `request` admits others by now; report it."""
        if gate.shut_for() > 0.0:
            return False
        self._report(request, RejectReason.CIRCUIT_OPEN, gate)
        return True

    def no_space(self, request: httpx.Request, gate: Gate) -> CircuitBreakerOpenError:
        """Return the error for a request that finds the room full."""
        self._report(request, RejectReason.WAITING_ROOM_FULL, gate)
        return CircuitBreakerOpenError(retry_after=gate.shut_for(), request=request)

    def of_no_use(self, request: httpx.Request, place: Place) -> CircuitBreakerOpenError:
        """Return the error for a request whose wait would be in vain."""
        self._report(request, RejectReason.CIRCUIT_OPEN_TOO_LONG, place.room.gate)
        by_pool = not place.room.is_hopeless(place.latest)
        kind = WaitingRoomTimeoutError if by_pool else CircuitBreakerOpenError
        return kind(retry_after=place.room.gate.shut_for(), request=request)

    def in_vain(
        self, request: httpx.Request, place: Place, now: float, waited: float
    ) -> CircuitBreakerOpenError:
        """Return the error for a request whose wait was in vain.

        Args:
            request: The request.
            place: The place that it had.
            now: The time on the room's clock.
            waited: For how many seconds it waited.
        """
        kind = CircuitBreakerOpenError
        if now < place.until:
            self._report(request, RejectReason.CIRCUIT_OPEN_TOO_LONG, place.room.gate)
        else:
            self._report(request, RejectReason.WAITING_ROOM_TIMEOUT, place.room.gate)
            if place.until < place.latest:
                kind = WaitingRoomTimeoutError
        error = kind(retry_after=place.room.gate.shut_for(), request=request)
        error.waited = waited
        return error

    def _report(self, request: httpx.Request, reason: RejectReason, gate: Gate) -> None:
        emit_rejected(self._listener, request, reason, gate.shut_for())
