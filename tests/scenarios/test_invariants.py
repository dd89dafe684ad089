"""Every invariant can fail: a layer that breaks it is found out, and one that does not is not."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from tests.scenarios import broken, invariants, layers
from tests.scenarios.plan import Call, Incident, Layer, Reply, Scenario
from tests.scenarios.run import run
from walltrack import CircuitBreaker
from walltrack.concurrency_limit.turns import Turns

SLOW = Reply(delay=1.0)
RETRY = {
    "max_retries": 2,
    "base": 1.0,
    "jitter": "none",
    "max_retry_after": 60.0,
    "body": "small",
    "max_response_bytes": 10**6,
}
LIMIT = Layer("limit", {"limit": 1})
BREAKER = Layer(
    "breaker",
    {"failure_threshold": 1, "cooldown": 5.0, "window": None, "probes": 1, "shared": True},
)


def retry(**options: Any) -> Layer:  # noqa: ANN401 - of any type
    """A layer of retries."""
    return Layer("retry", {**RETRY, "non_idempotent": "proven", **options})


def rate(**options: Any) -> Layer:  # noqa: ANN401 - of any type
    """A layer that limits the rate."""
    return Layer("rate", {"rate": None, "burst": 1, "max_wait": 60.0, **options})


def disloyal(kind: str, **options: Any) -> Callable[[pytest.MonkeyPatch], None]:  # noqa: ANN401 - of any type
    """Have a layer built with other options than those of the plan."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        make = layers.MAKERS[kind]

        def build(layer: Layer, inner: Any, hooks: layers.Hooks) -> layers.Made:  # noqa: ANN401 - of either family
            return make(replace(layer, options={**layer.options, **options}), inner, hooks)

        monkeypatch.setitem(layers.MAKERS, kind, build)

    return patch


