import asyncio
import copy
import ssl
from typing import Any

import httpcore
import httpx
import pytest
import trio

from walltrack.core.delivery import Delivery
from walltrack.core.exceptions import (
    CircuitBreakerOpenError,
    PoolTimeoutExceededError,
    RequestRejectedError,
    ResponseTooLargeError,
    TransportClosedError,
    WaitingRoomTimeoutError,
)
from walltrack.core.outcome import (
    TRANSIENT_ERRORS,
    Verdict,
    delivery_of,
    is_of_service,
    is_retryable,
    may_have_acted,
    valid_errors,
    verdict_on,
)

FAILURE, NONE = Verdict.FAILURE, Verdict.NONE
NOT_SENT, UNCERTAIN, ANSWERED = Delivery.NOT_SENT, Delivery.UNCERTAIN, Delivery.ANSWERED

# error, retried, what a breaker counts, delivery
TABLE: list[tuple[BaseException, bool, Verdict, Delivery]] = [
    (httpx.ConnectError("e"), True, FAILURE, NOT_SENT),
    (httpx.ConnectTimeout("e"), True, FAILURE, NOT_SENT),
    (httpx.ProxyError("e"), True, FAILURE, NOT_SENT),
    (httpx.PoolTimeout("e"), True, NONE, NOT_SENT),
    (httpx.ReadTimeout("e"), True, FAILURE, UNCERTAIN),
    (httpx.WriteTimeout("e"), True, FAILURE, UNCERTAIN),
    (httpx.ReadError("e"), True, FAILURE, UNCERTAIN),
    (httpx.WriteError("e"), True, FAILURE, UNCERTAIN),
    (httpx.CloseError("e"), True, FAILURE, UNCERTAIN),
    (httpx.RemoteProtocolError("e"), True, FAILURE, UNCERTAIN),
    (httpx.UnsupportedProtocol("e"), False, NONE, NOT_SENT),
    (httpx.LocalProtocolError("e"), False, NONE, UNCERTAIN),
    (CircuitBreakerOpenError("api"), False, NONE, NOT_SENT),
    (RequestRejectedError("api"), False, NONE, NOT_SENT),
    (PoolTimeoutExceededError("api"), False, NONE, NOT_SENT),
    (WaitingRoomTimeoutError("api"), True, NONE, NOT_SENT),
    (TransportClosedError("api"), False, NONE, NOT_SENT),
    (TransportClosedError("api", delivery=UNCERTAIN), False, NONE, UNCERTAIN),
    (asyncio.CancelledError(), False, NONE, UNCERTAIN),
    (trio.Cancelled.__new__(trio.Cancelled), False, NONE, UNCERTAIN),
    (KeyboardInterrupt(), False, NONE, UNCERTAIN),
    (httpx.DecodingError("e"), False, NONE, UNCERTAIN),
    (httpx.TooManyRedirects("e"), False, NONE, UNCERTAIN),
    (httpx.InvalidURL("e"), False, NONE, UNCERTAIN),
    (ValueError("e"), False, NONE, UNCERTAIN),
    (OSError("e"), False, NONE, UNCERTAIN),
]


def by_httpcore(error: BaseException) -> BaseException:
    """The same error as httpx raises it for one of httpcore's."""
    twin = copy.copy(error) if type(error) is not trio.Cancelled else error
    twin.__cause__ = httpcore.ConnectError()
    return twin


def name(row: object) -> str | None:
    """The class name of an error, as the test id."""
    return type(row).__name__ if isinstance(row, BaseException) else None


@pytest.mark.parametrize(("error", "retried"), [row[:2] for row in TABLE], ids=name)
def test_which_errors_are_retried(error: BaseException, retried: bool) -> None:  # noqa: FBT001 - a column
    """An error is retried if another attempt may succeed."""
    assert is_retryable(error) is retried


@pytest.mark.parametrize(("error", "verdict"), [(row[0], row[2]) for row in TABLE], ids=name)
def test_what_a_breaker_counts(error: BaseException, verdict: Verdict) -> None:
    """An error counts if the service caused it."""
    assert verdict_on(error) is verdict


@pytest.mark.parametrize(("error", "delivery"), [(row[0], row[3]) for row in TABLE], ids=name)
def test_whether_the_server_can_have_acted(error: BaseException, delivery: Delivery) -> None:
    """Httpcore's errors before the first byte prove that nothing was sent."""
    assert delivery_of(by_httpcore(error)) is delivery


