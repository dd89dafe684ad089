"""Whether a call goes on after an attempt, by its policy, its deadline and its budget."""

from collections.abc import Callable, Hashable

import httpx

from walltrack.core.backoff import Random
from walltrack.core.budget import Budgets
from walltrack.core.events import StopReason
from walltrack.core.extensions import GATE, time_left
from walltrack.core.waiting import time_left_to_caller
from walltrack.retry.call import Call
from walltrack.retry.policy import Wait
from walltrack.retry.reasons import why_final
from walltrack.retry.reports import Reports


class Decisions:
    """Decide after each attempt, pay for retries, and have it reported.

    Args:
        budgets: What retries are paid from.
        key: Requests with the same key share a budget.
        reports: Reports what was decided.
        rng: Source of the backoff's jitter.
        wall_clock: Seconds since the epoch, to measure a Retry-After date from.
    """

    __slots__ = ("_budgets", "_key", "_reports", "_rng", "_wall_clock")

    def __init__(
        self,
        budgets: Budgets,
        key: Callable[[httpx.Request], Hashable],
        reports: Reports,
        rng: Random,
        wall_clock: Callable[[], float],
    ) -> None:
        self._budgets = budgets
        self._key = key
        self._reports = reports
        self._rng = rng
        self._wall_clock = wall_clock

    def after_attempt(self, call: Call) -> Wait | None:
        """Return the wait before the next attempt, and take it from the budget; None: no retry."""
        call.gate = call.request.extensions.pop(GATE, None)
        decision = self._decide(call) if call.is_worth_retrying else why_final(call)
        if isinstance(decision, Wait):
            return decision
        if decision is None:
            self._reports.succeeded(call)
        else:
            self._reports.stopped(call, decision)
        return None

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
        cost = self._budgets.cost_after(call.ended, call.delivery)
        if not self._budgets.withdraw(self._key(call.request), cost):
            return StopReason.BUDGET_EMPTY
        return decision
