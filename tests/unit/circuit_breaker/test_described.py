import json
from typing import Any

import httpx
import pytest

from tests.support import Clock, Scripted, get
from walltrack import CircuitBreaker, CircuitBreakerTransport, CountWindow

pytestmark = pytest.mark.anyio

A, B = "https://a.test", "https://b.test:8443"


async def ask(transport: httpx.AsyncBaseTransport, url: str) -> None:
    """Send one request."""
    await transport.handle_async_request(get(url))


def shown_of(transport: CircuitBreakerTransport) -> dict[str, Any]:
    """The part of a snapshot for this transport, after a round trip through JSON."""
    shown: dict[str, Any] = json.loads(json.dumps(transport.describe(), allow_nan=False))
    return shown


async def test_breakers_that_are_not_closed_are_listed() -> None:
    """With their key, since when they are open and for how long they stay open."""
    clock = Clock()
    transport = CircuitBreakerTransport(
        Scripted(503), failure_threshold=2, clock=clock, listener=None
    )
    transport.breaker_for("https://closed.test")
    for _ in range(2):
        await ask(transport, B)
    clock.advance(10)
    transport.breaker_for("https://forced.test").force_open()
    transport.breaker_for("https://off.test").disable()

    layer = shown_of(transport)

    opened, forced, off = layer["breakers"]
    assert layer["closed"] == 1
    assert opened.pop("since")
    assert opened == {
        "key": "https://b.test:8443",
        "service": "b.test:8443",
        "state": "open",
        "mode": "automatic",
        "shut_for": 20.0,
        "failures": 2,
    }
    assert (forced["mode"], forced["shut_for"]) == ("forced_open", None)
    assert (off["mode"], off["state"], off["since"]) == ("disabled", "closed", None)


async def test_an_observing_transport_lists_openings_alone(clock: Clock) -> None:
    """The mode is shown as a setting; only a breaker whose mode differs is listed."""
    transport = CircuitBreakerTransport(
        Scripted(503), clock=clock, listener=None, mode="observe_only", window=CountWindow()
    )
    await ask(transport, A)
    await ask(transport, B)
    transport.breaker_for(B).reset()

    layer = shown_of(transport)

    assert layer["settings"]["mode"] == "observe_only"
    assert layer["settings"]["window"].startswith("opens at 50 % failures")
    assert [breaker["mode"] for breaker in layer["breakers"]] == ["automatic"]
    assert layer["closed"] == 1


async def test_a_shared_breaker_has_no_key(clock: Clock) -> None:
    """Its own settings are shown instead."""
    breaker = CircuitBreaker(1, cooldown=7, service="prices", clock=clock)
    transport = CircuitBreakerTransport(Scripted(503), breaker=breaker, listener=None)
    await ask(transport, A)

    layer = shown_of(transport)

    assert (layer["settings"]["failure_threshold"], layer["settings"]["cooldown"]) == (1, 7)
    [shown] = layer["breakers"]
    assert (shown["key"], shown["service"], shown["shut_for"]) == (None, "prices", 7)


async def test_each_state_is_a_number(clock: Clock) -> None:
    """For a gauge: the higher the number, the worse the state."""
    transport = CircuitBreakerTransport(
        Scripted(503), failure_threshold=1, clock=clock, listener=None
    )
    transport.breaker_for(A)
    await ask(transport, B)
    assert [reading.value for reading in transport.readings()] == [0, 2]
    clock.advance(30)
    assert [reading.value for reading in transport.readings()] == [0, 1]
    assert [reading.name for reading in transport.readings()] == ["a.test", "b.test:8443"]
