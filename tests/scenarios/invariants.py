"""What must hold after every scenario, whatever happened in it.

Each function yields what is wrong, and nothing if all is well.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, Final

from tests.scenarios import uploads
from tests.scenarios.attempts import RECOVERY, Attempt
from tests.scenarios.callers import Outcome, Report
from tests.scenarios.layers import HookError, HookInterrupt, Passage
from tests.scenarios.plan import ONE_SHOT, Call, Layer
from walltrack import (
    CircuitBreakerOpenError,
    ConcurrencyLimitError,
    RateLimitError,
    ResponseTooLargeError,
    TimeLimitExceededError,
    TransportClosedError,
)
from walltrack.http.release import MAX_DRAIN_SECONDS

EPSILON: Final = 1e-3
"""Of a request, or of a second of virtual time: sums of the same figures differ by a little."""

RAISED_BY: Final = {
    CircuitBreakerOpenError: {"breaker", "room"},
    ConcurrencyLimitError: {"limit", "adaptive", "concurrency_limit"},
    RateLimitError: {"rate", "rate_limit"},
    TimeLimitExceededError: {"timeout", "deadline", "attempt_timeout"},
    ResponseTooLargeError: {"max_response_bytes", "body"},
}
"""What each exception of ours may be raised by: a kind of layer, or an option of a stack."""

HOSTS: Final = ("one.test", "two.test")
HEDGED: Final = ("GET", "HEAD", "OPTIONS")

Found = Iterator[str]


def outcomes_are_those_of_one_attempt(report: Report) -> Found:
    """The status and every byte are of one attempt; an exception is the attempt's or ours."""
    for outcome in report.outcomes:
        attempts = _attempts(report, outcome.number)
        if outcome.tag is not None:
            yield from _of_one(outcome, next(a for a in attempts if a.tag == outcome.tag))
        error = outcome.error
        if error is None:
            continue
        own = [e for e in _errors(report, attempts) if e is error]
        if not own and not _may_be_raised(report, error):
            yield f"call {outcome.number} raised {error!r}, which no attempt did"


def _of_one(outcome: Outcome, attempt: Attempt) -> Found:
    name = f"call {outcome.number}"
    if attempt.reply.status != outcome.status:
        yield f"{name} got {outcome.status}, attempt {attempt.tag} was {attempt.reply.status}"
    content, received = attempt.content, outcome.received
    if received != content[: len(received)]:
        yield f"{name} received bytes that are not those of attempt {attempt.tag}"
    elif outcome.whole and (len(received) < len(content) or attempt.reply.breaks):
        yield f"{name} took {len(received)} bytes of attempt {attempt.tag} for the whole"
    if outcome.error is None and not outcome.cancelled and not outcome.whole:
        closed_early = outcome.call.closes_after is not None
        if not closed_early:
            yield f"{name} neither read everything nor failed"


def _errors(report: Report, attempts: list[Attempt]) -> Iterator[BaseException]:
    del report
    for attempt in attempts:
        if attempt.error is not None:
            yield attempt.error
        if attempt.body is not None and attempt.body.error is not None:
            yield attempt.body.error


def _may_be_raised(report: Report, error: BaseException) -> bool:
    if isinstance(error, HookError | HookInterrupt):
        return report.scenario.raises is not None
    if type(error).__name__ == "StreamConsumed":
        # A body that is to be sent after a challenge; or one that the flow read, as in httpx.
        reads = any(_flow(layer) == "body" for layer in report.scenario.layers)
        return reads or _may_be_challenged(report)
    parts = {layer.kind for layer in report.scenario.layers}
    for layer in report.scenario.layers:
        parts |= {name for name, value in layer.options.items() if value is not None}
    for kind, raised_by in RAISED_BY.items():
        if isinstance(error, kind):
            return bool(parts & raised_by)
    closed = any(incident.does.startswith("close") for incident in report.scenario.incidents)
    by_httpx = type(error) is RuntimeError and "client has been closed" in str(error)
    return closed and (by_httpx or isinstance(error, TransportClosedError))


