import dataclasses
import math
import random
from typing import Any

import httpx
import pytest

from walltrack.core.backoff import Backoff, Jitter
from walltrack.core.delivery import Delivery
from walltrack.core.events import StopReason
from walltrack.core.methods import IDEMPOTENT_METHODS
from walltrack.core.outcome import TRANSIENT_ERRORS
from walltrack.core.statuses import DEFAULT_RETRY_STATUSES
from walltrack.retry.policy import Attempt, NonIdempotent, RetryPolicy, Wait

RNG = random.Random(7)  # noqa: S311 - jitter is no secret
REPEATABLE = ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"]
UNREPEATABLE = ["POST", "PATCH", "CONNECT", "PURGE", "get"]
SETTINGS: list[NonIdempotent] = ["keyed", "proven", "always", "never"]
DEFAULT = RetryPolicy()
METHOD_NOT_RETRIED = StopReason.METHOD_NOT_RETRIED

NOT_SENT, UNCERTAIN, ANSWERED = Delivery.NOT_SENT, Delivery.UNCERTAIN, Delivery.ANSWERED


def attempt(**known: Any) -> Attempt:  # noqa: ANN401 - fields of Attempt
    """A first GET that was answered 503, with changes."""
    return Attempt(**{"number": 1, "method": "GET", "delivery": ANSWERED, "status": 503, **known})


def test_defaults() -> None:
    """The defaults of a policy are those that the documentation promises."""
    promised = RetryPolicy(
        max_retries=3,
        backoff=Backoff(base=1.0, factor=2.0, cap=4.0, jitter="none"),
        statuses=DEFAULT_RETRY_STATUSES,
        exceptions=TRANSIENT_ERRORS,
        max_retry_after=60.0,
        non_idempotent="proven",
        idempotent_methods=IDEMPOTENT_METHODS,
    )

    assert promised == DEFAULT


def test_four_attempts_at_most() -> None:
    """By default the waits are 1, 2 and 4 seconds, and the fourth failure is the last."""
    assert [DEFAULT.decide(attempt(number=n), RNG) for n in (1, 2, 3, 4)] == [
        Wait(1.0, 1.0),
        Wait(2.0, 2.0),
        Wait(4.0, 4.0),
        StopReason.RETRIES_EXHAUSTED,
    ]


def test_no_retries_means_a_single_attempt() -> None:
    """`max_retries=0` turns retries off."""
    policy = RetryPolicy(max_retries=0)

    assert policy.decide(attempt(), RNG) is StopReason.RETRIES_OFF


STOPS: list[tuple[StopReason, dict[str, Any]]] = [
    (StopReason.RETRIES_EXHAUSTED, {"number": 4}),
    (StopReason.METHOD_NOT_RETRIED, {"method": "POST"}),
    (StopReason.BODY_CANNOT_REPLAY, {"replayable": False}),
    (StopReason.CIRCUIT_OPEN, {"shut": True}),
    (StopReason.RETRY_AFTER_TOO_LONG, {"retry_after": 60.5}),
    (StopReason.DEADLINE_TOO_CLOSE, {"time_left": 0.5}),
]


@pytest.mark.parametrize(("reason", "known"), STOPS)
def test_each_reason_to_stop(reason: StopReason, known: dict[str, Any]) -> None:
    """Each reason alone ends the call."""
    assert RetryPolicy(non_idempotent="never").decide(attempt(**known), RNG) is reason


@pytest.mark.parametrize("first", range(len(STOPS)))
def test_of_several_reasons_the_permanent_one_is_reported(first: int) -> None:
    """A reason that always holds takes precedence over one that may cease to hold."""
    known = {field: value for _, k in STOPS[first:] for field, value in k.items()}

    decision = RetryPolicy(non_idempotent="never").decide(attempt(**known), RNG)

    assert decision is STOPS[first][0]


