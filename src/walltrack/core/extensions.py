"""The keys under which this library reads and writes the `extensions` of httpx's messages."""

from dataclasses import dataclass
from typing import Final, Protocol

RETRY: Final = "walltrack.retry"
"""On a request: a `RetryPolicy` for this call alone, or False for a single attempt."""

SERVICE: Final = "walltrack.service"
"""On a request: the name of the service in events and errors, instead of `host[:port]`."""

ATTEMPTS: Final = "walltrack.attempts"
"""On a response: how many attempts it took, 1 or more."""

GATE: Final = "walltrack.gate"
"""On a request whose attempt failed: the `Gate` which that attempt went through."""

REPORT: Final = "walltrack.report"
"""On a request: a `CallReport` that is filled in while the call runs."""


class Gate(Protocol):
    """A way to the server that can be shut; a circuit breaker is one."""

    def shut_for(self) -> float:
        """For how many seconds this way is shut from now on; 0.0 when it is open."""
        ...


@dataclass(slots=True)
class CallReport:
    """What is known of a call however it ends; an exception has no extensions to carry it."""

    attempts: int = 1
