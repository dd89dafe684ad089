from typing import Any

import pytest

from walltrack import AdaptiveLimit

WINDOW = 1.0
MEMORY = 60.0


class Server:
    """Sends an adaptive limit the results of simulated requests, window after window."""

    def __init__(self, limit: AdaptiveLimit) -> None:
        self.limit = limit
        self.now = 1000.0

    def window(
        self, latency: float, *, under_way: int | None = None, requests: int = 10, drops: int = 0
    ) -> int:
        """Let a window of `requests` with this latency pass, and return the limit after it."""
        used = self.limit.limit if under_way is None else under_way
        began, self.now = self.now, self.now + max(latency, WINDOW)
        for number in range(1, requests + 1):
            ended = self.now if number == requests else began + latency
            self.limit.note(max(ended - latency, began), ended, used, dropped=number <= drops)
        return self.limit.limit


def adaptive(initial: int = 20, **options: Any) -> AdaptiveLimit:  # noqa: ANN401 - handed on
    """The limit under test."""
    return AdaptiveLimit(initial, **{"window": WINDOW, "memory": MEMORY, **options})


def measured(initial: int = 20, latency: float = 0.1, **options: Any) -> Server:  # noqa: ANN401 - handed on
    """A server whose latency without load is known."""
    server = Server(adaptive(initial, **options))
    assert server.window(latency) == initial
    return server


def test_it_first_looks_at_the_server_without_load() -> None:
    """In the first window the limit is a quarter; then the initial limit holds."""
    server = Server(adaptive(20))
    assert server.limit.limit == 5
    assert server.window(0.1) == 20


@pytest.mark.parametrize(("initial", "minimum", "first"), [(3, 1, 1), (8, 1, 2), (8, 5, 5)])
def test_the_first_look_respects_the_minimum(initial: int, minimum: int, first: int) -> None:
    """However small a quarter is, the minimum is allowed."""
    assert adaptive(initial, minimum=minimum).limit == first


def test_it_grows_by_its_square_root_while_latency_is_what_it_was() -> None:
    """The queue in the server stays at about this size, and no step is too large."""
    server = measured(16)
    assert server.window(0.1) == 20
    assert server.window(0.1) == 24
    assert server.window(0.12) == 29


def test_it_shrinks_as_latency_grows() -> None:
    """In proportion to the latency above the tolerated one; then its square root is added."""
    server = measured(64)
    assert server.window(0.1 * 1.25 * 1.6) == 64 / 1.6 + 8


def test_no_window_takes_more_than_half() -> None:
    """However slow the answers are, one window may be slow by chance."""
    server = measured(64)
    assert server.window(50.0) == 32 + 8


def test_it_settles_where_a_root_of_requests_waits_in_the_server() -> None:
    """With a server of twenty places, at about five quarters of them plus the square root."""
    server = measured(20)
    for _ in range(10):
        latency = 0.1 * max(server.limit.limit / 20, 1.0)
        server.window(latency)
    assert 29 <= server.limit.limit <= 31


@pytest.mark.parametrize(("requests", "drops"), [(10, 2), (10, 10), (20, 4), (100, 16)])
def test_a_large_share_of_drops_takes_a_fifth(requests: int, drops: int) -> None:
    """More than 15 % of a window, up to all of it: the share does not tell how far to shrink."""
    assert measured(20).window(0.1, requests=requests, drops=drops) == 16


@pytest.mark.parametrize(("requests", "drops"), [(10, 1), (20, 3), (100, 15), (1000, 50)])
def test_a_small_share_of_drops_changes_nothing(requests: int, drops: int) -> None:
    """Servers without overload fail now and then; the limit follows the other answers."""
    assert measured(16).window(0.1, requests=requests, drops=drops) == 20
    assert measured(64).window(0.2, requests=requests, drops=drops) == 64 / 1.6 + 8


def test_a_limit_that_is_not_half_used_does_not_grow() -> None:
    """A higher limit was not tried; but latency and drops still make it smaller."""
    assert measured(20).window(0.1, under_way=10) == 20
    assert measured(20).window(0.1, under_way=11) == 24
    assert measured(64).window(0.5, under_way=10) == 40
    assert measured(20).window(0.1, under_way=1, drops=2) == 16


def test_it_never_leaves_its_bounds() -> None:
    """Whatever the latencies and drops are."""
    server = measured(20, minimum=10, maximum=30)
    for _ in range(10):
        server.window(0.1)
    assert server.limit.limit == 30
    for _ in range(10):
        server.window(0.1, drops=10)
    assert server.limit.limit == 10


def test_it_comes_back_from_one() -> None:
    """A limit of one can grow again."""
    server = measured(4)
    for _ in range(30):
        server.window(0.1, drops=10)
    assert server.limit.limit == 1
    for _ in range(4):
        server.window(0.1)
    assert server.limit.limit >= 7


def test_a_window_needs_ten_requests() -> None:
    """Fewer would not be representative; they count together with later ones."""
    server = measured(16)
    assert server.window(0.1, requests=9) == 16
    server.limit.note(server.now, server.now + 0.1, 16)
    assert server.limit.limit == 20


