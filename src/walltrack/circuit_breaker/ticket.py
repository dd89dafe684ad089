"""What one request through a circuit breaker carries until it settles."""

import sys
from typing import Final, NamedTuple, Self

from walltrack.circuit_breaker.state import CircuitState

UNCOUNTED: Final = -1
"""The ticket of a request that nobody counts: older than every generation."""

NEVER: Final = sys.maxsize
"""The generation of a breaker that counts nobody: no ticket is as young."""


class TimedTicket(int):
    """A ticket that knows when its call began, and that it was answered, if it was.

    A breaker that looks out for slow calls gives these; for any other, the bare number will do.
    """

    _began: float
    _took: float | None

    def __new__(cls, number: int, began: float) -> Self:
        """The ticket `number` of a call that began at that moment."""
        self = super().__new__(cls, number)
        self._began = began
        self._took = None
        return self

    def answer(self, now: float) -> None:
        """Note that the headers came `now`: what follows is not the call's slowness."""
        self._took = now - self._began

    def took(self, now: float) -> float:
        """Seconds from the beginning to the headers, or to `now` if none were noted."""
        return now - self._began if self._took is None else self._took


class Admission(NamedTuple):
    """Leave to make one request.

    Args:
        ticket: To be given back with the verdict; exactly once.
        became: The state that the breaker changed to by admitting it, if it did.
    """

    ticket: int
    became: CircuitState | None
