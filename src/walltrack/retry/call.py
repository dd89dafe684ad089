"""A call that may take several attempts: what goes out, how it last ended, what to tell."""

from collections.abc import Callable
from typing import Any, Final

import httpx

from walltrack.core import family
from walltrack.core.backoff import parse_retry_after
from walltrack.core.delivery import Delivery
from walltrack.core.events import RetryScheduled, RetryStopped, StopReason
from walltrack.core.extensions import ATTEMPT, REPORT, TRACE, CallReport, Gate, time_left
from walltrack.core.naming import path_of, service_of
from walltrack.http.evidence import SendTrace, delivery_after
from walltrack.http.requests import OneShotStream, can_replay, copy_of
from walltrack.http.waits import Waits
from walltrack.retry.policy import IDEMPOTENT_METHODS, Attempt, RetryPolicy, Wait

KEY_HEADER: Final = "Idempotency-Key"


def outgoing(
    request: httpx.Request, policy: RetryPolicy, new_key: Callable[[], str]
) -> httpx.Request:
    """A copy of a request that is not plain, with what is needed to ask twice safely.

    1. One that may act twice is traced, and carries a key where the policy wants one.
    2. A body that can be read only once is watched.
    """
    clone = copy_of(request)
    if request.method not in IDEMPOTENT_METHODS:
        clone.extensions[TRACE] = SendTrace(request.method, request.extensions.get(TRACE))
        if policy.wants_key(request.method) and KEY_HEADER not in request.headers:
            clone.headers[KEY_HEADER] = new_key()
    if isinstance(request.stream, family.ASYNC_STREAMS) and not can_replay(request):
        clone.stream = OneShotStream(request.stream)
    return clone


class Call:
    """A call whose last attempt failed, with a status or an exception.

    Args:
        request: What is sent, on every attempt.
        policy: What the call is retried by.
        ended: How the first attempt ended.
        waits: Those of the transport when the call began; the call waits among them.
    """

    __slots__ = (
        "_report",
        "attempts",
        "backoff",
        "delivery",
        "ended",
        "gate",
        "policy",
        "request",
        "waits",
    )

    def __init__(
        self,
        request: httpx.Request,
        policy: RetryPolicy,
        ended: httpx.Response | Exception,
        waits: Waits,
    ) -> None:
        report = request.extensions.get(REPORT)
        self._report = report if isinstance(report, CallReport) else None
        if self._report is not None:
            self._report.delivery = None  # a redirect is a request of its own
        self.request = request
        self.policy = policy
        self.waits = waits
        self.attempts = 1
        self.backoff = 0.0
        self.gate: Gate | None = None
        self.end(ended)

    def begin(self, backoff: float) -> None:
        """Begin the next attempt, after `backoff` seconds of backoff."""
        self.ended: httpx.Response | Exception | None = None
        self.backoff = backoff
        self.attempts += 1
        self.request.extensions[ATTEMPT] = self.attempts
        if self._report is not None:
            self._report.attempts = self.attempts  # also if it succeeds, and httpx fails after it
        trace = self.request.extensions.get(TRACE)
        if isinstance(trace, SendTrace):
            trace.forget()

    def end(self, ended: httpx.Response | Exception) -> None:
        """Note how an attempt ended."""
        self.ended = ended
        self.delivery = (
            delivery_after(self.request, ended)
            if isinstance(ended, Exception)
            else Delivery.ANSWERED
        )
        if self._report is not None:
            self._report.note(self.attempts, self.delivery)

    def cancel(self) -> None:
        """Note that an attempt was cancelled: the server may have acted on it."""
        if self._report is not None:
            self._report.note(self.attempts, Delivery.UNCERTAIN)

    def is_shut(self) -> bool:
        """Whether the way that the last attempt went is shut by now."""
        return self.gate is not None and self.gate.shut_for() > 0.0

    @property
    def response(self) -> httpx.Response | None:
        """The response that the last attempt ended with, if it was answered."""
        return None if isinstance(self.ended, Exception) else self.ended

    @property
    def error(self) -> Exception | None:
        """The exception that the last attempt ended with, if it was not."""
        return self.ended if isinstance(self.ended, Exception) else None

    def last_attempt(self, wall_clock: Callable[[], float], *, shut: bool) -> Attempt:
        """What a policy has to know of the last attempt."""
        response = None if isinstance(self.ended, Exception) else self.ended
        return Attempt(
            number=self.attempts,
            method=self.request.method,
            delivery=self.delivery,
            status=None if response is None else response.status_code,
            retry_after=None if response is None else _retry_after(response, wall_clock),
            replayable=can_replay(self.request),
            shut=shut,
            time_left=time_left(self.request.extensions),
            previous_delay=self.backoff,
        )

    def scheduled(self, wait: Wait) -> RetryScheduled:
        """The event of another attempt after `wait`."""
        return RetryScheduled(**self._described(), delay=wait.delay)

    def stopped(self, because: StopReason) -> RetryStopped:
        """The event of no other attempt."""
        return RetryStopped(**self._described(), because=because)

    def _described(self) -> dict[str, Any]:
        response = self.response
        return {
            "service": service_of(self.request),
            "method": self.request.method,
            "path": path_of(self.request),
            "attempt": self.attempts,
            "max_retries": self.policy.max_retries,
            "reason": str(response.status_code) if response else type(self.ended).__name__,
        }


def _retry_after(response: httpx.Response, wall_clock: Callable[[], float]) -> float | None:
    if "retry-after" not in response.headers:
        return None
    return parse_retry_after(response.headers.get_list("retry-after"), wall_clock())