@pytest.mark.parametrize(
    ("asked_for", "wait"),
    [
        (None, Wait(1.0, 1.0)),
        (0.0, Wait(1.0, 1.0)),
        (0.5, Wait(1.0, 1.0)),
        (2.5, Wait(2.5, 1.0)),
        (60.0, Wait(60.0, 1.0)),
    ],
)
def test_retry_after_is_obeyed_where_it_is_longer(asked_for: float | None, wait: Wait) -> None:
    """The wait is the longer one of backoff and Retry-After, up to the longest that is allowed."""
    assert DEFAULT.decide(attempt(retry_after=asked_for), RNG) == wait


@pytest.mark.parametrize("asked_for", [60.001, 3600.0, 1e14, math.inf])
def test_a_retry_after_that_is_too_long_ends_the_call(asked_for: float) -> None:
    """The policy neither waits that long nor shortens the wait."""
    decision = DEFAULT.decide(attempt(retry_after=asked_for), RNG)

    assert decision is StopReason.RETRY_AFTER_TOO_LONG


@pytest.mark.parametrize(
    ("asked_for", "left", "decision"),
    [
        (None, 1.001, Wait(1.0, 1.0)),
        (None, 1.0, StopReason.DEADLINE_TOO_CLOSE),
        (5.0, 5.001, Wait(5.0, 1.0)),
        (5.0, 5.0, StopReason.DEADLINE_TOO_CLOSE),
        (None, 0.0, StopReason.DEADLINE_TOO_CLOSE),
    ],
)
def test_a_wait_that_the_deadline_would_cut_short_is_not_begun(
    asked_for: float | None, left: float, decision: Wait | StopReason
) -> None:
    """Some time must be left after a backoff or a Retry-After."""
    asked = attempt(retry_after=asked_for, time_left=left)

    assert DEFAULT.decide(asked, RNG) == decision


def test_without_any_wait_there_has_to_be_time_for_the_attempt() -> None:
    """A deadline that has passed ends the call, also where retries are made at once."""
    policy = RetryPolicy(backoff=Backoff(base=0.0))

    assert policy.decide(attempt(time_left=0.001), RNG) == Wait(0.0, 0.0)
    assert policy.decide(attempt(time_left=0.0), RNG) is StopReason.DEADLINE_TOO_CLOSE


def test_the_longest_retry_after_can_be_set() -> None:
    """`max_retry_after` sets the limit, or none."""
    asked = attempt(retry_after=3600.0)

    assert RetryPolicy(max_retry_after=math.inf).decide(asked, RNG) == Wait(3600.0, 1.0)
    assert RetryPolicy(max_retry_after=0.0).decide(attempt(retry_after=0.1), RNG) is (
        StopReason.RETRY_AFTER_TOO_LONG
    )


def test_the_backoff_does_not_grow_from_a_retry_after() -> None:
    """`Wait` states the backoff's share separately, and the next backoff grows from that."""
    policy = RetryPolicy(backoff=Backoff(cap=100.0, jitter="decorrelated"))

    class Highest:
        def uniform(self, _: float, b: float, /) -> float:
            return b

    assert policy.decide(attempt(retry_after=50.0), Highest()) == Wait(51.0, 3.0)
    assert policy.decide(attempt(number=2, previous_delay=3.0), Highest()) == Wait(9.0, 9.0)


def test_jitter_comes_from_the_source_given() -> None:
    """The same seed gives the same delays."""
    policy = RetryPolicy(backoff=Backoff(jitter="full"))

    def decide(seed: int) -> object:
        return policy.decide(attempt(), random.Random(seed))  # noqa: S311 - jitter is no secret

    assert decide(1) == decide(1) != decide(2)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("method", REPEATABLE)
def test_a_method_that_may_be_repeated_is(method: str, setting: NonIdempotent) -> None:
    """`non_idempotent=` does not affect it, also when the server may have acted."""
    policy = RetryPolicy(non_idempotent=setting)
    failed = attempt(method=method, delivery=UNCERTAIN, status=None)

    assert isinstance(policy.decide(failed, RNG), Wait)