def test_a_window_takes_its_time() -> None:
    """With a quick server the limit does not change all the time."""
    server = measured(16)
    limit, now = server.limit, server.now
    for number in range(90):
        assert not limit.note(now + number / 100, now + (number + 1) / 100, 16)
    assert limit.limit == 16
    assert limit.note(now + 0.99, now + 1.0, 16)
    assert limit.limit == 20


def test_requests_of_an_earlier_limit_do_not_count() -> None:
    """Late results of them would count against a limit that is smaller already."""
    server = measured(20)
    server.window(0.1, drops=2)
    for _ in range(50):
        assert not server.limit.note(server.now - 0.1, server.now + 5.0, 20, dropped=True)
    assert server.limit.limit == 16


def test_a_lower_latency_is_the_one_to_go_by_from_then_on() -> None:
    """The server may have been busy during the first measurement."""
    server = measured(64, latency=0.4)
    server.window(0.1)
    assert server.window(0.4) < 64


def test_latency_is_measured_anew_when_it_has_not_been_seen_for_long() -> None:
    """For one window a quarter is allowed, and its latency is taken as that without load."""
    server = measured(16)
    server.now += MEMORY
    assert server.window(0.2) == 14 // 4

    assert server.window(0.2) == 14
    assert server.window(0.2) == 17


def test_a_quiet_time_is_as_good_as_a_look() -> None:
    """A limit that is hardly used is not made smaller for the measurement."""
    server = measured(16)
    server.now += MEMORY
    assert server.window(0.3, under_way=4) == 16
    assert server.window(0.3) == 20


def test_a_look_that_gets_hardly_an_answer_is_not_over() -> None:
    """The latency of failures is not used; five answers among the failures are enough."""
    server = Server(adaptive(40))
    assert server.window(0.1, drops=6) == 32 // 4
    assert server.window(0.1, drops=10) == 25 // 4
    assert server.window(0.1, drops=5) == 20
    assert server.window(0.1) == 25


def test_a_clock_that_stands_still_does_no_harm() -> None:
    """With a mock, no time passes at all."""
    limit = AdaptiveLimit(20, window=1e-9)
    for _ in range(100):
        limit.note(5.0, 5.0, 20)
    assert limit.limit == 20


def test_answers_that_take_no_time_are_no_sign_of_a_queue() -> None:
    """The clock is too coarse for them: the limit grows until a queue can be measured."""
    server = Server(adaptive(16))
    assert server.window(0.0) == 16
    assert server.window(0.0) == 20
    assert server.window(0.0) == 24


def test_a_latency_below_a_millisecond_is_no_sign_of_a_queue() -> None:
    """After answers that took no measurable time, one clock tick is not a large increase."""
    server = measured(16, latency=0.0)
    assert server.window(0.0012) == 20
    assert server.window(0.0) == 24
    assert server.window(0.002) < 24
    assert server.window(0.1) < 20


def test_drops_that_take_no_time_count() -> None:
    """A server that refuses at once makes the limit smaller, however coarse the clock is."""
    server = measured(20, latency=0.0)
    assert server.window(0.0, drops=10) == 16
    assert server.window(0.0, drops=10) == 12


def test_another_one_has_the_same_settings_and_no_memory() -> None:
    """Each key gets its own."""
    server = measured(20, minimum=2, maximum=50, tolerance=2.0)
    server.window(0.1)
    other = server.limit.fresh()
    assert repr(other) == "AdaptiveLimit(20, minimum=2, maximum=50, limit=5)"
    assert Server(other).window(0.1) == 20
    for name in ("_tolerance", "_window", "_memory"):
        assert vars(other)[name] == vars(server.limit)[name]


def test_the_repr_tells_the_bounds_and_the_limit() -> None:
    """It shows the settings and the current limit."""
    assert repr(measured(20).limit) == "AdaptiveLimit(20, minimum=1, maximum=100, limit=20)"


@pytest.mark.parametrize(
    ("arguments", "error", "named"),
    [
        ({"initial": 0}, ValueError, "initial must be at least 1"),
        ({"initial": 2.5}, TypeError, "initial must be a whole number"),
        ({"initial": 4, "minimum": 5}, ValueError, "initial must be at least 5"),
        ({"minimum": 0}, ValueError, "minimum must be at least 1"),
        ({"minimum": True}, TypeError, "minimum must be a whole number"),
        ({"maximum": 19}, ValueError, "maximum must be at least 20"),
        ({"maximum": None}, TypeError, "maximum must be a whole number"),
        ({"tolerance": 0.9}, ValueError, "tolerance must be a finite number of at least 1"),
        ({"tolerance": "1"}, TypeError, "tolerance must be a number"),
        ({"window": 0}, ValueError, "window must be a finite number above 0"),
        ({"memory": float("nan")}, ValueError, "memory must be a finite number above 0"),
        ({"memory": float("inf")}, ValueError, "memory must be a finite number above 0"),
    ],
)
def test_bad_arguments_are_refused(
    arguments: dict[str, Any], error: type[Exception], named: str
) -> None:
    """An invalid argument is refused when it is given, by its name."""
    with pytest.raises(error, match=f"^{named}"):
        AdaptiveLimit(**arguments)
