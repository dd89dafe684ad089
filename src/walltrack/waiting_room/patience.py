"""How long a call can wait for its circuit."""

from collections.abc import Callable
from typing import NamedTuple

import httpx

from walltrack.core.extensions import Gate, pool_timeout, time_left
from walltrack.core.waiting import time_left_to_caller


class Patience(NamedTuple):
    """How long a call can wait.

    Args:
        total: Seconds until the call is of no use any more.
        here: Seconds until this wait has to end; at most `total`.
    """

    total: float
    here: float

    def is_enough_for(self, gate: Gate) -> bool:
        """Return whether the circuit can admit requests before the wait has to end."""
        return gate.is_probing or gate.shut_for() < self.here


def patience_of(request: httpx.Request, max_wait: float, clock: Callable[[], float]) -> Patience:
    """Return how long a call can wait from now on.

    Args:
        request: The request of the call.
        max_wait: The longest wait, in seconds.
        clock: Monotonic seconds, for a deadline that is given as a number.
    """
    total = min(max_wait, time_left(request.extensions, clock), time_left_to_caller())
    return Patience(total, min(total, pool_timeout(request.extensions)))
