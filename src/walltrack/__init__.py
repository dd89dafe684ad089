"""Resilience for any httpx call: transports that retry, and that leave a failing service alone."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from walltrack.circuit_breaker.breaker import CircuitBreaker
    from walltrack.circuit_breaker.permit import Permit
    from walltrack.circuit_breaker.state import CircuitMode, CircuitState
    from walltrack.circuit_breaker.transport import CircuitBreakerTransport
    from walltrack.circuit_breaker.windows import CountWindow, TimeWindow
    from walltrack.concurrency_limit.adaptive import AdaptiveLimit
    from walltrack.concurrency_limit.transport import ConcurrencyLimitTransport
    from walltrack.config.settings import Settings, get_settings
    from walltrack.core.backoff import Backoff
    from walltrack.core.budget import RetryBudget
    from walltrack.core.delivery import Delivery
    from walltrack.core.events import (
        CircuitClosed,
        CircuitHalfOpened,
        CircuitOpened,
        Event,
        Listener,
        OriginThrottled,
        RejectReason,
        RequestAdmitted,
        RequestHedged,
        RequestRejected,
        RequestWaiting,
        RetryScheduled,
        RetryStopped,
        StopReason,
    )
    from walltrack.core.exceptions import (
        CircuitBreakerOpenError,
        ConcurrencyLimitError,
        ExternalServiceError,
        RateLimitError,
        RequestRejectedError,
        ResponseTooLargeError,
        TimeLimitExceededError,
        TransportClosedError,
        WallTrackError,
    )
    from walltrack.core.naming import origin_of
    from walltrack.core.statuses import DEFAULT_RETRY_STATUSES
    from walltrack.core.version import __version__
    from walltrack.hedging.transport import HedgingTransport
    from walltrack.http.options import HTTPOptions
    from walltrack.http.transport import HTTPTransport
    from walltrack.rate_limit.transport import RateLimitTransport
    from walltrack.retry.policy import RetryPolicy
    from walltrack.retry.transport import RetryTransport
    from walltrack.services.base import BaseAPIClient
    from walltrack.stack import resilient_transport
    from walltrack.telemetry.log import log_event
    from walltrack.telemetry.redaction import redact_httpx_logs
    from walltrack.timeout.limits import AttemptTimeout
    from walltrack.timeout.transport import TimeoutTransport
    from walltrack.waiting_room.transport import WaitingRoomTransport

__all__ = [
    "AdaptiveLimit",
    "AttemptTimeout",
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
    "DEFAULT_RETRY_STATUSES",
    "Delivery",
    "Event",
    "ExternalServiceError",
    "HTTPOptions",
    "HTTPTransport",
    "HedgingTransport",
    "Listener",
    "OriginThrottled",
    "Permit",
    "RateLimitError",
    "RateLimitTransport",
    "RejectReason",
    "RequestAdmitted",
    "RequestHedged",
    "RequestRejected",
    "RequestRejectedError",
    "RequestWaiting",
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
    "TransportClosedError",
    "WaitingRoomTransport",
    "WallTrackError",
    "__version__",
    "get_settings",
    "log_event",
    "origin_of",
    "redact_httpx_logs",
    "resilient_transport",
]

# A type checker would take every name for one that is there.
if not TYPE_CHECKING:  # pragma: no branch
    # A program waits only for the import of what it uses.
    _HOMES = {
        "AdaptiveLimit": "walltrack.concurrency_limit.adaptive",
        "AttemptTimeout": "walltrack.timeout.limits",
        "Backoff": "walltrack.core.backoff",
        "BaseAPIClient": "walltrack.services.base",
        "CircuitBreaker": "walltrack.circuit_breaker.breaker",
        "CircuitBreakerOpenError": "walltrack.core.exceptions",
        "CircuitBreakerTransport": "walltrack.circuit_breaker.transport",
        "CircuitClosed": "walltrack.core.events",
        "CircuitHalfOpened": "walltrack.core.events",
        "CircuitMode": "walltrack.circuit_breaker.state",
        "CircuitOpened": "walltrack.core.events",
        "CircuitState": "walltrack.circuit_breaker.state",
        "ConcurrencyLimitError": "walltrack.core.exceptions",
        "ConcurrencyLimitTransport": "walltrack.concurrency_limit.transport",
        "CountWindow": "walltrack.circuit_breaker.windows",
        "DEFAULT_RETRY_STATUSES": "walltrack.core.statuses",
        "Delivery": "walltrack.core.delivery",
        "Event": "walltrack.core.events",
        "ExternalServiceError": "walltrack.core.exceptions",
        "HTTPOptions": "walltrack.http.options",
        "HTTPTransport": "walltrack.http.transport",
        "HedgingTransport": "walltrack.hedging.transport",
        "Listener": "walltrack.core.events",
        "OriginThrottled": "walltrack.core.events",
        "Permit": "walltrack.circuit_breaker.permit",
        "RateLimitError": "walltrack.core.exceptions",
        "RateLimitTransport": "walltrack.rate_limit.transport",
        "RejectReason": "walltrack.core.events",
        "RequestAdmitted": "walltrack.core.events",
        "RequestHedged": "walltrack.core.events",
        "RequestRejected": "walltrack.core.events",
        "RequestRejectedError": "walltrack.core.exceptions",
        "RequestWaiting": "walltrack.core.events",
        "ResponseTooLargeError": "walltrack.core.exceptions",
        "RetryBudget": "walltrack.core.budget",
        "RetryPolicy": "walltrack.retry.policy",
        "RetryScheduled": "walltrack.core.events",
        "RetryStopped": "walltrack.core.events",
        "RetryTransport": "walltrack.retry.transport",
        "Settings": "walltrack.config.settings",
        "StopReason": "walltrack.core.events",
        "TimeLimitExceededError": "walltrack.core.exceptions",
        "TimeWindow": "walltrack.circuit_breaker.windows",
        "TimeoutTransport": "walltrack.timeout.transport",
        "TransportClosedError": "walltrack.core.exceptions",
        "WaitingRoomTransport": "walltrack.waiting_room.transport",
        "WallTrackError": "walltrack.core.exceptions",
        "__version__": "walltrack.core.version",
        "get_settings": "walltrack.config.settings",
        "log_event": "walltrack.telemetry.log",
        "origin_of": "walltrack.core.naming",
        "redact_httpx_logs": "walltrack.telemetry.redaction",
        "resilient_transport": "walltrack.stack",
    }

    def __getattr__(name: str) -> object:
        """Import a name when it is first asked for (PEP 562)."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_HOMES[name]), name)
        return value

    def __dir__() -> list[str]:
        """Show what is public, and nothing that was imported to make it so."""
        return list(__all__)
