"""A transport that limits the request rate, and respects the limits that a server announces."""

import math
import time
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final

import httpx

from walltrack.core import family, validation, waiting
from walltrack.core.classification import Classify
from walltrack.core.events import Listener, OriginThrottled, RejectReason
from walltrack.core.exceptions import RateLimitError
from walltrack.core.extensions import time_left
from walltrack.core.keyed import Keyed
from walltrack.core.loops import moved, running
from walltrack.core.mismatch import refuse_mismatch
from walltrack.core.named import shows_defaults_by_name
from walltrack.core.naming import finite, origin_of, server_of, service_of
from walltrack.core.observer import Reading
from walltrack.core.shared_names import name_of_origin
from walltrack.core.shared_state import SharedState
from walltrack.core.statuses import valid_statuses
from walltrack.http.classify import classified
from walltrack.http.release import awaited, guarded
from walltrack.http.wait_hints import TELLING, TELLING_LENGTHS, Ask, asked_to_wait
from walltrack.http.wrapper import WrappingTransport
from walltrack.rate_limit.leased_bucket import LeasedBucket
from walltrack.rate_limit.shared_line import SharedLine
from walltrack.rate_limit.token_bucket import TokenBucket
from walltrack.rate_limit.waiting_line import WaitingLine
from walltrack.telemetry.emit import classifier_of, emit, emit_admitted, emit_rejected
from walltrack.telemetry.log import log_event
from walltrack.telemetry.observed import introduce

_REFUSED_STATUSES: Final = frozenset({429, 503})

_NO_USE: Final = 0.001
"""Seconds before the deadline in which a call could not be completed any more."""


