"""Resilience for any httpx call: transports that retry, and that leave a failing service alone."""

from importlib import import_module
from typing import TYPE_CHECKING

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
from walltrack.telemetry.log import log_event
from walltrack.telemetry.redaction import redact_httpx_logs
from walltrack.transports.circuit_breaker import CircuitBreakerTransport
from walltrack.transports.retry import RetryTransport

if TYPE_CHECKING:
    from walltrack.config.settings import Settings, get_settings
    from walltrack.services.base import BaseAPIClient

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

# A type checker would take every name for one that is there.
if not TYPE_CHECKING:  # pragma: no branch
    # pydantic takes several times as long to import as all the rest: it waits until it is needed.
    _ON_DEMAND = {
        "BaseAPIClient": "walltrack.services.base",
        "Settings": "walltrack.config.settings",
        "get_settings": "walltrack.config.settings",
    }

    def __getattr__(name: str) -> object:
        """Import what not everybody needs only when it is asked for (PEP 562)."""
        if name not in _ON_DEMAND:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_ON_DEMAND[name]), name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
