import copy
import pickle
import tracemalloc
import weakref
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import httpx
import httpx2
import pytest

from tests.support import post
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
    """What a user may derive."""


def request_with_secrets(home: ModuleType = httpx) -> httpx.Request:
    """A request that hides the secret wherever a request can."""
    request: httpx.Request = home.Request(
        "POST",
        f"https://user:{SECRET}@api.test/things?api-key={SECRET}",
        headers={"Authorization": f"Bearer {SECRET}"},
        content=SECRET.encode(),
    )
    return request


def pickled(error: WallTrackError, protocol: int) -> Any:  # noqa: ANN401 - whatever went in
    """The error after a journey through pickle."""
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
TOO_LONG = (
    "api: the response is longer than max_response_bytes=1000; "
    "raise the limit, or stream the response"
)
POOL_TIMEOUT = (
    "api: concurrency limit reached and no turn within 2.5 s (httpx's pool timeout), "
    "request not sent"
)
FULL_FIELDS = "status_code=503, attempts=4, delivery='answered'"
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


@pytest.mark.parametrize("duplicate", DUPLICATES)
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_duplicate_keeps_every_field(
    duplicate: Callable[[WallTrackError], WallTrackError], error: WallTrackError
) -> None:
    """Copied, deeply copied or pickled by any protocol, an error says what it said before."""
    twin = duplicate(error)

    assert twin is not error
    assert type(twin) is type(error)
    assert twin.args == error.args
    assert vars(twin) == vars(error)
    assert (str(twin), repr(twin)) == (str(error), repr(error))


@pytest.mark.parametrize("duplicate", DUPLICATES)
def test_a_duplicate_keeps_what_was_noted_later(
    duplicate: Callable[[WallTrackError], WallTrackError],
) -> None:
    """Notes and changed fields of a rejection travel, not only what it was made of."""
    error = CircuitBreakerOpenError("api", 12.25)
    error.add_note("while fetching prices")
    error.retry_after = 3.0

    twin: Any = duplicate(error)

    assert twin.__notes__ == ["while fetching prices"]
    assert twin.retry_after == 3.0


@by_a_transport
@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_a_copied_error_keeps_the_request_itself(
    duplicate: Callable[[Any], httpx.TransportError], make: Make
) -> None:
    """Copies of what a transport raised lead to the request that it was raised for."""
    request = request_with_secrets()

    assert duplicate(make("api", request=request)).request is request


@pytest.mark.parametrize("suppressed", [True, False])
def test_a_copy_keeps_the_chain(suppressed: bool) -> None:  # noqa: FBT001 - one of two cases
    """The cause, the context, and whether the context is shown stay with a copy."""
    error = ExternalServiceError("api", "GET /a failed")
    error.__cause__, error.__context__ = httpx.ReadTimeout("slow"), KeyError("k")
    error.__suppress_context__ = suppressed

    twin = copy.copy(error)

    assert twin.__cause__ is error.__cause__
    assert twin.__context__ is error.__context__
    assert twin.__suppress_context__ is suppressed


def test_a_copy_can_change_without_the_original() -> None:
    """The copy's fields are its own."""
    error = CircuitBreakerOpenError("api", 12.25)

    copy.copy(error).retry_after = 0.0

    assert error.retry_after == 12.25


@by_a_transport
@pytest.mark.parametrize("home", FAMILIES)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_leaves_out_the_request(protocol: int, home: ModuleType, make: Make) -> None:
    """What is pickled holds neither the request nor anything that the request hides."""
    error = make("api", request=request_with_secrets(home))

    assert SECRET.encode() not in pickle.dumps(error, protocol)
    twin = pickled(error, protocol)
    assert str(twin) == str(error)
    with pytest.raises(RuntimeError, match="request property has not been set"):
        _ = twin.request


@pytest.mark.parametrize("home", FAMILIES)
@pytest.mark.parametrize("kind", REJECTIONS)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_keeps_the_service_that_the_request_told(
    protocol: int, kind: type[RequestRejectedError], home: ModuleType
) -> None:
    """Also when nobody had asked for it before the journey."""
    error = kind(retry_after=1.0, request=request_with_secrets(home))

    assert pickled(error, protocol).service == "api.test"


@by_a_transport
@pytest.mark.parametrize("home", FAMILIES)
def test_no_text_of_an_error_shows_the_request(home: ModuleType, make: Make) -> None:
    """Text, repr and arguments hold no userinfo, query, header or body of the request."""
    error = make("api.test", request=request_with_secrets(home))

    assert SECRET not in f"{error} {error!r} {error.args}"


