"""A transport that limits the number of requests in flight (a bulkhead)."""

import math
import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, Final, Literal

import anyio
import httpx

from walltrack.concurrency_limit.adaptive import OVERLOAD_STATUSES, AdaptiveLimit
from walltrack.concurrency_limit.turns import Place, Turns
from walltrack.core import family, validation
from walltrack.core.classification import Classify
from walltrack.core.events import Listener, RejectReason
from walltrack.core.exceptions import ConcurrencyLimitError, PoolTimeoutExceededError
from walltrack.core.extensions import pool_timeout, time_left
from walltrack.core.keyed import Keyed
from walltrack.core.loops import moved, running
from walltrack.core.mismatch import refuse_mismatch
from walltrack.core.named import shows_defaults_by_name
from walltrack.core.naming import finite, origin_of
from walltrack.core.observer import Reading
from walltrack.core.outcome import NOT_SENT_ERRORS, Verdict, verdict_on
from walltrack.core.statuses import DEFAULT_RETRY_STATUSES
from walltrack.http.classify import classified
from walltrack.http.release import discard
from walltrack.http.watched_body import watched
from walltrack.http.wrapper import WrappingTransport
from walltrack.telemetry.emit import classifier_of, emit_admitted, emit_rejected
from walltrack.telemetry.log import log_event
from walltrack.telemetry.observed import introduce

Timer = Callable[[float], anyio.CancelScope]

_AN_INSTANT: Final = math.ulp(0.0)
"""Seconds; above 0, because an error with `waited=0.0` states that the queue was full."""


