"""The events of circuit breakers."""

from dataclasses import dataclass
from typing import ClassVar

from walltrack.core.naming import AboutServer


@dataclass(frozen=True, slots=True)
class CircuitOpened(AboutServer):
    """A circuit breaker opened and rejects requests from now on, unless it only observes.

    Args:
        service: Name of the service, or its `host[:port]`.
        failures: How many calls failed in a row; with a window, how many failed or were slow in it.
        cooldown: Seconds until the first probe is admitted.
        mode: The mode of the breaker: "observe_only" if it only observes, and rejects nothing.
        previous: The state before: "closed" or "half_open".
        key: The key of the breaker, as text; None if it is the origin.
        server: The server that it is about; None if there is none.
    """

    name: ClassVar[str] = "circuit_opened"

    service: str
    failures: int
    cooldown: float
    mode: str = "automatic"
    previous: str = "closed"
    key: str | None = None


@dataclass(frozen=True, slots=True)
class CircuitHalfOpened(AboutServer):
    """A circuit breaker's cooldown is over, and it admits probes.

    Args:
        service: Name of the service, or its `host[:port]`.
        mode: The mode of the breaker.
        key: The key of the breaker, as text; None if it is the origin.
        server: The server that it is about; None if there is none.
    """

    name: ClassVar[str] = "circuit_half_opened"

    service: str
    mode: str = "automatic"
    key: str | None = None


@dataclass(frozen=True, slots=True)
class CircuitClosed(AboutServer):
    """A circuit breaker closed after its probes succeeded: it admits all requests again.

    Args:
        service: Name of the service, or its `host[:port]`.
        mode: The mode of the breaker.
        key: The key of the breaker, as text; None if it is the origin.
        previous: The state before: "half_open", or "open" if the probe was that of another process.
        server: The server that it is about; None if there is none.
    """

    name: ClassVar[str] = "circuit_closed"

    service: str
    mode: str = "automatic"
    key: str | None = None
    previous: str = "half_open"


@dataclass(frozen=True, slots=True)
class CircuitModeChanged(AboutServer):
    """The mode of a circuit breaker was set manually, also if it had that mode before.

    Args:
        service: Name of the service, or its `host[:port]`.
        mode: The mode: "forced_open", "disabled", "observe_only", or "automatic" after `reset`.
        state: The state from now on.
        previous: The state before.
        key: The key of the breaker, as text; None if it is the origin.
        server: The server that it is about; None if there is none.
    """

    name: ClassVar[str] = "circuit_mode_changed"

    service: str
    mode: str
    state: str
    previous: str
    key: str | None = None


@dataclass(frozen=True, slots=True)
class RequestWaiting(AboutServer):
    """A request met an open circuit, and waits for it.

    Args:
        service: Name of the service, or its `host[:port]`.
        method: HTTP method.
        path: Path without query.
        shut_for: Seconds until the circuit admits the next probe, at the latest.
        server: The server that it is about; None if there is none.
    """

    name: ClassVar[str] = "request_waiting"

    service: str
    method: str
    path: str
    shut_for: float


@dataclass(frozen=True, slots=True)
class RequestAdmitted(AboutServer):
    """A request that waited is sent: as a probe, because its circuit closed, or in its turn.

    The waits for a limit are part of normal operation, and are logged at level DEBUG.

    Args:
        service: Name of the service, or its `host[:port]`.
        method: HTTP method.
        path: Path without query.
        waited: Seconds that it waited.
        queue: Where it waited: "waiting_room", "rate_limit" or "concurrency_limit".
        server: The server that it is about; None if there is none.
    """

    name: ClassVar[str] = "request_admitted"

    service: str
    method: str
    path: str
    waited: float
    queue: str = "waiting_room"