def test_a_rejection_knows_its_request() -> None:
    """Code that handles httpx's errors finds `.request` set."""
    request = request_with_secrets()

    assert CircuitBreakerOpenError("api", 1.0, request=request).request is request


@by_a_transport
@pytest.mark.parametrize(
    "caught_as",
    [
        httpx.TransportError,
        httpx.RequestError,
        httpx.HTTPError,
        httpx2.TransportError,
        httpx2.RequestError,
        httpx2.HTTPError,
        WallTrackError,
    ],
)
def test_what_a_transport_raises_is_caught_as(caught_as: type[Exception], make: Make) -> None:
    """Code that knows only httpx, or only httpx2, handles it; so does code that knows us."""
    with pytest.raises(caught_as):
        raise make("api")


@pytest.mark.parametrize(
    "caught_as", [httpx.TimeoutException, httpx2.TimeoutException, TimeoutError]
)
def test_a_time_limit_is_a_timeout_of_either_family(caught_as: type[Exception]) -> None:
    """And not of Python's own kind, which httpx's timeouts are not either."""
    assert isinstance(TimeLimitExceededError("api", 2.5), caught_as) == (
        caught_as is not TimeoutError
    )


@pytest.mark.parametrize("kind", REJECTIONS)
def test_a_rejection_is_no_timeout(kind: type[RequestRejectedError]) -> None:
    """Who handles timeouts does not take a request that was never sent for one."""
    assert not isinstance(kind("api"), httpx.TimeoutException | httpx2.TimeoutException)


@pytest.mark.parametrize(
    "caught_as",
    [
        ConcurrencyLimitError,
        httpx.PoolTimeout,
        httpx.TimeoutException,
        httpx2.PoolTimeout,
        httpx2.TimeoutException,
    ],
)
def test_a_pool_timeout_in_the_queue_is_caught_as(caught_as: type[Exception]) -> None:
    """Code that handles httpx's pool timeout keeps working above a limit, in either family."""
    with pytest.raises(caught_as):
        raise PoolTimeoutExceededError("api", waited=2.5)


@pytest.mark.parametrize(
    "caught_as", [CircuitBreakerOpenError, httpx.PoolTimeout, httpx2.PoolTimeout]
)
def test_a_pool_timeout_in_the_waiting_room_is_caught_as(caught_as: type[Exception]) -> None:
    """Code that handles an open circuit keeps working, too."""
    with pytest.raises(caught_as):
        raise WaitingRoomTimeoutError("api", 1.5)


def waited(error: CircuitBreakerOpenError, seconds: float) -> CircuitBreakerOpenError:
    """An error after a wait."""
    error.waited = seconds
    return error


def test_an_external_service_error_is_none_of_httpx() -> None:
    """A final failure is told by the library's own tree alone; httpx's error is its cause."""
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
    """Each error says what happened to a person, and what it holds to a developer."""
    assert str(error) == text
    assert repr(error) == representation


def test_the_arguments_of_an_external_service_error() -> None:
    """Tools that show an exception by its arguments show service, message and status."""
    assert FULL.args == ("api", "GET /a: 503", 503)


def test_the_text_of_an_open_circuit_is_made_when_it_is_read() -> None:
    """Raising formats nothing: the text follows the fields."""
    error = CircuitBreakerOpenError("api", 12.25)

    error.retry_after = 3.0

    assert str(error).endswith("try again in 3.0 s")
    assert error.args == ("api", 12.25)


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
    """`response` is the final response when there was one, else None."""
    error = ExternalServiceError("api", "GET /a failed")
    error.__cause__ = cause

    assert error.response is (cause.response if has_response else None)  # type: ignore[union-attr]


def test_a_rejection_that_was_handled_frees_its_request_at_once() -> None:
    """A rejection makes no circle that would wait for the garbage collector."""
    request = request_with_secrets()
    seen = weakref.ref(request)
    try:
        raise CircuitBreakerOpenError("api", 1.0, request=request)
    except WallTrackError as error:
        str(error)
    del request

    assert seen() is None


def test_ten_thousand_rejections_leave_memory_flat() -> None:
    """Nothing accumulates, however often a call is refused."""

    def refuse(times: int) -> None:
        for _ in range(times):
            try:
                raise CircuitBreakerOpenError("api", 1.0)
            except WallTrackError as error:
                str(error)

    refuse(100)  # whatever is cached once
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        refuse(10_000)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert after - before < 10_000
