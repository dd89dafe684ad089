from collections.abc import Hashable
from typing import Any

import httpx
import httpx2
import pytest

from tests.support import Body, Clock, Events, Scripted, get
from walltrack import (
    CircuitBreaker,
    CircuitBreakerOpenError,
    CircuitBreakerTransport,
    CircuitClosed,
    CircuitModeChanged,
    CircuitOpened,
    CircuitState,
    CountWindow,
    RejectReason,
    RequestRejected,
    origin_of,
)
from walltrack.circuit_breaker.breakers import BreakersByKey
from walltrack.circuit_breaker.reports import Reports
from walltrack.core.extensions import WAITS_AT_GATE
from walltrack.core.naming import Server

pytestmark = pytest.mark.anyio

TENANT = "https://api.test/x"


def tenant_of(request: httpx.Request) -> Hashable:
    """The key of each tenant of one API."""
    return str(request.headers.get("x-tenant"))


def layer(clock: Clock, events: Events, *steps: Any, **options: Any) -> CircuitBreakerTransport:  # noqa: ANN401 - handed on
    """A transport whose breakers open at the first failure."""
    return CircuitBreakerTransport(
        Scripted(*steps), **{"failure_threshold": 1, "clock": clock, "listener": events, **options}
    )


async def test_a_rejection_is_reported_with_the_time_that_remains(
    clock: Clock, events: Events
) -> None:
    """An operator sees each rejection, its reason, and when the next probe is admitted."""
    transport = layer(clock, events, 503)
    await transport.handle_async_request(get())
    clock.advance(10)
    events.clear()

    with pytest.raises(CircuitBreakerOpenError):
        await transport.handle_async_request(get())

    assert events == [
        RequestRejected("api.test", "GET", "/things", RejectReason.CIRCUIT_OPEN, 20.0)
    ]
    assert events[0].server == Server("api.test", 443)


async def test_a_rejection_that_an_outer_layer_answers_for_is_no_event(
    clock: Clock, events: Events
) -> None:
    """A layer that lets the request wait reports how the wait ends."""
    transport = layer(clock, events, 503)
    await transport.handle_async_request(get())
    events.clear()

    with pytest.raises(CircuitBreakerOpenError):
        await transport.handle_async_request(get(extensions={WAITS_AT_GATE: True}))

    assert events == []


async def test_a_circuit_that_closes_and_opens_at_once_says_from_where(
    clock: Clock, events: Events
) -> None:
    """A probe passes by good headers when its time ends; then its body breaks off."""
    probe = httpx.Response(200, stream=Body(b"so", httpx.ReadError("broken")))
    transport = layer(clock, events, 503, probe)
    await transport.handle_async_request(get())
    clock.advance(30)
    response = await transport.handle_async_request(get())
    clock.advance(30)
    events.clear()

    with pytest.raises(httpx.ReadError):
        await response.aread()

    assert events == [
        CircuitClosed("api.test", previous="half_open"),
        CircuitOpened("api.test", 1, 30.0, previous="closed"),
    ]


async def test_a_key_other_than_the_origin_is_shown(clock: Clock, events: Events) -> None:
    """Each tenant has a breaker of its own, and each event names the tenant."""
    transport = layer(clock, events, 503, key=tenant_of)

    await transport.handle_async_request(get(TENANT, headers={"x-tenant": "acme"}))
    transport.breakers["acme"].reset()

    opened, changed = events
    assert (opened.service, getattr(opened, "key", ""), opened.server) == ("api.test", "acme", None)
    assert changed == CircuitModeChanged("api.test", "automatic", "closed", "open", "acme")


@pytest.mark.parametrize("window", [None, CountWindow()])
async def test_a_manual_change_names_the_service_as_its_first_request_did(
    clock: Clock, events: Events, window: CountWindow | None
) -> None:
    """The breaker keeps the name, even if a success made it, as with a window."""
    transport = layer(clock, events, 503 if window is None else 200, window=window)
    await transport.handle_async_request(get(extensions={"walltrack.service": "prices"}))
    events.clear()

    [breaker] = transport.breakers.values()
    breaker.force_open()

    assert [event.service for event in events] == ["prices"]
    assert events[0].server == Server("api.test", 443)


async def test_a_shared_breaker_reports_a_manual_change_once_to_each_listener(
    clock: Clock,
) -> None:
    """Transports with the same listener report once; another listener gets its own event."""
    breaker = CircuitBreaker(service="prices", clock=clock)
    both, other = Events(), Events()
    kept = [layer(clock, heard, 200, breaker=breaker) for heard in (both, both, other)]

    breaker.disable()

    expected = CircuitModeChanged("prices", "disabled", "closed", "closed")
    assert (both, other) == ([expected], [expected])
    assert [transport.breakers[None] for transport in kept] == [breaker] * 3