def the_last_attempt_decides(report: Report) -> Found:
    """Without a hedge the caller gets what came last, unless a layer refused to go on."""
    if any(layer.kind == "hedge" or layer["hedge"] is not None for layer in report.scenario.layers):
        return
    for outcome in report.outcomes:
        attempts = _attempts(report, outcome.number)
        if outcome.tag is not None and outcome.tag != attempts[-1].tag:
            yield f"call {outcome.number} got {outcome.tag} of {len(attempts)} attempts"
        earlier = list(_errors(report, attempts[:-1]))
        if outcome.error is not None and outcome.error in earlier:
            yield f"call {outcome.number} raised what an earlier attempt did"


def bodies_are_read_as_on_a_connection(report: Report) -> Found:
    """Once, by one reader at a time, and not after they were closed; those of requests as well."""
    yield from report.misreads


def requests_arrive_whole(report: Report) -> Found:
    """What the server takes for the end of a body is its end; a one-shot body is sent once."""
    flows = set(map(_flow, report.scenario.layers))  # "body" keeps it, so that it can be repeated
    for outcome in report.outcomes:
        call = outcome.call
        wanted = uploads.expected(call.upload, outcome.number)
        attempts = _attempts(report, outcome.number)
        for attempt in attempts:
            if attempt.received_all and attempt.received != wanted:
                size = len(attempt.received)
                yield f"attempt {attempt.tag} sent {size} of {len(wanted)} bytes as the whole"
        begun = [attempt.tag for attempt in attempts if attempt.received]
        if call.upload in ONE_SHOT and len(begun) > 1 and "body" not in flows:
            yield f"attempts {begun} sent a one-shot body"


def attempts_are_limited(report: Report) -> Found:
    """A layer sends on no more often than it may: once, twice to hedge, or by its retry policy."""
    for level, layer in enumerate(report.scenario.layers):
        if layer.kind == "broken":
            continue
        beneath: dict[Passage, int] = {}
        for passage in report.books.passages:
            if (
                passage.level == level + 1
                and passage.parent is not None
                and _counts(layer, passage)
            ):
                beneath[passage.parent] = beneath.get(passage.parent, 0) + 1
        for passage, count in beneath.items():
            if passage.call != RECOVERY:
                call = report.scenario.calls[passage.call]
                if count > (most := _most_attempts(layer, call)):
                    yield f"{layer.kind} sent call {passage.call} {count} times, not {most}"


def _counts(layer: Layer, passage: Passage) -> bool:
    # A room asks again when the circuit inside it opens, also where a breaker rejects further down.
    waits = layer.kind == "room" or layer["waiting_room"] is not None
    return not (waits and passage.rejected)


def _most_attempts(layer: Layer, call: Call) -> int:
    most = 1
    if layer.kind in ("retry", "stack"):
        policy = layer.options if call.retry in (None, True) else call.retry
        most += policy["max_retries"] if isinstance(policy, dict) else 0
    most *= 2 if _flow(layer) == "challenge" else 1
    hedges = layer.kind == "hedge" or layer["hedge"] is not None
    return most * 2 if hedges and call.method in HEDGED else most


def budgets_are_kept(report: Report) -> Found:
    """Retries and hedges to a host cost what is there: what it began with, and what came in."""
    for level, layer in enumerate(report.scenario.layers):
        for host in HOSTS if layer["budget"] is not None else ():
            below = [p for p in _passages(report, level + 1, host) if p.call != RECOVERY]
            extra = len(below) - len({passage.parent for passage in below})
            seconds = max((passage.began for passage in below), default=0.0)
            if extra > layer["budget"] + 0.1 * len(below) + 0.1 * seconds + EPSILON:
                yield f"{layer.kind} with a budget of {layer['budget']} sent {extra} more"


def the_server_acts_once(report: Report) -> Found:
    """On a call that may act twice and is to be repeated on proof only, or never."""
    for outcome in report.outcomes:
        if outcome.call.method != "POST":
            continue
        policies = list(_policies(report, outcome.call))
        careful = all(p in ("proven", "never") for p in policies)
        acts = [a.tag for a in _attempts(report, outcome.number) if a.acted]
        if careful and len(acts) > 1:
            yield f"the server acted on attempts {acts} of a POST"


