"""The state of one call during its attempts: what is sent, and how the last attempt ended."""

import math
from collections.abc import Callable
from typing import Final

import httpx

from walltrack.core.classification import UNCLASSIFIED, Classification
from walltrack.core.delivery import Delivery, of_all
from walltrack.core.extensions import (
    ATTEMPT,
    ATTEMPTS,
    DELIVERY,
    IDEMPOTENCY_KEY,
    OPEN_CALL,
    REPORT,
    SHARED_CALL,
    STOP_REASON,
    TRACE,
    CallReport,
    Gate,
    SharedCall,
)
from walltrack.core.outcome import is_retryable, may_have_acted
from walltrack.core.statuses import DEFAULT_RETRY_STATUSES
from walltrack.http.evidence import SendTrace, delivery_after
from walltrack.http.requests import can_replay
from walltrack.http.wait_hints import asked_to_wait, should_retry
from walltrack.http.waits import Waits
from walltrack.retry.outgoing import KEY_HEADER
from walltrack.retry.policy import Attempt, RetryPolicy

_ERRORS: Final = 400


class Call:
    """The state of a call whose first attempt may need a retry or a report.

    Args:
        received: The request as it came.
        request: The request that is sent on every attempt.
        policy: The retry policy of the call.
        ended: How the first attempt ended.
        waits: The waits of the transport when the call began; closing it ends them.
    """

    __slots__ = (
        "_received",
        "_report",
        "_shared",
        "attempts",
        "backoff",
        "delivery",
        "ended",
        "failed_at",
        "gate",
        "is_waiting",
        "policy",
        "request",
        "said",
        "stopped",
        "succeeded",
        "waits",
    )

    def __init__(
        self,
        received: httpx.Request,
        request: httpx.Request,
        policy: RetryPolicy,
        ended: httpx.Response | Exception,
        waits: Waits,
    ) -> None:
        self._received = received
        self.request: httpx.Request = request
        shared = request.extensions.get(SHARED_CALL)
        self._shared: SharedCall = SharedCall() if shared is None else shared
        report = request.extensions.get(REPORT)
        self._report = report if isinstance(report, CallReport) else None
        if self._report is not None:
            self._report.idempotency_key = self.idempotency_key
        self.policy: RetryPolicy = policy
        self.waits: Waits = waits
        self.attempts: int = 1
        self.backoff: float = 0.0
        self.gate: Gate | None = None
        self.is_waiting: bool = False
        self.failed_at: float = 0.0
        """When the first attempt failed, if its retry was reported."""
        self.succeeded: bool = False
        self.stopped: str | None = None
        """Why there is no retry, once this was reported."""
        self.end(ended)

    def begin(self, backoff: float) -> None:
        """Begin the next attempt, after a backoff of `backoff` seconds."""
        if self._may_have_acted:
            self._shared.may_have_acted = True
        self.ended: httpx.Response | Exception | None = None
        self.backoff = backoff
        self.is_waiting = True
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
        self._note(self.delivery)

    def cancel(self) -> None:
        """Record that an attempt was cancelled: the server may have acted on it."""
        self._note(Delivery.UNCERTAIN)

    def leave_notes(self) -> None:
        """Leave on the received request what a layer outside, or its next sending, must know.

        httpx's auth flow, a loop around the client or another layer may send it again. If this call
        may have been processed, that is the same call, with the same key.
        """
        notes = self._received.extensions
        if self.error is not None and self._shared.delivery is Delivery.UNCERTAIN:
            notes[DELIVERY] = Delivery.UNCERTAIN
        if self._is_open and self._shared.idempotency_key is not None:
            notes[OPEN_CALL] = self._shared

    def describe_on(self, response: httpx.Response) -> None:
        """Describe the call in the extensions of the response that it ends with."""
        response.extensions[ATTEMPTS] = self.attempts
        if self.stopped is not None:
            response.extensions[STOP_REASON] = self.stopped
        if self.idempotency_key is not None:
            response.extensions[IDEMPOTENCY_KEY] = self.idempotency_key

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
    def status(self) -> int | None:
        """The status of the last attempt's response; None if there is none."""
        response = self.response
        return None if response is None else response.status_code

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
        status = self.status
        return status is None or status in DEFAULT_RETRY_STATUSES

    @property
    def idempotency_key(self) -> str | None:
        """The Idempotency-Key of the call, if it has one."""
        key: str | None = self.request.headers.get(KEY_HEADER)
        return self._shared.idempotency_key if key is None else key

    def last_attempt(
        self, wall_clock: Callable[[], float], *, shut: bool, time_left: float
    ) -> Attempt:
        """Return what a policy needs to know about the last attempt."""
        retry_after = self.said.retry_after
        if retry_after is None and self.response is not None:
            retry_after = _retry_after(self.response, wall_clock)
        return Attempt(
            number=self.attempts,
            method=self.request.method,
            delivery=Delivery.UNCERTAIN if self._shared.may_have_acted else self.delivery,
            status=self.status,
            retry_after=retry_after,
            replayable=can_replay(self.request),
            in_progress=self._may_be_in_progress,
            shut=shut,
            time_left=time_left,
            previous_delay=self.backoff,
        )

    @property
    def _may_have_acted(self) -> bool:
        return may_have_acted(self.delivery, self.status)

    @property
    def _may_be_in_progress(self) -> bool:
        return self._shared.may_have_acted and self.idempotency_key is not None

    @property
    def _is_open(self) -> bool:
        """Whether the call may have been processed, without a response that says how it went."""
        status = self.status
        if status is not None and status < _ERRORS:
            return False
        says_how = status is not None and not self.is_worth_retrying
        return self._shared.may_have_acted or (self._may_have_acted and not says_how)

    def _note(self, delivery: Delivery) -> None:
        shared, report = self._shared, self._report
        shared.delivery = of_all(shared.delivery, delivery)
        if report is not None:
            report.attempts, report.delivery = self.attempts, shared.delivery
            report.stop_reason = None  # of an earlier call with the same request

    def _says_worth_retrying(self, response: httpx.Response) -> bool:
        said = should_retry(response.headers)
        if said is not None:
            return said
        return self.policy.is_worth_retrying(
            response.status_code, in_progress=self._may_be_in_progress
        )


def _retry_after(response: httpx.Response, wall_clock: Callable[[], float]) -> float | None:
    ask = asked_to_wait(response.headers.raw, wall_clock(), refused=True, at_most=math.inf)
    return None if ask is None else ask.seconds
