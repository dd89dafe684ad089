# ruff: noqa: SLF001 - the races are within
import asyncio
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from tests.unit.sync.conftest import SOON, Start, nothing, wait_until
from walltrack import TransportClosedError
from walltrack.sync import asyncio_loop, interrupts
from walltrack.sync.asyncio_loop import AsyncioLoop
from walltrack.sync.call import Call, Job
from walltrack.sync.loop_thread import LoopThread
from walltrack.sync.turn import Turn

OWN = "walltrack event loop"


async def thread() -> str:
    """The name of the thread that runs the event loop."""
    await anyio.lowlevel.checkpoint()
    return threading.current_thread().name


def here() -> str:
    """The name of this thread."""
    return threading.current_thread().name


def stands_still(loop: LoopThread) -> bool:
    """Whether no thread runs the event loop."""
    events = loop._events
    assert isinstance(events, AsyncioLoop)
    return events.thread is None


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopThread]:
    """An event loop that stands still, and stays so until it is used."""
    monkeypatch.setattr(asyncio_loop, "_IDLE_SECONDS", SOON)
    made = LoopThread("asyncio", nothing)
    assert Job(made, thread).result() == OWN
    wait_until(lambda: stands_still(made))
    yield made
    made.stop()


def test_a_lone_caller_runs_the_event_loop(loop: LoopThread) -> None:
    """Each of its calls runs the event loop; between them it stands still."""
    assert [Job(loop, thread).result() for _ in range(3)] == [here()] * 3
    assert stands_still(loop)


def test_threads_take_turns(loop: LoopThread, start: Start) -> None:
    """Any thread may be the only caller and run the event loop."""
    names = [start(lambda: (Job(loop, thread).result(), here())).result(SOON) for _ in range(5)]
    assert all(ran == called for ran, called in names)


class Meeting:
    """A call that waits until another one has come."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.threads: list[str] = []

    async def wait(self) -> None:
        """Wait for the other call."""
        self.event = anyio.Event()
        self.threads.append(here())
        self.begun.set()
        await self.event.wait()
        self.threads.append(here())

    async def come(self) -> None:
        """Be the other call."""
        self.threads.append(here())
        self.event.set()


def test_a_second_caller_is_served_at_once(loop: LoopThread, start: Start) -> None:
    """It does not run the event loop, which the first one does."""
    meeting = Meeting()
    first = start(Job(loop, meeting.wait).result)
    assert meeting.begun.wait(SOON)
    Job(loop, meeting.come).result()
    first.result(SOON)
    assert meeting.threads[0] not in {OWN, here()}
    assert here() not in meeting.threads


def test_what_another_thread_wants_sends_the_event_loop_home(
    loop: LoopThread, start: Start
) -> None:
    """The first call then gets its result from the loop's own thread."""
    meeting = Meeting()
    events: Any = loop._events
    call = start(Job(loop, meeting.wait).result)
    assert meeting.begun.wait(SOON)
    loop.soon(lambda: None)
    wait_until(lambda: events.thread == events._own_thread)
    loop.soon(meeting.event.set)
    call.result(SOON)
    assert meeting.threads[1] == OWN


def test_the_event_loop_stays_there_until_a_caller_is_alone(loop: LoopThread, start: Start) -> None:
    """Passing it between overlapping callers would slow down both."""
    meeting = Meeting()
    events: Any = loop._events
    first = start(Job(loop, meeting.wait).result)
    assert meeting.begun.wait(SOON)
    loop.soon(lambda: None)
    wait_until(lambda: events.thread == events._own_thread)
    Job(loop, meeting.come).result()
    first.result(SOON)
    assert not stands_still(loop)
    assert Job(loop, thread).result() == OWN
    wait_until(lambda: stands_still(loop))
    assert Job(loop, thread).result() == here()


def test_what_a_call_leaves_running_goes_on_in_the_own_thread(loop: LoopThread) -> None:
    """For example, the rest of a hedged request; afterwards the event loop stands still again."""
    ended: Future[str] = Future()

    async def begin() -> None:
        self = asyncio.current_task()
        assert self is not None
        rest = asyncio.get_running_loop().create_task(go_on())
        rest.add_done_callback(lambda task: ended.set_result(task.result()))

    async def go_on() -> str:
        for _ in range(3):
            await asyncio.sleep(0)
        return here()

    Job(loop, begin).result()
    assert ended.result(SOON) == OWN
    assert Job(loop, thread).result() == OWN
    wait_until(lambda: stands_still(loop))


