"""Layers as a plan names them, with a tap between each two that notes what passes."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Protocol

import httpx

from tests.fleet.fake_store import FakeStore
from tests.scenarios.attempts import Attempt, Time
from tests.scenarios.credentials import Nonces
from tests.scenarios.plan import Layer, Options, Scenario
from walltrack import (
    AdaptiveLimit,
    AuthTransport,
    Backoff,
    CircuitBreaker,
    CircuitBreakerOpenError,
    CircuitBreakerTransport,
    CircuitMode,
    CircuitState,
    ConcurrencyLimitTransport,
    CountWindow,
    Event,
    HedgingTransport,
    RateLimitTransport,
    RetryBudget,
    RetryPolicy,
    RetryTransport,
    TimeoutTransport,
    TimeWindow,
    WaitingRoomTransport,
    resilient_transport,
)
from walltrack.core import family
from walltrack.core.classification import Classification, Outcome

ORIGINS: Final = ("https://one.test", "https://two.test")
WINDOWS: Final = {
    None: None,
    "count": CountWindow(size=4, minimum_calls=2),
    "time": TimeWindow(seconds=10.0, minimum_calls=2, slow_call_seconds=0.9, slow_call_rate=0.6),
}


class HookError(Exception):
    """What a hook of the caller's raises."""


class HookInterrupt(BaseException):
    """What a listener or a classify function raises; an ordinary exception never comes out."""


class Hooks:
    """The functions that layers take from their caller; one call of one of them may raise.

    Args:
        time: What they measure and wait by.
        raises: Which of them, and the number of the call that does.
    """

    def __init__(self, time: Time, raises: tuple[str, int] | None) -> None:
        self.time = time
        self.events: list[Event] = []
        self.armed = False
        self._raises = raises
        self._calls = 0
        self._rng = random.Random(0)  # noqa: S311 - the same numbers every time
        self._keys = 0

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Have none raise for a moment."""
        armed, self.armed = self.armed, False
        try:
            yield
        finally:
            self.armed = armed

    def clock(self) -> float:
        self._count("clock")
        return self.time.monotonic()

    def wall_clock(self) -> float:
        self._count("wall_clock")
        return self.time.time()

    def key(self, request: httpx.Request) -> str:
        self._count("key")
        return request.url.host

    def uniform(self, low: float, high: float) -> float:
        self._count("rng")
        return self._rng.uniform(low, high)

    async def sleep(self, seconds: float) -> None:
        self._count("sleep")
        await self.time.sleep(seconds)

    def new_key(self) -> str:
        self._count("new_key")
        self._keys += 1
        return f"key {self._keys}"

    def classify(self, outcome: Outcome) -> Classification | None:
        self._count("classify", HookInterrupt)
        if outcome.status in (404, 504):  # the other way round than by the outcome table
            return Classification(retry=outcome.status == 404, failure=outcome.status == 404)
        return None

    def listener(self, event: Event) -> None:
        self.events.append(event)
        self._count("listener", HookInterrupt)

    def _count(self, name: str, error: type[BaseException] = HookError) -> None:
        if self.armed and self._raises is not None and self._raises[0] == name:
            self._calls += 1
            if self._calls == self._raises[1]:
                raise error(name)


@dataclass(eq=False)
class Passage:
    """One request on its way through a tap."""

    level: int
    parent: "Passage | None"
    call: int
    host: str
    began: float
    order: int
    refused: bool = False  # the breaker above should have refused it
    rejected: bool = False  # by a breaker inside
    ended: float | None = None
    response: httpx.Response | None = None

    def up(self) -> Iterator["Passage"]:
        """This passage, and those that it is a part of, from the inside out."""
        yield self
        if self.parent is not None:
            yield from self.parent.up()


_CURRENT: ContextVar[Passage | None] = ContextVar("passage", default=None)


def current() -> Passage | None:
    """Return the innermost passage in which this runs."""
    return _CURRENT.get()


class Tap(family.AsyncBaseTransport):
    """Notes what passes. It leaves requests and responses as they are.

    Args:
        inner: What stands beneath.
        level: The number of the layer beneath, from the outside in.
        books: Where to note it.
    """

    def __init__(self, inner: Any, level: int, books: "Books") -> None:  # noqa: ANN401 - of either family
        self.breaker: CircuitBreaker | None = None  # the one above, if all requests share it
        self._inner = inner
        self._level = level
        self._books = books

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        books = self._books
        with books.hooks.quiet():
            refused = self.breaker is not None and _is_open(self.breaker)
        passage = Passage(
            self._level,
            _CURRENT.get(),
            int(request.headers["x-call"]),
            request.url.host,
            books.time.monotonic(),
            len(books.passages),
            refused=refused,
        )
        books.begin(passage)
        before = _CURRENT.set(passage)
        try:
            response: httpx.Response = await self._inner.handle_async_request(request)
            passage.response = response
        except CircuitBreakerOpenError:
            passage.rejected = True
            raise
        finally:
            _CURRENT.reset(before)
            passage.ended = books.time.monotonic()
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


def _is_open(breaker: CircuitBreaker) -> bool:
    return breaker.state is CircuitState.OPEN and breaker.mode is not CircuitMode.OBSERVE_ONLY


class World(Protocol):
    """The server and the network: the transport beneath all layers."""

    attempts: list[Attempt]

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer a request."""
        ...

    async def aclose(self) -> None:
        """Close all connections."""
        ...

    async def tidy(self) -> list[str]:
        """End what was left, and return what should not have been."""
        ...


