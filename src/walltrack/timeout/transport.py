"""A transport that limits how long everything inside it may take, to the end of the body."""

import time
import weakref
from collections.abc import Callable
from typing import Final, NamedTuple, Self

import anyio
import httpx

from walltrack.core import family, validation
from walltrack.core.delivery import Delivery
from walltrack.core.exceptions import TimeLimitExceededError
from walltrack.core.extensions import DEADLINE, DELIVERY, GATE, Deadline, deadline_of
from walltrack.core.naming import service_of
from walltrack.http.cancellation import OwnCancellation
from walltrack.http.watched_body import WatchedBody, watched
from walltrack.http.wrapper import WrappingTransport
from walltrack.timeout.deadline import TimeLimit

_CALL: Final = "walltrack.call"
"""On the first request of a call, and so on its redirects: where the limit began."""

Timer = Callable[[float], anyio.CancelScope]


class TimeoutTransport(WrappingTransport):
    """Limits by the clock on the wall how long a request may take, its response's body included.

    httpx's own timeouts begin anew with every operation: a server that sends a byte now and then
    never trips them. This one runs from the sending of the request to the end of the body, whatever
    happens in between; the time that a reader spends between two reads counts as well. It ends what
    is under way, lets go of the connection, and raises a TimeLimitExceededError.

    Outermost it is the deadline of the whole call, waits included: layers inside see what is left
    of it, and a retry that cannot be made in time is not begun. Innermost it limits one attempt,
    and what it raises is retried, and counted by a circuit breaker, like any other timeout.

    A body that is already in memory is not limited, nor is the closing of any. What comes at the
    very moment of the limit, a response or another exception, is handed on as it came.

    Args:
        transport: What sends the requests; None makes an `AsyncHTTPTransport()`.
        seconds: How long a request may take, in seconds; above 0. A request has less time if its
            own `extensions={"walltrack.deadline": ...}` says so: seconds from now, or an object
            with `remaining()`.
        name: What the limit is called in errors: "deadline" for that of a whole call, "attempt
            timeout" for that of one attempt.
        whole_call: Whether the redirects that a request leads to share its limit, as a deadline for
            the caller should; for the outermost layer. Otherwise each redirect has its own.
        clock: Monotonic seconds; what is left is measured by it.
        timer: Opens a scope that is cancelled after so many seconds by that clock; replace both to
            test without waiting.

    Raises:
        TypeError: An argument is of another type.
        ValueError: `seconds` is not above 0, infinite or NaN.
    """

    def __init__(
        self,
        transport: family.Transport | None,
        seconds: float,
        *,
        name: str = "timeout",
        whole_call: bool = False,
        clock: Callable[[], float] = time.monotonic,
        timer: Timer = anyio.move_on_after,
    ) -> None:
        validation.positive("seconds", seconds)
        validation.instance("name", name, str)
        validation.instance("whole_call", whole_call, bool)
        validation.function("clock", clock)
        validation.function("timer", timer)
        super().__init__(transport)
        self._seconds = seconds
        self._name = name
        self._whole_call = whole_call
        self._clock = clock
        self._timer = timer

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._inner!r}, {self._seconds!r}, name={self._name!r})"

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send `request`, and give up when its time has passed.

        Raises:
            TimeLimitExceededError: There was no response in time, or no time to begin with;
                nothing was sent then. Reading the body raises it as well.
        """
        outer = deadline_of(request.extensions, self._clock)
        limit = self._limit_for(request, outer)
        if (passed := limit.passed()) is not None:
            if passed is not limit:  # below another of ours: the request is none of the caller's
                request.extensions[DELIVERY] = Delivery.NOT_SENT
            raise _exceeded(passed, request)
        below = _seen_below(request, limit)
        own, response = OwnCancellation(), None
        try:
            with self._timer(limit.own_remaining()) as scope:
                try:
                    response = await self._inner.handle_async_request(below)
                except BaseException as error:
                    if not own.explains(error, scope):
                        raise
            await own.check()
        finally:
            _hand_up(below, request)
        if response is None:  # the limit ended it
            raise _exceeded(limit, request)
        if not response.is_closed:
            body = watched(response)
            if not body.in_memory:
                response.stream = _LimitedBody(body, limit, self._timer, below, request)
        return response

    def _limit_for(self, request: httpx.Request, outer: Deadline | None) -> TimeLimit:
        begun = request.extensions.get(_CALL) if self._whole_call else None
        # httpx hands the extensions of a request on to its redirects. The very same request is
        # another call: it is sent again.
        if begun is not None and begun.transport is self and begun.request() is not request:
            limit: TimeLimit = begun.limit
            return limit
        limit = TimeLimit(self._seconds, self._name, self._clock, outer)
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


class _LimitedBody(family.AsyncByteStream):
    """A body that must have come to its end when the limit strikes."""

    def __init__(
        self,
        body: WatchedBody,
        limit: TimeLimit,
        timer: Timer,
        below: httpx.Request,
        request: httpx.Request,
    ) -> None:
        self._body = body
        self._limit = limit
        self._timer = timer
        self._below = below
        self._request = request

    def __aiter__(self) -> Self:
        # No generator: a scope must not stay open while the reader has a chunk.
        aiter(self._body)
        return self

    async def __anext__(self) -> bytes:
        left = self._limit.own_remaining()
        own = OwnCancellation()
        try:
            if left > 0.0:
                with self._timer(left) as scope:
                    try:
                        return await self._body.__anext__()
                    except BaseException as error:
                        if not own.explains(error, scope):
                            raise
                await own.check()
        except Exception:  # the end of the body is one, too
            _hand_up(self._below, self._request)
            raise
        await self._body.abandon()
        raise _exceeded(self._limit, self._request)

    async def aclose(self) -> None:
        """Close the body, however long that takes."""
        await self._body.aclose()


def _exceeded(limit: TimeLimit, request: httpx.Request) -> TimeLimitExceededError:
    return TimeLimitExceededError(service_of(request), limit.seconds, limit.name, request=request)


def _seen_below(request: httpx.Request, limit: TimeLimit) -> httpx.Request:
    """The request with its deadline, for the layers inside.

    The caller's may be under way more than once at a time, each time with a limit of its own; so
    that this is another one, which shares all but the extensions.
    """
    below: httpx.Request = object.__new__(type(request))
    vars(below).update(vars(request))
    below.extensions = {**request.extensions, DEADLINE: limit}
    return below


def _hand_up(below: httpx.Request, request: httpx.Request) -> None:
    """Let the layers outside see what those inside left for them."""
    for key in (GATE, DELIVERY):
        if key in below.extensions:
            request.extensions[key] = below.extensions[key]