@pytest.mark.parametrize("error", [row[0] for row in TABLE], ids=name)
def test_a_strangers_error_proves_nothing(error: BaseException) -> None:
    """An inner transport without httpcore may use these classes for other errors."""
    expected = UNCERTAIN
    if isinstance(error, RequestRejectedError):
        expected = getattr(error, "delivery", NOT_SENT)
    assert delivery_of(error) is expected


@pytest.mark.parametrize(
    ("module", "delivery"),
    [
        ("httpcore", NOT_SENT),
        ("httpcore._async.connection", NOT_SENT),
        ("httpcore_fork", UNCERTAIN),
        ("fork.httpcore", UNCERTAIN),
    ],
)
def test_an_error_is_httpcores_wherever_in_httpcore_it_stands(
    module: str, delivery: Delivery
) -> None:
    """Its class may be in any module of the package, but in no other package."""
    error = httpx.ConnectError("e")
    error.__cause__ = type("ConnectError", (Exception,), {"__module__": module})()

    assert delivery_of(error) is delivery


@pytest.mark.parametrize(
    ("error", "began", "delivery"),
    [
        (httpx.ReadTimeout("e"), False, NOT_SENT),
        (httpx.ReadTimeout("e"), True, UNCERTAIN),
        (httpx.ConnectError("e"), False, NOT_SENT),
        (httpx.ConnectError("e"), True, UNCERTAIN),
        (ValueError("e"), False, NOT_SENT),
        (CircuitBreakerOpenError("api"), True, NOT_SENT),
        (TransportClosedError("api"), True, NOT_SENT),
        (TransportClosedError("api", delivery=UNCERTAIN), True, UNCERTAIN),
        (TransportClosedError("api", delivery=UNCERTAIN), False, NOT_SENT),
        (ResponseTooLargeError("api", 1), True, Delivery.ANSWERED),
    ],
    ids=str,
)
def test_what_was_seen_goes_before_the_class(
    error: Exception,
    began: bool,  # noqa: FBT001 - a column
    delivery: Delivery,
) -> None:
    """If the sending was observed, the exception's class is not used."""
    assert delivery_of(by_httpcore(error), began_to_send=began) is delivery


def certificate_error() -> ssl.SSLCertVerificationError:
    """The standard library's error for a certificate that is not trusted."""
    return ssl.SSLCertVerificationError("certificate has expired")


def with_cause() -> httpx.ConnectError:
    """The certificate error as the cause, two steps away."""
    error, between = httpx.ConnectError("e"), OSError("e")
    error.__cause__, between.__cause__ = between, certificate_error()
    return error


def with_context() -> httpx.ConnectError:
    """The certificate error as the context that `from None` hides, two steps away."""
    try:
        try:
            try:
                raise certificate_error()
            except ssl.SSLError:
                raise OSError("e") from None
        except OSError:
            raise httpx.ConnectError("e") from None
    except httpx.ConnectError as error:
        return error


def with_cause_and_context() -> httpx.ConnectError:
    """One step by `from error`, the other by `from None`."""
    error, between = httpx.ConnectError("e"), OSError("e")
    error.__cause__, between.__context__ = between, certificate_error()
    between.__suppress_context__ = True
    return error


def in_a_circle() -> httpx.ConnectError:
    """The certificate error in a chain of exceptions that is a cycle."""
    error = with_cause()
    assert error.__cause__ is not None
    assert error.__cause__.__cause__ is not None
    error.__cause__.__cause__.__cause__ = error
    return error


@pytest.mark.parametrize("failed", [with_cause, with_context, with_cause_and_context, in_a_circle])
def test_a_certificate_that_fails_verification(failed: Any) -> None:  # noqa: ANN401 - a maker of errors
    """It is not retried, since it would fail again, and it counts."""
    error = failed()

    assert not is_retryable(error)
    assert verdict_on(error) is FAILURE


def test_another_failure_of_tls_is_retried() -> None:
    """A handshake that breaks off may succeed the next time."""
    error = httpx.ConnectError("e")
    error.__cause__ = ssl.SSLError("handshake failure")

    assert is_retryable(error)


