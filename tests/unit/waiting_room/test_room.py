"""Which waiter goes when, decided by a circuit that the test opens and shuts."""

import asyncio
import math
from collections.abc import Callable

import pytest

from tests.support import Clock
from tests.unit.waiting_room.gates import FakeGate
from walltrack.waiting_room.room import Place, Room

COOLDOWN = 5.0


class Waiters:
    """A room with waiters that look again whenever they are woken, as a transport has them do."""

    def __init__(self, clock: Clock, count: int = 0, shut_for: float = COOLDOWN) -> None:
        self.clock = clock
        self.gate = FakeGate(clock, shut_for)
        self.room = Room(self.gate, clock)
        self.woken: list[Place] = []
        self.places = [self.join() for _ in range(count)]

    def join(self, latest: float = 100.0, until: float | None = None) -> Place:
        """Add a waiter that can wait for `latest` seconds."""
        now = self.clock.now
        place = Place(self.room, "key", now + latest, now + (latest if until is None else until))
        place.wake = self._waking(place)
        self.room.join(place)
        self.room.look(place)
        return place

    def settle(self) -> None:
        """Let each that was woken look again."""
        while self.woken:
            place = self.woken.pop(0)
            self.room.look(place)

    @property
    def released(self) -> list[int]:
        """The numbers of those that may go."""
        return [number for number, place in enumerate(self.places) if place.released]

    def _waking(self, place: Place) -> Callable[[], None]:
        return lambda: self.woken.append(place)


def opened(clock: Clock, count: int) -> Waiters:
    """Waiters of which the newest has become the probe and is in flight."""
    waiters = Waiters(clock, count)
    clock.advance(COOLDOWN)
    assert waiters.room.look(waiters.places[-1]) == 0.0
    assert waiters.released == [count - 1]
    waiters.gate.shut(1.0, is_probing=True)
    waiters.settle()
    return waiters


def test_the_newest_watches_and_the_others_sleep(clock: Clock) -> None:
    """One timer for the circuit is enough."""
    waiters = Waiters(clock, 3)
    first, second, third = waiters.places
    assert [waiters.room.look(place) for place in (first, second, third)] == [100, 100, COOLDOWN]
    assert waiters.room.waiting == 3
    assert waiters.released == []


def test_one_goes_when_the_cooldown_ends(clock: Clock) -> None:
    """The newest goes as the probe; the next one watches, and sees a probe in flight."""
    waiters = opened(clock, 3)
    assert waiters.released == [2]
    assert waiters.room.look(waiters.places[1]) == 1.0
    assert waiters.room.look(waiters.places[0]) == 95.0


def test_the_next_goes_when_the_probe_loses_its_place(clock: Clock) -> None:
    """A probe that hangs delays the others no longer than the circuit does."""
    waiters = opened(clock, 3)
    clock.advance(1.0)
    assert waiters.room.look(waiters.places[1]) == 0.0
    assert waiters.released == [1, 2]


def test_a_new_callers_success_releases_one(clock: Clock) -> None:
    """Its success releases one waiter, which adds one request to the load."""
    waiters = opened(clock, 4)
    waiters.gate.open()
    for released in ([2, 3], [1, 2, 3], [0, 1, 2, 3], [0, 1, 2, 3]):
        assert not waiters.room.settled(None, succeeded=True)
        waiters.settle()
        assert waiters.released == released


def test_a_quick_success_releases_two_and_a_slow_one_releases_one(clock: Clock) -> None:
    """Quick is at most twice the time of the fastest."""
    waiters = opened(clock, 10)
    waiters.gate.open()
    for seconds, released in ((0.3, 3), (0.2, 5), (0.5, 6), (0.3, 8)):
        place = next(place for place in waiters.places if place.released and place.latest)
        place.released_at, place.latest = clock.now - seconds, 0.0
        waiters.room.settled(place, succeeded=True)
        waiters.settle()
        assert len(waiters.released) == released


def test_no_response_is_too_fast_to_compare(clock: Clock) -> None:
    """What takes a few milliseconds may take twice as long without any queue."""
    waiters = opened(clock, 6)
    waiters.gate.open()
    for seconds, released in ((0.001, 3), (0.019, 5)):
        waiters.places[-1].released_at = clock.now - seconds
        waiters.room.settled(waiters.places[-1], succeeded=True)
        assert len(waiters.released) == released


def test_a_failure_releases_none(clock: Clock) -> None:
    """While the circuit admits requests and one that had waited is in flight, the others wait."""
    waiters = opened(clock, 4)
    waiters.gate.open()
    waiters.room.settled(None, succeeded=True)
    waiters.settle()
    waiters.room.settled(None, succeeded=False)
    waiters.settle()
    assert waiters.released == [2, 3]
    assert waiters.room.look(waiters.places[1]) == 95.0


def test_one_goes_if_none_is_in_flight(clock: Clock) -> None:
    """Otherwise the backlog would wait for a success although no request is in flight."""
    waiters = opened(clock, 3)
    waiters.gate.open()
    waiters.room.settled(waiters.places[-1], succeeded=False)
    waiters.settle()
    assert waiters.released == [1, 2]


def test_a_success_before_the_verdict_is_still_due(clock: Clock) -> None:
    """Good headers of a probe do not close the circuit; the end of its body does."""
    waiters = opened(clock, 3)
    assert waiters.room.settled(waiters.places[-1], succeeded=True)
    waiters.settle()
    assert waiters.released == [2]
    waiters.gate.open()
    assert not waiters.room.settled(None, succeeded=True)
    waiters.settle()
    assert waiters.released == [1, 2]


