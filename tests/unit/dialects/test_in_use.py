"""The dialects in the layers that use them."""

import httpx
import pytest

from tests.support import Clock, Scripted, get, post
from walltrack import (
    CircuitBreakerOpenError,
    CircuitBreakerTransport,
    Classification,
    Classify,
    Outcome,
    RetryTransport,
    dialects,
)

THROTTLED = {"__type": "ThrottlingException", "message": "Rate exceeded"}
NO_MONEY = {"error": {"type": "insufficient_quota", "code": "credit_balance_exhausted"}}


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("dialect", "refusal", "sleeps"),
    [
        (dialects.aws, httpx.Response(400, json=THROTTLED), [1.0]),
        (dialects.azure, httpx.Response(449, headers={"x-ms-retry-after-ms": "1500"}), [1.5]),
        (dialects.github, httpx.Response(403, headers={"retry-after": "30"}), [30.0]),
        (dialects.openai, httpx.Response(429, headers={"x-should-retry": "true"}), [1.0]),
    ],
)
async def test_a_request_that_was_refused_is_sent_again_whatever_its_method(
    dialect: Classify, refusal: httpx.Response, sleeps: list[float], clock: Clock
) -> None:
    """A service that refused a POST did not process it, so it is safe to repeat."""
    inner = Scripted(refusal, 200)
    transport = RetryTransport(inner, sleep=clock.sleep, classify=dialect)
    response = await transport.handle_async_request(post())
    assert (response.status_code, clock.sleeps) == (200, sleeps)


@pytest.mark.anyio
async def test_a_quota_that_is_used_up_is_asked_once(clock: Clock) -> None:
    """The caller gets this response at once."""
    inner = Scripted(httpx.Response(429, headers={"retry-after": "1"}, json=NO_MONEY), 200)
    transport = RetryTransport(inner, sleep=clock.sleep, classify=dialects.openai)
    response = await transport.handle_async_request(get())
    assert (response.status_code, response.json(), clock.sleeps) == (429, NO_MONEY, [])


@pytest.mark.anyio
async def test_a_quota_that_is_used_up_opens_no_circuit() -> None:
    """One key without credit does not block the service for the others."""
    inner = Scripted(*[httpx.Response(429, json=NO_MONEY) for _ in range(9)], 200)
    transport = CircuitBreakerTransport(inner, classify=[dialects.openai])
    statuses = [(await transport.handle_async_request(get())).status_code for _ in range(10)]
    assert statuses == [429] * 9 + [200]


def graphql(outcome: Outcome) -> Classification | None:
    """A user's own dialect: 200 with `errors` is a failure."""
    body = outcome.json()
    return Classification(failure=True) if isinstance(body, dict) and body.get("errors") else None


@pytest.mark.anyio
async def test_a_failure_that_looks_well_opens_the_circuit() -> None:
    """It counts like any other, and the caller gets it unchanged."""
    sick = httpx.Response(200, json={"errors": [{"message": "down"}]})
    transport = CircuitBreakerTransport(
        Scripted(sick), failure_threshold=2, classify=graphql, listener=None
    )
    for _ in range(2):
        assert (await transport.handle_async_request(post())).json() == sick.json()
    with pytest.raises(CircuitBreakerOpenError):
        await transport.handle_async_request(post())
