"""Resilience for any httpx call: transports that retry, and that leave a failing service alone."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from walltrack.config.settings import Settings, get_settings
    from walltrack.core.delivery import Delivery
    from walltrack.core.exceptions import (
        CircuitBreakerOpenError,
        ConcurrencyLimitError,
        ExternalServiceError,
        RateLimitError,
        RequestRejectedError,
        ResponseTooLargeError,
        TimeLimitExceededError,
        WallTrackError,
    )
    from walltrack.core.extensions import Deadline, Gate
    from walltrack.resilience.backoff import Backoff
    from walltrack.resilience.budget import RetryBudget
    from walltrack.resilience.circuit_breaker import CircuitBreaker, CircuitState, Permit
    from walltrack.resilience.events import (
        CircuitClosed,
        CircuitHalfOpened,
        CircuitOpened,
        Event,
        Listener,
        OriginHeldBack,
        RejectReason,
        RequestHedged,
        RequestRejected,
        RetryScheduled,
        RetryStopped,
        StopReason,
    )
    from walltrack.resilience.retry import RetryPolicy
    from walltrack.services.base import BaseAPIClient
    from walltrack.telemetry.log import log_event
    from walltrack.telemetry.redaction import redact_httpx_logs
    from walltrack.transports.circuit_breaker import CircuitBreakerTransport
    from walltrack.transports.retry import RetryTransport

__all__ = [
    "Backoff",
    "BaseAPIClient",
    "CircuitBreaker",
    "CircuitBreakerOpenError",
    "CircuitBreakerTransport",
    "CircuitClosed",
    "CircuitHalfOpened",
    "CircuitOpened",
    "CircuitState",
    "ConcurrencyLimitError",
    "Deadline",
    "Delivery",
    "Event",
    "ExternalServiceError",
    "Gate",
    "Listener",
    "OriginHeldBack",
    "Permit",
    "RateLimitError",
    "RejectReason",
    "RequestHedged",
    "RequestRejected",
    "RequestRejectedError",
    "ResponseTooLargeError",
    "RetryBudget",
    "RetryPolicy",
    "RetryScheduled",
    "RetryStopped",
    "RetryTransport",
    "Settings",
    "StopReason",
    "TimeLimitExceededError",
    "WallTrackError",
    "get_settings",
    "log_event",
    "redact_httpx_logs",
]

# A type checker would take every name for one that is there.
if not TYPE_CHECKING:  # pragma: no branch
    # Nobody uses all of it: what a program does not ask for, it does not wait for.
    _HOMES = {
        "Backoff": "walltrack.resilience.backoff",
        "BaseAPIClient": "walltrack.services.base",
        "CircuitBreaker": "walltrack.resilience.circuit_breaker",
        "CircuitBreakerOpenError": "walltrack.core.exceptions",
        "CircuitBreakerTransport": "walltrack.transports.circuit_breaker",
        "CircuitClosed": "walltrack.resilience.events",
        "CircuitHalfOpened": "walltrack.resilience.events",
        "CircuitOpened": "walltrack.resilience.events",
        "CircuitState": "walltrack.resilience.circuit_breaker",
        "ConcurrencyLimitError": "walltrack.core.exceptions",
        "Deadline": "walltrack.core.extensions",
        "Delivery": "walltrack.core.delivery",
        "Event": "walltrack.resilience.events",
        "ExternalServiceError": "walltrack.core.exceptions",
        "Gate": "walltrack.core.extensions",
        "Listener": "walltrack.resilience.events",
        "OriginHeldBack": "walltrack.resilience.events",
        "Permit": "walltrack.resilience.circuit_breaker",
        "RateLimitError": "walltrack.core.exceptions",
        "RejectReason": "walltrack.resilience.events",
        "RequestHedged": "walltrack.resilience.events",
        "RequestRejected": "walltrack.resilience.events",
        "RequestRejectedError": "walltrack.core.exceptions",
        "ResponseTooLargeError": "walltrack.core.exceptions",
        "RetryBudget": "walltrack.resilience.budget",
        "RetryPolicy": "walltrack.resilience.retry",
        "RetryScheduled": "walltrack.resilience.events",
        "RetryStopped": "walltrack.resilience.events",
        "RetryTransport": "walltrack.transports.retry",
        "Settings": "walltrack.config.settings",
        "StopReason": "walltrack.resilience.events",
        "TimeLimitExceededError": "walltrack.core.exceptions",
        "WallTrackError": "walltrack.core.exceptions",
        "get_settings": "walltrack.config.settings",
        "log_event": "walltrack.telemetry.log",
        "redact_httpx_logs": "walltrack.telemetry.redaction",
    }

    def __getattr__(name: str) -> object:
        """Import a name when it is first asked for (PEP 562)."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_HOMES[name]), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