def test_what_a_call_posts_before_its_end_is_had_at_once(loop: LoopThread) -> None:
    """The rest of the call goes on in the loop's own thread."""

    class Posting(Call):
        async def act(self) -> str:
            self.post(here())
            await anyio.sleep(0.001)
            return here()

    call = Posting(loop)
    assert call.result() == here()
    assert call.value_of(call.take()) == OWN


def test_an_errand_is_done_outside_of_the_event_loop(loop: LoopThread) -> None:
    """It may make calls itself, for example as the generator of a body."""

    class Asking(Call):
        async def act(self) -> Any:  # noqa: ANN401 - what the errand returns
            return await self.errand(Job(loop, thread).result)

    assert Asking(loop).result() == OWN


def test_a_call_within_the_event_loop_is_refused(loop: LoopThread) -> None:
    """It would wait for itself."""

    async def call() -> None:
        Job(loop, thread).result()

    with pytest.raises(RuntimeError, match="own event loop"):
        Job(loop, call).result()
    assert Job(loop, thread).result() == here()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_coroutine_does_not_run_another_event_loop(loop: LoopThread, backend: str) -> None:
    """Its thread runs one already."""

    async def call() -> object:
        return Job(loop, thread).result()

    assert anyio.run(call, backend=backend) == OWN


def test_another_kind_of_event_loop_stays_in_its_own_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """That of uvloop, for example, is not promised to work in several threads."""

    class Other(asyncio.SelectorEventLoop):
        pass

    monkeypatch.setattr(asyncio, "SelectorEventLoop", type("Usual", (), {}))
    monkeypatch.setattr(asyncio, "new_event_loop", Other)
    loop = LoopThread("asyncio", nothing)
    try:
        assert [Job(loop, thread).result() for _ in range(3)] == [OWN] * 3
        assert not stands_still(loop)
    finally:
        loop.stop()


def test_an_idle_event_loop_is_run_by_its_own_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Timers and closed connections are handled although no call follows."""
    monkeypatch.setattr(asyncio_loop, "_IDLE_SECONDS", 0.005)
    loop = LoopThread("asyncio", nothing)
    served: Future[str] = Future()

    async def set_timer() -> str:
        asyncio.get_running_loop().call_later(0.001, lambda: served.set_result(here()))
        return here()

    def was_lent() -> bool:
        name: str = Job(loop, thread).result()
        return name == here()

    wait_until(was_lent)
    Job(loop, set_timer).result()
    assert served.result(SOON) == OWN
    loop.stop()


def test_what_other_threads_want_is_done_while_it_stands_still(loop: LoopThread) -> None:
    """The loop's own thread does it."""
    done: Future[str] = Future()
    loop.soon(lambda: done.set_result(here()))
    assert done.result(SOON) == OWN


class Raced(Turn):
    """A turn before whose taking or leaving another thread does something, once."""

    def __init__(self, turn: Turn, method: str, act: Callable[[], object]) -> None:
        self._taken = turn._taken
        self._act: Callable[[], object] | None = act
        setattr(self, method, partial(self._raced, getattr(turn, method)))

    def _raced(self, method: Callable[..., object], *args: object) -> object:
        act, self._act = self._act, None
        if act is not None:
            act()
        return method(*args)


def race(loop: LoopThread, method: str, act: Callable[[], object]) -> None:
    """Run a function at the worst moment."""
    events: Any = loop._events
    events._turn = Raced(events._turn, method, act)


def test_a_turn_that_another_thread_takes_first_is_left_to_it(
    loop: LoopThread, start: Start
) -> None:
    """Two threads may see that the event loop stands still, but only one runs it."""
    meeting = Meeting()
    others: list[Future[None]] = []

    def take() -> None:
        others.append(start(Job(loop, meeting.wait).result))
        assert meeting.begun.wait(SOON)

    race(loop, "take", take)
    Job(loop, meeting.come).result()
    others[0].result(SOON)
    assert here() not in meeting.threads