def _policies(report: Report, call: Call) -> Iterator[str]:
    for layer in report.scenario.layers:
        if layer.kind in ("retry", "stack"):
            own = call.retry if isinstance(call.retry, dict) else layer.options
            yield own["non_idempotent"] if call.retry is not False else "never"


def a_call_has_one_key(report: Report) -> Found:
    """All attempts of a call carry the same Idempotency-Key, and those of idempotent methods none.

    A layer that adds no key repeats what those inside do, with a key of their own each time.
    """
    for outcome in report.outcomes:
        keys = {attempt.key for attempt in _attempts(report, outcome.number)}
        policies = list(_policies(report, outcome.call))
        if len(keys) > 1 and (len(policies) == 1 or policies[0] == "keyed"):
            yield f"call {outcome.number} was sent with the keys {keys}"
        if outcome.call.method != "POST" and keys - {None}:
            yield f"call {outcome.number}, a {outcome.call.method}, was sent with a key"


def credentials_are_of_one_attempt(report: Report) -> Found:
    """No nonce is sent twice, unless a layer inside the outermost credentials repeats requests.

    Nothing of them goes to a second origin.
    """
    layers = report.scenario.layers
    signing = [at for at, layer in enumerate(layers) if _flow(layer) is not None]
    repeating = ("retry", "hedge", "stack")
    if not signing or any(layer.kind in repeating for layer in layers[signing[0] + 1 :]):
        return
    attempts = [a for a in report.books.world.attempts if a.nonce is not None]
    nonces = Counter(attempt.nonce for attempt in attempts)
    yield from (f"the nonce {nonce} was sent twice" for nonce, n in nonces.items() if n > 1)
    hosts = {attempt.passage.host for attempt in attempts}
    if len(signing) == 1 and len(hosts) > 1:
        yield f"credentials were sent to {sorted(hosts)}"


def _flow(layer: Layer) -> Any:  # noqa: ANN401 - of an option
    return layer["flow"] or layer["auth"]


def _may_be_challenged(report: Report) -> bool:
    return any(_flow(layer) == "challenge" for layer in report.scenario.layers)


def concurrency_is_limited(report: Report) -> Found:
    """No more is in flight beneath a limit than it allows, with a key for each host."""
    for level, layer in enumerate(report.scenario.layers):
        limit = layer["limit"] or layer["maximum"] or layer["concurrency_limit"]
        if limit is None:
            continue
        keyed = layer["keyed"] or layer.kind == "stack"
        for (at, host), most in report.books.most.items():
            if at == level + 1 and bool(host) == bool(keyed) and most > limit:
                yield f"{most} in flight beneath {layer.kind} of {limit} at {host or 'all hosts'}"


def rates_are_kept(report: Report) -> Found:
    """No more goes out in any time than burst and rate allow, and nothing while held back."""
    for level, layer in enumerate(report.scenario.layers):
        for host in HOSTS:
            passages = _passages(report, level + 1, host)
            # In a stack, callers that have had their turn may have to wait once more, for a permit
            # or for a circuit; or their requests are sent once more after a challenge.
            queued = layer["concurrency_limit"] or layer["waiting_room"] or layer["auth"]
            if (rate := layer["rate"] or layer["rate_limit"]) and not queued:
                yield from _too_fast([p.began for p in passages], rate, layer["burst"] or 1)
            # What a response asks for is lost if a function of the caller's raises meanwhile.
            if layer.kind == "rate" and layer["respect_headers"] and not report.scenario.raises:
                yield from _while_held_back(report, passages)


def _too_fast(times: list[float], rate: float, burst: int) -> Found:
    for first, since in enumerate(times):
        for count, at in enumerate(times[first:], 1):
            if count > burst + rate * (at - since) + EPSILON:
                yield f"{count} requests in {at - since:g} s at a rate of {rate:g}"
                return


