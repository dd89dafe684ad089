"""Whether a call goes on after an attempt, by its policy, its deadline and its budget."""

from collections.abc import Callable, Hashable
from typing import Any

import httpx

from walltrack.core.backoff import Random
from walltrack.core.budget import Budgets
from walltrack.core.events import Listener, RetryScheduled, RetryStopped, StopReason
from walltrack.core.extensions import GATE, time_left
from walltrack.core.naming import path_of, service_of
from walltrack.core.waiting import time_left_to_caller
from walltrack.retry.call import Call
from walltrack.retry.policy import Wait
from walltrack.telemetry.emit import emit


class Decisions:
    """Decide after each attempt, pay for retries, and report what was decided.

    Args:
        budgets: What retries are paid from.
        key: Requests with the same key share a budget.
        listener: Called with `RetryScheduled` and `RetryStopped`; None for no events.
        rng: Source of the backoff's jitter.
        wall_clock: Seconds since the epoch, to measure a Retry-After date from.
    """

    __slots__ = ("_budgets", "_key", "_listener", "_rng", "_wall_clock")

    def __init__(
        self,
        budgets: Budgets,
        key: Callable[[httpx.Request], Hashable],
        listener: Listener | None,
        rng: Random,
        wall_clock: Callable[[], float],
    ) -> None:
        self._budgets = budgets
        self._key = key
        self._listener = listener
        self._rng = rng
        self._wall_clock = wall_clock

    def after_attempt(self, call: Call) -> Wait | None:
        """Return the wait before the next attempt, and take it from the budget; None: no retry."""
        call.gate = call.request.extensions.pop(GATE, None)
        if not call.is_worth_retrying:
            return None
        decision = self._decide(call)
        if isinstance(decision, Wait):
            return decision
        if self._listener is not None and call.policy.max_retries > 0:  # else none was expected
            emit(self._listener, RetryStopped(**_described(call), stop_reason=decision))
        return None

    def report(self, call: Call, wait: Wait) -> None:
        """Report a retry after `wait`."""
        if self._listener is not None:
            emit(self._listener, RetryScheduled(**_described(call), delay=wait.delay))

    def fund(self, request: httpx.Request) -> None:
        """Add a deposit to the budget for a success."""
        if self._budgets.short:  # empty while all is well, and then no key is built
            self._budgets.deposit(self._key(request))

    def _decide(self, call: Call) -> Wait | StopReason:
        left = min(time_left(call.request.extensions), time_left_to_caller())
        last = call.last_attempt(self._wall_clock, shut=call.is_shut(), time_left=left)
        decision = call.policy.decide(last, self._rng)
        if not isinstance(decision, Wait):
            return decision
        if call.waits.over:
            return StopReason.TRANSPORT_CLOSED
        if not self._budgets.withdraw(self._key(call.request)):
            return StopReason.BUDGET_EMPTY
        return decision


def _described(call: Call) -> dict[str, Any]:
    return {
        "service": service_of(call.request),
        "method": call.request.method,
        "path": path_of(call.request),
        "attempt": call.attempts,
        "max_retries": call.policy.max_retries,
        "failure": type(call.ended).__name__ if call.status is None else str(call.status),
    }