@pytest.mark.parametrize("lent", [True, False])
def test_what_is_posted_while_the_event_loop_is_left_is_done(
    loop: LoopThread, *, lent: bool
) -> None:
    """The other thread saw that it was running; the one that leaves it looks once more."""
    events: Any = loop._events
    done: Future[str] = Future()

    def post() -> None:
        events._posts.append((lambda: done.set_result(here()), ()))
        events._loop.call_soon_threadsafe(events._perform_posts)

    if not lent:
        begun = threading.Event()
        loop.soon(begun.set)
        assert begun.wait(SOON)
    race(loop, "leave", post)
    assert Job(loop, thread).result() == (here() if lent else OWN)
    assert done.result(SOON) == OWN


def test_it_can_be_stopped_while_a_caller_runs_it(loop: LoopThread, start: Start) -> None:
    """The caller gets a TransportClosedError after its task has cleaned up."""
    ended = []
    begun = threading.Event()

    async def wait() -> None:
        try:
            begun.set()
            await anyio.sleep_forever()
        finally:
            ended.append(here())

    waiting = start(Job(loop, wait).result)
    assert begun.wait(SOON)
    loop.stop()
    with pytest.raises(TransportClosedError):
        waiting.result(SOON)
    assert ended == [OWN]


def interrupted(loop: LoopThread, interrupt: Callable[[], object]) -> list[str]:
    """What a task sees of an interrupt that comes while it is run in this thread."""
    seen = []

    async def wait() -> None:
        seen.append(here())
        try:
            interrupt()
            await anyio.sleep_forever()
        except BaseException as error:
            seen.append(type(error).__name__)
            raise

    with pytest.raises(KeyboardInterrupt):
        Job(loop, wait).result()
    return seen


def test_an_interrupt_cancels_the_call(loop: LoopThread) -> None:
    """While the event loop waits for the network, as it does nearly always, no step is lost."""
    main = threading.main_thread().ident
    assert main is not None
    timer = threading.Timer(0.01, signal.pthread_kill, (main, signal.SIGINT))
    assert interrupted(loop, timer.start) == [here(), "CancelledError"]
    timer.join()
    assert not loop.closing
    wait_until(lambda: stands_still(loop))
    assert Job(loop, thread).result() == here()


def test_an_interrupt_within_a_step_gives_the_event_loop_up(loop: LoopThread) -> None:
    """What it has interrupted, such as a pool of connections, may stay inconsistent."""
    seen = interrupted(loop, lambda: signal.raise_signal(signal.SIGINT))
    assert seen == [here(), "KeyboardInterrupt"]
    assert loop.over
    with pytest.raises(TransportClosedError):
        Job(loop, thread).result()


@pytest.mark.parametrize("taken", [True, False])
def test_an_interrupt_while_the_turn_is_taken_leaves_it(
    loop: LoopThread, monkeypatch: pytest.MonkeyPatch, *, taken: bool
) -> None:
    """Nothing was begun, and the call ends as if it had never been made."""

    class Interrupted(Turn):
        def take(self, thread: int) -> bool:
            if taken:
                super().take(thread)
            monkeypatch.undo()
            raise KeyboardInterrupt

    monkeypatch.setattr(loop._events._turn, "__class__", Interrupted)  # type: ignore[union-attr]
    with pytest.raises(KeyboardInterrupt):
        Job(loop, thread).result()
    assert loop.over == taken


def test_a_call_that_ends_as_if_cancelled_keeps_the_event_loop(loop: LoopThread) -> None:
    """It may have waited for a task that was cancelled, which interrupts no step."""

    async def wait() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        Job(loop, wait).result()
    assert not loop.closing


def test_an_event_loop_that_has_ended_is_run_by_no_thread(loop: LoopThread) -> None:
    """A later thread may have the identifier of the one that ran it, and could not close it."""
    loop.stop()
    assert loop._events.thread == 0


def test_an_interrupt_while_the_turn_is_left_does_not_keep_it(loop: LoopThread) -> None:
    """The event loop would stand still, and no thread could run or close it."""
    events: Any = loop._events

    def interrupt() -> None:
        raise KeyboardInterrupt

    race(loop, "leave", interrupt)
    with pytest.raises(KeyboardInterrupt):
        Job(loop, thread).result()
    assert events.thread != threading.get_ident()
    assert Job(loop, thread).result() in {OWN, here()}