def _while_held_back(report: Report, passages: list[Passage]) -> Found:
    for told in passages:
        if told.response is None or told.ended is None:
            continue
        reply = report.books.attempt_of(told.response).reply
        until = told.ended + (reply.retry_after or 0)
        early = [p for p in passages if told.ended + EPSILON < p.began < until - EPSILON]
        if early:
            yield f"a request went out at {early[0].began:g} s, before {until:g} s"


def time_limits_hold(report: Report) -> Found:
    """Nothing beneath a limit goes on after it: no attempt, no wait, no reading of a body."""
    slack = report.pace.slack
    for level, layer in enumerate(report.scenario.layers):
        if not (seconds := layer["seconds"] or layer["deadline"]):
            continue
        for passage in report.books.passages:
            took = 0.0 if passage.ended is None else passage.ended - passage.began
            if passage.level == level and took > seconds + slack:
                yield f"a {layer.kind} of {seconds:g} s took {took:g} s"
        for attempt in report.books.world.attempts:
            began = next(p.began for p in attempt.passage.up() if p.level == level)
            late = [at for at, _ in attempt.delivered if at > began + seconds + slack]
            if late:
                yield f"attempt {attempt.tag} was read at {late[0]:g} s, after its limit"


def deadlines_are_kept(report: Report) -> Found:
    """No attempt begins after a deadline of the caller's own, but for what a discard may take."""
    for attempt in report.books.world.attempts:
        outcome = None if attempt.call == RECOVERY else report.outcomes[attempt.call]
        answers = attempt.nonce is not None and _may_be_challenged(report)  # it is no retry
        if outcome is not None and outcome.call.deadline is not None and not answers:
            until = (outcome.began or 0.0) + outcome.call.deadline
            if attempt.at > until + MAX_DRAIN_SECONDS * attempt.number + report.pace.slack:
                yield f"attempt {attempt.tag} began at {attempt.at:g} s, after {until:g} s"


def reads_end_in_time(report: Report) -> Found:
    """A read under a deadline of the whole call ends when the deadline has passed."""
    layers = report.scenario.layers
    seconds = (layers[0]["seconds"] or layers[0]["deadline"]) if layers else None
    if not seconds:
        return
    for outcome in report.outcomes:
        for began, ended in outcome.reads:
            if ended > max(began, (outcome.began or 0.0) + seconds) + report.pace.slack:
                yield f"call {outcome.number} read until {ended:g} s"


def nothing_is_left_open(report: Report) -> Found:
    """Every response is closed, and what was read by a layer was read to an end."""
    handed_over = {outcome.tag for outcome in report.outcomes}
    for attempt in report.books.world.attempts:
        if attempt.open:
            yield f"attempt {attempt.tag} is still open"
        # One that its caller closes early, with no layer above that watches it, is his and httpx's.
        elif attempt.body is not None and attempt.body.half_way and attempt.tag not in handed_over:
            yield f"attempt {attempt.tag} is left half-way, for the collector to end"


def nothing_is_held(report: Report) -> Found:
    """No layer holds a permit, a place in its queue, or a waiting room."""
    for transport in report.built.transports:
        if rooms := vars(transport).get("_rooms"):
            yield f"there are the rooms {rooms}"
        shown = re.sub(r"Transport\(.*\), <", "Transport(..., <", repr(transport), flags=re.DOTALL)
        for in_flight, waiting in re.findall(r"<(-?\d+) of \d+ [a-z ]+, (-?\d+) waiting>", shown):
            if (in_flight, waiting) != ("0", "0"):
                yield f"{in_flight} permits are taken, and {waiting} wait, at {shown}"


def nothing_is_left_to_the_collector(report: Report) -> Found:
    """No exception of a task is unretrieved, and no generator of ours is dropped half-way."""
    yield from report.complaints


def cancellations_come_out(report: Report) -> Found:
    """A call that its caller cancels ends cancelled, at once."""
    for outcome in report.outcomes:
        if outcome.cancelled_at is None or outcome.ended is None:
            continue
        # What is no ordinary exception, as KeyboardInterrupt, is more urgent.
        if not (outcome.cancelled or isinstance(outcome.error, HookInterrupt)):
            yield f"call {outcome.number} was cancelled, and went on to {outcome.error!r}"
        if outcome.ended > outcome.cancelled_at + report.pace.slack:
            late = outcome.ended - outcome.cancelled_at
            yield f"call {outcome.number} ended {late:g} s after it was cancelled"


