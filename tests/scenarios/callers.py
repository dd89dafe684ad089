"""The callers and the operator of a scenario, and the report of what happened to them."""

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Final

import anyio
import anyio.lowlevel
import httpx
import httpx2

from tests.scenarios import uploads
from tests.scenarios.attempts import RECOVERY, Time
from tests.scenarios.layers import (
    ORIGINS,
    Books,
    Built,
    HookInterrupt,
    Hooks,
    World,
    build,
    policy_of,
)
from tests.scenarios.plan import Call, Reply, Scenario
from walltrack import CircuitMode, CircuitState

HOMES: Final[dict[str, ModuleType]] = {"httpx": httpx, "httpx2": httpx2}


@dataclass(frozen=True)
class Pace:
    """How long things may take, in seconds of a scenario's time.

    Args:
        too_long: A call that takes longer hangs. Virtual time passes only while everything waits.
        a_while: After it, no cooldown and no Retry-After of a scenario holds any more.
        between: Between two calls at the end; enough for any rate.
        asks: How many of those there are at most; as many as a breaker has probes, and one more.
        slack: How inexact moments are.
        timeout: What the client is given.
    """

    too_long: float = 1e6
    a_while: float = 1e5
    between: float = 100.0
    asks: int = 4
    slack: float = 1e-3
    timeout: Any = 5.0


@dataclass(eq=False)
class Outcome:
    """How a call ended for its caller."""

    call: Call
    number: int
    began: float | None = None
    ended: float | None = None
    status: int | None = None
    tag: str | None = None  # of the attempt that was answered
    received: bytes = b""
    whole: bool = False  # read to its end
    error: BaseException | None = None
    cancelled_at: float | None = None
    cancelled: bool = False
    reads: list[tuple[float, float]] = field(default_factory=list)  # when each began and ended


@dataclass(eq=False)
class Report:
    """What happened in a scenario."""

    scenario: Scenario
    books: Books
    hooks: Hooks
    built: Built
    outcomes: list[Outcome]
    pace: Pace
    closings: list[tuple[float, float]] = field(default_factory=list)  # when begun and done
    misreads: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)  # of the event loop, of generators
    hung: bool = False
    recovered: list[str] = field(default_factory=list)  # how the calls at the end went wrong


@dataclass
class Deadline:
    """A deadline of the caller's own class."""

    time: Time
    until: float

    def remaining(self) -> float:
        """Return the seconds that are left."""
        return max(self.until - self.time.monotonic(), 0.0)


Build = Callable[[ModuleType, str, str, str, int], httpx.Request]
MakeWorld = Callable[[Callable[[int, int], Reply], Callable[[int], None]], World]