@dataclass(eq=False)
class Books:
    """What passed the taps, in its order, and the most that were in flight at a time."""

    time: Time
    world: World
    hooks: Hooks
    passages: list[Passage] = field(default_factory=list)
    most: dict[tuple[int, str], int] = field(default_factory=dict)  # by level and host

    def begin(self, passage: Passage) -> None:
        """Note a passage that begins."""
        self.passages.append(passage)
        for key in ((passage.level, passage.host), (passage.level, "")):
            here = [p for p in self.passages if p.level == key[0] and key[1] in ("", p.host)]
            self.most[key] = max(self.most.get(key, 0), sum(map(self._is_in_flight, here)))

    def attempt_of(self, response: httpx.Response) -> Attempt:
        """Return the attempt that a response is the answer to."""
        tag = response.headers["x-attempt"]
        return next(attempt for attempt in self.world.attempts if attempt.tag == tag)

    def _is_in_flight(self, passage: Passage) -> bool:
        if passage.ended is None:
            return True
        return passage.response is not None and self.attempt_of(passage.response).open


@dataclass(eq=False)
class Built:
    """The layers of a scenario over its world."""

    top: httpx.AsyncBaseTransport
    transports: list[Any] = field(default_factory=list)  # from the outside in
    breakers: list[Callable[[str], CircuitBreaker]] = field(default_factory=list)  # by URL


def build(scenario: Scenario, hooks: Hooks, books: Books) -> Built:
    """Build the layers of `scenario`, with a tap above and beneath each."""
    tap = Tap(books.world, len(scenario.layers), books)
    built = Built(tap)
    for level, layer in reversed([*enumerate(scenario.layers)]):
        transport, breaker = MAKERS[layer.kind](layer, tap, hooks)
        if isinstance(breaker, CircuitBreaker):
            # A flow may read the body first, while the circuit that let it through opens.
            tap.breaker = None if layer["auth"] else breaker
            built.breakers.append(partial(_same, breaker))
        elif breaker is not None:
            built.breakers.append(breaker)
        built.transports.insert(0, transport)
        built.top = tap = Tap(transport, level, books)
    return built


def _same(breaker: CircuitBreaker, _: str) -> CircuitBreaker:
    return breaker


Made = tuple[Any, CircuitBreaker | Callable[[str], CircuitBreaker] | None]


def policy_of(options: Options) -> RetryPolicy:
    """Return the retry policy that options describe."""
    base = options["base"]
    return RetryPolicy(
        max_retries=options["max_retries"],
        backoff=Backoff(base=base, cap=max(base, 4.0), jitter=options["jitter"]),
        max_retry_after=options["max_retry_after"],
        non_idempotent=options["non_idempotent"],
    )


def _budget(layer: Layer) -> RetryBudget | None:
    return None if layer["budget"] is None else RetryBudget(layer["budget"], deposit=0.1)


def _retry(layer: Layer, inner: Any, hooks: Hooks) -> Made:  # noqa: ANN401 - of either family
    transport = RetryTransport(
        inner,
        policy=policy_of(layer.options),
        budget=_budget(layer),
        body=layer["body"],
        max_response_bytes=layer["max_response_bytes"],
        classify=hooks.classify if layer["classify"] else None,
        listener=hooks.listener,
        clock=hooks.clock,
        sleep=hooks.sleep,
        rng=hooks,
        wall_clock=hooks.wall_clock,
        new_key=hooks.new_key,
    )
    return transport, None


