"""The whole stack over real sockets, beneath a client of either family."""

import gc
import math
import random
import ssl
from types import ModuleType
from typing import Any

import anyio
import httpx
import httpx2
import pytest

from tests.integration.fault_server import (
    Behaviour,
    FaultServer,
    answer,
    close,
    cut,
    drip,
    falls_silent,
    late,
    reset,
)
from tests.support import Events
from walltrack import (
    Backoff,
    BaseAPIClient,
    CircuitBreaker,
    CircuitState,
    ExternalServiceError,
    RetryPolicy,
    RetryScheduled,
    TimeLimitExceededError,
)
from walltrack.stack import resilient_transport

pytestmark = pytest.mark.anyio

each_family = pytest.mark.parametrize("home", [httpx, httpx2], ids=["httpx", "httpx2"])

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # the usual one loads certificates for 20 ms
AT_ONCE = RetryPolicy(backoff=Backoff(base=0.0))
ENDLESS = drip(every=0.005, times=10_000)
FAULTS: list[Behaviour] = [
    answer(503),
    answer(200, b"short"),
    close,
    reset,
    cut(),
    falls_silent(content_length="9"),
    late(0.02),
]


def client_over(home: ModuleType, **options: Any) -> Any:  # noqa: ANN401 - of either family
    """A client of the family over a stack with all layers; `options` change some of them."""
    given = {
        "deadline": 10,
        "retry": AT_ONCE,
        "rate_limit": 10_000,
        "concurrency_limit": 4,
        "breaker": CircuitBreaker(1000),
        "attempt_timeout": 5,
        "listener": None,
        **options,
    }
    pool = home.AsyncHTTPTransport(verify=NO_TLS)
    return home.AsyncClient(transport=resilient_transport(pool, **given))


async def still_bears(client: Any, url: str, places: int) -> bool:  # noqa: ANN401 - of either family
    """Whether `places` requests can be in flight at once."""
    with anyio.fail_after(5):
        responses = [
            await client.send(client.build_request("GET", url), stream=True) for _ in range(places)
        ]
        for response in responses:
            await response.aclose()
    return True


@each_family
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_healthy_call_passes_through_all_layers(
    server: FaultServer, home: ModuleType, method: str
) -> None:
    """The response is returned unchanged, with the number of attempts."""
    async with client_over(home) as client:
        for number in range(1, 9):
            response = await client.request(method, f"{server.url}/{number}")
            assert (response.status_code, response.text) == (200, "ok")
            assert response.extensions["walltrack.attempts"] == 1
    assert len(server.seen) == 8
    assert server.connections == 1


@each_family
async def test_a_server_that_drips_is_left_and_asked_again(
    server: FaultServer, home: ModuleType
) -> None:
    """The timeouts of httpx, which restart with each byte, would never have tripped."""
    server.will(ENDLESS)
    server.default = answer(200, b"whole")
    async with client_over(home, attempt_timeout=0.2) as client:
        whole = {"walltrack.whole_body": True}
        response = await client.get(server.url, extensions=whole)
        assert response.text == "whole"
        assert response.extensions["walltrack.attempts"] > 1
        assert await still_bears(client, server.url, 4)


@each_family
async def test_a_deadline_is_an_exception_of_the_family(
    server: FaultServer, home: ModuleType
) -> None:
    """Code that handles the family's timeouts handles it, before the body and in it."""
    server.will(late(30.0), ENDLESS)
    async with client_over(home, deadline=0.1) as client:
        for _ in range(2):
            with pytest.raises(home.TimeoutException) as raised:
                await client.get(server.url)
            assert isinstance(raised.value, TimeLimitExceededError)
            assert raised.value.limit == "deadline"
        assert await still_bears(client, server.url, 4)


@each_family
async def test_a_crowd_is_served_in_turns(server: FaultServer, home: ModuleType) -> None:
    """All calls are served, over no more connections than the limit allows."""
    answered: list[int] = []
    server.default = late(0.002)
    async with client_over(home) as client:

        async def ask() -> None:
            answered.append((await client.get(server.url)).status_code)

        async with anyio.create_task_group() as group:
            for _ in range(40):
                group.start_soon(ask)
    assert answered == [200] * 40
    assert server.connections <= 4


@each_family
async def test_an_open_circuit_ends_calls_and_a_probe_closes_it(
    server: FaultServer, home: ModuleType, events: Events
) -> None:
    """The rejection and the probe pass through all layers around the breaker."""
    server.will(*[answer(503)] * 2)
    breaker = CircuitBreaker(2, 0.05)
    async with client_over(home, breaker=breaker, waiting_room=None, listener=events) as client:
        assert (await client.get(server.url)).status_code == 503
        with pytest.raises(home.TransportError, match="circuit breaker is open"):
            await client.get(server.url)
        assert len(server.seen) == 2
        await anyio.sleep(0.06)
        assert (await client.get(server.url)).status_code == 200
    assert breaker.state is CircuitState.CLOSED
    assert events.names == [
        "retry_scheduled",
        "circuit_opened",
        "retry_stopped",
        "request_rejected",
        "circuit_half_opened",
        "circuit_closed",
    ]


# httpcore forgets a connection that is made at the very moment of a cancellation, also beneath a
# bare client; here, where cancellations come at random, some may hit it.
@pytest.mark.filterwarnings(
    "ignore:(?s).*unclosed transport:pytest.PytestUnraisableExceptionWarning"
)
@each_family
@pytest.mark.parametrize("seed", range(3))
async def test_no_fault_leaves_anything_behind(
    server: FaultServer, home: ModuleType, seed: int
) -> None:
    """After a storm of faults and of cancelled calls every place and connection is free."""
    rng = random.Random(seed)  # noqa: S311 - chance, not secrets
    server.will(*rng.choices(FAULTS, k=40))
    async with client_over(home, attempt_timeout=0.05, hedge=0.01) as client:

        async def ask(patience: float) -> None:
            with anyio.move_on_after(patience):
                try:
                    async with client.stream("GET", server.url) as response:
                        await response.aread()
                except home.TransportError:
                    pass

        with anyio.fail_after(8):
            async with anyio.create_task_group() as group:
                for _ in range(20):
                    group.start_soon(ask, rng.choice([0.0, 0.001, 0.01, 0.03, math.inf]))
        server.script.clear()
        assert await still_bears(client, server.url, 4)
    gc.collect()  # not in a later test, which would be blamed for it


async def test_a_client_has_the_same_limits(server: FaultServer, events: Events) -> None:
    """It has the same limits by the same names, and its errors report them."""
    server.will(ENDLESS, ENDLESS)
    async with BaseAPIClient(
        server.url,
        transport=httpx.AsyncHTTPTransport(verify=NO_TLS),
        retry=AT_ONCE,
        deadline=10,
        attempt_timeout=0.07,
        rate_limit=1000,
        concurrency_limit="adaptive",
        listener=events,
    ) as client:
        response = await client.get("/")
        assert response.extensions["walltrack.attempts"] > 2
        assert {e.failure for e in events if isinstance(e, RetryScheduled)} == {
            "TimeLimitExceededError"
        }
        server.default = ENDLESS
        with pytest.raises(ExternalServiceError, match=r"0\.07 s") as raised:
            await client.get("/")
    assert isinstance(raised.value.__cause__, TimeLimitExceededError)
    assert raised.value.__cause__.limit == "attempt timeout"