class ConcurrencyLimitTransport(WrappingTransport):
    """Limit the number of requests in flight; further requests wait in a queue.

    The queue is first in, first out. A request is in flight until its response is closed: a
    streamed response holds its permit until then, and a response that is never closed holds it
    permanently.

    An adaptive limit measures what the server can handle: by the latency of its responses, and by
    the share of requests that it drops (a closed connection, a timeout, or status 429, 503 or 504).
    A request that cannot connect is not counted, because it never reached the server. See
    `AdaptiveLimit`.

    Args:
        transport: What sends the requests; None makes an `HTTPTransport()`.
        limit: How many requests may be in flight; at least 1. "adaptive" or an `AdaptiveLimit`: as
            many as it measures; with a `key`, each key has an adaptive limit with the same
            settings. Default: 20, the number of idle connections that httpx keeps open by default.
        max_queue: How many requests may wait; further ones are rejected. None: any number. Zero: no
            request waits.
        queue_timeout: The longest wait in the queue, in seconds; then the request is rejected. It
            is also rejected at its deadline, and after httpx's own pool timeout (for a client 5
            seconds, unless its `timeout` states another). The shortest of them counts. None: only
            those two.
        key: Requests with the same key share a limit. Default: all share one. `origin_of` gives
            each origin its own limit.
        max_keys: How many keys are kept. On insertion, a key without requests is evicted; a key
            with requests never is, so that this number can be exceeded.
        classify: Decides for an adaptive limit which responses are failures; a function, or several
            of which the first result that is not None counts. Where none decides, the outcome table
            does.
        clock: Monotonic seconds; measures all durations.
        timer: Opens a scope that is cancelled after the given seconds; replace it and `clock` to
            test without waiting.
        listener: Called with `RequestAdmitted` after a wait, and `RequestRejected`; None: no
            events. Default: log entries.

    Raises:
        TypeError: An argument has another type.
        ValueError: A number is too small, infinite or NaN, or `limit` is an unknown name.
    """

    @shows_defaults_by_name
    def __init__(
        self,
        transport: family.Transport | None = None,
        limit: int | Literal["adaptive"] | AdaptiveLimit = 20,
        max_queue: int | None = None,
        queue_timeout: float | None = None,
        *,
        key: Callable[[httpx.Request], Hashable] | None = None,
        max_keys: int = 10_000,
        classify: Classify | Sequence[Classify] | None = None,
        clock: Callable[[], float] = time.monotonic,
        timer: Timer = anyio.move_on_after,
        listener: Listener | None = log_event,
    ) -> None:
        if isinstance(limit, str):
            validation.choice("limit", limit, ("adaptive",))
            limit = AdaptiveLimit()
        if not isinstance(limit, AdaptiveLimit):
            validation.integer("limit", limit, minimum=1)
        if max_queue is not None:
            validation.integer("max_queue", max_queue, minimum=0)
        if queue_timeout is not None:
            validation.positive("queue_timeout", queue_timeout)
        if key is not None:
            validation.function("key", key)
        validation.function("clock", clock)
        validation.function("timer", timer)
        validation.listener("listener", listener)
        super().__init__(transport)
        self._turns = Keyed(lambda: Turns(_fresh(limit)), max_keys)
        self._shared = Turns(limit) if key is None else None
        self._key = key or origin_of
        self._limit = limit
        self._max_queue = math.inf if max_queue is None else max_queue
        self._queue_timeout = math.inf if queue_timeout is None else queue_timeout
        self._classifier = classifier_of(classify)
        self._clock = clock
        self._timer = timer
        self._listener = listener
        introduce(self, listener)

    def __repr__(self) -> str:
        state = f"limit={self._limit}" if self._shared is None else repr(self._shared)
        return self._shown_with(state)

    def describe(self) -> dict[str, Any]:
        """Return the settings, and the limits that are in use."""
        limit = self._limit if isinstance(self._limit, int) else "adaptive"
        most, seconds = finite(self._max_queue), finite(self._queue_timeout)
        settings = {"limit": limit, "max_queue": most, "queue_timeout": seconds}
        used = [turns.describe(key) for key, turns in self._all_turns() if turns.in_use]
        return {"settings": settings, "limits": used}

    def readings(self) -> Iterable[Reading]:
        """Return how many requests wait."""
        queues = ((key, turns.waiting) for key, turns in self._all_turns())
        return [Reading("queue_waiting", *queue, "concurrency_limit") for queue in queues]

    def _all_turns(self) -> list[tuple[Hashable, Turns]]:
        return self._turns.items() if self._shared is None else [(None, self._shared)]

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send `request` when there is a permit for it.

        Raises:
            ConcurrencyLimitError: The queue is full, or there was no permit in time; nothing was
                sent. It is also an httpx.PoolTimeout if httpx's pool timeout ended the wait.
            TransportClosedError: It was closed while the request waited; nothing was sent.
            RuntimeError: The limit is in use in another event loop; nothing was sent.
        """
        turns = self._shared or self._turns.obtain(self._key(request))
        if turns.loop is not running():
            turns = self._move(request, turns)
        if turns.free > 0:
            turns.free -= 1
        else:
            await self._queue(request, turns)
        adaptive = turns.adaptive
        began = response = None
        try:
            if adaptive is not None:
                began = self._clock()
            response = await self._inner.handle_async_request(request)
            if began is not None:
                await self._learn(request, response, turns, began)
            if response.is_closed:
                turns.give_back()
            else:
                watched(response).when_closed(turns.give_back)
        except BaseException as error:
            try:
                if response is not None:  # the clock, a function of the caller, raised
                    await discard(response)
                elif began is not None and _is_dropped(error):
                    turns.note(began, self._clock(), dropped=True)
            finally:
                turns.give_back()
            refuse_mismatch(request, error)
            raise
        return response

    def _move(self, request: httpx.Request, turns: Turns) -> Turns:
        turns = moved(turns, self)
        if self._shared is None:
            self._turns.replace(self._key(request), turns)
        else:
            self._shared = turns
        return turns

    async def _learn(
        self, request: httpx.Request, response: httpx.Response, turns: Turns, began: float
    ) -> None:
        ended = self._clock()
        status = response.status_code
        failed = status in DEFAULT_RETRY_STATUSES
        if self._classifier is not None:
            said = (await classified(self._classifier, request, response)).failure
            failed = failed if said is None else said
        dropped = failed and status in OVERLOAD_STATUSES
        if dropped or not failed:  # the latency of a failure does not show load
            turns.note(began, ended, dropped=dropped)

    async def _queue(self, request: httpx.Request, turns: Turns) -> None:
        if turns.waiting >= self._max_queue:
            raise self._refusal(request, RejectReason.QUEUE_FULL, 0.0)
        pool = pool_timeout(request.extensions)
        seconds = min(self._queue_timeout, time_left(request.extensions), pool)
        kind = PoolTimeoutExceededError if seconds == pool else ConcurrencyLimitError
        if seconds <= 0.0:
            raise self._refusal(request, RejectReason.QUEUE_TIMEOUT, _AN_INSTANT, kind)
        turn = anyio.Event()
        place = Place(turn.set)
        turns.join(place)
        try:
            began = self._clock()
            with self._waits.ended_by_closing(request):
                if seconds == math.inf:
                    await turn.wait()
                else:
                    with self._timer(seconds):
                        await turn.wait()
            waited = self._clock() - began
            if place.given:
                emit_admitted(self._listener, request, "concurrency_limit", waited)
        except BaseException:
            turns.leave(place)
            raise
        if not place.given:
            turns.leave(place)
            raise self._refusal(request, RejectReason.QUEUE_TIMEOUT, max(waited, _AN_INSTANT), kind)

    def _refusal(
        self,
        request: httpx.Request,
        reason: RejectReason,
        waited: float,
        kind: type[ConcurrencyLimitError] = ConcurrencyLimitError,
    ) -> ConcurrencyLimitError:
        emit_rejected(self._listener, request, reason)
        return kind(waited=waited, request=request)


def _is_dropped(error: BaseException) -> bool:
    # A request that could not connect, or got no connection, never reached the server.
    return verdict_on(error) is Verdict.FAILURE and not isinstance(error, NOT_SENT_ERRORS)


def _fresh(limit: int | AdaptiveLimit) -> int | AdaptiveLimit:
    return limit if isinstance(limit, int) else limit.fresh()