def _breaker(layer: Layer, inner: Any, hooks: Hooks) -> Made:  # noqa: ANN401 - of either family
    base, classify = layer["cooldown"], hooks.classify if layer["classify"] else None
    options: dict[str, Any] = {
        "failure_threshold": layer["failure_threshold"],
        "cooldown": Backoff(base=base, cap=60.0, jitter="full") if layer["grows"] else base,
        "window": WINDOWS[layer["window"]],
        "probes": layer["probes"],
        "failing_seconds": layer["failing_seconds"] or 0.0,
        "clock": hooks.clock,
        "rng": hooks,
    }
    store = FakeStore(hooks.time.monotonic) if layer["fleet"] else None
    if layer["shared"]:
        breaker = CircuitBreaker(**options, service="all")
        shared = CircuitBreakerTransport(
            inner, breaker=breaker, classify=classify, listener=hooks.listener, shared=store
        )
        return shared, breaker
    transport = CircuitBreakerTransport(
        inner,
        key=hooks.key,
        classify=classify,
        listener=hooks.listener,
        shared=store,
        **options,
    )
    return transport, transport.breaker_for


def _room(layer: Layer, inner: Any, hooks: Hooks) -> Made:  # noqa: ANN401 - of either family
    transport, breaker = _breaker(layer, inner, hooks)
    room = WaitingRoomTransport(
        transport,
        layer["max_waiting"],
        layer["max_wait"],
        key=_same_for_all if layer["shared"] else hooks.key,
        clock=hooks.clock,
        timer=hooks.time.move_on_after,
        listener=hooks.listener,
    )
    return room, breaker


def _same_for_all(_: httpx.Request) -> None:
    """Return the key of all requests."""


def _rate(layer: Layer, inner: Any, hooks: Hooks) -> Made:  # noqa: ANN401 - of either family
    transport = RateLimitTransport(
        inner,
        **layer.options,
        key=hooks.key,
        clock=hooks.clock,
        wall_clock=hooks.wall_clock,
        sleep=hooks.sleep,
        listener=hooks.listener,
    )
    return transport, None


def _limit(layer: Layer, inner: Any, hooks: Hooks) -> Made:  # noqa: ANN401 - of either family
    limit = layer["limit"] or AdaptiveLimit(layer["initial"], maximum=layer["maximum"])
    transport = ConcurrencyLimitTransport(
        inner,
        limit,
        max_queue=layer["max_queue"],
        queue_timeout=layer["queue_timeout"],
        key=hooks.key if layer["keyed"] else None,
        clock=hooks.clock,
        timer=hooks.time.move_on_after,
        listener=hooks.listener,
    )
    return transport, None


def _hedge(layer: Layer, inner: Any, hooks: Hooks) -> Made:  # noqa: ANN401 - of either family
    transport = HedgingTransport(
        inner,
        layer["delay"],
        budget=_budget(layer),
        classify=hooks.classify if layer["classify"] else None,
        key=hooks.key,
        clock=hooks.clock,
        sleep=hooks.sleep,
        listener=hooks.listener,
    )
    return transport, None


def _timeout(layer: Layer, inner: Any, hooks: Hooks) -> Made:  # noqa: ANN401 - of either family
    timer = hooks.time.move_on_after
    return TimeoutTransport(inner, layer["seconds"], clock=hooks.clock, timer=timer), None


def _auth(layer: Layer, inner: Any, hooks: Hooks) -> Made:  # noqa: ANN401 - of either family
    del hooks
    return AuthTransport(inner, Nonces(layer["flow"])), None


def _broken(layer: Layer, inner: Any, hooks: Hooks) -> Made:  # noqa: ANN401 - of either family
    return layer["make"](inner, hooks), None


def _stack(layer: Layer, inner: Any, hooks: Hooks) -> Made:  # noqa: ANN401 - of either family
    options = layer["breaker"]
    breaker = None if options is None else CircuitBreaker(**options, clock=hooks.clock)
    transport = resilient_transport(
        inner,
        deadline=layer["deadline"],
        retry=policy_of(layer.options),
        hedge=layer["hedge"],
        rate_limit=layer["rate_limit"],
        concurrency_limit=layer["concurrency_limit"],
        waiting_room=layer["waiting_room"],
        breaker=breaker,
        body=layer["body"],
        classify=hooks.classify if layer["classify"] else None,
        attempt_timeout=layer["attempt_timeout"],
        deadline_header=layer["deadline_header"],
        auth=None if layer["auth"] is None else Nonces(layer["auth"]),
        listener=hooks.listener,
        clock=hooks.clock,
        sleep=hooks.sleep,
        timer=hooks.time.move_on_after,
    )
    return transport, breaker


MAKERS: Final = {
    "retry": _retry,
    "breaker": _breaker,
    "room": _room,
    "rate": _rate,
    "limit": _limit,
    "adaptive": _limit,
    "hedge": _hedge,
    "timeout": _timeout,
    "auth": _auth,
    "stack": _stack,
    "broken": _broken,
}
