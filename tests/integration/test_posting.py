"""POST and PATCH over a server that counts what it did: retries that act only once."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import ModuleType
from typing import Any

import anyio
import httpx
import pytest

from tests.integration.acting_server import ActingServer, acting
from tests.integration.fault_server import FaultServer, answer, reset
from tests.integration.layered import often, pool
from tests.support import Clock
from walltrack import BaseAPIClient, RetryPolicy, RetryTransport

pytestmark = pytest.mark.anyio

SEED = 20_240_229
MANY = 400
FEW = 100
AT_ONCE = 8


@pytest.fixture
async def acting_server() -> AsyncIterator[ActingServer]:
    """A server that falters often, and knows no keys."""
    async with acting(ActingServer(SEED)) as server:
        yield server


@asynccontextmanager
async def client_of(
    family: ModuleType, clock: Clock, policy: RetryPolicy, read: float = 10.0
) -> AsyncIterator[httpx.AsyncClient]:
    """A plain client over a RetryTransport that does not really wait."""
    transport = RetryTransport(
        pool(None, family=family), policy=policy, listener=None, sleep=clock.sleep
    )
    async with family.AsyncClient(
        transport=transport, timeout=family.Timeout(10.0, read=read)
    ) as client:
        yield client


def keyed(max_retries: int = 3) -> RetryPolicy:
    """A policy by which requests that may act twice carry a key."""
    return RetryPolicy(max_retries, non_idempotent="keyed")


async def order(
    family: ModuleType, url: str, count: int, clock: Clock, policy: RetryPolicy
) -> set[str]:
    """POST that many orders, several at once; those that succeeded."""
    orders = iter(range(count))
    succeeded: set[str] = set()

    async def place(client: httpx.AsyncClient) -> None:
        for number in orders:
            try:
                response = await client.post(url, content=str(number))
            except family.TransportError:
                continue
            if response.is_success:
                succeeded.add(str(number))

    async with (
        client_of(family, clock, policy, read=0.03) as client,
        anyio.create_task_group() as callers,
    ):
        for _ in range(AT_ONCE):
            callers.start_soon(place, client)
    return succeeded


async def test_with_keys_that_are_honoured_every_order_is_carried_out_once(
    family: ModuleType, acting_server: ActingServer, clock: Clock
) -> None:
    """Hundreds of POSTs through resets, errors and silence act exactly once each."""
    acting_server.honours_keys = True
    many = often(family, MANY)
    succeeded = await order(family, acting_server.url, many, clock, keyed(50))
    assert len(succeeded) == many
    assert acting_server.acted == dict.fromkeys(succeeded, 1)
    assert acting_server.asked.total() > many * 1.3  # or it was too easy


async def test_with_keys_that_are_honoured_giving_up_does_not_act_twice_either(
    family: ModuleType, acting_server: ActingServer, clock: Clock
) -> None:
    """With few retries some orders fail, whether done or not, but none is done twice."""
    acting_server.honours_keys = True
    succeeded = await order(family, acting_server.url, FEW, clock, keyed(1))
    assert len(succeeded) < FEW
    assert succeeded <= acting_server.acted.keys()
    assert set(acting_server.acted.values()) == {1}


async def test_with_proof_nothing_is_done_twice_by_a_server_without_keys(
    family: ModuleType, acting_server: ActingServer, clock: Clock
) -> None:
    """No POST acts twice, each that succeeded acted, and 429 and 503 are retried."""
    policy = RetryPolicy(max_retries=50, non_idempotent="proven")
    many = often(family, MANY)
    succeeded = await order(family, acting_server.url, many, clock, policy)
    assert succeeded <= acting_server.acted.keys()
    assert set(acting_server.acted.values()) == {1}
    assert acting_server.asked.total() > many
    assert len(succeeded) < many  # what may have been done was not asked for again


async def test_never_sends_every_order_once(
    family: ModuleType, acting_server: ActingServer, clock: Clock
) -> None:
    """Whatever happens, a POST is sent once."""
    await order(family, acting_server.url, FEW, clock, RetryPolicy(non_idempotent="never"))
    assert acting_server.asked == {str(number): 1 for number in range(FEW)}


async def test_always_does_things_twice(
    family: ModuleType, acting_server: ActingServer, clock: Clock
) -> None:
    """Every order succeeds, but some are done twice, which is why it is not the default."""
    policy = RetryPolicy(max_retries=50, non_idempotent="always")
    succeeded = await order(family, acting_server.url, FEW, clock, policy)
    assert len(succeeded) == FEW
    assert acting_server.acted.total() > FEW


async def test_a_key_belongs_to_one_call(
    family: ModuleType, acting_server: ActingServer, clock: Clock
) -> None:
    """All attempts of a call carry the same key, and no two calls the same."""
    await order(family, acting_server.url, FEW, clock, keyed(50))
    keys_of_calls = [set(keys) for keys in acting_server.keys.values()]
    assert all(len(keys) == 1 for keys in keys_of_calls)
    assert None not in set.union(*keys_of_calls)
    assert len(set.union(*keys_of_calls)) == FEW
    assert max(acting_server.asked.values()) > 2


def keys(server: FaultServer) -> list[str | None]:
    """The Idempotency-Key of each request that the server read."""
    return [seen.headers.get("idempotency-key") for seen in server.seen]


@pytest.mark.parametrize("method", ["POST", "PATCH", "LOCK"])
async def test_what_may_act_twice_carries_a_key(
    family: ModuleType, server: FaultServer, clock: Clock, method: str
) -> None:
    """POST, PATCH and unknown methods are retried with the same key and body."""
    server.will(reset, answer(503))
    async with client_of(family, clock, keyed()) as client:
        response = await client.request(method, server.url, content=b"buy one")
    assert response.status_code == 200
    key, *others = keys(server)
    assert key is not None
    assert others == [key] * 2
    assert [seen.body for seen in server.seen] == [b"buy one"] * 3


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"])
async def test_what_acts_once_however_often_it_is_sent_needs_no_key(
    family: ModuleType, server: FaultServer, clock: Clock, method: str
) -> None:
    """Idempotent methods are retried without a key."""
    server.will(reset, answer(503))
    async with client_of(family, clock, keyed()) as client:
        await client.request(method, server.url)
    assert keys(server) == [None] * 3


@pytest.mark.parametrize("name", ["Idempotency-Key", "idempotency-key", "IDEMPOTENCY-KEY"])
@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_the_callers_own_key_is_kept(
    family: ModuleType, server: FaultServer, clock: Clock, method: str, name: str
) -> None:
    """A key that the caller set goes out as it is, alone, on every attempt."""
    server.will(reset, answer(500))
    async with client_of(family, clock, keyed()) as client:
        await client.request(method, server.url, headers={name: "mine"})
    assert keys(server) == ["mine"] * 3


@pytest.mark.parametrize(
    ("mode", "sent"),
    [
        pytest.param({"non_idempotent": "proven"}, 1, id="proven"),
        pytest.param({"non_idempotent": "always"}, 2, id="always"),
        pytest.param({"non_idempotent": "never"}, 1, id="never"),
        pytest.param({"non_idempotent": "keyed", "max_retries": 0}, 1, id="keyed, no retries"),
    ],
)
@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_without_a_use_for_it_there_is_no_key(
    family: ModuleType,
    server: FaultServer,
    clock: Clock,
    *,
    method: str,
    mode: dict[str, Any],
    sent: int,
) -> None:
    """Only the setting that relies on a key sends one, and only where there may be a retry."""
    server.will(reset)
    async with client_of(family, clock, RetryPolicy(**mode)) as client:
        try:
            await client.request(method, server.url, content=b"buy one")
        except family.TransportError:
            assert sent == 1
    assert keys(server) == [None] * sent


async def test_the_same_request_sent_again_is_another_call(
    family: ModuleType, server: FaultServer, clock: Clock
) -> None:
    """The key is not written into the caller's request: sent again, it gets a fresh one."""
    async with client_of(family, clock, keyed()) as client:
        request = client.build_request("POST", server.url, content=b"buy one")
        await client.send(request)
        await client.send(request)
    assert "idempotency-key" not in request.headers
    assert None not in keys(server)
    assert len(set(keys(server))) == 2


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_a_subclass_of_the_client_sends_keys_by_default(
    server: FaultServer, clock: Clock, method: str
) -> None:
    """BaseAPIClient's defaults are the keyed ones."""
    server.will(reset, answer(500))
    async with BaseAPIClient(
        server.url, transport=pool(None), listener=None, sleep=clock.sleep
    ) as api:
        await api.request(method, "/orders", json={"buy": 1})
        await api.request(method, "/orders", json={"buy": 1})
    first, *again, other = keys(server)
    assert again == [first] * 2
    assert first != other
