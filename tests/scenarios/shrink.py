"""Makes a scenario that fails smaller, as long as it fails in the same way."""

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import Any

from tests.scenarios.plan import Call, Layer, Reply, Scenario


def shrink(scenario: Scenario, fails: Callable[[Scenario], bool]) -> Scenario:
    """Return a scenario that fails, and of which nothing more can be left out.

    Args:
        scenario: One that fails.
        fails: Runs a scenario, and tells whether it fails in the way that matters.
    """
    while True:
        smaller = next(filter(fails, _smaller(scenario)), None)
        if smaller is None:
            return scenario
        scenario = smaller


def _smaller(scenario: Scenario) -> Iterator[Scenario]:
    calls, layers = scenario.calls, scenario.layers
    yield from (replace(scenario, calls=fewer) for fewer in _without_one(calls))
    yield from (replace(scenario, layers=fewer) for fewer in _without_one(layers))
    yield from (replace(scenario, incidents=few) for few in _without_one(scenario.incidents))
    if scenario.raises is not None or scenario.foreign:
        yield replace(scenario, raises=None, foreign=False)
    for at, call in enumerate(calls):
        for plainer in _plainer_calls(call):
            yield replace(scenario, calls=_with(calls, at, plainer))
    for at, layer in enumerate(layers):
        for option in sorted(_CAN_BE_LEFT_OUT & {n for n, v in layer.options.items() if v}):
            plainer_layer = Layer(layer.kind, {**layer.options, option: None})
            yield replace(scenario, layers=_with(layers, at, plainer_layer))


_CAN_BE_LEFT_OUT = {
    *("budget", "window", "classify", "grows", "max_queue", "queue_timeout", "keyed"),
    *("deadline", "hedge", "rate_limit", "concurrency_limit", "attempt_timeout", "breaker"),
    *("auth", "fleet"),
}


def _plainer_calls(call: Call) -> Iterator[Call]:
    yield from (replace(call, replies=replies) for replies in _without_one(call.replies))
    for name, value in _plainer(call, Call()):
        if name != "replies":
            yield replace(call, **{name: value})
    for at, reply in enumerate(call.replies):
        for name, value in _plainer(reply, Reply()):
            yield replace(call, replies=_with(call.replies, at, replace(reply, **{name: value})))


def _plainer(part: Call | Reply, plain: Call | Reply) -> Iterator[tuple[str, Any]]:
    for each in fields(part):
        value = getattr(plain, each.name)
        if getattr(part, each.name) != value:
            yield each.name, value


def _without_one(parts: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    for at in range(len(parts)):
        yield parts[:at] + parts[at + 1 :]


def _with(parts: tuple[Any, ...], at: int, part: Call | Reply | Layer) -> Any:  # noqa: ANN401 - such a tuple
    return (*parts[:at], part, *parts[at + 1 :])
