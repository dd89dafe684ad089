import copy
import pickle
import tracemalloc
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import httpx
import pytest

from tests.support import post
from walltrack.core.delivery import Delivery
from walltrack.core.exceptions import (
    CircuitBreakerOpenError,
    ExternalServiceError,
    RequestRejectedError,
    WallTrackError,
)

SECRET = "hunter2"  # noqa: S105 - not one that opens anything


class OwnError(CircuitBreakerOpenError):
    """What a user may derive."""


def request_with_secrets() -> httpx.Request:
    """A request that hides the secret wherever a request can."""
    return post(
        f"https://user:{SECRET}@api.test/things?api-key={SECRET}",
        headers={"Authorization": f"Bearer {SECRET}"},
        content=SECRET.encode(),
    )


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
FULL_FIELDS = "status_code=503, attempts=4, delivery='answered'"
ERRORS = [
    WallTrackError("text", 1),
    FULL,
    ExternalServiceError("api", "GET /a failed"),
    RequestRejectedError("api", 1.5),
    CircuitBreakerOpenError("api", 12.25),
    OwnError("api", 12.25),
]


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


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_a_copied_rejection_keeps_the_request_itself(
    duplicate: Callable[[httpx.TransportError], httpx.TransportError],
) -> None:
    """Copies of a rejection lead to the request that was refused."""
    request = request_with_secrets()

    assert duplicate(CircuitBreakerOpenError("api", 1.0, request=request)).request is request


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


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_leaves_out_the_request(protocol: int) -> None:
    """What is pickled holds neither the request nor anything that the request hides."""
    error = CircuitBreakerOpenError("api", 12.25, request=request_with_secrets())

    assert SECRET.encode() not in pickle.dumps(error, protocol)
    with pytest.raises(RuntimeError, match="request property has not been set"):
        _ = pickled(error, protocol).request


@pytest.mark.parametrize("kind", [RequestRejectedError, CircuitBreakerOpenError])
def test_no_text_of_a_rejection_shows_the_request(kind: type[RequestRejectedError]) -> None:
    """Text, repr and arguments hold no userinfo, query, header or body of the request."""
    error = kind("api.test", 12.25, request=request_with_secrets())

    assert SECRET not in f"{error} {error!r} {error.args}"


def test_a_rejection_knows_its_request() -> None:
    """Code that handles httpx's errors finds `.request` set."""
    request = request_with_secrets()

    assert CircuitBreakerOpenError("api", 1.0, request=request).request is request


@pytest.mark.parametrize(
    "caught_as",
    [
        httpx.TransportError,
        httpx.RequestError,
        httpx.HTTPError,
        RequestRejectedError,
        WallTrackError,
    ],
)
def test_an_open_circuit_is_caught_as(caught_as: type[Exception]) -> None:
    """Code that knows only httpx handles an open circuit, and so does code that knows us."""
    with pytest.raises(caught_as):
        raise CircuitBreakerOpenError("api", 1.0)


def test_an_external_service_error_is_none_of_httpx() -> None:
    """A final failure is told by the library's own tree alone; httpx's error is its cause."""
    assert isinstance(FULL, WallTrackError)
    assert not isinstance(FULL, httpx.HTTPError)


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
