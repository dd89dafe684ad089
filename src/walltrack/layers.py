"""The layers of the standard stack, each made from the value of its option."""

import inspect
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal, Protocol, TypeAlias

import httpx

from walltrack.circuit_breaker.breaker import CircuitBreaker
from walltrack.circuit_breaker.transport import CircuitBreakerTransport
from walltrack.concurrency_limit.adaptive import AdaptiveLimit
from walltrack.concurrency_limit.transport import ConcurrencyLimitTransport
from walltrack.core import validation
from walltrack.core.backoff import Backoff
from walltrack.core.budget import RetryBudget
from walltrack.core.classification import Classifier
from walltrack.core.events import Listener
from walltrack.core.naming import origin_of
from walltrack.core.shared_state import SharedState
from walltrack.core.statuses import UNHEALTHY_STATUSES
from walltrack.hedging.transport import HedgingTransport
from walltrack.http.body import ReadAhead
from walltrack.rate_limit.transport import RateLimitTransport
from walltrack.retry.policy import RetryPolicy
from walltrack.retry.transport import RetryTransport
from walltrack.timeout.body import Timer
from walltrack.timeout.limits import AttemptTimeout
from walltrack.timeout.transport import TimeoutTransport
from walltrack.waiting_room.transport import WaitingRoomTransport

COOLDOWN: Final = Backoff(base=1.0, cap=3.0, jitter="equal")
FAILING_SECONDS: Final = 0.5
LONGEST_WAIT: Final = 10.0

Limit: TypeAlias = int | Literal["adaptive"] | AdaptiveLimit
Transport: TypeAlias = httpx.AsyncBaseTransport


class Layer(Protocol):
    """A function that wraps a transport in a layer, such as the class of a layer."""

    def __call__(self, transport: Transport, /) -> Transport:
        """Return a transport that sends its requests through `transport`."""
        ...


@dataclass(frozen=True, slots=True)
class StandardLayers:
    """Wraps a transport in each layer, configured by the value of its option."""

    budget: RetryBudget | None
    body: ReadAhead
    classifier: Classifier | None
    listener: Listener | None
    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    timer: Timer
    shared: SharedState | None
    breaker_key: Callable[[httpx.Request], Hashable]
    waits_by_default: bool

    def attempt_timeout(self, inner: Transport, limits: float | AttemptTimeout) -> Transport:
        """Limit the time of each attempt."""
        if not isinstance(limits, AttemptTimeout):
            validation.positive("attempt_timeout", limits)
            limits = AttemptTimeout(total=limits)
        return TimeoutTransport(
            inner,
            limits.total,
            headers=limits.headers,
            idle=limits.idle,
            name="attempt timeout",
            clock=self.clock,
            timer=self.timer,
        )

    def breakers(self, inner: Transport) -> Transport:
        """Give each origin the circuit breaker of the standard stack."""
        return CircuitBreakerTransport(
            inner,
            cooldown=COOLDOWN,
            failing_seconds=FAILING_SECONDS if self.shared is None else 0.0,
            statuses=UNHEALTHY_STATUSES.minus(429),
            classify=self.classifier,
            listener=self.listener,
            clock=self.clock,
            shared=self.shared,
        )

    def breaker(self, inner: Transport, breaker: CircuitBreaker) -> Transport:
        """Use one circuit breaker for all requests."""
        validation.instance("breaker", breaker, CircuitBreaker)
        return CircuitBreakerTransport(
            inner,
            breaker=breaker,
            classify=self.classifier,
            listener=self.listener,
            shared=self.shared,
        )

    def brief_waits(self, inner: Transport) -> Transport:
        """Let calls wait briefly for an open circuit, if its cooldown is brief."""
        return self.waiting_room(inner, LONGEST_WAIT) if self.waits_by_default else inner

    def waiting_room(self, inner: Transport, max_wait: float) -> Transport:
        """Let calls wait for an open circuit."""
        validation.positive("waiting_room", max_wait)
        return WaitingRoomTransport(
            inner,
            max_wait=max_wait,
            key=self.breaker_key,
            clock=self.clock,
            timer=self.timer,
            listener=self.listener,
        )

    def concurrency_limit(self, inner: Transport, limit: Limit) -> Transport:
        """Limit the requests in flight to each origin."""
        if isinstance(limit, str):
            validation.choice("concurrency_limit", limit, ("adaptive",))
        elif not isinstance(limit, AdaptiveLimit):
            validation.integer("concurrency_limit", limit, minimum=1)
        return ConcurrencyLimitTransport(
            inner,
            limit,
            key=origin_of,
            classify=self.classifier,
            clock=self.clock,
            timer=self.timer,
            listener=self.listener,
        )

    def announced_limits(self, inner: Transport) -> Transport:
        """Respect the limits that a server announces, and no other."""
        return RateLimitTransport(
            inner,
            classify=self.classifier,
            listener=self.listener,
            clock=self.clock,
            sleep=self.sleep,
        )

    def rate_limit(self, inner: Transport, rate: float) -> Transport:
        """Pace the requests to each origin."""
        validation.positive("rate_limit", rate)
        return RateLimitTransport(
            inner,
            rate,
            classify=self.classifier,
            listener=self.listener,
            clock=self.clock,
            sleep=self.sleep,
            shared=self.shared,
        )

    def hedge(self, inner: Transport, delay: float | Literal["p95"]) -> Transport:
        """Send a second attempt when the first one is slow."""
        if isinstance(delay, str):
            validation.choice("hedge", delay, ("p95",))
        else:
            validation.number("hedge", delay)
        return HedgingTransport(
            inner,
            delay,
            classify=self.classifier,
            listener=self.listener,
            clock=self.clock,
            sleep=self.sleep,
        )

    def retry(self, inner: Transport, policy: RetryPolicy) -> Transport:
        """Retry failed attempts."""
        validation.instance("retry", policy, RetryPolicy)
        return RetryTransport(
            inner,
            policy=policy,
            budget=self.budget,
            body=self.body,
            classify=self.classifier,
            listener=self.listener,
            clock=self.clock,
            sleep=self.sleep,
        )

    def deadline(self, inner: Transport, seconds: float) -> Transport:
        """Limit the time of a whole call."""
        validation.positive("deadline", seconds)
        return TimeoutTransport(
            inner,
            seconds,
            name="deadline",
            whole_call=True,
            clock=self.clock,
            timer=self.timer,
        )

    def wired(self, layer: Callable[..., Transport]) -> Callable[..., Transport]:
        """Give a layer of this library what its stack was given and it does not name itself."""
        made, named = (layer.func, layer.keywords) if isinstance(layer, partial) else (layer, {})
        if made not in _LAYERS:
            return layer
        given: dict[str, object] = {
            "classify": self.classifier,
            "listener": self.listener,
            "sleep": self.sleep,
            "timer": self.timer,
        }
        if "breaker" not in named:  # which has its own
            given["clock"] = self.clock
        if made is not RateLimitTransport or "rate" in named:
            given["shared"] = self.shared
        if made is RetryTransport:
            given |= {"budget": self.budget, "body": self.body}
        if made is WaitingRoomTransport:
            given["key"] = self.breaker_key
        accepted = inspect.signature(made).parameters.keys() - named.keys()
        return partial(layer, **{name: given[name] for name in given.keys() & accepted})


_LAYERS: Final = (
    CircuitBreakerTransport,
    ConcurrencyLimitTransport,
    HedgingTransport,
    RateLimitTransport,
    RetryTransport,
    TimeoutTransport,
    WaitingRoomTransport,
)


def same_for_all(_: httpx.Request) -> None:
    """Return the key of all requests, for a circuit that they share."""
