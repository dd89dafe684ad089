"""What a circuit breaker does with a request, and who decides that."""

import enum


class CircuitState(enum.StrEnum):
    """What a circuit breaker does with a request."""

    CLOSED = "closed"
    """Lets it through."""

    OPEN = "open"
    """Refuses it, until the cooldown is over."""

    HALF_OPEN = "half_open"
    """Lets a few through, by default a single one, as probes, and refuses the others."""


class CircuitMode(enum.StrEnum):
    """Who decides what a circuit breaker does."""

    AUTOMATIC = "automatic"
    """What it counts does."""

    FORCED_OPEN = "forced_open"
    """It is open, and stays so until it is told otherwise."""

    DISABLED = "disabled"
    """It is closed, lets everything through, and counts nothing."""

    OBSERVE_ONLY = "observe_only"
    """It counts, and changes its state by that, but refuses nothing."""
