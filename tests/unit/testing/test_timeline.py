from walltrack.testing.timeline import Timeline


def timeline() -> tuple[Timeline, list[str]]:
    """A timeline, and where it notes that something began."""
    begun: list[str] = []
    return Timeline(lambda: begun.append("begun")), begun


def test_timers_ring_in_the_order_of_their_moments() -> None:
    """Those of the same moment ring in the order in which they began."""
    line, begun = timeline()
    rung: list[str] = []
    for at, name in [(2.0, "c"), (1.0, "a"), (2.0, "d"), (1.0, "b")]:
        line.begin(at, lambda name=name: rung.append(f"{name}{line.now:g}"))  # type: ignore[misc]
    assert len(begun) == len(line) == 4
    line.ring_next()
    assert rung == ["a1"]
    line.advance_to(5.0)
    assert rung == ["a1", "b1", "c2", "d2"]
    assert line.now == 5.0
    assert not line


def test_only_what_is_due_rings() -> None:
    """The moment that is moved to is included, a later one is not."""
    line, _ = timeline()
    rung: list[float] = []
    for at in (1.0, 2.0, 2.1):
        line.begin(at, lambda at=at: rung.append(at))  # type: ignore[misc]
    line.advance_to(2.0)
    assert rung == [1.0, 2.0]
    assert len(line) == 1


def test_a_forgotten_timer_is_gone() -> None:
    """Among others of its moment it alone; forgetting it twice, or after it rang, is fine."""
    line, _ = timeline()
    rung: list[str] = []
    timers = [line.begin(1.0, lambda name=name: rung.append(name)) for name in "abc"]  # type: ignore[misc]
    line.forget(timers[1])
    line.forget(timers[1])
    line.advance_to(1.0)
    line.forget(timers[0])
    assert rung == ["a", "c"]


def test_time_never_goes_back() -> None:
    """Neither to an earlier moment nor for a timer that was late."""
    line, _ = timeline()
    line.advance_to(3.0)
    line.advance_to(1.0)
    line.begin(2.0, lambda: None)
    line.ring_next()
    assert line.now == 3.0


def test_a_timer_may_begin_another() -> None:
    """One that is due at once rings in the same go."""
    line, _ = timeline()
    rung: list[float] = []

    def again() -> None:
        rung.append(line.now)
        if len(rung) < 3:
            line.begin(line.now + 1.0, again)

    line.begin(1.0, again)
    line.advance_to(2.0)
    assert rung == [1.0, 2.0]
    assert len(line) == 1


def test_all_timers_ring_where_time_stands() -> None:
    """In their order; none is left."""
    line, _ = timeline()
    rung: list[str] = []
    for at, name in [(2.0, "b"), (1.0, "a")]:
        line.begin(at, lambda name=name: rung.append(f"{name}{line.now:g}"))  # type: ignore[misc]
    line.ring_all()
    assert rung == ["a0", "b0"]
    assert not line
