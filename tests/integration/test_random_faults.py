"""Random scripts of faults, end to end over real sockets: what must be true whatever happens."""

import itertools
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import anyio
import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.fault_server import (
    Behaviour,
    Exchange,
    FaultServer,
    answer,
    broken_chunk,
    close,
    cut,
    reset,
    running,
)
from tests.integration.layered import pool
from tests.support import Clock, Events, until
from walltrack import (
    CircuitBreakerTransport,
    CircuitState,
    RetryPolicy,
    RetryScheduled,
    RetryStopped,
    RetryTransport,
    StopReason,
)


def profile(family: ModuleType) -> settings:
    """The same examples each time, for httpx2 half as many."""
    return settings(
        max_examples=45 if family is httpx else 22,
        suppress_health_check=[HealthCheck.too_slow],  # sockets
    )


MAX_RETRIES = 2
BODY = b"all of the body"


async def silence(exchange: Exchange) -> None:
    """No answer, until the client closes the connection."""
    await exchange.reader.read()
    exchange.end()


async def nonsense(exchange: Exchange) -> None:
    """An answer that is no HTTP."""
    await exchange.send(b"220 mail.test ESMTP\r\n\r\n")
    exchange.end()


FAULTS: dict[str, Behaviour] = {
    "ok": answer(200),
    "ok, long": answer(200, b"x" * 2**21),
    "404": answer(404),
    "500": answer(500, b"x" * 1000),
    "503": answer(503, b"x" * 100_000),
    "503, wait": answer(503, retry_after="1"),
    "503, wait long": answer(503, retry_after="3600"),
    "429": answer(429, b""),
    "close": close,
    "reset": reset,
    "cut": cut(),
    "cut 503": cut(status=503, by_reset=True),
    "broken chunk": broken_chunk(),
    "nonsense": nonsense,
    "silence": silence,
}


@dataclass(frozen=True)
class Planned:
    """One call: what is asked, and at which step of httpcore's it is cancelled, if it is."""

    method: str
    one_shot: bool
    cancel_at: int | None


CALLS = st.builds(
    Planned,
    method=st.sampled_from(["GET", "PUT", "POST", "POST"]),
    one_shot=st.sampled_from([False, False, True]),
    cancel_at=st.sampled_from([None, None, None]) | st.integers(1, 40),
)
SCRIPTS = st.lists(st.sampled_from(sorted(FAULTS)), max_size=10)


class Run:
    """A client of both layers in their order, the calls that it makes, and how they end."""

    def __init__(self, family: ModuleType, server: FaultServer) -> None:
        self.family = family
        self.server = server
        self.clock = Clock()
        self.events = Events()
        self.outcomes: Counter[int] = Counter()
        self.attempts: dict[int, int] = {}
        self.bodies_begun: Counter[int] = Counter()
        self.breaker = CircuitBreakerTransport(
            pool(None, family=family),
            failure_threshold=3,
            clock=self.clock,
            listener=self.events,
        )
        self.transport = RetryTransport(
            self.breaker,
            policy=RetryPolicy(max_retries=MAX_RETRIES),
            sleep=self.clock.sleep,
            listener=self.events,
        )

    async def calls(self, plan: list[Planned], *, at_once: bool) -> None:
        """Make every call of `plan`, then close the client."""
        async with self.family.AsyncClient(transport=self.transport, timeout=0.05) as client:
            if not at_once:
                for number, planned in enumerate(plan):
                    await self.call(client, number, planned)
            else:
                async with anyio.create_task_group() as callers:
                    for number, planned in enumerate(plan):
                        callers.start_soon(self.call, client, number, planned)

    async def call(self, client: httpx.AsyncClient, number: int, planned: Planned) -> None:
        """Make one call, and note how it ends."""
        steps = 0

        async def trace(name: str, _: Mapping[str, Any]) -> None:
            nonlocal steps
            # Cancelled right after a connection is made, httpcore itself forgets that connection.
            steps += name != "connection.connect_tcp.complete"
            if steps == planned.cancel_at:
                scope.cancel()

        with anyio.CancelScope() as scope:
            try:
                response = await client.request(
                    planned.method,
                    f"{self.server.url}/{number}",
                    headers={"content-length": str(len(BODY))},
                    content=self.body(number, one_shot=planned.one_shot),
                    extensions={"trace": trace},
                )
            except self.family.TransportError:
                self.outcomes[number] += 1
            else:
                self.outcomes[number] += 1
                self.attempts[number] = response.extensions["walltrack.attempts"]
        if scope.cancelled_caught:
            self.outcomes[number] += 1

    def body(self, number: int, *, one_shot: bool) -> bytes | AsyncIterator[bytes]:
        """A body that can be sent again, or not."""

        async def once() -> AsyncIterator[bytes]:
            self.bodies_begun[number] += 1
            for at in range(len(BODY)):
                yield BODY[at : at + 1]

        return once() if one_shot else BODY

    async def recovers(self) -> None:
        """A cooldown later, one good answer closes the circuit: no permit is missing."""
        self.server.script.clear()
        self.clock.advance(30)
        async with self.family.AsyncClient(transport=self.transport, timeout=5) as client:
            response = await client.get(self.server.url)
        assert response.status_code == 200
        assert self.breaker.breaker_for(self.server.url).state is CircuitState.CLOSED
        assert self.breaker.breaker_for(self.server.url).failure_count == 0


