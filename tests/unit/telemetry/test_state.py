import json
import math
from collections.abc import Iterator
from functools import partial
from typing import Any
from unittest.mock import Mock

import anyio
import httpx
import pytest

from tests.support import Clock, Scripted, get
from walltrack import (
    AttemptTimeout,
    AuthTransport,
    Backoff,
    BaseAPIClient,
    CircuitBreakerTransport,
    ConcurrencyLimitTransport,
    HedgingTransport,
    HTTPTransport,
    RateLimitTransport,
    RetryBudget,
    RetryPolicy,
    RetryTransport,
    SyncTransport,
    TimeoutTransport,
    TimeWindow,
    WaitingRoomTransport,
    resilient_transport,
    snapshot,
)
from walltrack.telemetry.state import steadily

pytestmark = pytest.mark.anyio

A, B = "https://a.test", "https://b.test:8443"


def layers_of(transport: object) -> list[dict[str, Any]]:
    """The layers of a snapshot, as JSON brings them back."""
    layers: list[dict[str, Any]] = json.loads(json.dumps(snapshot(transport), allow_nan=False))[
        "layers"
    ]
    return layers


async def ask(transport: httpx.AsyncBaseTransport, url: str) -> None:
    """Send one request, and read its response."""
    await (await transport.handle_async_request(get(url))).aread()


async def test_a_stack_is_shown_from_the_outside_in(clock: Clock) -> None:
    """Each layer with its settings, down to the transport that sends."""
    stack = resilient_transport(
        Scripted(200),
        deadline=30,
        retry=RetryPolicy(max_retries=2, max_retry_after=math.inf),
        hedge=0.5,
        rate_limit=10,
        concurrency_limit=5,
        attempt_timeout=3,
        clock=clock,
        listener=None,
    )
    shown = layers_of(stack)
    settings = {
        layer["layer"] + layer.get("settings", {}).get("name", ""): layer for layer in shown
    }
    assert list(settings) == [
        "TimeoutTransportdeadline",
        "RetryTransport",
        "HedgingTransport",
        "RateLimitTransport",
        "ConcurrencyLimitTransport",
        "WaitingRoomTransport",
        "CircuitBreakerTransport",
        "TimeoutTransportattempt timeout",
        "Scripted",
    ]
    assert settings["TimeoutTransportdeadline"]["settings"]["total"] == 30
    assert settings["RetryTransport"]["settings"] == {
        "max_retries": 2,
        "backoff": "Backoff(base=1.0, factor=2.0, cap=4.0, jitter='none')",
        "statuses": "<429, 5xx>",
        "max_retry_after": None,
        "non_idempotent": "proven",
    }
    assert settings["HedgingTransport"]["settings"] == {"delay": 0.5}
    assert settings["RateLimitTransport"]["settings"] == {
        "rate": 10,
        "per": 1.0,
        "burst": 1,
        "max_wait": 60.0,
        "respect_headers": True,
    }
    assert settings["ConcurrencyLimitTransport"]["settings"] == {
        "limit": 5,
        "max_queue": None,
        "queue_timeout": None,
    }
    assert settings["CircuitBreakerTransport"]["settings"] == {
        "failure_threshold": 5,
        "failing_seconds": 0.5,
        "cooldown": 1.0,
        "longest_cooldown": 3.0,
        "window": None,
        "probes": 1,
        "mode": "automatic",
    }
    assert "\n" not in repr(stack)


async def test_what_is_in_order_is_not_listed(clock: Clock) -> None:
    """A healthy stack has no breaker, budget, queue or origin to show."""
    stack = resilient_transport(
        Scripted(200), rate_limit=10, concurrency_limit=5, hedge=1.0, clock=clock, listener=None
    )
    await ask(stack, A)
    clock.advance(1)
    lists = {k: v for layer in layers_of(stack) for k, v in layer.items() if isinstance(v, list)}
    assert lists == {
        "budgets": [],
        "throttled": [],
        "limits": [],
        "rooms": [],
        "breakers": [],
    }


@pytest.mark.parametrize("shared", [False, True])
async def test_a_budget_that_is_not_full_is_listed(clock: Clock, *, shared: bool) -> None:
    """With what it allows and what it could allow at most."""
    budget = RetryBudget(10, refill=0, shared=shared, clock=clock)
    transport = RetryTransport(
        Scripted(503, 503, 200), budget=budget, sleep=clock.sleep, clock=clock, listener=None
    )
    assert layers_of(transport)[0]["budgets"] == []
    await ask(transport, A)
    [shown] = layers_of(transport)[0]["budgets"]
    assert shown == {"key": None if shared else A, "balance": pytest.approx(8.1), "capacity": 10}


