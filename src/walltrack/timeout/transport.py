"""A transport that limits the time of everything inside it."""

import time
import weakref
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final, NamedTuple

import anyio
import httpx

from walltrack.core import family, validation
from walltrack.core.delivery import Delivery
from walltrack.core.extensions import (
    DEADLINE,
    DELIVERY,
    REPORT,
    CallReport,
    Deadline,
    deadline_of,
)
from walltrack.core.mismatch import refuse_mismatch
from walltrack.core.named import shows_defaults_by_name
from walltrack.http.cancellation import OwnCancellation
from walltrack.http.requests import hand_up, with_extensions
from walltrack.http.watched_body import watched
from walltrack.http.wrapper import WrappingTransport
from walltrack.timeout.body import LimitedBody, Timer, exceeded
from walltrack.timeout.deadline import TimeLimit
from walltrack.timeout.limits import AttemptTimeout

_CALL: Final = "walltrack.call"
"""On the first request of a call, and so on its redirects: where the limit started."""


class TimeoutTransport(WrappingTransport):
    """Limit the time that a request and its response may take in total.

    httpx's own timeouts start again with every operation: a server that sends a byte now and then
    never exceeds them, and code around a client may override them. This layer has three limits:

    - `seconds`: from sending the request to the end of the body, including the time that the reader
      spends between two reads. It also ends long streams that are working.
    - `headers`: until the headers of the response. The body may take any time.
    - `idle`: between two chunks of the body.

    When a limit ends, the request is cancelled, its connection is closed, and a
    TimeLimitExceededError names the limit.

    As the outermost layer, it is the deadline of the whole call, including waits: inner layers see
    the remaining time, and a retry that would come too late is not started. As the innermost layer,
    it limits one attempt: its error is retried, and counted by a circuit breaker, like any other
    timeout.

    The limits do not apply to a body that is already in memory, nor to closing a body. A response
    or another exception that comes just as a limit ends is returned or raised unchanged.

    Args:
        transport: What sends the requests; None makes an `HTTPTransport()`.
        seconds: The limit in total, in seconds; above 0. `extensions={"walltrack.deadline": ...}`
            of a request can shorten it: seconds from now, or an object with `remaining()`. None: no
            limit.
        headers: The limit until the headers, in seconds; above 0. None: no limit.
        idle: The limit between two chunks, in seconds; above 0. None: no limit.
        name: Name of the limit in total in errors: "deadline" for that of a call, "attempt timeout"
            for that of one attempt.
        whole_call: Whether the redirects of a request share its limit; for the outermost layer.
            Otherwise each redirect has its own limit. In either case, each request that an auth
            flow of the httpx client sends has its own: give the credentials to an `AuthTransport`.
        clock: Monotonic seconds; measures the remaining time.
        timer: Opens a scope that is cancelled after the given seconds; replace it and `clock` to
            test without waiting.

    Raises:
        TypeError: An argument has another type.
        ValueError: A limit is not above 0, infinite or NaN, or none is given.
    """

    @shows_defaults_by_name
    def __init__(
        self,
        transport: family.Transport | None = None,
        seconds: float | None = None,
        *,
        headers: float | None = None,
        idle: float | None = None,
        name: str = "timeout",
        whole_call: bool = False,
        clock: Callable[[], float] = time.monotonic,
        timer: Timer = anyio.move_on_after,
    ) -> None:
        if seconds is not None:
            validation.positive("seconds", seconds)
        if seconds is headers is idle is None:
            raise ValueError("at least one of seconds, headers and idle must be given")
        validation.instance("name", name, str)
        validation.instance("whole_call", whole_call, bool)
        validation.function("clock", clock)
        validation.function("timer", timer)
        self._limits = AttemptTimeout(total=seconds, headers=headers, idle=idle)
        super().__init__(transport)
        self._name = name
        self._whole_call = whole_call
        self._clock = clock
        self._timer = timer

    def __repr__(self) -> str:
        limits = {
            "seconds": self._limits.total,
            "headers": self._limits.headers,
            "idle": self._limits.idle,
        }
        shown = (f"{name}={limit!r}" for name, limit in limits.items() if limit is not None)
        return self._shown_with(*shown, f"name={self._name!r}")

    def describe(self) -> dict[str, Any]:
        """Return the settings."""
        return {"settings": {"name": self._name, **asdict(self._limits)}}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send `request`, and stop when a limit ends.

        Raises:
            TimeLimitExceededError: There was no response in time, or the time had already passed,
                and nothing was sent. Reading the body can raise it as well.
        """
        total = self._limit_for(request, deadline_of(request.extensions, self._clock))
        if (passed := total.passed()) is not None:
            if passed is not total:  # an outer TimeoutTransport made this copy of the request
                request.extensions[DELIVERY] = Delivery.NOT_SENT
            raise exceeded(request, passed.seconds, passed.name)
        limit = self._limits.to_headers(total, self._clock)
        below = _seen_below(request, limit)
        own, response = OwnCancellation(), None
        try:
            with self._timer(limit.own_remaining()) as scope:
                try:
                    response = await self._inner.handle_async_request(below)
                except BaseException as error:
                    if not own.explains(error, scope):
                        refuse_mismatch(request, error)
                        raise
            await own.check()
        finally:
            hand_up(below, request)
        if response is None:  # the limit ended it
            raise exceeded(request, limit.seconds, limit.name, below)
        if self._limits.covers_bodies and not response.is_closed:
            body = watched(response)
            if not body.in_memory:
                response.stream = LimitedBody(
                    body, total, self._limits.idle, timer=self._timer, below=below, request=request
                )
        return response

    def _limit_for(self, request: httpx.Request, outer: Deadline | None) -> TimeLimit:
        begun = request.extensions.get(_CALL) if self._whole_call else None
        # httpx hands the extensions of a request on to its redirects. The very same request is
        # another call: it is sent again.
        if begun is not None and begun.transport is self and begun.request() is not request:
            limit: TimeLimit = begun.limit
            return limit
        limit = self._limits.begin(self._name, self._clock, outer)
        if self._whole_call:
            request.extensions[_CALL] = _Begun(self, weakref.ref(request), limit)
        return limit


class _Begun(NamedTuple):
    """When the limit of a call started.

    Args:
        transport: The layer that set it.
        request: The first request of the call.
        limit: The limit.
    """

    transport: TimeoutTransport
    request: weakref.ref[httpx.Request]
    limit: TimeLimit


def _seen_below(request: httpx.Request, limit: TimeLimit) -> httpx.Request:
    """Return the request with its deadline, for the inner layers.

    The same request may be sent several times at once, each time with another deadline. So this is
    a copy, which shares everything but the extensions.
    """
    extensions = {**request.extensions, DEADLINE: limit}
    if REPORT not in extensions:
        extensions[REPORT] = CallReport()
    return with_extensions(request, extensions)
