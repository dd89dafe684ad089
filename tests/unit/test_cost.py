"""What a healthy call pays, counted in bytecodes: a line that the noise of a clock cannot cross."""

import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

import httpx
import pytest

from tests.fleet.fake_store import FakeStore
from tests.support import get
from walltrack import (
    BaseAPIClient,
    CircuitBreaker,
    CircuitBreakerOpenError,
    CircuitBreakerTransport,
    Listener,
    RetryBudget,
    RetryTransport,
    log_event,
)

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize("anyio_backend", ["asyncio"]),
    pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="other versions, other bytecodes"),
]


class Answering(httpx.AsyncBaseTransport):
    """Answers with the same response each time."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        del request
        return self.response


class Chunk(httpx.AsyncByteStream):
    """A body of one chunk. It refuses nothing: what it does is counted, too."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"ok"


@contextmanager
def counted() -> Iterator[dict[str, int]]:
    """Count the bytecodes and the frames of what runs in the block."""
    count = {"opcode": 0, "call": 0}

    def trace(frame: FrameType, event: str, _: object) -> Any:  # noqa: ANN401 - a trace function
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event in count:
            count[event] += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield count
    finally:
        sys.settrace(before)


async def cost(transport: httpx.AsyncBaseTransport, inner: Answering) -> tuple[int, int]:
    """The bytecodes and frames that `transport` adds to a call of `inner`."""
    bare, whole = await counts(inner), await counts(transport)
    return whole[0] - bare[0], whole[1] - bare[1]


async def counts(transport: httpx.AsyncBaseTransport) -> tuple[int, int]:
    """The fewest of several runs: a finalizer may run in between, and be counted too."""
    runs: list[tuple[int, int]] = []
    for _ in range(7):
        with counted() as count:
            await transport.handle_async_request(get())
        runs.append((count["opcode"], count["call"]))
    return min(runs)


async def test_a_healthy_call_pays_little() -> None:
    """Two coroutines and no other frame, with a body that is there already."""
    inner = Answering(httpx.Response(200))
    opcodes, frames = await cost(RetryTransport(CircuitBreakerTransport(inner)), inner)
    assert opcodes <= 103
    assert frames == 2


async def test_a_budget_costs_a_healthy_call_nothing() -> None:
    """While no origin is short of retries there is nothing that a success would add to."""
    inner = Answering(httpx.Response(200))
    transport = RetryTransport(CircuitBreakerTransport(inner), budget=RetryBudget())
    opcodes, frames = await cost(transport, inner)
    assert opcodes <= 103
    assert frames == 2


async def test_shared_state_costs_a_healthy_call_nothing() -> None:
    """While every circuit is clean, other processes are neither asked nor told anything."""
    inner = Answering(httpx.Response(200))
    store = FakeStore(time.monotonic)
    transport = RetryTransport(CircuitBreakerTransport(inner, shared=store))
    await transport.handle_async_request(get())  # the first call looks for manual settings
    opcodes, frames = await cost(transport, inner)
    assert opcodes <= 103
    assert frames == 2
    assert store.commands == 1


async def test_another_origins_trouble_costs_a_key() -> None:
    """While a breaker is on the alert, the key is built and looked up, and nothing else is done."""
    inner = Answering(httpx.Response(200))
    breaker = CircuitBreakerTransport(inner)
    breaker.breaker_for("https://another.test/").record_failure()
    opcodes, frames = await cost(RetryTransport(breaker), inner)
    assert opcodes <= 147
    assert frames == 6


async def test_a_small_body_is_read_ahead_for_little() -> None:
    """It is wrapped once, and read by that wrapper without a generator in between."""

    class Streaming(Answering):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            del request
            return httpx.Response(200, headers={"content-length": "2"}, stream=Chunk())

    inner = Streaming(httpx.Response(200))
    opcodes, frames = await cost(RetryTransport(CircuitBreakerTransport(inner)), inner)
    assert opcodes <= 479
    assert frames <= 24


@pytest.mark.parametrize(("listener", "cost"), [(None, (186, 11)), (log_event, (551, 32))])
async def test_a_refusal_pays_little(listener: Listener | None, cost: tuple[int, int]) -> None:
    """A key, a look at the clock and an exception whose text is not made before it is read.

    With a listener there is an event as well; the log drops it after a look at its level.
    """
    breaker = CircuitBreakerTransport(
        Answering(httpx.Response(503)), failure_threshold=1, listener=listener
    )
    await breaker.handle_async_request(get())
    transport = RetryTransport(breaker, listener=listener)
    opcodes, frames = min([await refused(transport) for _ in range(7)])
    assert opcodes <= cost[0]
    assert frames <= cost[1]


async def refused(transport: httpx.AsyncBaseTransport) -> tuple[int, int]:
    """The bytecodes and frames of one refusal."""
    request, refusal = get(), None
    with counted() as count:
        try:
            await transport.handle_async_request(request)
        except CircuitBreakerOpenError as error:
            refusal = error
    with counted() as counting:
        pass
    assert refusal is not None
    return count["opcode"] - counting["opcode"], count["call"] - counting["call"]


@pytest.mark.parametrize(("listener", "cost"), [(None, (115, 11)), (log_event, (430, 25))])
async def test_a_rejection_by_a_client_pays_for_no_request(
    listener: Listener | None, cost: tuple[int, int]
) -> None:
    """While its circuit is open: some frames of its own and of its event, and none of httpx."""
    breaker = CircuitBreaker(1)
    client = BaseAPIClient(
        "https://api.test",
        breaker=breaker,
        transport=Answering(httpx.Response(200)),
        listener=listener,
    )
    breaker.record_failure()
    runs: list[tuple[int, int]] = []
    for _ in range(7):
        with counted() as count, suppress(CircuitBreakerOpenError):
            await client.get("/a")
        with counted() as counting:
            pass
        runs.append((count["opcode"] - counting["opcode"], count["call"] - counting["call"]))
    opcodes, frames = min(runs)
    assert opcodes <= cost[0]
    assert frames <= cost[1]
