"""The layers of the standard stack, each made from the value of its option."""

import inspect
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal, Protocol, TypeAlias, TypeVar

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

Limit: TypeAlias = int | Literal["adaptive"] | AdaptiveLimit
Transport: TypeAlias = httpx.AsyncBaseTransport

_T = TypeVar("_T")


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

    def attempt_timeout(self, inner: Transport, limits: float | AttemptTimeout) -> Transport:
        """Limit the time of each attempt."""
        if not isinstance(limits, AttemptTimeout):
            validation.positive("attempt_timeout", limits)
            limits = AttemptTimeout(total=limits)
        return self._put(
            TimeoutTransport,
            inner,
            seconds=limits.total,
            headers=limits.headers,
            idle=limits.idle,
            name="attempt timeout",
        )

    def breakers(self, inner: Transport) -> Transport:
        """Give each origin the circuit breaker of the standard stack."""
        return self._put(
            CircuitBreakerTransport,
            inner,
            cooldown=COOLDOWN,
            failing_seconds=FAILING_SECONDS if self.shared is None else 0.0,
            statuses=UNHEALTHY_STATUSES.minus(429),
        )

    def breaker(self, inner: Transport, breaker: CircuitBreaker) -> Transport:
        """Use one circuit breaker for all requests."""
        validation.instance("breaker", breaker, CircuitBreaker)
        return self._put(CircuitBreakerTransport, inner, breaker=breaker)

    def waiting_room(self, inner: Transport, max_wait: float) -> Transport:
        """Let calls wait for an open circuit."""
        validation.positive("waiting_room", max_wait)
        return self._put(WaitingRoomTransport, inner, max_wait=max_wait)

    def concurrency_limit(self, inner: Transport, limit: Limit) -> Transport:
        """Limit the requests in flight to each origin."""
        if isinstance(limit, str):
            validation.choice("concurrency_limit", limit, ("adaptive",))
        elif not isinstance(limit, AdaptiveLimit):
            validation.integer("concurrency_limit", limit, minimum=1)
        return self._put(ConcurrencyLimitTransport, inner, limit=limit, key=origin_of)

    def rate_limit(self, inner: Transport, rate: float) -> Transport:
        """Pace the requests to each origin."""
        validation.positive("rate_limit", rate)
        return self._put(RateLimitTransport, inner, rate=rate)

    def hedge(self, inner: Transport, delay: float | Literal["p95"]) -> Transport:
        """Send a second attempt when the first one is slow."""
        if isinstance(delay, str):
            validation.choice("hedge", delay, ("p95",))
        else:
            validation.number("hedge", delay)
        return self._put(HedgingTransport, inner, delay=delay)

    def retry(self, inner: Transport, policy: RetryPolicy) -> Transport:
        """Retry failed attempts."""
        validation.instance("retry", policy, RetryPolicy)
        return self._put(RetryTransport, inner, policy=policy)

    def deadline(self, inner: Transport, seconds: float) -> Transport:
        """Limit the time of a whole call."""
        validation.positive("deadline", seconds)
        return self._put(TimeoutTransport, inner, seconds=seconds, name="deadline", whole_call=True)

    def _put(
        self,
        made: Callable[..., Transport],
        inner: Transport,
        **options: Any,  # noqa: ANN401 - those of the layer
    ) -> Transport:
        return self.wired(partial(made, **options))(inner)

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


def _same_for_all(_: httpx.Request) -> None:
    """Return the key of all requests, for a circuit that they share."""


def room_at(breaker: object, waiting_room: _T) -> _T | None:
    """Return the option of the waiting room; None if it would wait for nothing, or too long."""
    is_brief = breaker is CircuitBreakerTransport or isinstance(breaker, CircuitBreaker)
    by_default = waiting_room is WaitingRoomTransport
    return None if breaker is None or (by_default and not is_brief) else waiting_room


def key_of(breaker: object) -> Callable[[httpx.Request], Hashable]:
    """Return the key by which an option chooses circuits, as far as it is known."""
    named = breaker.keywords if isinstance(breaker, partial) else {}
    if isinstance(breaker, CircuitBreaker) or "breaker" in named:
        return _same_for_all
    key: Callable[[httpx.Request], Hashable] = named.get("key", origin_of)
    return key
