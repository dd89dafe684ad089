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
    from walltrack.core.naming import origin_of
    from walltrack.resilience.backoff import Backoff
    from walltrack.resilience.budget import RetryBudget
    from walltrack.resilience.circuit_breaker import CircuitBreaker
    from walltrack.resilience.circuit_state import CircuitMode, CircuitState
    from walltrack.resilience.concurrency import AdaptiveLimit
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
    from walltrack.resilience.permit import Permit
    from walltrack.resilience.retry import RetryPolicy
    from walltrack.resilience.windows import CountWindow, TimeWindow
    from walltrack.services.base import BaseAPIClient
    from walltrack.telemetry.log import log_event
    from walltrack.telemetry.redaction import redact_httpx_logs
    from walltrack.transports.circuit_breaker import CircuitBreakerTransport
    from walltrack.transports.concurrency import ConcurrencyLimitTransport
    from walltrack.transports.hedging import HedgingTransport
    from walltrack.transports.rate_limit import RateLimitTransport
    from walltrack.transports.retry import RetryTransport
    from walltrack.transports.stack import resilient_transport
    from walltrack.transports.timeout import TimeoutTransport

__all__ = [
    "AdaptiveLimit",
    "Backoff",
    "BaseAPIClient",
    "CircuitBreaker",
    "CircuitBreakerOpenError",
    "CircuitBreakerTransport",
    "CircuitClosed",
    "CircuitHalfOpened",
    "CircuitMode",
    "CircuitOpened",
    "CircuitState",
    "ConcurrencyLimitError",
    "ConcurrencyLimitTransport",
    "CountWindow",
    "Deadline",
    "Delivery",
    "Event",
    "ExternalServiceError",
    "Gate",
    "HedgingTransport",
    "Listener",
    "OriginHeldBack",
    "Permit",
    "RateLimitError",
    "RateLimitTransport",
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
    "TimeWindow",
    "TimeoutTransport",
    "WallTrackError",
    "get_settings",
    "log_event",
    "origin_of",
    "redact_httpx_logs",
    "resilient_transport",
]

# A type checker would take every name for one that is there.
if not TYPE_CHECKING:  # pragma: no branch
    # Nobody uses all of it: what a program does not ask for, it does not wait for.
    _HOMES = {
        "AdaptiveLimit": "walltrack.resilience.concurrency",
        "Backoff": "walltrack.resilience.backoff",
        "BaseAPIClient": "walltrack.services.base",
        "CircuitBreaker": "walltrack.resilience.circuit_breaker",
        "CircuitBreakerOpenError": "walltrack.core.exceptions",
        "CircuitBreakerTransport": "walltrack.transports.circuit_breaker",
        "CircuitClosed": "walltrack.resilience.events",
        "CircuitHalfOpened": "walltrack.resilience.events",
        "CircuitMode": "walltrack.resilience.circuit_state",
        "CircuitOpened": "walltrack.resilience.events",
        "CircuitState": "walltrack.resilience.circuit_state",
        "ConcurrencyLimitError": "walltrack.core.exceptions",
        "ConcurrencyLimitTransport": "walltrack.transports.concurrency",
        "CountWindow": "walltrack.resilience.windows",
        "Deadline": "walltrack.core.extensions",
        "Delivery": "walltrack.core.delivery",
        "Event": "walltrack.resilience.events",
        "ExternalServiceError": "walltrack.core.exceptions",
        "Gate": "walltrack.core.extensions",
        "HedgingTransport": "walltrack.transports.hedging",
        "Listener": "walltrack.resilience.events",
        "OriginHeldBack": "walltrack.resilience.events",
        "Permit": "walltrack.resilience.permit",
        "RateLimitError": "walltrack.core.exceptions",
        "RateLimitTransport": "walltrack.transports.rate_limit",
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
        "TimeWindow": "walltrack.resilience.windows",
        "TimeoutTransport": "walltrack.transports.timeout",
        "WallTrackError": "walltrack.core.exceptions",
        "get_settings": "walltrack.config.settings",
        "log_event": "walltrack.telemetry.log",
        "origin_of": "walltrack.core.naming",
        "redact_httpx_logs": "walltrack.telemetry.redaction",
        "resilient_transport": "walltrack.transports.stack",
    }

    def __getattr__(name: str) -> object:
        """Import a name when it is first asked for (PEP 562)."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_HOMES[name]), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
