"""What a client of an API can rely on, tested as its author would: pytest-asyncio and respx."""

from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import httpx
import pytest
import pytest_asyncio
import respx

from walltrack import BaseAPIClient, CircuitState, Delivery, ExternalServiceError, RetryPolicy
from walltrack.testing import ScriptedTransport, VirtualTime

asynchronous = pytest.mark.asyncio
pytestmark = pytest.mark.respx(base_url="https://api.test")

SOL = {"usd": 71.25}
Answers = list[httpx.Response | type[httpx.TransportError]]


def answers(*outcomes: int | type[httpx.TransportError]) -> Answers:
    """One response or exception for each request, in order; a 200 carries the price."""
    return [
        httpx.Response(outcome, json=SOL) if isinstance(outcome, int) else outcome
        for outcome in outcomes
    ]


async def failure_of(client: BaseAPIClient) -> ExternalServiceError:
    """The error that a GET of the price ends with."""
    with pytest.raises(ExternalServiceError) as raised:
        await client.get("/prices/sol")
    return raised.value


# Requests


@asynchronous
async def test_get_returns_the_response(client: BaseAPIClient, respx_mock: respx.Router) -> None:
    """A GET asks for the path below the base URL, and the whole response is there to be read."""
    respx_mock.get("/prices/sol", params={"in": "usd"}).respond(json=SOL)

    response = await client.get("/prices/sol", params={"in": "usd"})

    assert response.status_code == 200
    assert response.json() == SOL


@asynchronous
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
async def test_post_put_and_patch_send_their_body(
    client: BaseAPIClient, respx_mock: respx.Router, method: str
) -> None:
    """What is given as `json` arrives as the body of the request."""
    route = respx_mock.request(method, "/alerts/1", json={"above": 80}).respond(201)

    response = await getattr(client, method.lower())("/alerts/1", json={"above": 80})

    assert response.status_code == 201
    assert route.call_count == 1


@asynchronous
@pytest.mark.parametrize("method", ["DELETE", "HEAD"])
async def test_delete_and_head_send_no_body(
    client: BaseAPIClient, respx_mock: respx.Router, method: str
) -> None:
    """They are sent by `delete()` and `head()`, without a body."""
    route = respx_mock.request(method, "/alerts/1").respond(204)

    response = await getattr(client, method.lower())("/alerts/1")

    assert response.status_code == 204
    assert route.calls.last.request.content == b""


# Retries


@asynchronous
@pytest.mark.parametrize(
    "error", [httpx.ConnectTimeout, httpx.ReadTimeout, httpx.WriteTimeout, httpx.PoolTimeout]
)
async def test_a_timeout_is_retried_and_then_succeeds(
    client: BaseAPIClient,
    respx_mock: respx.Router,
    time: VirtualTime,
    error: type[httpx.TimeoutException],
) -> None:
    """The caller sees the answer of the second attempt, one second later."""
    route = respx_mock.get("/prices/sol").mock(side_effect=answers(error, 200))

    assert (await client.get("/prices/sol")).json() == SOL

    assert route.call_count == 2
    assert time.slept == [1]


@asynchronous
@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
async def test_a_status_that_may_pass_is_retried_and_then_succeeds(
    client: BaseAPIClient, respx_mock: respx.Router, time: VirtualTime, status: int
) -> None:
    """429 and 5xx say that the service cannot answer now; it is asked again one second later."""
    route = respx_mock.get("/prices/sol").mock(side_effect=answers(status, 200))

    assert (await client.get("/prices/sol")).json() == SOL

    assert route.call_count == 2
    assert time.slept == [1]


@asynchronous
@pytest.mark.parametrize("status", [400, 401, 403, 404])
async def test_a_client_error_fails_at_once_without_a_retry(
    client: BaseAPIClient, respx_mock: respx.Router, time: VirtualTime, status: int
) -> None:
    """The same request would be answered in the same way, so it is sent once."""
    route = respx_mock.get("/prices/sol").respond(status)

    error = await failure_of(client)

    assert (error.status_code, error.attempts) == (status, 1)
    assert error.delivery is Delivery.ANSWERED
    assert route.call_count == 1
    assert time.slept == []


@asynchronous
async def test_retries_wait_1_2_and_4_seconds(
    client: BaseAPIClient, respx_mock: respx.Router, time: VirtualTime
) -> None:
    """Each wait is twice as long as the one before, and the third retry may still succeed."""
    outcomes = answers(503, httpx.ReadTimeout, 500, 200)
    route = respx_mock.get("/prices/sol").mock(side_effect=outcomes)

    response = await client.get("/prices/sol")

    assert response.json() == SOL
    assert response.extensions["walltrack.attempts"] == route.call_count == 4
    assert time.slept == [1, 2, 4]
    assert time.monotonic() == 7


