"""The ticket that a request through a circuit breaker keeps until it settles."""

import sys
from typing import Final, NamedTuple, Self

from walltrack.circuit_breaker.state import CircuitState

UNCOUNTED: Final = -1
"""The ticket of a request that is not counted: older than every generation."""

NEVER: Final = sys.maxsize
"""The generation of a breaker that counts nothing: every ticket is older."""


class TimedTicket(int):
    """A ticket that records when its call began, and when its headers came.

    Breakers that count slow calls use these tickets; others use plain numbers.
    """

    _began: float
    _took: float | None

    def __new__(cls, number: int, began: float) -> Self:
        """Make the ticket `number` of a call that began at the time `began`."""
        self = super().__new__(cls, number)
        self._began = began
        self._took = None
        return self

    def answer(self, now: float) -> None:
        """Note that the headers came `now`: the time of the body does not count."""
        self._took = now - self._began

    def took(self, now: float) -> float:
        """Return the seconds from the start to the headers, or to `now` if there are none yet."""
        return now - self._began if self._took is None else self._took


class Admission(NamedTuple):
    """Permission for one request.

    Args:
        ticket: To be passed to `settle` with the verdict, exactly once.
        became: The state that the breaker changed to when it admitted the request; None if it did
            not change.
    """

    ticket: int
    became: CircuitState | None
