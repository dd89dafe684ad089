import httpx
import httpx2
import pytest

from tests.support import post
from tests.unit.core.errors import (
    FULL,
    OwnError,
)
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

TOO_LONG = (
    "api: the response is longer than max_response_bytes=1000; "
    "raise the limit, or stream the response"
)


POOL_TIMEOUT = (
    "api: concurrency limit reached and no turn within 2.5 s (httpx's pool timeout), "
    "request not sent"
)


FULL_FIELDS = "status_code=503, attempts=4, delivery='answered'"


def waited(error: CircuitBreakerOpenError, seconds: float) -> CircuitBreakerOpenError:
    """An error raised after a wait."""
    error.waited = seconds
    return error


@pytest.mark.parametrize(
    "caught_as", [httpx.TimeoutException, httpx2.TimeoutException, TimeoutError]
)
def test_a_time_limit_is_a_timeout_of_either_family(caught_as: type[Exception]) -> None:
    """It is no `TimeoutError` of Python, which httpx's timeouts are not either."""
    assert isinstance(TimeLimitExceededError("api", 2.5), caught_as) == (
        caught_as is not TimeoutError
    )


def test_an_external_service_error_is_none_of_httpx() -> None:
    """A final failure has only this library's base classes; httpx's error is its cause."""
    assert isinstance(FULL, WallTrackError)
    assert not isinstance(FULL, httpx.HTTPError | httpx2.HTTPError)


@pytest.mark.parametrize(
    ("error", "text", "representation"),
    [
        (
            FULL,
            "api: GET /a: 503",
            f"ExternalServiceError('api', 'GET /a: 503', {FULL_FIELDS})",
        ),
        (
            ExternalServiceError("api", "GET /a"),
            "api: GET /a",
            "ExternalServiceError('api', 'GET /a', status_code=None, attempts=None, delivery=None)",
        ),
        (
            RequestRejectedError("api"),
            "api: request refused, nothing was sent",
            "RequestRejectedError('api', retry_after=0.0)",
        ),
        (
            CircuitBreakerOpenError("api", 12.25),
            "api: circuit breaker is open, request not sent; try again in 12.2 s",
            "CircuitBreakerOpenError('api', retry_after=12.25)",
        ),
        (
            CircuitBreakerOpenError("api", float("inf")),
            "api: circuit breaker is open, request not sent; it was forced open",
            "CircuitBreakerOpenError('api', retry_after=inf)",
        ),
        (
            waited(CircuitBreakerOpenError("api", 12.25), 2.5),
            (
                "api: circuit breaker is open, also after a wait of 2.5 s, request not sent; "
                "try again in 12.2 s"
            ),
            "CircuitBreakerOpenError('api', retry_after=12.25)",
        ),
        (
            waited(WaitingRoomTimeoutError("api", 1.5), 5.0),
            (
                "api: circuit breaker is open, also after a wait of 5.0 s (httpx's pool timeout), "
                "request not sent; try again in 1.5 s"
            ),
            "WaitingRoomTimeoutError('api', retry_after=1.5)",
        ),
        (
            WaitingRoomTimeoutError("api", 12.25),
            (
                "api: circuit breaker is open for longer than httpx's pool timeout, "
                "request not sent; try again in 12.2 s"
            ),
            "WaitingRoomTimeoutError('api', retry_after=12.25)",
        ),
        (
            TransportClosedError("api"),
            "api: the transport was closed while the request waited; it was not sent",
            "TransportClosedError('api', retry_after=0.0)",
        ),
        (
            TransportClosedError("api", delivery=Delivery.UNCERTAIN),
            "api: the transport was closed before the response was complete",
            "TransportClosedError('api', retry_after=0.0)",
        ),
        (
            ConcurrencyLimitError("api", 1.5),
            "api: concurrency limit reached and the queue is full, request not sent",
            "ConcurrencyLimitError('api', retry_after=1.5)",
        ),
        (
            ConcurrencyLimitError("api", waited=2.5),
            "api: concurrency limit reached and no turn within 2.5 s, request not sent",
            "ConcurrencyLimitError('api', retry_after=0.0)",
        ),
        (
            PoolTimeoutExceededError("api", waited=2.5),
            POOL_TIMEOUT,
            "PoolTimeoutExceededError('api', retry_after=0.0)",
        ),
        (
            RateLimitError("api", 1.5),
            "api: rate limit reached, request not sent; try again in 1.5 s",
            "RateLimitError('api', retry_after=1.5)",
        ),
        (
            TimeLimitExceededError("api", 2.0, "deadline"),
            "api: not done within 2 s (deadline)",
            "TimeLimitExceededError('api', 2.0, 'deadline')",
        ),
        (
            TimeLimitExceededError("api", 0.25),
            "api: not done within 0.25 s (timeout)",
            "TimeLimitExceededError('api', 0.25, 'timeout')",
        ),
        (
            ResponseTooLargeError("api", 1000),
            TOO_LONG,
            "ResponseTooLargeError('api', max_bytes=1000)",
        ),
        (
            OwnError("api", 0.0),
            "api: circuit breaker is open, request not sent; try again in 0.0 s",
            "OwnError('api', retry_after=0.0)",
        ),
    ],
)
def test_texts(error: WallTrackError, text: str, representation: str) -> None:
    """The text of each error is for people, and its repr is for developers."""
    assert str(error) == text
    assert repr(error) == representation


def test_the_arguments_of_an_external_service_error() -> None:
    """Tools that show an exception's arguments show service, message and status."""
    assert FULL.args == ("api", "GET /a: 503", 503)


@pytest.mark.parametrize(
    ("cause", "has_response"),
    [
        (
            httpx.HTTPStatusError("503", request=post(), response=httpx.Response(503)),
            True,
        ),
        (
            httpx2.HTTPStatusError(
                "503", request=httpx2.Request("GET", "/"), response=httpx2.Response(503)
            ),
            True,
        ),
        (httpx.ReadTimeout("slow"), False),
        (None, False),
    ],
)
def test_the_response_is_that_of_the_cause(
    cause: Exception | None,
    has_response: bool,  # noqa: FBT001 - a column of the table
) -> None:
    """`response` is the final response if there was one, else None."""
    error = ExternalServiceError("api", "GET /a failed")
    error.__cause__ = cause

    assert error.response is (cause.response if has_response else None)  # type: ignore[union-attr]