def test_a_failed_probe_has_the_next_one_watch_the_new_cooldown(clock: Clock) -> None:
    """It does not sleep until the time that the probe had."""
    waiters = opened(clock, 2)
    waiters.gate.shut(0.25)
    waiters.room.settled(waiters.places[-1], succeeded=False)
    assert waiters.woken[0] is waiters.places[0]
    assert waiters.room.look(waiters.places[0]) == 0.25


def test_those_for_whom_the_next_probe_is_too_late_are_woken(clock: Clock) -> None:
    """They are woken to be rejected at once, not at the end of their wait."""
    waiters = opened(clock, 3)
    hasty = waiters.join(latest=4.0)
    waiters.gate.shut(10.0)
    waiters.places.append(waiters.join(latest=11.0))
    waiters.woken.clear()
    waiters.room.settled(waiters.places[-1], succeeded=False)
    assert hasty in waiters.woken
    assert waiters.room.look(hasty) == 0.0
    assert not hasty.released
    assert waiters.places[0] not in waiters.woken


def test_a_probe_in_flight_is_no_reason_to_give_up(clock: Clock) -> None:
    """It may succeed at any moment, however long it keeps its place."""
    waiters = opened(clock, 2)
    waiters.gate.shut(50.0, is_probing=True)
    assert waiters.room.look(waiters.join(latest=2.0)) == 2.0
    assert not waiters.room.is_hopeless(clock.now + 2.0)
    waiters.gate.shut(50.0)
    assert waiters.room.is_hopeless(clock.now + 50.0)
    assert not waiters.room.is_hopeless(clock.now + 50.1)


def test_a_wait_ends_at_its_own_end(clock: Clock) -> None:
    """This holds for the waiter that watches and for those that sleep."""
    waiters = Waiters(clock)
    sleeper, watcher = waiters.join(8.0, until=2.0), waiters.join(8.0, until=3.0)
    assert waiters.room.look(sleeper) == 2.0
    assert waiters.room.look(watcher) == 3.0
    clock.advance(2.5)
    assert waiters.room.look(sleeper) == 0.0
    assert waiters.room.look(watcher) == 0.5
    assert not sleeper.released


def test_a_timer_that_fires_early_is_set_again(clock: Clock) -> None:
    """However little time is left, the timer runs for at least a microsecond."""
    waiters = Waiters(clock, 1)
    clock.advance(COOLDOWN - 1e-9)
    assert waiters.room.look(waiters.places[0]) == pytest.approx(1e-6)


def test_who_leaves_hands_its_watch_over(clock: Clock) -> None:
    """The next newest looks again, and sleeps until the circuit opens."""
    waiters = Waiters(clock, 2)
    waiters.room.leave(waiters.places[1])
    assert waiters.woken == [waiters.places[0]]
    assert waiters.room.look(waiters.places[0]) == COOLDOWN
    assert waiters.room.waiting == 1


def test_who_is_released_and_leaves_lets_the_next_one_go(clock: Clock) -> None:
    """A caller that is cancelled at that very moment costs no other its turn."""
    waiters = Waiters(clock, 2)
    clock.advance(COOLDOWN)
    waiters.room.look(waiters.places[1])
    waiters.woken.clear()
    waiters.room.leave(waiters.places[1])
    waiters.settle()
    assert waiters.places[0].released


def test_who_was_too_slow_comes_back(clock: Clock) -> None:
    """Another caller was the probe; the one that was released joins again and watches."""
    waiters = Waiters(clock, 2)
    clock.advance(COOLDOWN)
    waiters.room.look(waiters.places[1])
    waiters.gate.shut(1.0, is_probing=True)
    waiters.room.rejected()
    waiters.room.join(waiters.places[1])
    assert waiters.released == []
    assert waiters.room.look(waiters.places[1]) == 1.0
    waiters.gate.open()
    assert waiters.room.look(waiters.places[1]) == 0.0


def test_a_forced_circuit_is_hopeless(clock: Clock) -> None:
    """It never opens by itself."""
    waiters = Waiters(clock, 1)
    waiters.gate.shut(math.inf)
    assert waiters.room.look(waiters.places[0]) == 0.0
    assert not waiters.places[0].released


def test_an_empty_room_is_known_as_one(clock: Clock) -> None:
    """It ends with its last caller, whether that waits or was released."""
    waiters = Waiters(clock, 1)
    assert waiters.room.in_use
    assert not waiters.room.is_empty
    clock.advance(COOLDOWN)
    waiters.room.look(waiters.places[0])
    assert not waiters.room.in_use
    assert not waiters.room.is_empty
    waiters.room.settled(waiters.places[-1], succeeded=True)
    assert waiters.room.is_empty
    assert waiters.room.renewed().gate is waiters.gate


def test_a_waiter_that_was_never_woken_can_be() -> None:
    """Before its first look there is nothing to wake."""
    clock = Clock()
    room = Room(FakeGate(clock, 1.0), clock)
    room.join(Place(room, "key", clock.now + 5, clock.now + 5))
    assert not room.settled(None, succeeded=False)
    assert room.waiting == 1


def test_who_is_collected_after_the_event_loop_has_ended_wakes_nobody(clock: Clock) -> None:
    """The tasks of a loop that was closed cannot run any more."""
    waiters = Waiters(clock, 3)
    clock.advance(COOLDOWN)
    waiters.room.look(waiters.places[2])
    loop = asyncio.new_event_loop()
    loop.close()
    waiters.room.loop = loop
    waiters.woken.clear()
    waiters.room.leave(waiters.places[2])
    waiters.room.leave(waiters.places[1])
    assert waiters.woken == []
    assert waiters.room.is_empty