class Run:
    """One run of a scenario.

    Args:
        scenario: What to run.
        time: What all waiting is done by.
        make_world: Makes the server and the network, from what returns the reply to attempt
            `number` of call `call`, and from what is to be called at each step of a call.
        pace: How long things may take.
    """

    def __init__(
        self, scenario: Scenario, time: Time, make_world: MakeWorld, pace: Pace | None = None
    ) -> None:
        self.scenario = scenario
        self.time = time
        self.pace = pace or Pace()
        self.home = HOMES[scenario.family]
        self.hooks = Hooks(time, scenario.raises)
        world = make_world(self._reply_for, self._step)
        self.books = Books(time, world, self.hooks)
        self.built = build(scenario, self.hooks, self.books)
        self.client: Any = self._new_client()
        self.outcomes = [Outcome(call, number) for number, call in enumerate(scenario.calls)]
        self.report = Report(scenario, self.books, self.hooks, self.built, self.outcomes, self.pace)
        self._cancels: dict[int, Callable[[], object]] = {}
        self._steps: dict[int, int] = {}

    async def all(self) -> Report:
        """Run calls and incidents, and find out whether everything recovers."""
        self.hooks.armed = True
        with self.time.move_on_after(self.pace.too_long) as limit:
            async with anyio.create_task_group() as tasks:
                for outcome in self.outcomes:
                    tasks.start_soon(self._caller, outcome)
                for incident in self.scenario.incidents:
                    tasks.start_soon(self._incident, incident.at, incident.does)
        self.report.hung = limit.cancelled_caught
        self.hooks.armed = False
        with self.time.move_on_after(self.pace.too_long) as limit:
            await self._recover()
        if limit.cancelled_caught:
            self.report.recovered.append("hung")
        self.report.recovered += await self.books.world.tidy()
        await self.client.aclose()
        return self.report

    # What the plan says

    def _reply_for(self, call: int, number: int) -> Reply:
        replies = () if call == RECOVERY else self.scenario.calls[call].replies
        return replies[number - 1] if number <= len(replies) else Reply()

    def _step(self, call: int) -> None:
        self._steps[call] = self._steps.get(call, 0) + 1
        if call != RECOVERY and self._steps[call] == self.scenario.calls[call].cancel_at:
            self._cancel(call)

    async def _incident(self, at: float, does: str) -> None:
        await self.time.sleep(at)
        if does.startswith("close"):
            began = self.time.monotonic()
            await (self.client if does == "close client" else self.built.top).aclose()
            self.report.closings.append((began, self.time.monotonic()))
        else:
            with self.hooks.quiet():
                for breaker_for in self.built.breakers:
                    for origin in ORIGINS:
                        getattr(breaker_for(origin), does)()

    # One caller

    async def _caller(self, outcome: Outcome) -> None:
        await self.time.sleep(outcome.call.at)
        if outcome.call.natively:
            await self._in_a_task(outcome)
        else:
            await self._in_a_scope(outcome)

    async def _in_a_scope(self, outcome: Outcome) -> None:
        with anyio.CancelScope() as scope:
            self._cancels[outcome.number] = scope.cancel
            await self._until_cancelled(outcome, self._call(outcome))
        outcome.cancelled = scope.cancelled_caught

    async def _in_a_task(self, outcome: Outcome) -> None:
        # asyncio delivers a cancellation only once: if it is swallowed, it is lost.
        task = asyncio.create_task(self._call(outcome))
        self._cancels[outcome.number] = task.cancel
        try:
            await self._until_cancelled(outcome, asyncio.wait({task}))
        finally:
            task.cancel()
            await asyncio.wait({task})
        outcome.cancelled = task.cancelled()
        if not task.cancelled():
            task.result()

    async def _until_cancelled(self, outcome: Outcome, ending: Any) -> None:  # noqa: ANN401 - any awaitable
        async with anyio.create_task_group() as tasks:
            if outcome.call.cancel_after is not None:
                tasks.start_soon(self._cancel_later, outcome)
            await ending
            tasks.cancel_scope.cancel()

    async def _cancel_later(self, outcome: Outcome) -> None:
        await self.time.sleep(outcome.call.cancel_after or 0.0)
        self._cancel(outcome.number)

    def _cancel(self, number: int) -> None:
        outcome = self.outcomes[number]
        if outcome.ended is None and outcome.cancelled_at is None:
            outcome.cancelled_at = self.time.monotonic()
            self._cancels[number]()

    async def _call(self, outcome: Outcome) -> None:
        outcome.began = self.time.monotonic()
        try:
            try:
                await self._send(outcome)
            except Exception as error:  # noqa: BLE001 - to be judged afterwards
                outcome.error = error
            except HookInterrupt as error:
                outcome.error = error
            await anyio.lowlevel.checkpoint()  # at which a cancellation comes out at the latest
        finally:
            outcome.ended = self.time.monotonic()

    def request_of(self, outcome: Outcome, build: Build = uploads.build) -> httpx.Request:
        """Return the request of a call."""
        call = outcome.call
        url = f"{ORIGINS[call.origin]}/{outcome.number}"
        request = build(self.home, call.method, url, call.upload, outcome.number)
        if call.whole_body is not None:
            request.extensions["walltrack.whole_body"] = call.whole_body
        if call.retry is not None:
            policy = policy_of(call.retry) if not isinstance(call.retry, bool) else False
            request.extensions["walltrack.retry"] = policy
        if call.deadline is not None:
            until = self.time.monotonic() + call.deadline
            request.extensions["walltrack.deadline"] = Deadline(self.time, until)
        return request

    async def _send(self, outcome: Outcome) -> None:
        call, request = outcome.call, self.request_of(outcome)
        if not call.streams:
            response = await self.client.send(request)
            outcome.status, outcome.tag = response.status_code, response.headers["x-attempt"]
            outcome.received, outcome.whole = response.content, True
            return
        response = await self.client.send(request, stream=True)
        outcome.status, outcome.tag = response.status_code, response.headers["x-attempt"]
        try:
            await self._read(outcome, response)
        finally:
            with anyio.CancelScope(shield=True):
                await response.aclose()

    async def _read(self, outcome: Outcome, response: httpx.Response) -> None:
        if outcome.call.closes_after == 0:
            return
        raw: Any = response.aiter_raw()
        chunks: AsyncGenerator[bytes, None] = raw
        async with aclosing(chunks):
            for count in range(1, sys.maxsize):
                began = self.time.monotonic()
                try:
                    outcome.received += await anext(chunks)
                except StopAsyncIteration:
                    outcome.whole = True
                    return
                finally:
                    outcome.reads.append((began, self.time.monotonic()))
                if count == outcome.call.closes_after:
                    return
                await self.time.sleep(outcome.call.pause)

    # The end

    async def _recover(self) -> None:
        for breaker_for in self.built.breakers:
            for origin in ORIGINS:
                if (breaker := breaker_for(origin)).mode is not CircuitMode.AUTOMATIC:
                    breaker.reset()
        if self.client.is_closed:
            self.client = self._new_client()
        for origin in ORIGINS:
            await self.time.sleep(self.pace.a_while)
            for _ in range(self.pace.asks):
                problem = await self._ask(origin)
                await self.time.sleep(self.pace.between)
                states = {breaker_for(origin).state for breaker_for in self.built.breakers}
                if not (problem or states - {CircuitState.CLOSED}):
                    break
            else:
                self.report.recovered.append(f"{origin}: {problem} {sorted(states)}")

    async def _ask(self, origin: str) -> str:
        try:
            response = await self.client.get(origin, headers={"x-call": str(RECOVERY)})
        except Exception as error:  # noqa: BLE001 - to be judged afterwards
            return repr(error)
        return "" if response.status_code == 200 else str(response.status_code)

    def _new_client(self) -> Any:  # noqa: ANN401 - of either family
        client: httpx.AsyncClient = self.home.AsyncClient(
            transport=self.built.top, timeout=self.pace.timeout
        )
        return client
