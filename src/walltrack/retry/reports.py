"""The events of calls: scheduled retries, and how a call ended after its failures."""

import math
from collections.abc import Callable
from contextlib import suppress
from typing import TypeGuard

import httpx

from walltrack.core.events import (
    CallSucceededAfterRetries,
    Listener,
    RetryScheduled,
    RetryStopped,
    StopReason,
)
from walltrack.core.exceptions import (
    RequestRejectedError,
    TimeLimitExceededError,
    TransportClosedError,
)
from walltrack.core.extensions import REPORT, CallReport, time_left
from walltrack.core.naming import names_of
from walltrack.core.notes import add_note
from walltrack.http.watched_body import watched
from walltrack.retry.call import Call
from walltrack.retry.policy import RetryPolicy, Wait
from walltrack.retry.reasons import why_lost
from walltrack.telemetry.emit import emit


class Reports:
    """Emit the events of the calls of one transport, and note attempts on exceptions.

    After a `RetryScheduled`, each call has exactly one `RetryStopped` or
    `CallSucceededAfterRetries`.

    Args:
        listener: Called with the events; None: no events.
        clock: Monotonic seconds.
    """

    __slots__ = ("_clock", "_listener")

    def __init__(self, listener: Listener | None, clock: Callable[[], float]) -> None:
        self._listener = listener
        self._clock = clock

    def scheduled(self, call: Call, wait: Wait) -> None:
        """Report a retry after `wait`."""
        if self._listener is None:
            return
        if call.attempts == 1:
            call.failed_at = self._clock()
        event = RetryScheduled(
            **names_of(call.request),
            attempt=call.attempts,
            max_retries=call.policy.max_retries,
            delay=wait.delay,
            failure=_failure_of(call),
        )
        emit(self._listener, event)

    def stopped(self, call: Call, reason: StopReason) -> None:
        """Report that there is no retry after the attempt that failed."""
        call.stopped = reason
        if call.error is not None:
            add_note(call.error, call.attempts, reason)
        self._stopped(call.request, call.attempts, call.policy, _failure_of(call), reason)

    def succeeded(self, call: Call) -> None:
        """Report a success, unless it is that of the first attempt."""
        call.succeeded = True
        if self._listener is not None and call.attempts > 1:
            event = CallSucceededAfterRetries(
                **names_of(call.request),
                attempts=call.attempts,
                seconds=self._clock() - call.failed_at,
            )
            emit(self._listener, event)

    def lost(self, call: Call, error: BaseException) -> None:
        """Report a call that ended while it waited or was in flight, unless it was reported."""
        if call.stopped is None and not call.succeeded:
            made = call.attempts - call.is_waiting
            call.stopped = self._lost(call.request, made, call.policy, error)

    def ended_attempt(
        self, error: BaseException, request: httpx.Request, policy: RetryPolicy
    ) -> TypeGuard[Exception]:
        """Return whether `error` ended the first attempt only; if it ended the call, report that.

        A rejection ends the call as well, and was reported by the layer that rejected it.
        """
        is_rejection = isinstance(error, RequestRejectedError)
        if isinstance(error, Exception) and not is_rejection:
            return True
        if not is_rejection or isinstance(error, TransportClosedError):
            self._lost(request, 1, policy, error)
        return False

    def watch(
        self,
        request: httpx.Request,
        response: httpx.Response,
        attempts: int,
        policy: RetryPolicy,
        *,
        reported: bool = False,
    ) -> None:
        """Report a body that breaks off while the caller reads it, unless the call is `reported`.

        The attempts are noted on the exception in any case.
        """
        if self._listener is not None:
            watched(response).when_ended(self._body_ended, request, attempts, policy, reported)

    def watch_last(self, call: Call, response: httpx.Response) -> None:
        """Report it if the body of the last response breaks off, unless the call has failed."""
        reported = call.stopped is not None
        self.watch(call.request, response, call.attempts, call.policy, reported=reported)

    def _body_ended(
        self,
        request: httpx.Request,
        attempts: int,
        policy: RetryPolicy,
        reported: bool,  # noqa: FBT001 - a callback's
        error: BaseException | None,
    ) -> None:
        if isinstance(error, Exception):
            reason = StopReason.BODY_BROKE_OFF
            add_note(error, attempts, reason)
            if not reported:
                self._stopped(request, attempts, policy, type(error).__name__, reason)
        elif error is not None:
            self._lost(request, attempts, policy, error, reported=reported)

    def _lost(
        self,
        request: httpx.Request,
        attempts: int,
        policy: RetryPolicy,
        error: BaseException,
        *,
        reported: bool = False,
    ) -> StopReason:
        left = math.inf
        with suppress(Exception):  # a clock or a deadline that raises must not replace `error`
            left = time_left(request.extensions)
        reason = why_lost(error, left)
        report = request.extensions.get(REPORT)
        if isinstance(error, Exception):
            add_note(error, attempts, reason)
        elif isinstance(report, CallReport):  # for the layer that raises an exception instead
            report.attempts, report.stop_reason = attempts, reason
        # A cancelled task is how a deadline ends a call; its layer raises the error named here.
        is_late = reason is StopReason.DEADLINE_PASSED and not isinstance(error, Exception)
        kind = TimeLimitExceededError if is_late else type(error)
        if not reported:
            self._stopped(request, attempts, policy, kind.__name__, reason)
        return reason

    def _stopped(
        self,
        request: httpx.Request,
        attempt: int,
        policy: RetryPolicy,
        failure: str,
        reason: StopReason,
    ) -> None:
        if self._listener is not None:
            event = RetryStopped(
                **names_of(request),
                attempt=attempt,
                max_retries=policy.max_retries,
                failure=failure,
                stop_reason=reason,
            )
            emit(self._listener, event)


def _failure_of(call: Call) -> str:
    return type(call.ended).__name__ if call.status is None else str(call.status)