def the_calls_hold(run: Run, plan: list[Planned]) -> None:
    """What must be true of each call by itself."""
    for number, planned in enumerate(plan):
        path = f"/{number}"
        seen = [request for request in run.server.seen if request.target == path]
        scheduled = [e for e in run.events if isinstance(e, RetryScheduled) and e.path == path]
        stopped = [e for e in run.events if isinstance(e, RetryStopped) and e.path == path]
        assert run.outcomes[number] == 1
        assert len(seen) <= 1 + len(scheduled) <= 1 + MAX_RETRIES
        assert [event.attempt for event in scheduled] == list(range(1, 1 + len(scheduled)))
        cancelled = any(event.stop_reason is StopReason.CANCELLED for event in stopped)
        last = {1 + len(scheduled), len(scheduled) if cancelled else 0}  # in flight, or in the wait
        assert len(stopped) <= 1
        assert {event.attempt for event in stopped} <= last
        assert run.attempts.get(number, 1 + len(scheduled)) == 1 + len(scheduled)
        assert all(request.body == BODY for request in seen)
        assert run.bodies_begun[number] <= 1
        assert len(seen) <= 1 or not planned.one_shot
        keys = {request.headers.get("idempotency-key") for request in seen}
        assert len(keys) <= 1
        assert planned.method == "POST" or keys <= {None}


def the_circuit_holds(events: Events) -> None:
    """It opens, is half-open, and closes or opens, in turns."""
    after = {
        "circuit_closed": {"circuit_opened"},
        "circuit_opened": {"circuit_half_opened"},
        "circuit_half_opened": {"circuit_opened", "circuit_closed"},
    }
    names = ["circuit_closed", *(name for name in events.names if name in after)]
    assert all(later in after[earlier] for earlier, later in itertools.pairwise(names))


# httpcore leaves the request's body suspended when it is cancelled, or fails, while sending it:
# httpx's own, what walltrack puts around one that can be read once, and the caller's.
@pytest.mark.filterwarnings("ignore:Async generator 'httpx2?._content:ResourceWarning")
@pytest.mark.filterwarnings("ignore:Async generator 'walltrack.*OneShotStream:ResourceWarning")
@pytest.mark.filterwarnings("ignore:Async generator 'tests.*once:ResourceWarning")
@pytest.mark.parametrize("at_once", [False, True], ids=["one by one", "at once"])
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_whatever_the_server_does(family: ModuleType, backend: str, *, at_once: bool) -> None:
    """Attempts are bounded, a call ends once, a one-shot body goes once, nothing is left over."""
    with running() as server:

        @profile(family)
        @given(st.lists(CALLS, min_size=1, max_size=5), SCRIPTS)
        def check(plan: list[Planned], script: list[str]) -> None:
            server.seen.clear()
            server.script[:] = [FAULTS[name] for name in script]

            async def main() -> None:
                run = Run(family, server)
                await run.calls(plan, at_once=at_once)
                await until(lambda: server.open_connections == 0)
                the_calls_hold(run, plan)
                await run.recovers()
                the_circuit_holds(run.events)
                await until(lambda: server.open_connections == 0)

            anyio.run(main, backend=backend)

        check()
