import random
from collections.abc import Hashable

import httpcore
import httpx
import pytest

from tests.support import Clock, Events, get
from walltrack import (
    RetryBudget,
    RetryPolicy,
    RetryStopped,
    StopReason,
)
from walltrack.core.budget import Budgets
from walltrack.core.classification import UNCLASSIFIED
from walltrack.http.waits import Waits
from walltrack.retry.call import Call
from walltrack.retry.decisions import Decisions
from walltrack.retry.policy import Wait
from walltrack.retry.reports import Reports

pytestmark = [
    pytest.mark.anyio,  # the caller's own deadline is that of an event loop
    pytest.mark.parametrize("anyio_backend", ["asyncio"]),
]

RNG = random.Random(7)  # noqa: S311 - spreads waits, guards nothing


def refused() -> httpx.ConnectError:
    """A connection that was refused, as httpx raises it over httpcore."""
    error = httpx.ConnectError("refused")
    error.__cause__ = httpcore.ConnectError()
    return error


def call_of(
    ended: httpx.Response | Exception, policy: RetryPolicy | None = None, waits: Waits | None = None
) -> Call:
    """A call whose first attempt ended so."""
    request = httpx.Request(
        "PUT", "https://me:secret@api.test/things?q=1", extensions={"walltrack.service": "things"}
    )
    call = Call(
        request, request, policy or RetryPolicy(7), ended, Waits() if waits is None else waits
    )
    call.conclude(UNCLASSIFIED)
    return call


def deciding(
    events: Events | None, budget: RetryBudget | None = None, key: Hashable = "key"
) -> Decisions:
    """Decisions by an injected clock; every request has the same key."""
    clock = Clock()
    return Decisions(Budgets(budget, clock), lambda _: key, Reports(events, clock), RNG, clock)


async def test_a_retry_is_not_reported_before_its_response_is_discarded(events: Events) -> None:
    """At first the decision is only a wait, without an event."""
    assert deciding(events).after_attempt(call_of(refused())) == Wait(1.0, 1.0)
    assert events == []


async def test_the_end_of_the_retries_is_reported(events: Events) -> None:
    """The event has the reason."""
    waits = Waits()
    waits.end()
    assert deciding(events).after_attempt(call_of(refused(), waits=waits)) is None
    assert events == [
        RetryStopped("things", "PUT", "/things", 1, 7, "ConnectError", StopReason.TRANSPORT_CLOSED)
    ]


async def test_a_closed_transport_takes_nothing_from_a_budget() -> None:
    """No retry follows, so nothing is withdrawn."""
    waits, budget = Waits(), RetryBudget(2, refill=0, shared=True)
    waits.end()
    assert deciding(None, budget).after_attempt(call_of(refused(), waits=waits)) is None
    assert budget.balance == 2


async def test_retries_are_paid_from_the_budget_of_their_key() -> None:
    """A success adds to the same one."""
    budget = RetryBudget(1, deposit=1, refill=0)
    budgets = Budgets(budget, Clock())
    reports = Reports(None, Clock())
    decisions = Decisions(budgets, lambda request: request.method, reports, RNG, Clock())
    assert decisions.after_attempt(call_of(refused())) is not None
    assert decisions.after_attempt(call_of(refused())) is None
    decisions.fund(get())
    assert decisions.after_attempt(call_of(refused())) is None
    decisions.fund(httpx.Request("PUT", "https://other.test"))
    assert decisions.after_attempt(call_of(refused())) is not None


@pytest.mark.parametrize(
    ("ended", "retries", "reason"),
    [
        (httpx.Response(404), 7, StopReason.STATUS_NOT_RETRIED),
        (httpx.Response(503), 0, StopReason.RETRIES_OFF),
    ],
)
async def test_where_no_retry_was_expected_its_reason_is_reported_too(
    ended: httpx.Response, retries: int, reason: StopReason, events: Events
) -> None:
    """A final response, and a policy without retries."""
    call = call_of(ended, RetryPolicy(retries))
    assert deciding(events).after_attempt(call) is None
    assert [getattr(event, "stop_reason", None) for event in events] == [reason]
    assert call.stopped == reason


async def test_a_success_at_once_is_no_event(events: Events) -> None:
    """Only failures and their consequences are events."""
    call = call_of(httpx.Response(200))
    assert deciding(events).after_attempt(call) is None
    assert (events, call.stopped, call.succeeded) == ([], None, True)