@asynchronous
@pytest.mark.parametrize("status", [429, 500, 502, 503])
async def test_after_three_retries_the_call_fails(
    client: BaseAPIClient, respx_mock: respx.Router, time: VirtualTime, status: int
) -> None:
    """Four attempts and no fifth; the error keeps the last response."""
    route = respx_mock.get("/prices/sol").respond(status)

    error = await failure_of(client)

    assert (error.status_code, error.attempts) == (status, 4)
    assert error.response is not None
    assert error.delivery is Delivery.ANSWERED
    assert isinstance(error.__cause__, httpx.HTTPStatusError)
    assert route.call_count == 4
    assert time.slept == [1, 2, 4]


# Messages


@asynchronous
@pytest.mark.parametrize(
    ("outcome", "message"),
    [
        (404, "was answered 404 Not Found after 1 attempt"),
        (503, "was answered 503 Service Unavailable after 4 attempts"),
        (
            httpx.ReadTimeout,
            "failed with ReadTimeout after 4 attempts (the service may have acted on it)",
        ),
    ],
    ids=["404", "503", "timeout"],
)
async def test_the_message_of_a_failure_names_the_service_and_what_it_answered(
    client: BaseAPIClient,
    respx_mock: respx.Router,
    outcome: int | type[httpx.TransportError],
    message: str,
) -> None:
    """Service, method, path, status or exception, and the number of attempts."""
    respx_mock.get("/prices/sol").mock(side_effect=answers(outcome) * 4)

    error = await failure_of(client)

    assert error.service == "prices"
    assert str(error) == f"prices: GET /prices/sol {message}"


# Closing


class Pool(ScriptedTransport):
    """A transport that counts how often it was closed."""

    closed = 0

    async def aclose(self) -> None:
        self.closed += 1


@pytest.fixture
def pool() -> Pool:
    """The connections of a client, to a service that answers well."""
    return Pool([200], repeat_last=True)


@asynchronous
@pytest.mark.parametrize("close", [BaseAPIClient.close, BaseAPIClient.aclose])
async def test_close_closes_the_connections(pool: Pool, close: Callable[..., Any]) -> None:
    """`close()`, and `aclose()` as httpx has it; to close twice is fine, and closes once."""
    client = BaseAPIClient("https://api.test", transport=pool)
    await client.get("/prices/sol")

    await close(client)
    await close(client)

    assert pool.closed == 1


@asynchronous
async def test_the_end_of_async_with_closes_the_connections(pool: Pool) -> None:
    """They are closed also when the block raises."""
    with suppress(ZeroDivisionError):
        async with BaseAPIClient("https://api.test", transport=pool) as client:
            await client.get("/prices/sol")
            raise ZeroDivisionError

    assert pool.closed == 1


@asynchronous
async def test_closing_a_client_that_sent_nothing_is_fine(pool: Pool) -> None:
    """If no connection was opened, closing does nothing."""
    await BaseAPIClient("https://api.test", transport=pool).close()

    assert pool.closed == 0


@asynchronous
async def test_a_request_after_close_opens_new_connections(respx_mock: respx.Router) -> None:
    """The circuit breaker outlives the connections: it still knows what failed before."""
    respx_mock.get("/prices/sol").mock(side_effect=answers(500, 200))
    client = BaseAPIClient("https://api.test", retry=RetryPolicy(max_retries=0))
    await failure_of(client)
    await client.close()

    assert client.circuit_breaker.failure_count == 1
    assert (await client.get("/prices/sol")).json() == SOL
    await client.close()


# The tools in fixtures


@pytest.fixture
def service() -> ScriptedTransport:
    """A service that is busy, then slow to accept a connection, then well."""
    return ScriptedTransport([503, httpx.ConnectTimeout, httpx.Response(200, json=SOL)])


@pytest_asyncio.fixture
async def price(service: ScriptedTransport, time: VirtualTime) -> AsyncIterator[float]:
    """A price that was asked for before the test began."""
    async with BaseAPIClient("https://api.test", transport=service, sleep=time.sleep) as client:
        response = await client.get("/prices/sol")
        yield response.json()["usd"]
        assert client.circuit_breaker.state is CircuitState.CLOSED


@asynchronous
async def test_a_fixture_may_hold_a_client_its_script_and_its_time(
    price: float, service: ScriptedTransport, time: VirtualTime
) -> None:
    """Time that passed in a fixture has passed in the test, and goes on there."""
    assert price == 71.25
    assert [request.url.path for request in service.requests] == ["/prices/sol"] * 3
    assert time.slept == [1, 2]
    await time.sleep(30)
    assert time.monotonic() == 33