async def test_a_shared_breaker_keeps_no_transport_alive(clock: Clock, events: Events) -> None:
    """A transport that was collected receives no events of the breaker."""
    breaker = CircuitBreaker(clock=clock)
    layer(clock, events, 200, breaker=breaker)

    breaker.force_open()

    assert events == []


async def test_an_evicted_breaker_reports_no_manual_change(clock: Clock, events: Events) -> None:
    """It no longer decides about requests."""
    transport = layer(clock, events, 200, max_breakers=1)
    evicted = transport.breaker_for("https://a.test")
    transport.breaker_for("https://b.test")

    evicted.force_open()

    assert events == []


@pytest.mark.parametrize("state", ["clean", "counting", "kept"])
async def test_a_manual_change_is_reported_whatever_the_breaker_was(
    clock: Clock, events: Events, state: str
) -> None:
    """Clean, with failures or open: the transport knows the key of each."""
    transport = layer(clock, events, 503, failure_threshold=2, max_breakers=1)
    breaker = transport.breaker_for("https://a.test")
    if state != "clean":
        breaker.record_failure()
    if state == "kept":
        breaker.record_failure()
        transport.breaker_for("https://b.test")  # the first one cannot be evicted

    breaker.observe_only()

    assert events.names == ["circuit_mode_changed"]
    assert events[0].server == Server("a.test", 443)


# The mapping, and the look-up


async def test_the_breakers_are_a_read_only_mapping(clock: Clock, events: Events) -> None:
    """It includes breakers made later, and cannot be changed."""
    transport = layer(clock, events, 503)
    breakers = transport.breakers
    assert dict(breakers) == {}

    await transport.handle_async_request(get())

    assert list(breakers) == [origin_of(get())]
    assert breakers[origin_of(get())].state is CircuitState.OPEN
    with pytest.raises(TypeError):
        breakers["x"] = None  # type: ignore[index]


async def test_a_breaker_is_found_by_its_request(clock: Clock, events: Events) -> None:
    """A key may need more than a URL, such as a header; requests of both families work."""
    transport = layer(clock, events, 503, key=tenant_of)
    await transport.handle_async_request(get(TENANT, headers={"x-tenant": "acme"}))

    request: Any = httpx2.Request("GET", TENANT, headers={"x-tenant": "acme"})

    assert transport.breaker_for(request) is transport.breakers["acme"]
    assert transport.breaker_for(TENANT) is not transport.breakers["acme"]


# The initial mode


async def test_a_rollout_observes_before_it_rejects(clock: Clock, events: Events) -> None:
    """In the mode "observe_only", openings are reported as such, and nothing is rejected."""
    transport = layer(clock, events, 503, mode="observe_only")

    for _ in range(3):
        assert (await transport.handle_async_request(get())).status_code == 503

    assert [(event.name, getattr(event, "mode", "")) for event in events] == [
        ("circuit_opened", "observe_only")
    ]


async def test_observing_breakers_are_evicted_like_others(clock: Clock, events: Events) -> None:
    """Their mode was not set manually, so a clean one can be evicted."""
    transport = layer(clock, events, 200, mode="observe_only", max_breakers=1, failure_threshold=2)
    first = transport.breaker_for("https://a.test")
    first.record_failure()
    first.record_success()

    transport.breaker_for("https://b.test")

    assert len(transport.breakers) == 1


async def test_a_given_breaker_begins_in_the_mode_too(clock: Clock, events: Events) -> None:
    """Otherwise a rollout that was meant to observe would reject requests."""
    breaker = CircuitBreaker(1, clock=clock)
    layer(clock, events, 200, breaker=breaker, mode="observe_only")
    assert breaker.mode == "observe_only"

    layer(clock, events, 200, breaker=breaker)
    assert breaker.mode == "observe_only"


async def test_another_mode_is_refused() -> None:
    """The message names the argument and the allowed values."""
    with pytest.raises(ValueError, match="mode must be one of 'automatic', 'observe_only'"):
        CircuitBreakerTransport(Scripted(200), mode="forced_open")  # type: ignore[arg-type]


async def test_a_change_without_a_request_is_reported_by_the_name_of_the_breaker(
    events: Events,
) -> None:
    """Another process of the fleet can open a circuit while no request is in flight here."""
    breaker = CircuitBreaker(service="prices")
    breaker.force_open()
    breakers = BreakersByKey(lambda _: breaker, max_breakers=1)
    Reports(breakers, breaker, events).changed(None, breaker, CircuitState.CLOSED)
    assert [(event.name, event.service) for event in events] == [("circuit_closed", "prices")]