def passing_by(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have requests pass by a breaker that is open."""

    def build(_: Layer, inner: Any, hooks: layers.Hooks) -> layers.Made:  # noqa: ANN401 - of either family
        breaker = CircuitBreaker(clock=hooks.clock)
        breaker.force_open()
        return broken.Broken(inner, hooks), breaker

    monkeypatch.setitem(layers.MAKERS, "breaker", build)


def losing_permits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have permits not given back."""
    monkeypatch.setattr(Turns, "give_back", lambda _: None)


def leave_alone(_: pytest.MonkeyPatch) -> None:
    """Change nothing."""


@dataclass(frozen=True)
class Case:
    """A way to break an invariant.

    Args:
        invariant: Which one.
        make: The broken layer, if it is one; it stands innermost.
        layers: The sound layers.
        calls: The calls.
        incidents: What the operator does.
        patch: What else is changed.
        controlled: Whether nothing is wrong without the broken layer and the change.
    """

    invariant: Callable[[Any], Any]
    make: type[broken.Broken] | None = None
    layers: tuple[Layer, ...] = ()
    calls: tuple[Call, ...] = (Call(),)
    incidents: tuple[Incident, ...] = ()
    patch: Callable[[pytest.MonkeyPatch], None] = leave_alone
    backend: str = field(default="asyncio", kw_only=True)

    def __str__(self) -> str:
        how = self.make.__name__ if self.make else "disloyal"
        return f"{self.invariant.__name__}, {how}"

    def scenario(self, family: str) -> Scenario:
        """Return what to run."""
        wrong = () if self.make is None else (Layer("broken", {"make": self.make}),)
        stack = (*self.layers, *wrong)
        return Scenario(0, self.backend, family, stack, self.calls, self.incidents)


THREE_FAIL = (Reply(status=503), Reply(status=503), Reply(status=503))
MANY = (Call(replies=(SLOW,)), Call(replies=(SLOW,)), Call(replies=(SLOW,)))

CASES = [
    Case(invariants.outcomes_are_those_of_one_attempt, broken.DoublesBytes),
    Case(invariants.outcomes_are_those_of_one_attempt, broken.LosesBytes),
    Case(invariants.outcomes_are_those_of_one_attempt, broken.MixesAttempts),
    Case(invariants.outcomes_are_those_of_one_attempt, broken.RaisesItsOwn),
    Case(invariants.outcomes_are_those_of_one_attempt, broken.NeverRecovers),
    Case(invariants.the_last_attempt_decides, broken.PrefersTheFirst),
    Case(invariants.bodies_are_read_as_on_a_connection, broken.ReadsAhead),
    Case(
        invariants.bodies_are_read_as_on_a_connection,
        broken.PrefersTheFirst,
        calls=(Call(method="PUT", upload="own class"),),
    ),
    Case(
        invariants.requests_arrive_whole,
        broken.SendsEmpty,
        calls=(Call(method="PUT", upload="bytes"),),
    ),
    Case(
        invariants.requests_arrive_whole,
        broken.PrefersTheFirst,
        calls=(Call(method="PUT", upload="pipe"),),
    ),
    Case(
        invariants.attempts_are_limited,
        layers=(retry(max_retries=1),),
        calls=(Call(replies=THREE_FAIL),),
        patch=disloyal("retry", max_retries=3),
    ),
    Case(
        invariants.budgets_are_kept,
        layers=(retry(max_retries=3, base=0.0, budget=1),),
        calls=(Call(replies=THREE_FAIL),),
        patch=disloyal("retry", budget=None),
    ),
    Case(
        invariants.the_server_acts_once,
        layers=(retry(non_idempotent="never"),),
        calls=(Call(method="POST", replies=(Reply(status=500),)),),
        patch=disloyal("retry", non_idempotent="always"),
    ),
    Case(
        invariants.a_call_has_one_key,
        broken.KeyForEachAttempt,
        (retry(non_idempotent="keyed"),),
        (Call(method="POST", replies=(Reply(status=503),)),),
    ),
    Case(invariants.a_call_has_one_key, broken.KeyForEachAttempt),
    Case(
        invariants.credentials_are_of_one_attempt,
        layers=(retry(), Layer("auth", {"flow": "sign"})),
        calls=(Call(replies=(Reply(status=503),)),),
        patch=disloyal("auth", flow="stale"),
    ),
    Case(
        invariants.concurrency_is_limited,
        layers=(LIMIT,),
        calls=MANY,
        patch=disloyal("limit", limit=2),
    ),
    Case(
        invariants.rates_are_kept,
        layers=(rate(rate=1.0, respect_headers=False),),
        calls=MANY,
        patch=disloyal("rate", burst=2),
    ),
    Case(
        invariants.rates_are_kept,
        layers=(rate(respect_headers=True),),
        calls=(Call(replies=(Reply(status=503, retry_after=5),)), Call(at=3.0)),
        patch=disloyal("rate", respect_headers=False),
    ),
    Case(
        invariants.time_limits_hold,
        layers=(Layer("timeout", {"seconds": 0.5}),),
        calls=(Call(replies=(SLOW,)),),
        patch=disloyal("timeout", seconds=10.0),
    ),
    Case(
        invariants.time_limits_hold,
        layers=(retry(), Layer("timeout", {"seconds": 0.5})),
        calls=(Call(replies=(Reply(pieces=2, pause=0.4),)),),
        patch=disloyal("timeout", seconds=10.0),
    ),
    Case(
        invariants.reads_end_in_time,
        layers=(Layer("timeout", {"seconds": 0.5}),),
        calls=(Call(streams=True, replies=(Reply(size=10**5, pieces=2, pause=0.4),)),),
        patch=disloyal("timeout", seconds=10.0),
    ),
    Case(invariants.deadlines_are_kept, broken.TakesItsTime, calls=(Call(deadline=2.0),)),
    Case(invariants.nothing_is_left_open, broken.LeavesOpen),
    Case(invariants.nothing_is_left_open, broken.LeavesHalfWay, backend="trio"),
    Case(invariants.nothing_is_held, layers=(LIMIT,), patch=losing_permits),
    Case(invariants.nothing_is_left_to_the_collector, broken.LeavesTask),
    Case(invariants.nothing_is_left_to_the_collector, broken.LeavesGenerator),
    Case(
        invariants.cancellations_come_out,
        broken.SwallowsCancellation,
        calls=(Call(cancel_after=0.5, natively=True, replies=(SLOW,)),),
    ),
    Case(
        invariants.cancellations_come_out,
        broken.DefersCancellation,
        calls=(Call(cancel_after=0.5, replies=(SLOW,)),),
        backend="trio",
    ),
    Case(
        invariants.nothing_is_cancelled_but_by_its_caller,
        broken.CancelsCaller,
        calls=(Call(natively=True),),
    ),
    Case(invariants.every_call_ends, broken.NeverAnswers),
    Case(invariants.circuits_recover, broken.NeverRecovers, (BREAKER,)),
    Case(invariants.open_circuits_let_nothing_through, layers=(BREAKER,), patch=passing_by),
    Case(invariants.circuits_change_in_turns, broken.ReportsTwice, (BREAKER,)),
    Case(
        invariants.closed_transports_send_nothing_more,
        broken.TakesItsTime,
        incidents=(Incident(1.0, "close transport"),),
    ),
]


def broken_by(scenario: Scenario) -> set[str]:
    """The names of the invariants that a scenario breaks."""
    return {wrong.partition(":")[0] for wrong in invariants.violations(run(scenario))}


@pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")
@pytest.mark.parametrize("family", ["httpx", "httpx2"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_an_invariant_notices(case: Case, family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The scenario is sound without what breaks it, and found out with it."""
    sound = replace(case, make=None).scenario(family)
    assert broken_by(sound) == set()
    case.patch(monkeypatch)
    assert case.invariant.__name__ in broken_by(case.scenario(family))


def test_no_invariant_is_left_out() -> None:
    """There is a way to break each of them, and each of them is checked."""
    defined = {
        name
        for name, value in vars(invariants).items()
        if getattr(value, "__annotations__", {}).get("return") == invariants.Found
        and not name.startswith("_")
    }
    assert {case.invariant.__name__ for case in CASES} == defined
    assert {check.__name__ for check in invariants.INVARIANTS} == defined
