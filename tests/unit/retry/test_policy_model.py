"""Run calls through a RetryTransport, and compare each of them with a naive model.

The model is written from the documentation: it knows no Attempt, no Wait and no policy object, only
what came back, and the sentences that say what is to follow.
"""

import math
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import anyio
import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import URL, Clock, Events, Scripted
from walltrack import Backoff, Delivery, RetryBudget, RetryPolicy, RetryScheduled, RetryTransport
from walltrack.retry.policy import NonIdempotent

PROFILE = settings(max_examples=400)

NOT_SENT_ERRORS = ("ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError")
SENT_ERRORS = ("ReadError", "ReadTimeout", "WriteError", "RemoteProtocolError")
FINAL_ERRORS = ("LocalProtocolError", "UnsupportedProtocol", "DecodingError")

REPEATABLE = ("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE")


@dataclass(frozen=True)
class Came:
    """The outcome of one attempt."""

    what: int | str
    retry_after: str | None = None
    takes_body: bool = True
    shut_afterwards: bool = False


@dataclass(frozen=True)
class Planned:
    """One call, and the outcomes of its attempts if all of them are made."""

    method: str
    one_shot: bool
    comes: tuple[Came, ...]


@dataclass(frozen=True)
class Rules:
    """The settings of the transport."""

    max_retries: int
    base: float
    cap: float
    mode: NonIdempotent
    max_retry_after: float
    purse: float


@dataclass
class Told:
    """The outcome of a call, as seen from outside."""

    attempts: int = 0
    sleeps: list[float] = field(default_factory=list)
    end: int | str = ""
    stop_reason: str = ""


