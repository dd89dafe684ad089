"""If a function given to a layer raises, the response is closed, and the layer is idle."""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest

from tests.support import URL, Body, Clock, get
from walltrack import (
    AdaptiveLimit,
    Backoff,
    CircuitBreakerTransport,
    ConcurrencyLimitTransport,
    CountWindow,
    HedgingTransport,
    RateLimitTransport,
    RetryBudget,
    RetryPolicy,
    RetryTransport,
    TimeoutTransport,
    WaitingRoomTransport,
    resilient_transport,
)

pytestmark = pytest.mark.anyio

MOST_CALLS = 24
"""The calls of a hook that are looked at; hardly any is called as often in one request."""

FAST = RetryPolicy(max_retries=2, backoff=Backoff(base=0.5, cap=0.5, jitter="full"))


class Interrupt(BaseException):
    """Ends a program, as KeyboardInterrupt does."""


class Bug(Exception):  # noqa: N818 - it represents any exception of a hook
    """A mistake in a function of the caller's."""


@dataclass
class Hook:
    """Does what `function` does, but raises on one of its calls."""

    function: Callable[..., Any]
    at: int
    error: type[BaseException]
    calls: int = 0

    def __call__(self, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - as any function
        self.calls += 1
        if self.calls == self.at:
            raise self.error
        return self.function(*arguments, **options)

    uniform = __call__  # as a source of randomness


@dataclass
class Server(httpx.AsyncBaseTransport):
    """Answers with bodies that are still to be read, and keeps them for the test."""

    status: int
    slow: bool = False
    bodies: list[Body] = field(default_factory=list)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self.slow:  # so that another attempt is hedged
            for _ in range(3):
                await anyio.lowlevel.checkpoint()
        self.bodies.append(body := Body(b"sorry"))
        del request
        headers = {"content-length": "5", "retry-after": "1", "ratelimit": '"a";r=0;t=1'}
        return httpx.Response(self.status, headers=headers, stream=body)


class Budget(RetryBudget):
    """A budget with hooks of its own."""

    __slots__ = ("hook",)

    def __init__(self, hook: Hook) -> None:
        super().__init__()
        self.hook = hook

    def deposit(self) -> None:
        self.hook()
        super().deposit()

    def withdraw(self, cost: float = 1.0) -> bool:
        self.hook()
        return super().withdraw(cost)


class Deciding(RetryPolicy):
    """A policy with a hook of its own."""

    hook: Hook

    def decide(self, attempt: Any, rng: Any) -> Any:  # noqa: ANN401 - handed on
        self.hook()
        return super().decide(attempt, rng)


class Deadline:
    """A deadline of the caller's own class."""

    def __init__(self, hook: Hook) -> None:
        self.remaining = hook


def policy(hook: Hook) -> RetryPolicy:
    """A policy that calls the hook."""
    deciding = Deciding(max_retries=2)
    object.__setattr__(deciding, "hook", hook)
    return deciding


def ignore(*_: object) -> None:
    """Do nothing, as a listener."""


async def step(_: float) -> None:
    """Let other tasks run, as a sleep."""
    await anyio.lowlevel.checkpoint()


Layer = Callable[[httpx.AsyncBaseTransport, Hook], httpx.AsyncBaseTransport]

limited = partial(ConcurrencyLimitTransport, listener=None)
paced = partial(RateLimitTransport, sleep=step, listener=None)
retrying = partial(RetryTransport, policy=FAST, sleep=step, listener=None)
breaking = partial(CircuitBreakerTransport, failure_threshold=1, listener=None)


def waiting(
    inner: httpx.AsyncBaseTransport,
    timer: Callable[[float], object] = ignore,
    **options: Any,  # noqa: ANN401 - handed on
) -> httpx.AsyncBaseTransport:
    """A room at an open circuit, whose calls are retried once, and whose waits take no time."""
    clock = Clock()

    def skip(seconds: float) -> anyio.CancelScope:
        timer(seconds)
        clock.advance(seconds)
        return anyio.move_on_after(0)

    room = WaitingRoomTransport(
        breaking(inner, cooldown=1.0, clock=clock),
        **{"listener": None, "clock": clock, "timer": skip, **options},
    )
    return retrying(room, policy=RetryPolicy(max_retries=1, backoff=FAST.backoff))


hedged = partial(HedgingTransport, delay=0.0, sleep=step, listener=None)

HOOKS: dict[str, tuple[Callable[..., Any], Layer]] = {
    "retry: rng": (lambda a, b: (a + b) / 2, lambda t, h: retrying(t, rng=h)),
    "retry: wall_clock": (lambda: 0.0, lambda t, h: retrying(t, wall_clock=h)),
    "retry: sleep": (step, lambda t, h: retrying(t, sleep=h)),
    "retry: listener": (ignore, lambda t, h: retrying(t, listener=h)),
    "retry: budget": (ignore, lambda t, h: retrying(t, budget=Budget(h))),
    "retry: policy": (ignore, lambda t, h: retrying(t, policy=policy(h))),
    "breaker: key": (lambda _: 1, lambda t, h: breaking(t, key=h)),
    "breaker: clock": (lambda: 0.0, lambda t, h: breaking(t, clock=h)),
    "breaker: clock, window": (
        lambda: 0.0,
        lambda t, h: breaking(
            t, clock=h, window=CountWindow(minimum_calls=1, slow_call_seconds=1.0)
        ),
    ),
    "breaker: rng": (
        lambda a, b: (a + b) / 2,
        lambda t, h: breaking(t, rng=h, cooldown=Backoff(base=1, jitter="full")),
    ),
    "breaker: listener": (ignore, lambda t, h: breaking(t, listener=h)),
    "limit: key": (lambda _: 1, lambda t, h: limited(t, 1, key=h)),
    "limit: clock": (lambda: 0.0, lambda t, h: limited(t, AdaptiveLimit(1), clock=h)),
    "rate: key": (lambda _: 1, lambda t, h: paced(t, 1000, key=h)),
    "rate: clock": (Clock(), lambda t, h: paced(t, 1000, burst=10, clock=h)),
    "rate: wall_clock": (lambda: 0.0, lambda t, h: paced(t, wall_clock=h)),
    "rate: listener": (ignore, lambda t, h: paced(t, listener=h)),
    "room: key": (lambda _: 1, lambda t, h: waiting(t, key=h)),
    "room: clock": (partial(next, itertools.count(step=0.001)), lambda t, h: waiting(t, clock=h)),
    "room: timer": (ignore, lambda t, h: waiting(t, timer=h)),
    "room: listener": (ignore, lambda t, h: waiting(t, listener=h)),
    "hedge: key": (lambda _: 1, lambda t, h: hedged(t, delay="p95", key=h)),
    "hedge: clock": (lambda: 0.0, lambda t, h: hedged(t, clock=h)),
    "hedge: sleep": (step, lambda t, h: hedged(t, sleep=h)),
    "hedge: listener": (ignore, lambda t, h: hedged(t, listener=h)),
    "hedge: budget": (ignore, lambda t, h: hedged(t, budget=Budget(h))),
    "timeout: clock": (lambda: 0.0, lambda t, h: TimeoutTransport(t, 5, clock=h)),
    "timeout: timer": (anyio.move_on_after, lambda t, h: TimeoutTransport(t, 5, timer=h)),
    "stack: listener": (
        ignore,
        lambda t, h: resilient_transport(
            t,
            deadline=60,
            hedge=0,
            rate_limit=1000,
            concurrency_limit=1,
            waiting_room=None,
            sleep=step,
            listener=h,
        ),
    ),
    "stack: clock": (
        lambda: 0.0,
        lambda t, h: resilient_transport(
            t,
            deadline=60,
            rate_limit=1000,
            concurrency_limit="adaptive",
            waiting_room=None,
            sleep=step,
            clock=h,
        ),
    ),
}

each_hook = pytest.mark.parametrize("name", HOOKS)
each_error = pytest.mark.parametrize("error", [Bug, Interrupt])
each_status = pytest.mark.parametrize("status", [200, 503])


@contextlib.contextmanager
def raising_alone() -> Iterator[None]:
    """Let the exceptions of hooks pass, and those that layers make of the status."""
    with contextlib.suppress(Bug, Interrupt, httpx.TransportError):
        yield


async def call(
    transport: httpx.AsyncBaseTransport, request: Callable[[], httpx.Request] = get
) -> bool:
    """Make a call as a client does, and tell whether there was a response."""
    with raising_alone():
        response = await transport.handle_async_request(request())
        try:
            await response.aread()
        finally:
            await response.aclose()
        return True
    return False


@each_hook
@each_error
@each_status
async def test_a_hook_that_raises_leaves_no_response_open(
    name: str, error: type[BaseException], status: int
) -> None:
    """On whichever of its calls it raises, every response is closed, and the next call is served.

    The layer is at rest afterwards: no place is held in a limit of one, and no probe.
    """
    function, layer = HOOKS[name]
    for at in range(1, MOST_CALLS + 1):
        server = Server(status, slow=name.startswith(("hedge", "stack")))
        hook = Hook(function, 0, error)
        transport = layer(server, hook)
        hook.calls, hook.at = 0, at
        with anyio.fail_after(10):
            await call(transport)
        assert [body.closes for body in server.bodies] == [1] * len(server.bodies)
        if hook.calls < at:
            break  # in one request it is not called as often
        hook.at = 0
        server.status = 200
        with anyio.fail_after(10):
            await call(transport)
        assert [body.closes for body in server.bodies] == [1] * len(server.bodies)
    assert at > 1 or status == 200 or "budget" in name, "this hook was never called"


@each_error
@pytest.mark.parametrize(
    "layer",
    [
        retrying,
        breaking,
        limited,
        partial(paced, rate=1000),
        partial(hedged, delay=0.0),
        partial(TimeoutTransport, seconds=5),
        partial(WaitingRoomTransport, max_wait=5.0),
    ],
    ids=lambda layer: layer.func.__name__,
)
async def test_a_deadline_of_the_callers_own_may_raise(
    layer: Callable[..., httpx.AsyncBaseTransport], error: type[BaseException]
) -> None:
    """What the caller puts into `extensions` is called as well, and leaves nothing open."""
    for at in range(1, MOST_CALLS + 1):
        server = Server(503)
        hook = Hook(lambda: 60.0, at, error)

        def request(deadline: Deadline) -> httpx.Request:
            return httpx.Request("GET", URL, extensions={"walltrack.deadline": deadline})

        with anyio.fail_after(10):
            await call(layer(server), partial(request, Deadline(hook)))
        assert [body.closes for body in server.bodies] == [1] * len(server.bodies)


@each_error
async def test_a_listener_that_ends_the_program_gives_the_probe_back(
    error: type[BaseException], clock: Clock
) -> None:
    """It is called once the breaker became half-open: the next call is the probe then."""
    server = Server(503)
    hook = Hook(ignore, 0, error)
    transport = CircuitBreakerTransport(server, failure_threshold=1, clock=clock, listener=hook)
    await call(transport)
    clock.advance(30)
    server.status, hook.at = 200, hook.calls + 1

    first = await call(transport)

    assert first is (error is Bug)  # what a listener raises by mistake is logged
    hook.at = 0
    assert await call(transport)
