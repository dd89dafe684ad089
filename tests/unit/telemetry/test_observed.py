import logging
from collections.abc import Callable
from typing import Any

import anyio
import httpx
import pytest

from tests.support import Scripted, get
from walltrack import (
    CircuitBreakerTransport,
    Event,
    RetryTransport,
    TimeoutTransport,
    resilient_transport,
)
from walltrack.core.observer import Observer, Readable

pytestmark = pytest.mark.anyio

Outcome = httpx.Response | BaseException


class Observing:
    """An observer that records its calls."""

    def __init__(self) -> None:
        self.layers: list[str] = []
        self.began: list[httpx.Request] = []
        self.ended: list[Outcome] = []
        self.raises: Exception | None = None

    def __call__(self, event: Event, /) -> None:
        """Ignore events."""

    def layer_made(self, layer: Readable) -> None:
        self.layers.append(type(layer).__name__)

    def call_began(self, request: httpx.Request) -> Callable[[Outcome], object]:
        if self.raises is not None:
            raise self.raises
        self.began.append(request)
        return self.ended.append


@pytest.fixture
def observer() -> Observing:
    """An observer."""
    return Observing()


def stack(inner: httpx.AsyncBaseTransport, observer: Observer, **options: Any) -> Any:  # noqa: ANN401 - of either family
    """A standard stack with a deadline, which has no listener of its own."""
    return resilient_transport(inner, deadline=30, listener=observer, **options)


async def test_each_layer_is_introduced_to_its_observer(observer: Observing) -> None:
    """The layers are reported from the inside out; those without a listener are not."""
    stack(Scripted(200), observer, hedge=1.0, rate_limit=9, concurrency_limit=9)
    assert observer.layers == [
        "CircuitBreakerTransport",
        "WaitingRoomTransport",
        "ConcurrencyLimitTransport",
        "RateLimitTransport",
        "HedgingTransport",
        "RetryTransport",
    ]


async def test_a_call_is_observed_once_by_its_outermost_layer(observer: Observing) -> None:
    """A call is observed once, regardless of its layers and attempts."""
    inner = Scripted(503, 503, 200)
    request = get()
    response = await stack(inner, observer, sleep=at_once).handle_async_request(request)
    assert len(inner.requests) == 3
    assert observer.began == [request]
    assert observer.ended == [response]
    assert "walltrack.observed_by" not in request.extensions


async def at_once(_: float) -> None:
    """Wait for nothing."""


async def test_a_deadline_around_all_is_a_part_of_the_call(observer: Observing) -> None:
    """The observed outcome is the caller's error, not the cancellation inside."""

    async def silent(_: httpx.Request) -> httpx.Response:
        await anyio.sleep_forever()
        raise AssertionError  # pragma: no cover - it is cancelled

    transport = resilient_transport(Scripted(silent), deadline=0.01, listener=observer)
    with pytest.raises(httpx.TimeoutException) as caught:
        await transport.handle_async_request(get())
    assert observer.ended == [caught.value]
    assert len(observer.began) == 1


async def test_a_redirect_is_a_call_of_its_own(observer: Observing) -> None:
    """Httpx hands the extensions on, but the first call has ended."""
    inner = Scripted(httpx.Response(302, headers={"location": "/b"}), 200)
    async with httpx.AsyncClient(transport=stack(inner, observer)) as client:
        await client.get("https://api.test/a", follow_redirects=True)
    assert [request.url.path for request in observer.began] == ["/a", "/b"]


async def test_layers_of_two_observers_are_observed_by_both() -> None:
    """The inner one sees attempts, because those are the calls of its layers."""
    outer, inner = Observing(), Observing()
    breaker = CircuitBreakerTransport(Scripted(503, 200), listener=inner)
    await RetryTransport(breaker, listener=outer, sleep=at_once).handle_async_request(get())
    assert (len(outer.began), len(inner.began)) == (1, 2)


async def test_a_subclass_is_observed_around_its_own_method(observer: Observing) -> None:
    """What it adds belongs to the call."""

    class Marking(CircuitBreakerTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            response = await super().handle_async_request(request)
            response.extensions["marked"] = True
            return response

    await Marking(Scripted(200), listener=observer).handle_async_request(get())
    [ended] = observer.ended
    assert isinstance(ended, httpx.Response)
    assert ended.extensions["marked"]


@pytest.mark.parametrize("when", ["at the beginning", "at the end"])
async def test_an_observer_that_raises_is_logged_and_the_call_goes_on(
    observer: Observing, caplog: pytest.LogCaptureFixture, when: str
) -> None:
    """The error of the call, which may show a secret, is not in the log."""

    class Raising(list[Outcome]):
        def append(self, _: Outcome) -> None:
            raise ZeroDivisionError

    if when == "at the beginning":
        observer.raises = ZeroDivisionError()
    observer.ended = Raising()
    transport = CircuitBreakerTransport(
        Scripted(httpx.ReadError("hunter2"), 200), listener=observer
    )
    with pytest.raises(httpx.ReadError):
        await transport.handle_async_request(get())
    assert (await transport.handle_async_request(get())).status_code == 200
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2
    assert "ZeroDivisionError" in caplog.text
    assert "hunter2" not in caplog.text


async def test_another_listener_changes_no_method() -> None:
    """Without an observer, the method is that of the class, so there is no cost."""
    transport = RetryTransport(TimeoutTransport(Scripted(200), 1), listener=lambda _: None)
    assert "handle_async_request" not in vars(transport)
