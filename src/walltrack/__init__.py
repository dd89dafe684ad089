"""Resilience for httpx: transports that retry, limit, and stop calling a service that fails.

    client = httpx.AsyncClient(transport=resilient_transport(deadline=30))

`resilient_transport` puts layers around an `HTTPTransport` in the recommended order. Each layer is
a transport that takes the inner transport first, and works alone:

| layer | what it does |
|---|---|
| `TimeoutTransport` | limits the time of a call, or of an attempt (`AttemptTimeout`) |
| `RetryTransport` | repeats requests by a `RetryPolicy`, a `Backoff` and a `RetryBudget` |
| `HedgingTransport` | sends a second request when the first one is slow |
| `RateLimitTransport` | paces requests, and obeys the limits that a server announces |
| `ConcurrencyLimitTransport` | limits the requests in flight; also with an `AdaptiveLimit` |
| `CircuitBreakerTransport` | has a `CircuitBreaker` for each origin or key |
| `WaitingRoomTransport` | lets calls wait for an open circuit instead of rejecting them |
| `AuthTransport` | authenticates each attempt on its own |
| `SyncTransport` | puts a stack beneath a synchronous client |

`BaseAPIClient` is a client for one API, with defaults from `Settings` and `ExternalServiceError`s.
Errors of layers are `WallTrackError`s and `httpx.TransportError`s. Each decision is an `Event`.

The layers read and write these `extensions`:

| key | on | value |
|---|---|---|
| `walltrack.retry` | request | a `RetryPolicy` for this call, or False for a single attempt |
| `walltrack.deadline` | request | the seconds that this call may take |
| `walltrack.whole_body` | request | True: read the whole response in the attempt; False: none |
| `walltrack.service` | request | the name of the service in events and errors |
| `walltrack.route` | request | what events, errors and spans show instead of the path |
| `walltrack.auth` | request | the credentials of this call alone; None: none |
| `walltrack.attempt` | request | the number of this attempt, from 1 |
| `walltrack.attempts` | response | the number of attempts of the call |
| `walltrack.stop_reason` | response | why a failed call was not repeated: a `StopReason` |
| `walltrack.idempotency_key` | response | the `Idempotency-Key` of the call, if it has one |

`walltrack.{dialects,fleet,testing,simulation}` have pages of their own.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__docformat__ = "google"

if TYPE_CHECKING:
    from walltrack.auth.transport import AuthTransport
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
    from walltrack.core.circuit_events import (
        CircuitClosed,
        CircuitHalfOpened,
        CircuitModeChanged,
        CircuitOpened,
    )
    from walltrack.core.classification import Classification, Classify, Outcome
    from walltrack.core.delivery import Delivery
    from walltrack.core.events import (
        CallSucceededAfterRetries,
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
    from walltrack.core.stop_reason import StopReason
    from walltrack.core.version import __version__
    from walltrack.hedging.transport import HedgingTransport
    from walltrack.http.options import HTTPOptions
    from walltrack.http.transport import HTTPTransport
    from walltrack.rate_limit.transport import RateLimitTransport
    from walltrack.retry.policy import RetryPolicy
    from walltrack.retry.transport import RetryTransport
    from walltrack.services.base import BaseAPIClient
    from walltrack.stack import resilient_transport
    from walltrack.sync.transport import SyncTransport
    from walltrack.telemetry.log import log_event
    from walltrack.telemetry.redaction import redact_httpx_logs
    from walltrack.telemetry.state import snapshot
    from walltrack.timeout.limits import AttemptTimeout
    from walltrack.timeout.transport import TimeoutTransport
    from walltrack.waiting_room.transport import WaitingRoomTransport

__all__ = [
    "AdaptiveLimit",
    "AttemptTimeout",
    "AuthTransport",
    "Backoff",
    "BaseAPIClient",
    "CallSucceededAfterRetries",
    "CircuitBreaker",
    "CircuitBreakerOpenError",
    "CircuitBreakerTransport",
    "CircuitClosed",
    "CircuitHalfOpened",
    "CircuitMode",
    "CircuitModeChanged",
    "CircuitOpened",
    "CircuitState",
    "Classification",
    "Classify",
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
    "Outcome",
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
    "SyncTransport",
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
    "snapshot",
]

# With `__getattr__`, a type checker would accept every name.
if not TYPE_CHECKING:  # pragma: no branch
    # Each module is imported only when one of its names is used.
    _HOMES = {
        "AdaptiveLimit": "walltrack.concurrency_limit.adaptive",
        "AttemptTimeout": "walltrack.timeout.limits",
        "AuthTransport": "walltrack.auth.transport",
        "Backoff": "walltrack.core.backoff",
        "BaseAPIClient": "walltrack.services.base",
        "CallSucceededAfterRetries": "walltrack.core.events",
        "CircuitBreaker": "walltrack.circuit_breaker.breaker",
        "CircuitBreakerOpenError": "walltrack.core.exceptions",
        "CircuitBreakerTransport": "walltrack.circuit_breaker.transport",
        "CircuitClosed": "walltrack.core.circuit_events",
        "CircuitHalfOpened": "walltrack.core.circuit_events",
        "CircuitMode": "walltrack.circuit_breaker.state",
        "CircuitModeChanged": "walltrack.core.circuit_events",
        "CircuitOpened": "walltrack.core.circuit_events",
        "CircuitState": "walltrack.circuit_breaker.state",
        "Classification": "walltrack.core.classification",
        "Classify": "walltrack.core.classification",
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
        "Outcome": "walltrack.core.classification",
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
        "StopReason": "walltrack.core.stop_reason",
        "SyncTransport": "walltrack.sync.transport",
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
        "snapshot": "walltrack.telemetry.state",
    }

    def __getattr__(name: str) -> object:
        """Import a name when it is first used (PEP 562)."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_HOMES[name]), name)
        return value

    def __dir__() -> list[str]:
        """Return the public names only."""
        return list(__all__)