@pytest.mark.parametrize("link", ["__cause__", "__context__"])
def test_a_chain_that_bites_its_tail_comes_to_an_end(link: str) -> None:
    """Exceptions that refer to each other do not make the decision loop."""
    error, other = httpx.ConnectError("e"), OSError("e")
    setattr(error, link, other)
    setattr(other, link, error)

    assert is_retryable(error)


def test_other_errors_can_be_worth_a_retry() -> None:
    """The caller's set replaces the default one."""
    assert is_retryable(ValueError("e"), (ValueError,))
    assert not is_retryable(httpx.ReadTimeout("e"), (ValueError,))


def test_other_errors_can_count() -> None:
    """The caller's set replaces the default one."""
    assert verdict_on(ValueError("e"), failures=(ValueError,)) is FAILURE
    assert verdict_on(httpx.ReadTimeout("e"), failures=(ValueError,)) is NONE


def test_a_rejection_never_counts_and_is_never_retried() -> None:
    """A request that was refused here does not count against the service, whatever the set."""
    error = CircuitBreakerOpenError("api")

    assert not is_retryable(error, (Exception,))
    assert verdict_on(error, failures=(Exception,)) is NONE


def test_a_response_that_is_too_large_never_counts_and_is_never_retried() -> None:
    """The service did what it was asked for."""
    error = ResponseTooLargeError("api", 100)
    assert not is_retryable(error, (Exception,))
    assert verdict_on(error, failures=(Exception,)) is NONE


@pytest.mark.parametrize(
    ("error", "is_end"),
    [
        (httpx.ReadError("e"), True),
        (ValueError("e"), True),
        (KeyboardInterrupt(), False),
        (asyncio.CancelledError(), False),
        (CircuitBreakerOpenError("api"), False),
        (ResponseTooLargeError("api", 100), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_ends_an_attempt_at_the_service(error: BaseException, *, is_end: bool) -> None:
    """A cancellation or a rejection is not an outcome of the service."""
    assert is_of_service(error) is is_end


@pytest.mark.parametrize(
    ("delivery", "status", "acted"),
    [
        (NOT_SENT, None, False),
        (NOT_SENT, 500, False),
        (UNCERTAIN, None, True),
        (ANSWERED, 500, True),
        (ANSWERED, 200, True),
        (ANSWERED, 429, False),
        (ANSWERED, 503, False),
    ],
)
def test_only_proof_says_that_the_server_did_not_act(
    delivery: Delivery, status: int | None, *, acted: bool
) -> None:
    """The request was not sent, or the server refused it."""
    assert may_have_acted(delivery, status) is acted


def test_a_bad_certificate_is_not_retried_whatever_the_set() -> None:
    """A set that names the error does not change this."""
    assert not is_retryable(with_cause(), (httpx.ConnectError,))
    assert not is_retryable(certificate_error(), (OSError,))


@pytest.mark.parametrize("errors", [[], [ValueError], (ValueError, httpx.HTTPError)])
def test_errors_become_a_tuple(errors: Any) -> None:  # noqa: ANN401 - any collection
    """Any collection of exception classes is accepted, even an empty one."""
    assert valid_errors("exceptions", errors) == tuple(errors)


@pytest.mark.parametrize(
    "strange",
    [BaseException, asyncio.CancelledError, KeyboardInterrupt, int, ValueError("e"), "ValueError"],
    ids=repr,
)
def test_what_must_not_be_caught_is_refused(strange: Any) -> None:  # noqa: ANN401 - bad on purpose
    """A cancellation, an instance, or anything else that is no Exception class is refused."""
    with pytest.raises(TypeError, match=r"^exceptions must be subclasses of Exception, got "):
        valid_errors("exceptions", [ValueError, strange])


@pytest.mark.parametrize(
    "given", [httpx.ReadError, None, iter([httpx.ReadError])], ids=["class", "None", "iterator"]
)
def test_errors_that_are_no_collection_are_refused(given: Any) -> None:  # noqa: ANN401 - bad on purpose
    """A single class is refused by name, as is an iterator, which could be read only once."""
    with pytest.raises(TypeError, match=r"^exceptions must be a collection"):
        valid_errors("exceptions", given)


def test_the_default_set_is_shown_by_its_name() -> None:
    """Otherwise it would take several lines in a signature."""
    assert repr(TRANSIENT_ERRORS) == "TRANSIENT_ERRORS"
