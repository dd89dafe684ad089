from typing import Any

import httpx
import httpx2
import pytest

from tests.support import Clock, get
from walltrack import (
    CircuitBreakerTransport,
    ConcurrencyLimitTransport,
    HedgingTransport,
    HTTPTransport,
    RateLimitTransport,
    RetryTransport,
    TimeoutTransport,
    resilient_transport,
)
from walltrack.core.mismatch import refuse_mismatch

pytestmark = pytest.mark.anyio

WAYS = pytest.mark.parametrize(
    ("client", "inner"), [(httpx2, httpx), (httpx, httpx2)], ids=["httpx2", "httpx"]
)
LAYERS = {
    "retry": RetryTransport,
    "breaker": CircuitBreakerTransport,
    "concurrency limit": ConcurrencyLimitTransport,
    "rate limit": lambda inner: RateLimitTransport(inner, 100),
    "hedge": HedgingTransport,
    "hedge soon": lambda inner: HedgingTransport(inner, 0.0),
    "timeout": lambda inner: TimeoutTransport(inner, 5),
    "all": lambda inner: resilient_transport(
        inner, deadline=5, hedge=1, rate_limit=100, concurrency_limit=9, attempt_timeout=5
    ),
}


@WAYS
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("name", LAYERS)
async def test_a_transport_of_the_other_family_is_named(
    *,
    client: Any,  # noqa: ANN401 - a module
    inner: Any,  # noqa: ANN401 - a module
    name: str,
    method: str,
) -> None:
    """The error says what to use instead; the assertion of httpx is its cause."""
    transport: Any = LAYERS[name](inner.AsyncHTTPTransport())  # type: ignore[operator]  # a class or a function
    async with client.AsyncClient(transport=transport) as user:
        with pytest.raises(TypeError) as caught:
            await user.request(method, "http://127.0.0.1:1/")
    assert str(caught.value) == (
        f"the client is one of {client.__name__}, but the transport inside is one of "
        f"{inner.__name__}: give it an {client.__name__}.AsyncHTTPTransport(), or walltrack's "
        "HTTPTransport(), which serves both"
    )
    assert isinstance(caught.value.__cause__, AssertionError)


@WAYS
async def test_what_serves_both_is_not_concerned(client: Any, inner: Any, clock: Clock) -> None:  # noqa: ANN401 - modules
    """A stack over an `HTTPTransport` takes requests of both families."""
    del inner
    transport = RetryTransport(HTTPTransport(), sleep=clock.sleep, listener=None)
    async with client.AsyncClient(transport=transport) as user:
        with pytest.raises(client.ConnectError):
            await user.get("http://127.0.0.1:1/")


def raised(error: BaseException) -> BaseException:
    """The exception after it was raised here."""
    try:
        raise error
    except BaseException as caught:  # noqa: BLE001 - of any class
        return caught


@pytest.mark.parametrize(
    "error",
    [
        raised(AssertionError("of a mock of the caller's")),
        AssertionError("never raised"),
        raised(TypeError("of another kind")),
        raised(KeyboardInterrupt()),
    ],
)
def test_other_exceptions_are_left_alone(error: BaseException) -> None:
    """In particular those that a mock asserts in a test."""
    refuse_mismatch(get(), error)


async def test_an_assertion_of_the_requests_own_family_is_left_alone() -> None:
    """It is about something else, such as a body that is not asynchronous."""
    request = httpx.Request("POST", "http://127.0.0.1:1/", content=iter([b"one"]))
    with pytest.raises(AssertionError):
        await RateLimitTransport(httpx.AsyncHTTPTransport(), 100).handle_async_request(request)
