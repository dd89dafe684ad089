"""The state of one call during its attempts: what is sent, and how the last attempt ended."""

import math
from collections.abc import Callable
from typing import Any

import httpx

from walltrack.core.classification import UNCLASSIFIED, Classification
from walltrack.core.delivery import Delivery
from walltrack.core.events import RetryScheduled, RetryStopped, StopReason
from walltrack.core.extensions import ATTEMPT, REPORT, TRACE, CallReport, Gate
from walltrack.core.naming import path_of, service_of
from walltrack.core.outcome import is_retryable
from walltrack.core.statuses import DEFAULT_RETRY_STATUSES
from walltrack.http.evidence import SendTrace, delivery_after
from walltrack.http.requests import can_replay
from walltrack.http.wait_hints import asked_to_wait, should_retry
from walltrack.http.waits import Waits
from walltrack.retry.outgoing import KEY_HEADER
from walltrack.retry.policy import Attempt, RetryPolicy, Wait


class Call:
    """The state of a call whose first attempt may need a retry or a report.

    Args:
        request: The request that is sent on every attempt.
        policy: The retry policy of the call.
        ended: How the first attempt ended.
        waits: The waits of the transport when the call began; closing it ends them.
    """

    __slots__ = (
        "_report",
        "attempts",
        "backoff",
        "delivery",
        "ended",
        "gate",
        "may_be_in_progress",
        "policy",
        "request",
        "said",
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
            self._report.idempotency_key = request.headers.get(KEY_HEADER)
        self.request: httpx.Request = request
        self.policy: RetryPolicy = policy
        self.waits: Waits = waits
        self.attempts: int = 1
        self.backoff: float = 0.0
        self.gate: Gate | None = None
        self.may_be_in_progress: bool = False
        self.end(ended)

    def begin(self, backoff: float) -> None:
        """Begin the next attempt, after a backoff of `backoff` seconds."""
        if self.delivery is Delivery.UNCERTAIN and KEY_HEADER in self.request.headers:
            self.may_be_in_progress = True
        self.ended: httpx.Response | Exception | None = None
        self.backoff = backoff
        self.attempts += 1
        self.request.extensions[ATTEMPT] = self.attempts
        if self._report is not None:
            self._report.attempts = self.attempts  # httpx can fail after a good attempt
        trace = self.request.extensions.get(TRACE)
        if isinstance(trace, SendTrace):
            trace.forget()

    def end(self, ended: httpx.Response | Exception) -> None:
        """Record how an attempt ended."""
        self.ended = ended
        self.delivery: Delivery = (
            delivery_after(self.request, ended)
            if isinstance(ended, Exception)
            else Delivery.ANSWERED
        )
        self.said: Classification = UNCLASSIFIED

    def conclude(self, said: Classification) -> None:
        """Record what the end of the attempt means."""
        self.said = said
        self.delivery = said.delivery or self.delivery
        if self._report is not None:
            self._report.note(self.attempts, self.delivery)

    def cancel(self) -> None:
        """Record that an attempt was cancelled: the server may have acted on it."""
        if self._report is not None:
            self._report.note(self.attempts, Delivery.UNCERTAIN)

    def is_shut(self) -> bool:
        """Return whether the circuit breaker of the last attempt now rejects requests."""
        return self.gate is not None and self.gate.shut_for() > 0.0

    @property
    def response(self) -> httpx.Response | None:
        """The response of the last attempt; None if there is none."""
        return None if isinstance(self.ended, Exception) else self.ended

    @property
    def error(self) -> Exception | None:
        """The exception that ended the last attempt; None if there is none."""
        return self.ended if isinstance(self.ended, Exception) else None

    @property
    def is_worth_retrying(self) -> bool:
        """Whether another attempt is likely to help."""
        # A classifier decides first, then the server's headers, then the outcome table.
        if self.said.retry is not None:
            return self.said.retry
        if isinstance(self.ended, Exception):
            return is_retryable(self.ended, self.policy.exceptions)
        return self.ended is not None and self._says_worth_retrying(self.ended)

    @property
    def has_failed(self) -> bool:
        """Whether the service failed in the last attempt, whatever the policy retries."""
        if self.said.failure is not None:
            return self.said.failure
        response = self.response
        return response is None or response.status_code in DEFAULT_RETRY_STATUSES

    @property
    def idempotency_key(self) -> str | None:
        """The Idempotency-Key of the call, if it has one."""
        key: str | None = self.request.headers.get(KEY_HEADER)
        return key

    def last_attempt(
        self, wall_clock: Callable[[], float], *, shut: bool, time_left: float
    ) -> Attempt:
        """Return what a policy needs to know about the last attempt."""
        response = self.response
        retry_after = self.said.retry_after
        if retry_after is None and response is not None:
            retry_after = _retry_after(response, wall_clock)
        return Attempt(
            number=self.attempts,
            method=self.request.method,
            delivery=self.delivery,
            status=None if response is None else response.status_code,
            retry_after=retry_after,
            replayable=can_replay(self.request),
            in_progress=self.may_be_in_progress,
            shut=shut,
            time_left=time_left,
            previous_delay=self.backoff,
        )

    def scheduled(self, wait: Wait) -> RetryScheduled:
        """Return the event for a retry after `wait`."""
        return RetryScheduled(**self._described(), delay=wait.delay)

    def stopped(self, reason: StopReason) -> RetryStopped:
        """Return the event for a failed attempt without a retry."""
        return RetryStopped(**self._described(), stop_reason=reason)

    def _says_worth_retrying(self, response: httpx.Response) -> bool:
        said = should_retry(response.headers)
        if said is not None:
            return said
        return self.policy.is_worth_retrying(
            response.status_code, in_progress=self.may_be_in_progress
        )

    def _described(self) -> dict[str, Any]:
        response = self.response
        return {
            "service": service_of(self.request),
            "method": self.request.method,
            "path": path_of(self.request),
            "attempt": self.attempts,
            "max_retries": self.policy.max_retries,
            "failure": str(response.status_code) if response else type(self.ended).__name__,
        }


def _retry_after(response: httpx.Response, wall_clock: Callable[[], float]) -> float | None:
    ask = asked_to_wait(response.headers.raw, wall_clock(), refused=True, at_most=math.inf)
    return None if ask is None else ask.seconds