async def test_hedges_have_a_budget_too(clock: Clock) -> None:
    """That of the layer itself."""
    transport = HedgingTransport(Scripted(200), "p95", clock=clock, listener=None)
    assert layers_of(transport)[0] == {
        "layer": "HedgingTransport",
        "settings": {"delay": "p95"},
        "budgets": [],
    }


async def test_a_limit_in_use_is_listed_with_its_queue() -> None:
    """How many are in flight and how many wait."""
    go = anyio.Event()

    async def held(_: httpx.Request) -> httpx.Response:
        await go.wait()
        return httpx.Response(200)

    transport = ConcurrencyLimitTransport(
        Scripted(held), 1, max_queue=7, queue_timeout=9, listener=None
    )
    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(ask, transport, A)
        await anyio.wait_all_tasks_blocked()
        layer, _ = layers_of(transport)
        go.set()
    assert layer["settings"] == {"limit": 1, "max_queue": 7, "queue_timeout": 9}
    assert layer["limits"] == [{"key": None, "limit": 1, "in_flight": 1, "waiting": 2}]


async def test_an_adaptive_limit_shows_what_it_measured(clock: Clock) -> None:
    """The number that counts now is that of each key."""
    transport = ConcurrencyLimitTransport(
        Scripted(lambda _: httpx.Response(200, stream=httpx.ByteStream(b"x"))),
        "adaptive",
        key=lambda _: "acme",
        clock=clock,
        listener=None,
    )
    response = await transport.handle_async_request(get())
    layer, _ = layers_of(transport)
    await response.aclose()
    assert layer["settings"]["limit"] == "adaptive"
    assert layer["limits"] == [{"key": "acme", "limit": 5, "in_flight": 1, "waiting": 0}]


async def test_callers_in_a_waiting_room_are_listed(clock: Clock) -> None:
    """By the circuit that they wait for; metrics have their number, too."""
    breaker = CircuitBreakerTransport(
        Scripted(503), failure_threshold=1, clock=clock, listener=None
    )
    transport = WaitingRoomTransport(breaker, max_wait=60, clock=clock, listener=None)
    await ask(transport, A)
    assert layers_of(transport)[0]["rooms"] == []
    async with anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(ask, transport, A)
        await anyio.wait_all_tasks_blocked()
        layer = layers_of(transport)[0]
        [reading] = transport.readings()
        tasks.cancel_scope.cancel()
    assert layer["settings"] == {"max_waiting": 1000, "max_wait": 60}
    assert layer["rooms"] == [{"key": A, "waiting": 2}]
    assert (reading.value, reading.name) == (2, "waiting_room")


async def test_a_throttled_origin_is_listed(clock: Clock) -> None:
    """Until when the server asked for no request."""
    answer = httpx.Response(429, headers={"Retry-After": "30"})
    transport = RateLimitTransport(
        Scripted(answer), clock=clock, sleep=clock.sleep, listener=None, max_wait=math.inf
    )
    await ask(transport, A)
    clock.advance(10)
    layer, _ = layers_of(transport)
    assert layer["settings"]["max_wait"] is None
    assert layer["throttled"] == [{"key": A, "waiting": 0, "opens_in": 20.0, "held_for": 20.0}]


async def test_requests_that_wait_for_a_rate_are_listed() -> None:
    """Also if no server asked for it."""
    transport = RateLimitTransport(Scripted(200), 0.1, listener=None)
    await ask(transport, A)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, transport, A)
        await anyio.wait_all_tasks_blocked()
        [shown] = layers_of(transport)[0]["throttled"]
        tasks.cancel_scope.cancel()
    assert (shown["waiting"], shown["held_for"]) == (1, 0.0)
    assert 10.0 < shown["opens_in"] <= 20.0


async def test_time_limits_are_shown() -> None:
    """Those that are not given are None."""
    layer, _ = layers_of(TimeoutTransport(Scripted(200), headers=5, idle=2))
    assert layer["settings"] == {"name": "timeout", "headers": 5, "idle": 2, "total": None}


async def test_the_stack_of_an_api_client_can_be_shown() -> None:
    """Its secrets are not in it."""
    client = BaseAPIClient("https://me:hunter2@api.test/bot7:x", transport=Scripted(200))
    text = json.dumps(snapshot(client.transport))
    assert "RetryTransport" in text
    assert "hunter2" not in text
    assert "bot7" not in text


