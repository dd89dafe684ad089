"""A transport that limits the time that everything inside it may take."""

import time
import weakref
from collections.abc import Callable
from typing import Final, NamedTuple

import anyio
import httpx

from walltrack.core import family, validation
from walltrack.core.delivery import Delivery
from walltrack.core.extensions import DEADLINE, DELIVERY, Deadline, deadline_of
from walltrack.core.mismatch import refuse_mismatch
from walltrack.core.named import shows_defaults_by_name
from walltrack.http.cancellation import OwnCancellation
from walltrack.http.watched_body import watched
from walltrack.http.wrapper import WrappingTransport
from walltrack.timeout.body import LimitedBody, Timer, exceeded, hand_up
from walltrack.timeout.deadline import TimeLimit
from walltrack.timeout.limits import AttemptTimeout

_CALL: Final = "walltrack.call"
"""On the first request of a call, and so on its redirects: where the limit began."""


class TimeoutTransport(WrappingTransport):
    """Limit, on the wall clock, the time that a request and its response may take.

    httpx's own timeouts begin again with every operation: a server that sends a byte now and then
    never trips them, and code that wraps a client may override them. Three limits can be set here:

    - `seconds`: from the sending of the request to the end of the body, whatever happens in
      between; the time that a reader spends between two reads counts as well. It ends healthy long
      streams, too.
    - `headers`: until the headers have come. The body may take as long as it needs.
    - `idle`: between two chunks of the body.

    A limit that strikes ends what is in flight, closes the connection, and raises a
    TimeLimitExceededError that names the limit.

    As the outermost layer it is the deadline of the whole call, waits included: layers inside see
    what is left of it, and a retry that cannot be made in time is not begun. As the innermost it
    limits one attempt, and what it raises is retried, and counted by a circuit breaker, like any
    other timeout.

    A body that is already in memory is not limited, nor is the closing of any. What comes at the
    very moment of the limit, a response or another exception, is handed on as it came.

    Args:
        transport: What sends the requests; None makes an `HTTPTransport()`.
        seconds: The limit on the whole, in seconds; above 0. A request has less time if its own
            `extensions={"walltrack.deadline": ...}` says so: seconds from now, or an object with
            `remaining()`. None: no limit.
        headers: The limit until the headers, in seconds; above 0. None: no limit.
        idle: The limit between two chunks, in seconds; above 0. None: no limit.
        name: What the limit on the whole is called in errors: "deadline" for that of a call,
            "attempt timeout" for that of one attempt.
        whole_call: Whether the redirects that a request leads to share its limit, as a deadline for
            the caller should; for the outermost layer. Otherwise each redirect has its own.
        clock: Monotonic seconds; what is left is measured by it.
        timer: Opens a scope that is cancelled after the given seconds; replace it and `clock` to
            test without waiting.

    Raises:
        TypeError: An argument is of another type.
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

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send `request`, and give up when a limit strikes.

        Raises:
            TimeLimitExceededError: There was no response in time, or no time to begin with;
                nothing was sent then. Reading the body raises it as well.
        """
        total = self._limit_for(request, deadline_of(request.extensions, self._clock))
        if (passed := total.passed()) is not None:
            if passed is not total:  # below another of ours: the request is none of the caller's
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
            raise exceeded(request, limit.seconds, limit.name)
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
    """Where the limit of a call began.

    Args:
        transport: Which layer set it.
        request: The first request of the call.
        limit: The limit.
    """

    transport: TimeoutTransport
    request: weakref.ref[httpx.Request]
    limit: TimeLimit


def _seen_below(request: httpx.Request, limit: TimeLimit) -> httpx.Request:
    """Return the request with its deadline, for the layers inside.

    The caller's may be in flight more than once at a time, each time with a limit of its own; so
    this is another one, which shares all but the extensions.
    """
    below: httpx.Request = object.__new__(type(request))
    vars(below).update(vars(request))
    below.extensions = {**request.extensions, DEADLINE: limit}
    return below
