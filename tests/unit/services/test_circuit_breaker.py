"""What the circuit breaker of a client does, tested as a user would: pytest-asyncio and respx."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio
import respx

from tests.fleet.fake_store import FakeStore
from walltrack import BaseAPIClient, CircuitBreakerOpenError, ExternalServiceError, RetryPolicy
from walltrack.services.base import CircuitBreaker, CircuitState
from walltrack.testing import VirtualTime

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.respx(base_url="https://api.test", assert_all_called=False),
]

ONCE = RetryPolicy(max_retries=0)


@pytest.fixture
def route(respx_mock: respx.Router) -> respx.Route:
    """A service that is down."""
    return respx_mock.get("/prices/sol").respond(503)


@pytest_asyncio.fixture
async def prices(time: VirtualTime) -> AsyncIterator[BaseAPIClient]:
    """A client that does not retry, so that each call is one attempt."""
    breaker = CircuitBreaker(service="prices", clock=time.monotonic)
    async with BaseAPIClient(
        "https://api.test", service="prices", retry=ONCE, breaker=breaker
    ) as client:
        yield client


@pytest_asyncio.fixture
async def opened(prices: BaseAPIClient, route: respx.Route) -> CircuitBreaker:
    """The breaker of that client, after five calls to the service that is down."""
    await fail(prices, 5)
    assert route.call_count == 5
    return prices.circuit_breaker


async def fail(client: BaseAPIClient, times: int) -> None:
    """Make calls that the service fails."""
    for _ in range(times):
        with pytest.raises(ExternalServiceError):
            await client.get("/prices/sol")


# CLOSED


async def test_the_circuit_is_closed_at_first(prices: BaseAPIClient) -> None:
    """A new client lets every request through."""
    assert prices.circuit_breaker.state is CircuitState.CLOSED
    assert prices.circuit_breaker.failure_count == 0


async def test_the_circuit_opens_after_five_failures(
    prices: BaseAPIClient, route: respx.Route
) -> None:
    """Four failures leave it closed; the fifth one opens it."""
    states = []
    for _ in range(5):
        await fail(prices, 1)
        states.append(prices.circuit_breaker.state)

    assert states == [CircuitState.CLOSED] * 4 + [CircuitState.OPEN]
    assert route.call_count == 5


@pytest.mark.parametrize("outcome", [500, 502, 503, httpx.ConnectError, httpx.ReadTimeout])
async def test_errors_of_the_service_and_of_the_network_are_failures(
    prices: BaseAPIClient, respx_mock: respx.Router, outcome: int | type[httpx.TransportError]
) -> None:
    """A status of the server's own and a connection that breaks count alike."""
    answer = httpx.Response(outcome) if isinstance(outcome, int) else outcome
    respx_mock.get("/prices/sol").mock(side_effect=[answer] * 5)

    await fail(prices, 5)

    assert prices.circuit_breaker.state is CircuitState.OPEN


async def test_a_client_error_is_no_failure_of_the_service(
    prices: BaseAPIClient, route: respx.Route
) -> None:
    """A service that answers 404 is healthy, however often it does."""
    route.respond(404)

    await fail(prices, 10)

    assert prices.circuit_breaker.state is CircuitState.CLOSED
    assert prices.circuit_breaker.failure_count == 0


async def test_a_success_in_between_starts_the_count_again(
    prices: BaseAPIClient, route: respx.Route
) -> None:
    """Only failures in a row open the circuit."""
    await fail(prices, 4)
    route.respond(200)
    await prices.get("/prices/sol")
    route.respond(503)
    await fail(prices, 4)

    assert prices.circuit_breaker.state is CircuitState.CLOSED


async def test_each_attempt_of_a_call_counts(
    client: BaseAPIClient, route: respx.Route, time: VirtualTime
) -> None:
    """A call with three retries is four failures; the next one opens the circuit and ends there."""
    await fail(client, 1)
    assert client.circuit_breaker.failure_count == 4

    await fail(client, 1)
    assert client.circuit_breaker.state is CircuitState.OPEN
    assert route.call_count == 5
    assert time.slept == [1, 2, 4]


# OPEN


async def test_an_open_circuit_refuses_without_touching_the_network(
    opened: CircuitBreaker, prices: BaseAPIClient, route: respx.Route, time: VirtualTime
) -> None:
    """The error names the service, and says in how many seconds to try again."""
    with pytest.raises(CircuitBreakerOpenError) as refused:
        await prices.get("/prices/sol")

    assert str(refused.value) == (
        "prices: circuit breaker is open, request not sent; try again in 30.0 s"
    )
    assert (refused.value.service, refused.value.retry_after) == ("prices", 30)
    assert route.call_count == 5
    assert time.monotonic() == 0
    assert opened.state is CircuitState.OPEN