async def test_every_layer_can_be_shown_whatever_its_options(clock: Clock) -> None:
    """Also with infinite limits, keys that JSON does not have, and beneath a synchronous client."""

    class Key:
        def __repr__(self) -> str:
            return "acme"

    one = Key()
    stack = resilient_transport(
        AuthTransport(Scripted(503, 200), ("me", "hunter2")),
        deadline=30,
        retry=partial(RetryTransport, key=lambda _: one),
        budget=RetryBudget(math.inf),
        hedge=partial(HedgingTransport, key=lambda _: one),
        rate_limit=partial(RateLimitTransport, rate=1, max_wait=math.inf, key=lambda _: one),
        concurrency_limit=partial(ConcurrencyLimitTransport, limit="adaptive", key=lambda _: one),
        waiting_room=partial(WaitingRoomTransport, key=lambda _: one),
        breaker=partial(
            CircuitBreakerTransport,
            key=lambda _: (b"x", one),
            cooldown=Backoff(base=5, cap=300),
            window=TimeWindow(60),
            mode="observe_only",
        ),
        attempt_timeout=AttemptTimeout(idle=1),
        listener=None,
        clock=clock,
        sleep=clock.sleep,
    )
    for layer in walk(stack):
        if isinstance(layer, CircuitBreakerTransport):
            layer.breaker_for(A).force_open()
    shown = layers_of(SyncTransport(stack, backend="asyncio"))
    assert shown[0] == {"layer": "SyncTransport", "settings": {"backend": "asyncio"}}
    assert [layer["layer"] for layer in shown[-3:]] == [
        "TimeoutTransport",
        "AuthTransport",
        "Scripted",
    ]
    assert shown[-2]["settings"] == {"auth": "tuple"}
    circuits = next(layer for layer in shown if "breakers" in layer)
    assert circuits["settings"]["longest_cooldown"] == 300
    assert circuits["breakers"][0]["key"] == "(b'x', acme)"
    assert circuits["breakers"][0]["shut_for"] is None
    assert "hunter2" not in json.dumps(shown)


def walk(stack: object) -> Iterator[object]:
    """The layers of a stack."""
    while stack is not None:
        yield stack
        stack = getattr(stack, "inner", None)


def test_the_transport_that_sends_shows_how_it_connects() -> None:
    """Without the proxy, whose URL may contain a password."""
    transport = HTTPTransport(
        proxy="http://me:hunter2@proxy.test:3128", limits=httpx.Limits(max_connections=7)
    )
    assert layers_of(transport) == [
        {
            "layer": "HTTPTransport",
            "settings": {
                "http1": True,
                "http2": False,
                "max_connections": 7,
                "max_keepalive_connections": None,
                "keepalive_expiry": 5.0,
                "trust_env": True,
                "retries": 0,
            },
        }
    ]


def test_what_only_guards_a_pool_is_left_out() -> None:
    """It has no settings of its own."""
    shown = layers_of(RetryTransport(httpx.AsyncHTTPTransport()))
    assert [layer["layer"] for layer in shown] == ["RetryTransport", "AsyncHTTPTransport"]


@pytest.mark.parametrize("mock", [Mock(), Mock(spec=httpx.AsyncBaseTransport)])
def test_the_walk_ends_at_a_mock(mock: Mock) -> None:
    """Which has whatever method it is asked for, and another mock inside."""
    assert layers_of(RetryTransport(mock))[1:] == [{"layer": "Mock"}]


@pytest.mark.parametrize("given", [None, httpx.AsyncClient(), BaseAPIClient])
def test_what_is_no_transport_is_refused(given: object) -> None:
    """A client, for instance: the error says what to give instead."""
    with pytest.raises(TypeError, match=r"transport must be a transport.*client\.transport"):
        snapshot(given)


def test_a_state_that_another_thread_changes_is_read_again() -> None:
    """Until it holds still; an error that stays is raised."""
    read = Mock(side_effect=[RuntimeError, RuntimeError, {"closed": 1}])
    assert steadily(read) == {"closed": 1}
    with pytest.raises(RuntimeError):
        steadily(Mock(side_effect=RuntimeError))


async def test_another_transport_is_only_named() -> None:
    """The walk ends where a layer of ours ends."""
    assert snapshot(httpx.MockTransport(lambda _: httpx.Response(200))) == {
        "layers": [{"layer": "MockTransport"}]
    }