class Model:
    """The documentation, sentence by sentence."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.purse = rules.purse

    def call(self, planned: Planned) -> Told:
        told = Told()
        body_gone = False
        for came in planned.comes:
            told.attempts += 1
            told.end = came.what
            body_gone = body_gone or (planned.one_shot and came.takes_body)
            if not self._may_pass(came.what):
                if isinstance(came.what, int):
                    self.purse = min(self.purse + 0.5, self.rules.purse)
                told.stop_reason = self._why_final(came.what)
                return told
            told.stop_reason = self._why_not(planned, came, told.attempts, body_gone=body_gone)
            if told.stop_reason:
                return told
            self.purse -= 1
            doubled = self.rules.base * 2 ** (told.attempts - 1)
            told.sleeps.append(max(min(doubled, self.rules.cap), _asked_for(came)))
        raise AssertionError("the plan is longer than any call")

    @staticmethod
    def _may_pass(what: int | str) -> bool:
        if isinstance(what, int):
            return what == 429 or what >= 500
        return what in NOT_SENT_ERRORS + SENT_ERRORS

    @staticmethod
    def _why_final(what: int | str) -> str:
        if isinstance(what, str):
            return "error_not_retried"
        return "status_not_retried" if what >= 400 else ""

    def _why_not(self, planned: Planned, came: Came, attempts: int, *, body_gone: bool) -> str:
        rules = self.rules
        proven = came.what in (429, 503, *NOT_SENT_ERRORS)
        allowed = {"keyed": True, "always": True, "proven": proven, "never": False}
        reasons = {
            "retries_off": rules.max_retries == 0,
            "retries_exhausted": attempts == rules.max_retries + 1,
            "method_not_retried": planned.method not in REPEATABLE and not allowed[rules.mode],
            "body_cannot_replay": body_gone,
            "circuit_open": came.shut_afterwards,
            "retry_after_too_long": _asked_for(came) > rules.max_retry_after,
            "budget_empty": self.purse < 1,
        }
        return next((reason for reason, holds in reasons.items() if holds), "")


def _asked_for(came: Came) -> float:
    return float(came.retry_after) if came.retry_after and came.retry_after.isdigit() else 0.0


class Shut:
    """A gate that is shut, or open."""

    def __init__(self, *, shut: bool) -> None:
        self._shut = shut

    def shut_for(self) -> float:
        return 7.0 if self._shut else 0.0


class Real:
    """A RetryTransport over what was planned."""

    def __init__(self, rules: Rules) -> None:
        self.clock = Clock()
        self.events = Events()
        self.inner = Scripted(200)
        policy = RetryPolicy(
            max_retries=rules.max_retries,
            backoff=Backoff(base=rules.base, cap=rules.cap),
            max_retry_after=rules.max_retry_after,
            non_idempotent=rules.mode,
        )
        self.budget = RetryBudget(rules.purse, deposit=0.5, refill=0, shared=True)
        self.transport = RetryTransport(
            self.inner,
            policy=policy,
            budget=self.budget,
            sleep=self.clock.sleep,
            listener=self.events,
        )

    async def call(self, planned: Planned) -> Told:
        self.clock.sleeps.clear()
        self.events.clear()
        self.inner.requests.clear()
        self.inner.steps = [_step(came) for came in planned.comes]
        content = _once() if planned.one_shot else b"body"
        request = httpx.Request(planned.method, URL, content=content)
        end: int | str
        try:
            response = await self.transport.handle_async_request(request)
        except httpx.RequestError as error:
            end = type(error).__name__
        else:
            end = response.status_code
            assert response.extensions["walltrack.attempts"] == len(self.inner.requests)
        stopped = [event for event in self.events if event.name == "retry_stopped"]
        waits = [event.delay for event in self.events if isinstance(event, RetryScheduled)]
        succeeded = ["call_succeeded_after_retries"] if waits and not stopped else []
        assert self.events.names == (
            ["retry_scheduled"] * len(waits) + [event.name for event in stopped] + succeeded
        )
        assert self.clock.sleeps == [wait for wait in waits if wait]
        stop_reason = "".join(str(getattr(event, "stop_reason", "")) for event in stopped)
        return Told(len(self.inner.requests), waits, end, stop_reason)


async def _once() -> AsyncIterator[bytes]:
    yield b"body"


def _step(came: Came) -> Any:  # noqa: ANN401 - a step of a script
    async def step(request: httpx.Request) -> httpx.Response:
        request.extensions["walltrack.gate"] = Shut(shut=came.shut_afterwards)
        if came.takes_body and isinstance(request.stream, httpx.AsyncByteStream):
            assert b"".join([chunk async for chunk in request.stream]) == b"body"
        if isinstance(came.what, int):
            headers = {} if came.retry_after is None else {"retry-after": came.retry_after}
            return httpx.Response(came.what, headers=headers)
        unsent = came.what in NOT_SENT_ERRORS
        stated = Delivery.NOT_SENT if unsent else Delivery.UNCERTAIN
        request.extensions["walltrack.delivery"] = stated
        error: Exception = getattr(httpx, came.what)("scripted")
        raise error

    return step


WAITS = st.sampled_from([0.0, 0.5, 1.0, 3.0])

RULES = st.builds(
    Rules,
    max_retries=st.integers(0, 3),
    base=WAITS,
    cap=st.sampled_from([3.0, 4.0, 100.0]),
    mode=st.sampled_from(["keyed", "proven", "always", "never"]),
    max_retry_after=st.sampled_from([0.0, 60.0, math.inf]),
    purse=st.sampled_from([1.0, 2.0, 3.0, 100.0]),
)

STATUSES = st.builds(
    Came,
    what=st.sampled_from([200, 404, 429, 500, 503, 599]),
    retry_after=st.none() | st.sampled_from(["0", "2", "60", "61", "99999999999999", "-1", "x"]),
    shut_afterwards=st.sampled_from([False, False, False, True]),
)
ERRORS = st.builds(
    Came,
    what=st.sampled_from(NOT_SENT_ERRORS + SENT_ERRORS + FINAL_ERRORS),
    takes_body=st.booleans(),
    shut_afterwards=st.sampled_from([False, False, False, True]),
)
CALLS = st.builds(
    Planned,
    method=st.sampled_from(["GET", "PUT", "DELETE", "POST", "PATCH"]),
    one_shot=st.sampled_from([False, False, True]),
    comes=st.lists(STATUSES | ERRORS, min_size=4, max_size=4).map(tuple),
)


def test_a_call_ends_as_the_documentation_says() -> None:
    """In any series of calls, attempts, waits, outcomes, reasons and budget are as modelled."""
    reasons: set[str] = set()

    @PROFILE
    @given(RULES, st.lists(CALLS, min_size=1, max_size=4))
    def check(rules: Rules, calls: list[Planned]) -> None:
        async def run() -> None:
            real, model = Real(rules), Model(rules)
            for planned in calls:
                expected = model.call(planned)
                assert await real.call(planned) == expected
                assert real.budget.balance == pytest.approx(model.purse)
                reasons.add(expected.stop_reason)

        anyio.run(run)

    check()
    assert len(reasons) == 1 + 9  # the runs came by every reason, and by none