@pytest.mark.parametrize("method", UNREPEATABLE)
@pytest.mark.parametrize(
    ("delivery", "status", "proven"),
    [
        (NOT_SENT, None, True),
        (ANSWERED, 429, True),
        (ANSWERED, 503, True),
        (ANSWERED, 500, False),
        (ANSWERED, 502, False),
        (ANSWERED, 504, False),
        (UNCERTAIN, None, False),
    ],
)
def test_a_method_that_may_act_twice(
    method: str,
    delivery: Delivery,
    status: int | None,
    proven: bool,  # noqa: FBT001 - a column of the table
) -> None:
    """It is retried if the server cannot have acted ("proven"), never, or always."""
    failed = attempt(method=method, delivery=delivery, status=status)

    def repeated(setting: NonIdempotent) -> bool:
        decision = RetryPolicy(non_idempotent=setting).decide(failed, RNG)
        assert isinstance(decision, Wait) or decision is StopReason.METHOD_NOT_RETRIED
        return isinstance(decision, Wait)

    assert {setting: repeated(setting) for setting in SETTINGS} == {
        "keyed": True,
        "proven": proven,
        "always": True,
        "never": False,
    }


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("method", [*REPEATABLE, *UNREPEATABLE])
def test_which_requests_carry_a_key(method: str, setting: NonIdempotent) -> None:
    """Only under "keyed", requests that may act twice carry one."""
    wanted = setting == "keyed" and method in UNREPEATABLE

    assert RetryPolicy(non_idempotent=setting).wants_key(method) is wanted


def test_a_request_that_is_never_repeated_carries_no_key() -> None:
    """Without retries no key is needed."""
    assert not RetryPolicy(max_retries=0, non_idempotent="keyed").wants_key("POST")
    assert RetryPolicy(max_retries=1, non_idempotent="keyed").wants_key("POST")


@pytest.mark.parametrize("jitter", ["full", "equal", "decorrelated"])
def test_callers_that_were_given_the_same_moment_are_spread(jitter: Jitter) -> None:
    """At most twenty of a hundred retry within the same ten milliseconds, and none too early."""
    policy = RetryPolicy(backoff=Backoff(jitter=jitter))
    waits = [policy.decide(attempt(retry_after=5.0), RNG) for _ in range(100)]
    delays = sorted(wait.delay for wait in waits if isinstance(wait, Wait))
    assert len(delays) == 100
    assert 5.0 <= delays[0] <= delays[-1] <= 6.0
    assert max(sum(abs(a - b) < 0.01 for b in delays) for a in delays) <= 20


def test_without_a_hint_the_backoff_alone_is_waited() -> None:
    """Only one random number is drawn for each wait."""
    policy = RetryPolicy(backoff=Backoff(jitter="full"))
    rng, twin = random.Random(5), random.Random(5)  # noqa: S311 - jitter is no secret
    for _ in range(10):
        backoff = twin.uniform(0.0, 1.0)
        assert policy.decide(attempt(), rng) == Wait(backoff, backoff)


@pytest.mark.parametrize("jitter", ["none", "full", "equal", "decorrelated"])
def test_a_short_hint_does_not_shorten_the_backoff(jitter: Jitter) -> None:
    """For example `retry-after-ms: 20`, which an overloaded server might send every time."""
    policy = RetryPolicy(backoff=Backoff(jitter=jitter))
    for _ in range(50):
        wait = policy.decide(attempt(retry_after=0.02), RNG)
        assert isinstance(wait, Wait)
        assert wait.delay >= wait.backoff


@pytest.mark.parametrize(
    ("in_progress", "status", "worth"),
    [(True, 409, True), (False, 409, False), (True, 404, False), (False, 503, True)],
)
def test_a_conflict_is_worth_a_retry_while_an_earlier_attempt_may_be_in_progress(
    *, in_progress: bool, status: int, worth: bool
) -> None:
    """Otherwise a 409 is returned to the caller."""
    assert DEFAULT.is_worth_retrying(status, in_progress=in_progress) is worth


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_conflict_in_progress_may_be_repeated(setting: NonIdempotent) -> None:
    """The key proves that the request in progress is the same one, so all settings retry."""
    conflict = attempt(method="POST", status=409, in_progress=True)
    policy = RetryPolicy(non_idempotent=setting)
    assert isinstance(policy.decide(conflict, RNG), Wait)


