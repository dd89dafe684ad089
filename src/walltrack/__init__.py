"""Resilience for any httpx call: transports that retry, and that leave a failing service alone."""

from walltrack.config.settings import Settings, get_settings
from walltrack.core.delivery import Delivery
from walltrack.core.exceptions import (
    CircuitBreakerOpenError,
    ExternalServiceError,
    RequestRejectedError,
    ResponseTooLargeError,
    WallTrackError,
)
from walltrack.core.extensions import Gate
from walltrack.resilience.backoff import Backoff
from walltrack.resilience.budget import RetryBudget
from walltrack.resilience.circuit_breaker import CircuitBreaker, CircuitState, Permit
from walltrack.resilience.events import (
    CircuitClosed,
    CircuitHalfOpened,
    CircuitOpened,
    Event,
    Listener,
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
    "Delivery",
    "Event",
    "ExternalServiceError",
    "Gate",
    "Listener",
    "Permit",
    "RequestRejectedError",
    "ResponseTooLargeError",
    "RetryBudget",
    "RetryPolicy",
    "RetryScheduled",
    "RetryStopped",
    "RetryTransport",
    "Settings",
    "StopReason",
    "WallTrackError",
    "get_settings",
    "log_event",
    "redact_httpx_logs",
]
