"""The settings and the state of circuit breakers, for people and for metrics."""

from collections.abc import Hashable, Iterable, Mapping
from typing import Any, Final

from walltrack.circuit_breaker.breaker import CircuitBreaker
from walltrack.circuit_breaker.state import CircuitMode, CircuitState
from walltrack.core.naming import finite, shown_key
from walltrack.core.observer import Reading

_NUMBERS: Final = {state: number for number, state in enumerate(("closed", "half_open", "open"))}


def described(
    one: CircuitBreaker, mode: CircuitMode, breakers: Mapping[Hashable, CircuitBreaker]
) -> dict[str, Any]:
    """Return settings and state, as JSON has them.

    Args:
        one: A breaker with the settings of all.
        mode: The mode in which they begin.
        breakers: All by their keys; those are shown that are not closed, or in another mode.
    """
    shown = [
        _described(key, breaker)
        for key, breaker in breakers.items()
        if breaker.state is not CircuitState.CLOSED or breaker.mode is not mode
    ]
    settings = {
        "failure_threshold": one.failure_threshold,
        "failing_seconds": one.failing_seconds,
        "cooldown": one.cooldown_seconds,
        "longest_cooldown": one.longest_cooldown,
        "window": one.thresholds,
        "probes": one.probes,
        "mode": mode,
    }
    return {"settings": settings, "breakers": shown, "closed": len(breakers) - len(shown)}


def readings_of(breakers: Mapping[Hashable, CircuitBreaker]) -> Iterable[Reading]:
    """Return the state of each breaker as a number."""
    for key, breaker in tuple(breakers.items()):
        yield Reading("circuit_state", key, _NUMBERS[breaker.state], breaker.service)


def _described(key: Hashable, breaker: CircuitBreaker) -> dict[str, Any]:
    since = breaker.since
    return {
        "key": None if key is None else shown_key(key),
        "service": breaker.service,
        "state": breaker.state,
        "mode": breaker.mode,
        "since": None if since is None else since.isoformat(),
        "shut_for": finite(breaker.shut_for()),
        "failures": breaker.failure_count,
    }