@pytest.mark.parametrize("setting", ["proven", "never"])
def test_a_conflict_of_another_call_is_no_proof(setting: NonIdempotent) -> None:
    """It is not retried, even if something else, such as `x-should-retry`, suggests a retry."""
    conflict = attempt(method="POST", status=409)
    assert RetryPolicy(non_idempotent=setting).decide(conflict, RNG) is METHOD_NOT_RETRIED


def test_a_refusal_is_no_proof_if_an_earlier_attempt_may_have_been_processed() -> None:
    """In that case, the delivery is that of the whole call."""
    doubtful = [attempt(method="POST", status=s, delivery=UNCERTAIN) for s in (429, 503, None)]
    assert {DEFAULT.decide(known, RNG) for known in doubtful} == {METHOD_NOT_RETRIED}


def test_of_an_attempt_the_rest_is_as_usual() -> None:
    """The defaults are no response, no key in use, a closed circuit and no deadline."""
    plain = Attempt(1, "GET", NOT_SENT)
    assert plain == Attempt(1, "GET", NOT_SENT, None, None, True, False, False, math.inf, 0.0)


def test_other_methods_may_be_idempotent() -> None:
    """Methods are given in any letter case; a string is rejected as a collection of names."""
    policy = RetryPolicy(idempotent_methods={"post"}, non_idempotent="never")
    assert isinstance(policy.decide(attempt(method="POST"), RNG), Wait)
    assert policy.decide(attempt(method="GET"), RNG) is StopReason.METHOD_NOT_RETRIED
    with pytest.raises(TypeError, match="idempotent_methods must be a collection of names"):
        RetryPolicy(idempotent_methods="POST")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "error", "named"),
    [
        ({"max_retries": -1}, ValueError, "max_retries"),
        ({"max_retries": 1.0}, TypeError, "max_retries"),
        ({"max_retries": True}, TypeError, "max_retries"),
        ({"max_retries": "3"}, TypeError, "max_retries"),
        ({"max_retry_after": -0.1}, ValueError, "max_retry_after"),
        ({"max_retry_after": float("nan")}, ValueError, "max_retry_after"),
        ({"max_retry_after": None}, TypeError, "max_retry_after"),
        ({"non_idempotent": "sometimes"}, ValueError, "non_idempotent"),
        ({"non_idempotent": None}, ValueError, "non_idempotent"),
        ({"statuses": {999}}, ValueError, "statuses"),
        ({"statuses": "503"}, TypeError, "statuses"),
        ({"exceptions": (KeyboardInterrupt,)}, TypeError, "exceptions"),
        ({"idempotent_methods": 1}, TypeError, "idempotent_methods"),
    ],
)
def test_bad_arguments_are_refused(
    arguments: dict[str, Any], error: type[Exception], named: str
) -> None:
    """The constructor raises an error that names the argument."""
    with pytest.raises(error, match=f"^{named} must be"):
        RetryPolicy(**arguments)


def test_a_policy_is_a_value() -> None:
    """It copies lists to sets and tuples, so that it stays immutable and hashable."""
    statuses, exceptions = [503], [httpx.ReadTimeout]
    loose: dict[str, Any] = {"statuses": statuses, "exceptions": exceptions}
    policy = RetryPolicy(**loose)
    statuses.append(404)

    assert policy == RetryPolicy(statuses=frozenset({503}), exceptions=(httpx.ReadTimeout,))
    assert hash(policy) == hash(dataclasses.replace(policy))
    assert not hasattr(policy, "__dict__")
    with pytest.raises(dataclasses.FrozenInstanceError):
        policy.max_retries = 1  # type: ignore[misc]


def test_the_repr_shows_what_is_not_the_default() -> None:
    """It reads like the call of the constructor."""
    assert repr(DEFAULT) == "RetryPolicy()"
    given = RetryPolicy(5, non_idempotent="never")
    assert repr(given) == "RetryPolicy(max_retries=5, non_idempotent='never')"


def test_a_backoff_of_another_type_is_refused() -> None:
    """A number is no backoff, and the constructor says so."""
    with pytest.raises(TypeError, match=r"^backoff must be a Backoff, got 2\.0$"):
        RetryPolicy(backoff=2.0)  # type: ignore[arg-type]