class RateLimitTransport(WrappingTransport):
    """Send at most `rate` requests in `per` seconds; further requests wait for their turn.

    It also respects limits that a server announces. If a response states that too much was sent, or
    that a quota is used up, no request is sent to the same origin until the time that it names;
    this includes requests that already wait. It reads `Retry-After` of 429 and 503, and for any
    status a used-up quota in `RateLimit` (draft-ietf-httpapi-ratelimit-headers-11 and older) or in
    `X-RateLimit-Remaining` and `-Reset`. It waits for one day at most.

    Requests to one origin are sent in the order in which they came. A request whose turn would come
    too late is rejected at once. A token is taken when a request is sent, and never given back,
    because it is unknown whether the server counted the request. Inside a `RetryTransport`, each
    attempt takes one.

    Args:
        transport: What sends the requests; None makes an `HTTPTransport()`.
        rate: How many requests may be sent in `per` seconds; above 0. None: any number, so that
            only the limits of the server apply; when such a limit ends, all waiting requests are
            sent at once.
        per: The period of `rate`, in seconds; above 0.
        burst: How many requests may be sent at once after a pause; at least 1, which spaces them
            evenly. A burst of a few makes up for timers that fire late; a burst of 1 does not.
        wait: Whether requests wait for their turn; False rejects those that would have to wait.
        max_wait: The longest wait, in seconds. A request whose turn would come later, or not before
            its deadline, is rejected.
        respect_headers: Whether to respect the limits that responses announce.
        statuses: Responses whose Retry-After is respected.
        key: Requests with the same key share a rate, and wait together. Default: those to the same
            origin. Use another key if the server counts per user or per resource.
        max_keys: How many keys are kept. On insertion, a key that is unused and full again is
            evicted; no other key is, so that this number can be exceeded.
        classify: Decides what responses mean: its `retry_after` delays all requests with the same
            key, and takes precedence over the headers. A function, or several of which the first
            result that is not None counts.
        clock: Monotonic seconds; measures all durations.
        wall_clock: Seconds since the epoch, for points in time in headers.
        sleep: Waits for the given number of seconds; replace it to test without waiting.
        listener: Called with `RequestAdmitted` after a wait, `RequestRejected` and
            `OriginThrottled`; None: no events. Default: log entries.
        shared: Shares the `rate` with other processes: a `walltrack.fleet.RedisState`. See there.

    Raises:
        TypeError: An argument has another type.
        ValueError: A number is too small, infinite or NaN, or a status is unknown.
    """

    @shows_defaults_by_name
    def __init__(
        self,
        transport: family.Transport | None = None,
        rate: float | None = None,
        per: float = 1.0,
        burst: int = 1,
        *,
        wait: bool = True,
        max_wait: float = 60.0,
        respect_headers: bool = True,
        statuses: AbstractSet[int] = _REFUSED_STATUSES,
        key: Callable[[httpx.Request], Hashable] = origin_of,
        max_keys: int = 10_000,
        classify: Classify | Sequence[Classify] | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = waiting.sleep,
        listener: Listener | None = log_event,
        shared: SharedState | None = None,
    ) -> None:
        def make() -> WaitingLine:
            if shared is None or rate is None:
                return WaitingLine(TokenBucket(rate, per, burst), clock, sleep)
            return SharedLine(LeasedBucket(rate, per, burst), clock, sleep, shared)

        make()  # rejects invalid numbers now, and not at the first request
        if shared is not None and rate is None:
            raise ValueError("shared needs a rate: without one, no request asks for a token")
        validation.instance("shared", shared, SharedState | None)
        validation.instance("wait", wait, bool)
        validation.number("max_wait", max_wait, finite=False)
        validation.instance("respect_headers", respect_headers, bool)
        validation.function("key", key)
        validation.function("clock", clock)
        validation.function("wall_clock", wall_clock)
        validation.function("sleep", sleep)
        validation.listener("listener", listener)
        super().__init__(transport)
        pace = (f"rate={rate!r}", f"per={per!r}", f"burst={burst}")
        self._pace = () if rate is None else pace
        self._settings = {"rate": rate, "per": per, "burst": burst}
        self._lines = Keyed(make, max_keys)
        self._max_wait = max_wait if wait else 0.0
        self._respect_headers = respect_headers
        self._statuses = valid_statuses("statuses", statuses)
        self._classifier = classifier_of(classify)
        self._key = key
        self._clock = clock
        self._wall_clock = wall_clock
        self._listener = listener
        self._shared = shared
        # Without a rate, no key is needed while no limit of a server applies.
        self._paces = self._watchful = rate is not None
        self._watchful_until = -math.inf
        introduce(self, listener)

    def __repr__(self) -> str:
        ignoring = () if self._respect_headers else ("respect_headers=False",)
        return self._shown_with(*self._pace, *ignoring)

    def describe(self) -> dict[str, Any]:
        """Return the settings, and the keys whose requests have to wait."""
        settings = {
            **self._settings,
            "max_wait": finite(self._max_wait),
            "respect_headers": self._respect_headers,
        }
        lines = (line.describe(key) for key, line in self._lines.items())
        return {"settings": settings, "throttled": [line for line in lines if line is not None]}

    def readings(self) -> Iterable[Reading]:
        """Return how many requests wait."""
        return [
            Reading("queue_waiting", key, len(line.waiting), "rate_limit")
            for key, line in self._lines.items()
        ]

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send `request` when its turn has come.

        Raises:
            RateLimitError: Its turn would come too late; `retry_after` is the seconds until then.
            TransportClosedError: The transport was closed while the request waited.
            RuntimeError: Callers in another event loop wait for their turns.
        """
        if self._watchful:
            line = self._lines.obtain(self._key(request))
            if line.loop is not running():
                line = self._move(request, line)
            if line.waiting or not line.bucket.take(self._clock()):
                await self._wait(request, line)
            elif not self._paces:
                self._relax()
        try:
            response = await self._inner.handle_async_request(request)
        except AssertionError as error:
            refuse_mismatch(request, error)
            raise
        if self._classifier is not None:
            said = await classified(self._classifier, request, response)
            if said.retry_after is not None:
                ask = Ask(said.retry_after, "classify")
                await guarded(response, self._hold_back, request, ask)
                await awaited(response, self._share(request, ask))
                return response
        if self._respect_headers and (
            (asked := await guarded(response, self._heed, request, response)) is not None
        ):
            await awaited(response, self._share(request, asked))
        return response

    def _move(self, request: httpx.Request, line: WaitingLine) -> WaitingLine:
        line = moved(line, self)
        self._lines.replace(self._key(request), line)
        return line

    async def _wait(self, request: httpx.Request, line: WaitingLine) -> None:
        if isinstance(line, SharedLine) and not line.name:
            line.name = name_of_origin(self._key(request))
        patience = min(self._max_wait, time_left(request.extensions) - _NO_USE)
        began = self._clock()
        with self._waits.ended_by_closing(request):
            room = await line.take(patience)
        if room is None:
            emit_admitted(self._listener, request, "rate_limit", self._clock() - began)
            return
        emit_rejected(self._listener, request, RejectReason.RATE_LIMIT, room)
        raise RateLimitError(None, room, request=request)

    def _relax(self) -> None:
        if self._clock() >= self._watchful_until and not self._waits:
            self._watchful = False

    async def _share(self, request: httpx.Request, ask: Ask) -> None:
        if self._shared is not None and ask.seconds > 0.0:
            await self._shared.hold_back(name_of_origin(self._key(request)), ask.seconds)

    def _heed(self, request: httpx.Request, response: httpx.Response) -> Ask | None:
        refused = response.status_code in self._statuses
        if not refused and not _tells_of_a_quota(response):
            return None
        ask = asked_to_wait(response.headers.raw, self._wall_clock(), refused=refused)
        if ask is not None:
            self._hold_back(request, ask)
        return ask

    def _hold_back(self, request: httpx.Request, ask: Ask) -> None:
        news = self._lines.obtain(self._key(request)).hold_back(ask.seconds)
        self._watchful = True
        self._watchful_until = max(self._watchful_until, self._clock() + ask.seconds)
        if news and self._listener is not None:
            server = server_of(request)
            event = OriginThrottled(service_of(request), news, ask.header, server=server)
            emit(self._listener, event)


def _tells_of_a_quota(response: httpx.Response) -> bool:
    for name, _ in response.headers.raw:
        if len(name) in TELLING_LENGTHS and name.lower() in TELLING:
            return True
    return False
