"""The states and the modes of a circuit breaker."""

import enum


class CircuitState(enum.StrEnum):
    """What a circuit breaker does with a request."""

    CLOSED = "closed"
    """It admits every request."""

    OPEN = "open"
    """It rejects every request until the cooldown is over."""

    HALF_OPEN = "half_open"
    """It admits a few requests as probes, by default one, and rejects the others."""


class CircuitMode(enum.StrEnum):
    """Whether a circuit breaker's state follows its counts or was set manually."""

    AUTOMATIC = "automatic"
    """The state follows the counts."""

    FORCED_OPEN = "forced_open"
    """The breaker stays open until its mode is changed."""

    DISABLED = "disabled"
    """The breaker stays closed, admits every request and counts nothing."""

    OBSERVE_ONLY = "observe_only"
    """The state follows the counts, but no request is rejected."""
