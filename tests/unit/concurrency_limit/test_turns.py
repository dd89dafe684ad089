import asyncio
from collections import deque
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from walltrack import AdaptiveLimit
from walltrack.concurrency_limit.turns import Place, Turns


def take(turns: Turns) -> None:
    """Take a free permit."""
    assert turns.free > 0
    turns.free -= 1


def in_line(turns: Turns, called: list[str], names: str) -> dict[str, Place]:
    """Have these wait, in this order; each is noted when it is called."""

    def notes(name: str) -> Callable[[], None]:
        return lambda: called.append(name)

    places = {name: Place(notes(name)) for name in names}
    for place in places.values():
        turns.join(place)
    return places


def broken() -> None:
    """Wake a caller whose event loop was closed, which raises on asyncio."""
    raise RuntimeError("Event loop is closed")


def test_no_one_is_called_whose_loop_is_closed() -> None:
    """Tasks that are collected with their loop give back and leave without an error."""

    async def make() -> Turns:
        return Turns(1)

    loop = asyncio.new_event_loop()
    turns = loop.run_until_complete(make())
    take(turns)
    places = [Place(broken) for _ in range(2)]
    for place in places:
        turns.join(place)
    assert not turns.idle
    loop.close()
    assert turns.idle

    turns.give_back()
    assert turns.waiting == 0
    for place in places:
        turns.leave(place)
    assert turns.free == 1


def test_another_loop_gets_the_limit_without_the_callers() -> None:
    """There, all permits are free; those of the first loop return to the first loop."""
    turns = Turns(2)
    take(turns)

    async def renew() -> Turns:
        return turns.renewed()

    other = asyncio.run(renew())
    turns.give_back()
    assert turns.loop is None
    assert other.loop is not None
    assert (other.limit, other.free) == (2, 2)


@pytest.fixture
def called() -> list[str]:
    """The names of those called, in order."""
    return []


def test_a_permit_goes_to_the_caller_that_waited_longest(called: list[str]) -> None:
    """No caller that arrives in between finds it free."""
    turns = Turns(1)
    take(turns)
    in_line(turns, called, "abc")

    turns.give_back()
    assert called == ["a"]
    assert turns.free == 0
    turns.give_back()
    turns.give_back()
    assert called == ["a", "b", "c"]
    assert not turns.idle
    turns.give_back()
    assert turns.idle
    assert turns.free == 1


def test_a_caller_that_left_is_not_called(called: list[str]) -> None:
    """Its place in the queue is removed, at any position."""
    turns = Turns(1)
    take(turns)
    places = in_line(turns, called, "abcde")
    for name in "ace":
        turns.leave(places[name])
    assert turns.waiting == 2

    for _ in range(3):
        turns.give_back()

    assert called == ["b", "d"]
    assert turns.idle


def test_a_permit_that_is_not_wanted_any_more_is_passed_on(called: list[str]) -> None:
    """A caller that leaves after being called keeps no permit."""
    turns = Turns(1)
    take(turns)
    places = in_line(turns, called, "ab")
    turns.give_back()

    turns.leave(places["a"])
    assert called == ["a", "b"]
    turns.leave(places["b"])
    assert turns.idle


def learned(*, answers: int, seconds: float, dropped: bool = False) -> tuple[Turns, list[str]]:
    """Turns with all eight taken and others waiting, after `answers` more requests."""
    adaptive = AdaptiveLimit(8, window=1e-9)
    for _ in range(10):
        adaptive.note(0.0, 1.0, 2)  # the latency without load is one second
    assert adaptive.limit == 8
    turns, called = Turns(adaptive), list[str]()
    for _ in range(8):
        take(turns)
    in_line(turns, called, "abcdefgh")
    for _ in range(answers):
        turns.note(10.0, 10.0 + seconds, dropped=dropped)
    return turns, called


def test_a_limit_that_grows_calls_as_many_as_it_grew_by() -> None:
    """They need not wait for a permit to be given back."""
    turns, called = learned(answers=10, seconds=1.0)
    assert turns.limit == turns.in_flight == 10
    assert called == ["a", "b"]


def test_a_limit_that_shrinks_takes_back_what_is_given_back() -> None:
    """Calls in flight go on; no caller is admitted until fewer are in flight than the limit."""
    turns, called = learned(answers=10, seconds=1.0, dropped=True)
    assert turns.limit == 6
    assert turns.free == -2
    turns.give_back()
    turns.give_back()
    assert called == []
    turns.give_back()
    assert called == ["a"]
    assert turns.in_flight == 6


def test_a_window_that_has_not_ended_changes_nothing() -> None:
    """Nine requests are not enough."""
    turns, called = learned(answers=9, seconds=1.0)
    assert turns.limit == 8
    assert called == []


def test_a_fixed_limit_takes_no_note() -> None:
    """It stays unchanged."""
    turns = Turns(3)
    for _ in range(100):
        turns.note(0.0, 1.0, dropped=True)
    assert turns.limit == turns.free == 3


def test_the_repr_tells_how_things_stand(called: list[str]) -> None:
    """It shows the permits and the queue."""
    turns = Turns(2)
    take(turns)
    take(turns)
    in_line(turns, called, "abc")
    assert repr(turns) == "<2 of 2 in flight, 3 waiting>"


LIMIT = 3


class Queue(RuleBasedStateMachine):
    """Turns compared with a list that is searched from its beginning each time."""

    def __init__(self) -> None:
        super().__init__()
        self.turns = Turns(LIMIT)
        self.waiting: deque[Place] = deque()
        self.called: list[Place] = []
        self.expected: list[Place] = []
        self.at_work: list[Place | None] = []

    def hand_over(self) -> None:
        """Give free permits to the first in the queue."""
        while self.waiting and len(self.at_work) < LIMIT:
            first = self.waiting.popleft()
            self.expected.append(first)
            self.at_work.append(first)

    @rule()
    def come(self) -> None:
        if self.turns.free > 0:
            assert not self.waiting
            self.turns.free -= 1
            self.at_work.append(None)
        else:
            place = Place(lambda: self.called.append(place))
            self.turns.join(place)
            self.waiting.append(place)

    @precondition(lambda self: self.at_work)
    @rule(which=st.integers(0, 99), cancelled=st.booleans())
    def finish(self, which: int, *, cancelled: bool) -> None:
        place = self.at_work.pop(which % len(self.at_work))
        if place is not None and cancelled:  # before it noticed that it had been called
            self.turns.leave(place)
        else:
            self.turns.give_back()
        self.hand_over()

    @precondition(lambda self: self.waiting)
    @rule(which=st.integers(0, 99))
    def leave(self, which: int) -> None:
        place = self.waiting[which % len(self.waiting)]
        self.waiting.remove(place)
        self.turns.leave(place)

    @invariant()
    def agree(self) -> None:
        assert self.called == self.expected
        assert self.turns.waiting == len(self.waiting)
        assert self.turns.in_flight == len(self.at_work) <= LIMIT
        assert self.turns.idle == (not self.at_work)
        assert self.turns.free == 0 or not self.waiting


Queue.TestCase.settings = settings(max_examples=100, stateful_step_count=40)
test_turns_do_what_the_naive_queue_does = Queue.TestCase
