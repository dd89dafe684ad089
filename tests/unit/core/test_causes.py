import errno
import ssl
from collections.abc import Callable
from typing import Any

import anyio
import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import httpcore
import httpx
import httpx2
import pytest
import trio

from walltrack.core import causes
from walltrack.core.delivery import Delivery
from walltrack.core.outcome import Verdict, delivery_of, is_retryable, verdict_on


def caused(kind: type[Exception], *chain: BaseException) -> Exception:
    """An httpx exception with its causes, the nearest one first."""
    error = link = kind("e")
    for cause in chain:
        link.__cause__ = cause
        link = cause  # type: ignore[assignment]
    return error


def event(name: str, **fields: object) -> h2.events.Event:
    """An event of h2's."""
    made: h2.events.Event = object.__new__(getattr(h2.events, name))
    for field, value in fields.items():
        setattr(made, field, value)
    return made


# Errors on this side


@pytest.mark.parametrize(
    "number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.EADDRNOTAVAIL, errno.ENOMEM]
)
def test_what_this_machine_lacks_is_not_held_against_the_service(number: int) -> None:
    """Without a free file, port or memory another attempt may work; the service did not fail."""
    error = caused(httpx.ConnectError, httpcore.ConnectError(), OSError(number, "e"))
    assert is_retryable(error)
    assert verdict_on(error) is Verdict.NONE
    assert delivery_of(error) is Delivery.NOT_SENT


def test_a_service_that_refuses_is_held_against_it() -> None:
    """With another error number, the service caused the error."""
    error = caused(httpx.ConnectError, httpcore.ConnectError(), OSError(errno.ECONNREFUSED, "e"))
    assert verdict_on(error) is Verdict.FAILURE


@pytest.mark.parametrize(
    ("numbers", "verdict"),
    [
        ((errno.EMFILE, errno.EMFILE), Verdict.NONE),
        ((errno.EADDRNOTAVAIL, errno.ECONNREFUSED), Verdict.FAILURE),
        ((errno.ECONNREFUSED, errno.EADDRNOTAVAIL), Verdict.FAILURE),
    ],
)
def test_of_several_addresses_one_that_answered_counts(
    numbers: tuple[int, ...], verdict: Verdict
) -> None:
    """Without IPv6 its addresses cannot be used; a refused IPv4 connection counts."""
    group = ExceptionGroup("addresses", [OSError(number, "e") for number in numbers])
    error = caused(httpx.ConnectError, httpcore.ConnectError(), OSError("all failed"), group)
    assert verdict_on(error) is verdict


@pytest.mark.parametrize("closed", [anyio.ClosedResourceError(), trio.ClosedResourceError()])
def test_what_was_closed_here_is_neither_retried_nor_counted(closed: Exception) -> None:
    """The pool was closed on this side while the connection was in use."""
    error = caused(httpx.ReadError, httpcore.ReadError(), closed)
    assert not is_retryable(error)
    assert verdict_on(error) is Verdict.NONE
    assert delivery_of(error) is Delivery.UNCERTAIN


def test_what_the_server_closed_is_retried_and_counted() -> None:
    """A reset raises BrokenResourceError, not ClosedResourceError."""
    error = caused(httpx.ReadError, httpcore.ReadError(), anyio.BrokenResourceError())
    assert is_retryable(error)
    assert verdict_on(error) is Verdict.FAILURE


def test_another_packages_closed_resource_is_none() -> None:
    """The class name alone is not enough."""
    closed = type("ClosedResourceError", (Exception,), {"__module__": "elsewhere"})()
    assert not causes.is_closed_locally(caused(httpx.ReadError, closed))


def test_a_connection_without_a_stream_left_sent_nothing() -> None:
    """Httpcore reports a local protocol error, but it is a full connection."""
    error = caused(
        httpx.LocalProtocolError,
        httpcore.LocalProtocolError(),
        h2.exceptions.TooManyStreamsError("e"),
    )
    assert is_retryable(error)
    assert not is_retryable(error, (httpx.ReadError,))
    assert verdict_on(error) is Verdict.NONE
    assert delivery_of(error, began_to_send=True) is Delivery.NOT_SENT


# Errors on the server's side


def test_a_damaged_record_is_a_broken_connection() -> None:
    """Asyncio raises the `ssl.SSLError` unchanged."""
    error = ssl.SSLError("record layer failure")
    assert is_retryable(error)
    assert not is_retryable(error, (httpx.ConnectError,))
    assert verdict_on(error) is Verdict.FAILURE
    assert delivery_of(error) is Delivery.UNCERTAIN


def client() -> h2.connection.H2Connection:
    """An HTTP/2 connection with a request in flight."""
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    connection.initiate_connection()
    connection.send_headers(
        1, [(":method", "GET"), (":path", "/"), (":scheme", "https"), (":authority", "a.test")]
    )
    return connection


def reads_nonsense(connection: h2.connection.H2Connection) -> None:
    """The server sends a headers frame on stream 0."""
    connection.receive_data(b"\x00\x00\x00\x01\x04\x00\x00\x00\x00")


def sends_nonsense(connection: h2.connection.H2Connection) -> None:
    """The request itself breaks the protocol."""
    connection.send_headers(3, [("no-pseudo-header", "comes before")], end_stream=False)


