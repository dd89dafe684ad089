import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from walltrack.sync.turn import Turn


def test_one_thread_has_the_turn() -> None:
    """Until it leaves it, no other thread can take it."""
    turn = Turn(1)
    assert turn.thread == 1
    assert not turn.take(2)
    turn.leave()
    assert turn.thread is None
    assert turn.take(2)
    assert turn.thread == 2


def test_of_threads_that_take_it_at_once_one_has_it() -> None:
    """Exactly one of them gets the turn, each time."""
    turn = Turn(0)
    meeting = threading.Barrier(4, turn.leave)

    def take(thread: int) -> Counter[bool]:
        taken = Counter[bool]()
        for _ in range(100):
            meeting.wait(20.0)
            taken[turn.take(thread)] += 1
            meeting.wait(20.0)
        return taken

    with ThreadPoolExecutor(4) as threads:
        taken = sum(threads.map(take, range(4)), Counter[bool]())
    assert taken == {True: 100, False: 300}