async def test_an_open_circuit_is_not_retried(
    opened: CircuitBreaker, route: respx.Route, time: VirtualTime
) -> None:
    """A client with retries is rejected at once, too; clients may share a circuit breaker."""
    client = BaseAPIClient("https://api.test", breaker=opened, sleep=time.sleep)
    with pytest.raises(CircuitBreakerOpenError):
        await client.get("/prices/sol")
    await client.close()

    assert route.call_count == 5
    assert time.slept == []


async def test_the_circuit_stays_open_for_30_seconds(
    opened: CircuitBreaker, prices: BaseAPIClient, time: VirtualTime
) -> None:
    """It rejects requests until the cooldown ends."""
    await time.sleep(29.9)

    assert opened.state is CircuitState.OPEN
    with pytest.raises(CircuitBreakerOpenError):
        await prices.get("/prices/sol")


# HALF_OPEN


async def test_the_circuit_is_half_open_after_30_seconds(
    opened: CircuitBreaker, time: VirtualTime
) -> None:
    """The next request is then admitted."""
    await time.sleep(30)

    assert opened.state is CircuitState.HALF_OPEN
    assert opened.can_execute()


async def test_a_half_open_circuit_lets_one_probe_through(
    opened: CircuitBreaker, prices: BaseAPIClient, route: respx.Route, time: VirtualTime
) -> None:
    """Of ten concurrent calls one reaches the service; the others are rejected."""

    async def slow(_: httpx.Request) -> httpx.Response:
        await time.sleep(2)
        return httpx.Response(200)

    route.mock(side_effect=slow)
    await time.sleep(30)

    results = await asyncio.gather(
        *(prices.get("/prices/sol") for _ in range(10)), return_exceptions=True
    )

    refused = [result for result in results if isinstance(result, CircuitBreakerOpenError)]
    answered = [result for result in results if isinstance(result, httpx.Response)]
    assert (len(answered), len(refused)) == (1, 9)
    assert route.call_count == 6
    assert opened.state is CircuitState.CLOSED


async def test_a_probe_that_succeeds_closes_the_circuit(
    opened: CircuitBreaker, prices: BaseAPIClient, route: respx.Route, time: VirtualTime
) -> None:
    """Every request is admitted again, and the count starts at zero."""
    await time.sleep(30)
    route.respond(200)

    await prices.get("/prices/sol")

    assert opened.state is CircuitState.CLOSED
    assert opened.failure_count == 0
    await prices.get("/prices/sol")


async def test_a_probe_that_fails_opens_the_circuit_again(
    opened: CircuitBreaker, prices: BaseAPIClient, route: respx.Route, time: VirtualTime
) -> None:
    """One failed probe opens it for another 30 seconds."""
    await time.sleep(30)

    await fail(prices, 1)

    assert opened.shut_for() == 30
    await time.sleep(29.9)
    with pytest.raises(CircuitBreakerOpenError):
        await prices.get("/prices/sol")
    assert route.call_count == 6
    await time.sleep(0.1)
    assert opened.state is CircuitState.HALF_OPEN


async def test_clients_of_all_processes_share_one_circuit(
    route: respx.Route, time: VirtualTime
) -> None:
    """The name of the service identifies the circuit in all processes."""
    store = FakeStore(time.monotonic)
    clients = [BaseAPIClient("https://api.test", retry=ONCE, shared=store) for _ in range(6)]
    for client in clients:
        with pytest.raises(ExternalServiceError):
            await client.get("/prices/sol")
    with pytest.raises(CircuitBreakerOpenError):
        await clients[4].get("/prices/sol")
    assert route.call_count == 6
    assert list(store.circuits) == ["service:api.test"]
    for client in clients:
        await client.close()


async def test_a_client_learns_that_its_circuit_is_not_forced_open_any_more(
    route: respx.Route, time: VirtualTime
) -> None:
    """Rejected requests report what was set here, and look for what another process has set."""
    route.respond(200)
    store = FakeStore(time.monotonic)
    clients = [
        BaseAPIClient(
            *("https://api.test",),
            retry=ONCE,
            shared=store,
            breaker=CircuitBreaker(service="prices", clock=time.monotonic),
        )
        for _ in range(2)
    ]
    store.refresh = 0.01
    clients[0].circuit_breaker.force_open()
    for client in clients:
        with pytest.raises(CircuitBreakerOpenError):
            await client.get("/prices/sol")
    clients[0].circuit_breaker.reset()
    assert (await clients[0].get("/prices/sol")).status_code == 200
    await asyncio.sleep(0.03)
    assert (await clients[1].get("/prices/sol")).status_code == 200
    for client in clients:
        await client.close()