def raised_by(
    act: Callable[[h2.connection.H2Connection], None],
    home: Any = httpx,  # noqa: ANN401 - httpx or httpx2
) -> Exception:
    """The httpx exception for what h2 raises."""
    connection = client()
    try:
        act(connection)
    except h2.exceptions.H2Error as error:
        return caused(home.LocalProtocolError, httpcore.LocalProtocolError(), error)
    raise AssertionError("h2 found nothing wrong")  # pragma: no cover


def test_a_breach_by_the_server_is_a_failure_of_the_service() -> None:
    """It counts like a RemoteProtocolError, whatever httpcore reports."""
    error = raised_by(reads_nonsense)
    assert is_retryable(error)
    assert not is_retryable(error, (httpx.ReadError,))
    assert verdict_on(error) is Verdict.FAILURE
    assert delivery_of(error) is Delivery.UNCERTAIN


def test_a_breach_by_the_request_is_its_own() -> None:
    """The same request would fail again, and the service did not cause it."""
    error = raised_by(sends_nonsense)
    assert not is_retryable(error)
    assert verdict_on(error) is Verdict.NONE


def test_only_a_protocol_error_is_taken_for_a_breach() -> None:
    """An exception of another transport or a hook with such a cause keeps its own meaning."""
    breach = raised_by(reads_nonsense)
    assert not is_retryable(caused(ValueError, breach, *causes.chain_of(breach.__cause__)))
    assert verdict_on(caused(httpx.DecodingError, breach)) is Verdict.NONE


@pytest.mark.parametrize("home", [httpx, httpx2], ids=["httpx", "httpx2"])
def test_what_is_disguised_counts_as_what_it_is_in_either_family(home: Any) -> None:  # noqa: ANN401
    """A set of exceptions that names only those of one family is enough."""
    no_stream = caused(home.LocalProtocolError, h2.exceptions.TooManyStreamsError("e"))
    breach = raised_by(reads_nonsense, home)
    for error, name in (
        (ssl.SSLError("record layer failure"), "ReadError"),
        (no_stream, "PoolTimeout"),
        (breach, "RemoteProtocolError"),
    ):
        assert is_retryable(error, (getattr(home, name),))
        assert not is_retryable(error, (home.ConnectError,))


def test_a_breach_of_another_protocol_is_our_own() -> None:
    """Without h2 in the chain, a LocalProtocolError means that the request was wrong."""
    assert not is_retryable(caused(httpx.LocalProtocolError, httpcore.LocalProtocolError()))


@pytest.mark.parametrize(
    ("told", "stream_id", "unprocessed"),
    [
        (event("StreamReset", error_code=h2.errors.ErrorCodes.REFUSED_STREAM), None, True),
        (event("StreamReset", error_code=h2.errors.ErrorCodes.INTERNAL_ERROR), None, False),
        (event("ConnectionTerminated", last_stream_id=0), None, True),
        (event("ConnectionTerminated", last_stream_id=3), None, False),
        (event("ConnectionTerminated", last_stream_id=3), 3, False),
        (event("ConnectionTerminated", last_stream_id=3), 5, True),
        (event("ConnectionTerminated", last_stream_id=None), 5, False),
        ("text", 5, False),
    ],
)
def test_a_server_may_prove_that_it_did_not_act(
    told: object, stream_id: int | None, *, unprocessed: bool
) -> None:
    """REFUSED_STREAM, or GOAWAY whose last stream is below this one, whatever was sent."""
    error = caused(httpx.RemoteProtocolError, httpcore.RemoteProtocolError(told))
    delivery = Delivery.NOT_SENT if unprocessed else Delivery.UNCERTAIN
    assert delivery_of(error, began_to_send=True, stream_id=stream_id) is delivery
    assert is_retryable(error)
    assert verdict_on(error) is Verdict.FAILURE


# Errors of another call


OTHERS = {
    "out of streams": (
        httpx.LocalProtocolError,
        httpcore.LocalProtocolError(),
        h2.exceptions.TooManyStreamsError(),
    ),
    "closed here": (httpx.ReadError, httpcore.ReadError(), anyio.ClosedResourceError()),
    "refused stream": (
        httpx.RemoteProtocolError,
        httpcore.RemoteProtocolError(
            event("StreamReset", stream_id=1, error_code=h2.errors.ErrorCodes.REFUSED_STREAM)
        ),
    ),
    "no file left": (httpx.ConnectError, httpcore.ConnectError(), OSError(errno.EMFILE, "e")),
    "certificate": (httpx.ConnectError, httpcore.ConnectError(), ssl.SSLCertVerificationError()),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_the_caller_was_handling_is_no_evidence(name: str) -> None:
    """A call made inside an `except` block has the other call's exception as its context."""

    def call() -> None:
        try:
            raise httpcore.RemoteProtocolError("closed without an answer")
        except httpcore.RemoteProtocolError as error:
            raise httpx.RemoteProtocolError("closed without an answer") from error

    def call_again() -> None:
        try:
            raise caused(*OTHERS[name])  # type: ignore[arg-type]  # a class, then exceptions
        except httpx.TransportError:
            call()

    with pytest.raises(httpx.RemoteProtocolError, match="closed without") as caught:
        call_again()
    assert caught.value.__cause__ is not None
    assert isinstance(caught.value.__cause__.__context__, httpx.TransportError)
    assert is_retryable(caught.value)
    assert verdict_on(caught.value) is Verdict.FAILURE
    assert delivery_of(caught.value) is Delivery.UNCERTAIN