def nothing_is_cancelled_but_by_its_caller(report: Report) -> Found:
    """A cancellation that a layer makes inside never reaches the caller."""
    for outcome in report.outcomes:
        if outcome.cancelled and outcome.cancelled_at is None and not report.hung:
            yield f"call {outcome.number} was cancelled, but not by its caller"


def every_call_ends(report: Report) -> Found:
    """No call waits for something that never comes."""
    if report.hung:
        open_calls = [o.number for o in report.outcomes if o.status is None and o.error is None]
        yield f"calls {open_calls} never ended"


def circuits_recover(report: Report) -> Found:
    """When the server has recovered, calls succeed, and every circuit closes."""
    yield from report.recovered


def open_circuits_let_nothing_through(report: Report) -> Found:
    """An open breaker refuses, until its cooldown is over."""
    for passage in report.books.passages:
        if passage.refused:
            yield f"call {passage.call} passed an open circuit at {passage.began:g} s"


def circuits_change_in_turns(report: Report) -> Found:
    """A breaker opens, is half-open, and closes or opens; by events, where there is one breaker."""
    scenario = report.scenario  # a clock that raises keeps the event of a change from being sent
    if scenario.incidents or scenario.raises is not None or len(report.built.breakers) != 1:
        return
    after = {
        "circuit_closed": {"circuit_opened"},
        "circuit_opened": {"circuit_half_opened"},
        "circuit_half_opened": {"circuit_opened", "circuit_closed"},
    }
    if any(layer["fleet"] for layer in scenario.layers):  # the lease for a probe was given back
        after["circuit_half_opened"].add("circuit_half_opened")
    shared = any(layer["shared"] or layer["breaker"] for layer in report.scenario.layers)
    for host in ("",) if shared else HOSTS:
        events = [e for e in report.hooks.events if e.name in after and host in ("", e.service)]
        names = ["circuit_closed", *(event.name for event in events)]
        for earlier, later in pairwise(names):
            if later not in after[earlier]:
                yield f"{later} came after {earlier} at {host or 'all hosts'}"


def closed_transports_send_nothing_more(report: Report) -> Found:
    """A call that a closing found waiting or in flight makes no further attempt."""
    for began, closed in report.closings:
        for attempt in report.books.world.attempts:
            since = None if attempt.call == RECOVERY else report.outcomes[attempt.call].began
            if since is not None and since < began and attempt.at > closed:
                yield f"attempt {attempt.tag} was made at {attempt.at:g} s, closed at {closed:g} s"


def _passages(report: Report, level: int, host: str) -> list[Passage]:
    return [p for p in report.books.passages if (p.level, p.host) == (level, host)]


def _attempts(report: Report, call: int) -> list[Attempt]:
    return [attempt for attempt in report.books.world.attempts if attempt.call == call]


INVARIANTS: Final[tuple[Callable[[Report], Found], ...]] = (
    outcomes_are_those_of_one_attempt,
    the_last_attempt_decides,
    bodies_are_read_as_on_a_connection,
    requests_arrive_whole,
    attempts_are_limited,
    budgets_are_kept,
    the_server_acts_once,
    a_call_has_one_key,
    credentials_are_of_one_attempt,
    concurrency_is_limited,
    rates_are_kept,
    time_limits_hold,
    deadlines_are_kept,
    reads_end_in_time,
    nothing_is_left_open,
    nothing_is_held,
    nothing_is_left_to_the_collector,
    cancellations_come_out,
    nothing_is_cancelled_but_by_its_caller,
    every_call_ends,
    circuits_recover,
    open_circuits_let_nothing_through,
    circuits_change_in_turns,
    closed_transports_send_nothing_more,
)


def violations(report: Report) -> list[str]:
    """Return what is wrong, each with the name of what should hold."""
    return [f"{check.__name__}: {wrong}" for check in INVARIANTS for wrong in check(report)]
