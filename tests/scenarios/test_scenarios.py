"""Random layers over a server that misbehaves at random, with random callers: see `plan`.

`pytest tests/scenarios --scenarios 20000` runs that many, and `--scenario-seed 17` runs the one of
that seed again, which a failing test names.
"""

from collections import Counter
from dataclasses import fields
from itertools import count
from time import sleep

import pytest

from tests.scenarios.conftest import DEFAULT
from tests.scenarios.invariants import violations
from tests.scenarios.plan import (
    BREAKS,
    FAILURES,
    HOOKS,
    LAYERS,
    ONE_SHOT,
    UPLOADS,
    Call,
    Layer,
    Reply,
    Scenario,
    draw,
)
from tests.scenarios.run import run
from tests.scenarios.shrink import shrink
from walltrack.testing import VirtualTime

SEEDS = range(DEFAULT)

POLICY = {
    "max_retries": 2,
    "base": 0.5,
    "jitter": "decorrelated",
    "non_idempotent": "always",
    "max_retry_after": 60.0,
}

# httpx leaves generators of its own around a body that is closed early, and around one that is
# being sent when the attempt ends.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Async generator 'httpx2?._:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Async generator 'tests.scenarios.uploads:ResourceWarning"),
]


def test_whatever_happens(seed: int) -> None:
    """All invariants hold, whatever the layers are, and whatever happens to them."""
    scenario = draw(seed)
    if wrong := violations(run(scenario)):
        kind = wrong[0].partition(":")[0]
        least = shrink(scenario, lambda smaller: _fails_by(kind, smaller))
        again = [w for w in violations(run(least)) if w.startswith(kind)]
        pytest.fail("\n".join([*wrong, str(scenario), "", "It shrinks to:", str(least), *again]))


# Found by longer runs, with more of everything, and shrunk.
FOUND = {
    "asyncio makes one exception of the caller's cancellation and one of a scope's": Scenario(
        16285,
        family="httpx2",
        layers=(
            Layer("hedge", {"delay": 0.0}),
            Layer("timeout", {"seconds": 0.1}),
            Layer("stack", {**POLICY, "hedge": 0.0, "rate_limit": 20.0, "body": "stream"}),
        ),
        calls=(
            Call(replies=(Reply(status=429, retry_after=1),)),
            Call(at=0.1, cancel_after=0.0, natively=True),
        ),
    ),
    "a clock raises as a call inside a waiting room is cancelled": Scenario(
        8322,
        family="httpx2",
        layers=(
            Layer(
                "room",
                {
                    "failure_threshold": 2,
                    "cooldown": 0.5,
                    "window": "count",
                    "probes": 3,
                    "max_waiting": 1,
                    "max_wait": 10.0,
                },
            ),
        ),
        calls=(Call(cancel_at=1, natively=True),),
        raises=("clock", 1),
    ),
    "a clock raises at the end of a body that is read ahead": Scenario(
        4123,
        layers=(
            Layer("hedge", {"delay": 0.05}),
            Layer("retry", {**POLICY, "body": "small", "max_response_bytes": 70_000}),
            Layer(
                "breaker",
                {
                    "failure_threshold": 5,
                    "cooldown": 30.0,
                    "window": "time",
                    "probes": 3,
                    "shared": True,
                },
            ),
        ),
        calls=(Call(replies=(Reply(delay=4.0),)),),
        raises=("clock", 8),
    ),
    "a deadline raises as the retries inside it are cancelled": Scenario(
        11555,
        layers=(
            Layer("stack", {**POLICY, "max_retries": 0, "deadline": 0.5, "body": "small"}),
            Layer("retry", {**POLICY, "body": "whole", "max_response_bytes": 70_000}),
        ),
        calls=(Call(), Call(cancel_after=0.0, natively=True)),
        raises=("clock", 8),
    ),
    "a clock raises as a cancelled call is noted": Scenario(
        12565,
        layers=(Layer("hedge", {"delay": "p95"}),),
        calls=(
            *(Call(), Call()),
            Call(cancel_after=0.2, natively=True, replies=(Reply(delay=1.0),)),
            *(Call(replies=(Reply(delay=4.0),)),) * 2,
        ),
        raises=("clock", 8),
    ),
}


@pytest.mark.parametrize("name", FOUND)
def test_what_was_found_is_mended(name: str) -> None:
    """Scenarios that once failed violate no invariant."""
    assert violations(run(FOUND[name])) == []


def _fails_by(kind: str, scenario: Scenario) -> bool:
    return any(wrong.startswith(kind) for wrong in violations(run(scenario)))


def test_a_seed_gives_one_scenario() -> None:
    """A seed gives the same scenario each time, and another seed gives another one."""
    assert str(draw(7)) == str(draw(7))
    assert len({str(draw(seed)) for seed in SEEDS}) == len(SEEDS)


def test_a_run_can_be_repeated() -> None:
    """In each run the calls end in the same way, at the same moments of virtual time."""
    for seed in range(40):
        first, second = (run(draw(seed)) for _ in range(2))
        assert [_told(o) for o in first.outcomes] == [_told(o) for o in second.outcomes], seed


def test_a_slow_machine_changes_nothing_on_trio(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls end in the same way at the same virtual times if steps take longer in real time."""
    fast = [_told(outcome) for outcome in run(draw(17)).outcomes]
    now, calls = VirtualTime.monotonic, count()

    def slowly(time: VirtualTime) -> float:
        if next(calls) % 5 == 0:
            sleep(0.0015)  # more than virtual time waits on asyncio before it looks again
        return now(time)

    monkeypatch.setattr(VirtualTime, "monotonic", slowly)
    slow = [_told(outcome) for outcome in run(draw(17)).outcomes]
    assert next(calls) > 50
    assert slow == fast


def _told(outcome: object) -> list[str]:
    return [repr(getattr(outcome, f.name)) for f in fields(outcome) if f.name != "error"]  # type: ignore[arg-type]


def test_the_default_scenarios_have_everything_in_them() -> None:
    """Each kind of layer, failure, body, hook, caller and incident, and most of them often."""
    found = Counter[object]()
    for scenario in map(draw, SEEDS):
        calls = scenario.calls
        replies = [reply for call in calls for reply in call.replies]
        found.update({scenario.backend, scenario.family, f"depth {len(scenario.layers)}"})
        found.update({layer.kind for layer in scenario.layers})
        found.update({call.upload for call in calls} | {call.method for call in calls})
        found.update({reply.fails or reply.breaks for reply in replies})
        found.update({incident.does for incident in scenario.incidents})
        found.update(scenario.raises[:1] if scenario.raises else ())
        found.update(_said_by(calls))
    wanted = {*LAYERS, *FAILURES, *BREAKS, *UPLOADS, *ONE_SHOT, *HOOKS}
    wanted |= {"force_open", "disable", "observe_only", "reset", "close client", "close transport"}
    wanted |= {f"depth {depth}" for depth in range(7)}
    wanted |= {"cancel_after", "cancel_at", "natively", "closes_after", "deadline", "retry"}
    assert wanted - set(found) == set()


def _said_by(calls: tuple[Call, ...]) -> set[str]:
    plain = Call()
    names = [field.name for field in fields(Call)]
    return {n for n in names for call in calls if getattr(call, n) != getattr(plain, n)}
