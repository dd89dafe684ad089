"""A response body that must be read within time limits.

Awaits: chunks are read here, each within its limit.
"""

import math
from collections.abc import Callable
from typing import Self

import anyio
import httpx

from walltrack.core import family
from walltrack.core.exceptions import TimeLimitExceededError
from walltrack.core.extensions import REPORT, CallReport
from walltrack.core.naming import service_of
from walltrack.core.notes import add_note
from walltrack.http.cancellation import OwnCancellation
from walltrack.http.requests import hand_up
from walltrack.http.watched_body import WatchedBody
from walltrack.timeout.deadline import TimeLimit
from walltrack.timeout.limits import IDLE

Timer = Callable[[float], anyio.CancelScope]


class LimitedBody(family.AsyncByteStream):
    """Stop reading a body when a time limit ends.

    Args:
        body: The body.
        total: The limit until the end of the body.
        idle: Seconds between two chunks; None: no limit.
        timer: Opens a scope that is cancelled after the given seconds.
        below: The request that the inner layers got.
        request: The request of the caller.
    """

    def __init__(
        self,
        body: WatchedBody,
        total: TimeLimit,
        idle: float | None,
        *,
        timer: Timer,
        below: httpx.Request,
        request: httpx.Request,
    ) -> None:
        self._body = body
        self._total = total
        self._idle = math.inf if idle is None else idle
        self._timer = timer
        self._below = below
        self._request = request

    def __aiter__(self) -> Self:
        # Not a generator: a scope must not stay open while the reader has a chunk.
        aiter(self._body)
        return self

    async def __anext__(self) -> bytes:
        left = self._total.own_remaining()
        own = OwnCancellation()
        try:
            if left > 0.0:
                with self._timer(min(left, self._idle)) as scope:
                    try:
                        return await self._body.__anext__()
                    except BaseException as error:
                        if not own.explains(error, scope):
                            raise
                await own.check()
        except Exception:  # including StopAsyncIteration at the end of the body
            hand_up(self._below, self._request)
            raise
        await self._body.abandon()
        if left <= self._idle:
            total = self._total
            raise exceeded(self._request, total.seconds, total.name, self._below)
        raise exceeded(self._request, self._idle, IDLE, self._below)

    async def aclose(self) -> None:
        """Close the body; no limit applies to this."""
        await self._body.aclose()


def exceeded(
    request: httpx.Request, seconds: float, name: str, below: httpx.Request | None = None
) -> TimeLimitExceededError:
    """Return the error for a request that took longer than `seconds`.

    Args:
        request: The request of the caller.
        seconds: The limit.
        name: Its name.
        below: What the inner layers got, which may say how many attempts were made.
    """
    error = TimeLimitExceededError(service_of(request), seconds, name, request=request)
    report = None if below is None else below.extensions.get(REPORT)
    if isinstance(report, CallReport) and report.stop_reason is not None:
        add_note(error, report.attempts, report.stop_reason)
    return error