def test_a_post_whose_sending_was_interrupted_goes_with_the_next(loop: LoopThread) -> None:
    """Else each later one would be performed a post too late, and the last one never."""
    events: Any = loop._events
    done: list[int] = []
    last = threading.Event()
    events._posts.append((done.append, (1,)))
    loop.soon(done.append, 2)
    loop.soon(last.set)
    assert last.wait(SOON)
    assert done == [1, 2]


def test_the_event_loop_ends_although_it_is_stopped_meanwhile() -> None:
    """Another thread may have wanted it back just before."""
    ended: list[str] = []
    stops: list[object] = []

    async def unwind() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            stops.append(asyncio.get_running_loop().stop())
            await asyncio.sleep(0.001)
            ended.append(here())

    async def leave_a_task() -> Any:  # noqa: ANN401 - a task
        task = asyncio.get_running_loop().create_task(unwind())
        await asyncio.sleep(0)
        return task

    loop = LoopThread("asyncio", nothing)
    task = Job(loop, leave_a_task).result()
    loop.stop()
    assert ended == [OWN]
    del task


def test_an_interrupt_while_the_event_loop_stops_leaves_none_running(
    loop: LoopThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else this thread could never run another one."""
    events: Any = loop._events

    def run_forever() -> None:
        monkeypatch.undo()
        asyncio._set_running_loop(events._loop)
        raise KeyboardInterrupt

    monkeypatch.setattr(events._loop, "run_forever", run_forever)
    with pytest.raises(KeyboardInterrupt):
        Job(loop, thread).result()
    asyncio.run(anyio.lowlevel.checkpoint())


def test_a_thread_whose_signal_handlers_raise_does_not_run_the_event_loop(
    loop: LoopThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asyncio would ignore what they raise, and the time limit that they are for."""
    monkeypatch.setattr(interrupts, "are_expected", lambda: True)
    assert Job(loop, thread).result() == OWN


def test_an_exception_between_two_steps_gives_the_event_loop_up(
    loop: LoopThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that loses a step by it ends all the same."""

    class Broken(BaseException):
        pass

    async def lose_a_step() -> None:
        reader = asyncio.get_running_loop().create_future()
        reader.set_result(None)
        monkeypatch.setattr(asyncio.Handle, "_run", broken)
        await asyncio.wait([reader])
        await asyncio.sleep(0)

    run = asyncio.Handle._run

    def broken(_: asyncio.Handle) -> None:
        monkeypatch.setattr(asyncio.Handle, "_run", run)
        raise Broken

    with pytest.raises(Broken):
        Job(loop, lose_a_step).result()
    assert loop.over


def test_a_task_that_has_lost_its_next_step_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The event loop ends without it, and the caller is not held."""
    monkeypatch.setattr("walltrack.sync.loop_thread._CANCELLING_SECONDS", 0.01)
    monkeypatch.setattr(asyncio_loop, "_UNWINDING_SECONDS", 0.01)
    loop = LoopThread("asyncio", nothing)

    async def wait() -> None:
        while True:
            try:
                await anyio.sleep_forever()
            except asyncio.CancelledError:
                continue

    call = Job(loop, wait)
    ended: list[BaseException] = []

    def waiting() -> None:
        try:
            call.result()
        except TransportClosedError as error:
            ended.append(error)

    caller = threading.Thread(target=waiting)
    caller.start()
    wait_until(lambda: call.begun)
    loop.stop()
    caller.join(SOON)
    assert ended
    caplog.clear()


def test_the_generators_of_an_event_loop_are_closed_with_it() -> None:
    """One that is not read to its end would be closed in no event loop."""
    closed = []

    async def chunks() -> Any:  # noqa: ANN401 - an asynchronous generator
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            closed.append(here())

    async def read_one() -> Any:  # noqa: ANN401 - as above
        reading = chunks()
        await anext(reading)
        return reading

    loop = LoopThread("asyncio", nothing)
    reading = Job(loop, read_one).result()
    loop.stop()
    assert closed == [OWN]
    del reading


@pytest.mark.skipif(sys.version_info < (3, 12), reason="tasks do not begin at once")
def test_a_task_begins_at_once(loop: LoopThread) -> None:
    """From Python 3.12 on."""
    begun: list[str] = []

    class Noting(Call):
        async def act(self) -> None:
            begun.append("call")

    async def call() -> None:
        other = Noting(loop)
        loop._events.spawn(other)
        begun.append("after")

    Job(loop, call).result()
    assert begun == ["call", "after"]
