"""One instance of each exception, and helpers for tests of all of them."""

import copy
import pickle
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import httpx
import httpx2
import pytest

from walltrack.core.delivery import Delivery
from walltrack.core.exceptions import (
    CircuitBreakerOpenError,
    ConcurrencyLimitError,
    ExternalServiceError,
    PoolTimeoutExceededError,
    RateLimitError,
    RequestRejectedError,
    ResponseTooLargeError,
    TimeLimitExceededError,
    TransportClosedError,
    WaitingRoomTimeoutError,
    WallTrackError,
)

SECRET = "hunter2"  # noqa: S105 - not one that opens anything


class OwnError(CircuitBreakerOpenError):
    """An exception class that a user may derive."""


def request_with_secrets(home: ModuleType = httpx) -> httpx.Request:
    """A request with the secret in every part of it that can hold one."""
    request: httpx.Request = home.Request(
        "POST",
        f"https://user:{SECRET}@api.test/things?api-key={SECRET}",
        headers={"Authorization": f"Bearer {SECRET}"},
        content=SECRET.encode(),
    )
    return request


def pickled(error: WallTrackError, protocol: int) -> Any:  # noqa: ANN401 - whatever went in
    """The error after a round trip through pickle."""
    return pickle.loads(pickle.dumps(error, protocol))  # noqa: S301 - pickled here


DUPLICATES = [
    pytest.param(copy.copy, id="copy"),
    pytest.param(copy.deepcopy, id="deepcopy"),
    *(
        pytest.param(partial(pickled, protocol=protocol), id=f"pickle {protocol}")
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    ),
]


FULL = ExternalServiceError("api", "GET /a: 503", 503, attempts=4, delivery=Delivery.ANSWERED)


ERRORS = [
    WallTrackError("text", 1),
    FULL,
    ExternalServiceError("api", "GET /a failed"),
    RequestRejectedError("api", 1.5),
    CircuitBreakerOpenError("api", 12.25),
    OwnError("api", 12.25),
    WaitingRoomTimeoutError("api", 1.5),
    ConcurrencyLimitError("api", 1.5, waited=2.5),
    PoolTimeoutExceededError("api", waited=2.5),
    RateLimitError("api", 1.5),
    TransportClosedError("api", delivery=Delivery.UNCERTAIN),
    TimeLimitExceededError("api", 2.5, "deadline"),
    ResponseTooLargeError("api", 1000),
]


REJECTIONS = [
    RequestRejectedError,
    CircuitBreakerOpenError,
    ConcurrencyLimitError,
    RateLimitError,
    TransportClosedError,
]


FAMILIES = [pytest.param(httpx, id="httpx"), pytest.param(httpx2, id="httpx2")]


Make = Callable[..., WallTrackError]


by_a_transport = pytest.mark.parametrize(
    "make",
    [
        *(pytest.param(kind, id=kind.__name__) for kind in REJECTIONS),
        pytest.param(PoolTimeoutExceededError, id="PoolTimeoutExceededError"),
        pytest.param(WaitingRoomTimeoutError, id="WaitingRoomTimeoutError"),
        pytest.param(
            lambda service, **more: TimeLimitExceededError(service, 2.5, "deadline", **more),
            id="TimeLimitExceededError",
        ),
        pytest.param(
            lambda service, **more: ResponseTooLargeError(service, 1000, **more),
            id="ResponseTooLargeError",
        ),
    ],
)
