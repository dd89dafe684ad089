from tests.support import Clock
from walltrack.circuit_breaker.ticket import TimedTicket


def test_a_timed_ticket_is_its_number() -> None:
    """It compares equal to the bare number and has the same hash."""
    ticket = TimedTicket(7, 1000.0)

    assert ticket == 7
    assert ticket < 8
    assert {7: "found"}[ticket] == "found"


def test_it_measures_to_the_end_without_headers(clock: Clock) -> None:
    """The time of a call without headers is its whole duration."""
    ticket = TimedTicket(7, clock())
    clock.advance(2.5)

    assert ticket.took(clock()) == 2.5


def test_it_measures_to_the_headers_once_they_came(clock: Clock) -> None:
    """A slow body does not make the call slower."""
    ticket = TimedTicket(7, clock())
    clock.advance(2.5)
    ticket.answer(clock())
    clock.advance(1000.0)

    assert ticket.took(clock()) == 2.5
