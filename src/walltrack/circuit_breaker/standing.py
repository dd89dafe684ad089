"""The standing of one circuit breaker with its ledger: clean or troubled, and when last used."""

import math
from collections.abc import Callable

from walltrack.circuit_breaker.ledger import Ledger
from walltrack.circuit_breaker.state import CircuitState

_CLOSED = CircuitState.CLOSED  # a look-up on the class costs as much as a call


class Standing:
    """The part of a circuit breaker that its ledger knows: an `Entry`.

    A breaker is clean while its mode was not set manually and it counts no failures in a row. A
    clean breaker can be evicted at any time, and a success changes nothing in it.

    Args:
        ledger: The ledger that keeps this breaker.
        clock: Monotonic seconds.
        cooldown_seconds: The first cooldown, in seconds. A breaker that has counted failures but
            had no request for longer than this may be evicted.
    """

    __slots__ = (
        "_clock",
        "_failing_since",
        "_failures",
        "_generation",
        "_is_clean",
        "_mode",
        "_previous",
        "_state",
        "_used_at",
        "cooldown_seconds",
        "ledger",
        "member",
        "settings",
    )

    def __init__(self, ledger: Ledger, clock: Callable[[], float], cooldown_seconds: float) -> None:
        self.ledger: Ledger = ledger
        self.cooldown_seconds: float = cooldown_seconds
        self._clock = clock
        self._mode = ledger.usual_mode
        self._state = _CLOSED
        self._previous = _CLOSED
        self._failures = 0  # in a row, or in the window when it opened; above 0 unless CLOSED
        self._failing_since = -math.inf  # until a success is seen; inf until the next failure
        self._used_at = -math.inf  # the last request since it is not clean
        self._generation = ledger.floor  # results with a lower ticket are late
        self._is_clean = True
        self.member: object = None  # what other processes know of it
        self.settings: int = 0  # how many times its mode was set

    @property
    def previous(self) -> CircuitState:
        """The state before the last change by a request."""
        return self._previous

    @property
    def generation(self) -> int:
        """The current generation: results of requests that began in an earlier one are ignored."""
        return self._generation

    def idle_for(self) -> float | None:
        """Return the seconds since the last request, while failures in a row are counted.

        Returns:
            None if the breaker is not closed, or its mode was set manually.
        """
        if self._state is _CLOSED and self._mode is self.ledger.usual_mode:
            return self._clock() - self._used_at
        return None

    def _failing_for(self) -> float:
        """Return for how many seconds requests have failed in a row, with one that failed now."""
        now = self._clock()
        self._failing_since = min(self._failing_since, now)
        return now - self._failing_since

    def disown_results_in_flight(self) -> None:
        """Ignore the results of requests that began before now."""
        self.ledger.epoch += 1
        self._generation = self.ledger.epoch

    def _tell_ledger(self) -> None:
        """Report to the ledger whether this breaker is clean, if that has changed."""
        was, usual = self._is_clean, self._mode is self.ledger.usual_mode
        self._is_clean = usual and not self._failures
        if was and not self._is_clean:
            self.ledger.troubled(self)
        elif self._is_clean and not was:
            self.ledger.recovered(self)

    def _note_setting(self, previous: CircuitState) -> None:
        """Note that the mode was set manually, and what the state was before."""
        self.settings += 1
        self.ledger.mode_changed(self, previous)

    def _note_use(self) -> None:
        """Note that a request uses this breaker now."""
        self._used_at = self._clock()
        self.ledger.used(self)
