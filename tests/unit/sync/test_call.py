import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from tests.support import without_gc
from tests.unit.sync.conftest import SOON, Start, wait_until
from walltrack.sync.call import Call, Job, Outcome
from walltrack.sync.loop_thread import LoopThread


class MineError(Exception):
    """An exception that can be told from any other, and be referred to weakly."""


class Asking(Call):
    """Has the thread call functions, one after the other."""

    def __init__(self, loop: LoopThread, *functions: Any) -> None:  # noqa: ANN401 - any functions
        super().__init__(loop)
        self.functions = functions
        self.cancelled = False

    async def act(self) -> list[object]:
        try:
            return [await self.errand(function, 1) for function in self.functions]
        except anyio.get_cancelled_exc_class():
            self.cancelled = True
            raise


def test_a_job_returns_what_its_function_returns(loop: LoopThread) -> None:
    """The function runs in the thread of the event loop."""

    async def name(prefix: str) -> str:
        await anyio.lowlevel.checkpoint()
        return prefix + threading.current_thread().name

    assert Job(loop, name, "in ").result() == "in walltrack event loop"


def test_what_a_task_raises_is_raised_in_the_thread(loop: LoopThread) -> None:
    """The very same exception, whose traceback leads from the caller to where it was raised."""
    error = MineError()

    async def fail() -> None:
        raise error

    with pytest.raises(MineError) as caught:
        Job(loop, fail).result()
    assert caught.value is error
    names = [entry.name for entry in caught.traceback]
    assert names[0] == "test_what_a_task_raises_is_raised_in_the_thread"
    assert names[-1] == "fail"


def test_an_exception_waits_for_no_garbage_collection(loop: LoopThread) -> None:
    """It, and all that its traceback holds, is gone once the caller has dropped it."""

    async def fail() -> None:
        raise MineError

    def failing() -> "weakref.ref[MineError]":
        try:
            Job(loop, fail).result()
        except MineError as error:
            return weakref.ref(error)
        raise AssertionError

    with without_gc():
        dropped = failing()
        Job(loop, anyio.lowlevel.checkpoint).result()  # the loop forgets what it ran last
        wait_until(lambda: dropped() is None)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_end_of_the_program_is_raised_in_the_thread_that_waits(
    loop: LoopThread, error: type[BaseException]
) -> None:
    """The event loop keeps running: the caller decides what it means."""

    async def fail() -> None:
        raise error

    with pytest.raises(error):
        Job(loop, fail).result()
    Job(loop, anyio.lowlevel.checkpoint).result()


def test_a_call_without_an_act_says_so(loop: LoopThread) -> None:
    """The base class is of no use by itself."""
    with pytest.raises(NotImplementedError):
        Call(loop).result()


def test_errands_are_done_in_the_thread_that_waits(loop: LoopThread) -> None:
    """Their results come back into the task."""
    here = threading.get_ident()
    call = Asking(loop, lambda one: one + 1, lambda _: threading.get_ident())
    assert call.result() == [2, here]


def test_what_an_errand_raises_is_raised_in_the_task(loop: LoopThread) -> None:
    """It can then come out of the call."""
    error = MineError()

    def fail(_: object) -> None:
        raise error

    with pytest.raises(MineError) as caught:
        Asking(loop, fail).result()
    assert caught.value is error
    assert "fail" in [entry.name for entry in caught.traceback]


def test_an_interrupt_in_an_errand_cancels_the_task(loop: LoopThread) -> None:
    """It comes out of the call at once, and the task has ended by then."""

    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    call = Asking(loop, interrupt)
    with pytest.raises(KeyboardInterrupt):
        call.result()
    assert call.cancelled
    assert call.over


def test_an_interrupt_before_the_task_began_ends_the_call(
    loop: LoopThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is waited for that never happens."""

    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    call = Asking(loop)
    monkeypatch.setattr(loop, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        call.result()
    monkeypatch.undo()
    assert call.over
    assert not call.begun


def test_a_task_that_is_cancelled_before_its_first_step_does_nothing(loop: LoopThread) -> None:
    """The cancellation may overtake it."""

    async def cancelled() -> list[str]:
        steps = []

        async def step() -> None:
            await anyio.lowlevel.checkpoint()
            steps.append("taken")

        job = Job(loop, step)
        job.begun = True
        job.cancel_here()
        await job.serve(anyio.CancelScope())
        return steps

    assert Job(loop, cancelled).result() == []


def test_another_thread_may_cancel(
    loop: LoopThread, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that waits gets nothing; cancelling once more asks nothing of the event loop."""
    call = Job(loop, anyio.sleep_forever)
    waiting = start(call.result)
    wait_until(lambda: call.begun)
    call.cancel()
    assert waiting.result(SOON) is None
    assert call.over
    with monkeypatch.context() as patch:
        patch.delattr(LoopThread, "soon")
        call.cancel()


def test_a_shield_holds_a_cancellation_off(loop: LoopThread, start: Start) -> None:
    """What a layer cleans up, or writes for other calls too, is completed."""
    completed = []
    begun = threading.Event()

    async def complete() -> None:
        with anyio.CancelScope(shield=True):
            begun.set()
            await anyio.sleep(0.005)
            completed.append(1)
        await anyio.sleep_forever()

    call = Job(loop, complete)
    waiting = start(call.result)
    assert begun.wait(SOON)
    call.cancel()
    assert waiting.result(SOON) is None
    assert completed


def test_giving_up_passes_over_what_was_posted(loop: LoopThread) -> None:
    """Only the end counts."""

    class Posting(Call):
        async def act(self) -> None:
            self.post(1)
            self.post(2)
            await anyio.sleep_forever()

    call = Posting(loop)
    assert call.result() == 1
    call.give_up()
    assert call.over


def test_giving_up_does_not_wait_for_an_outcome_that_is_lost(loop: LoopThread) -> None:
    """An interrupt may come when the thread has just taken it from the queue."""
    call = Job(loop, anyio.lowlevel.checkpoint)
    assert call.result() is None
    call.give_up()


def test_a_call_leaves_nothing_behind(loop: LoopThread) -> None:
    """It is gone at once, without the help of the garbage collector."""
    with without_gc():
        call = Asking(loop, lambda one: one)
        call.result()
        dropped = weakref.ref(call)
        del call
        Job(loop, anyio.lowlevel.checkpoint).result()
        wait_until(lambda: dropped() is None)
    gc.collect()


def test_an_outcome_is_empty_by_default() -> None:
    """Neither a value nor an error: the call was cancelled."""
    assert Outcome() == (None, None)


class Telling(Call):
    """Post that it has begun, then tell the thread something, which no cancellation keeps it from.

    Args:
        loop: The event loop.
        function: What is called in the thread.
    """

    def __init__(self, loop: LoopThread, function: Callable[[], object]) -> None:
        super().__init__(loop)
        self.function = function
        self.completed = False

    async def act(self) -> None:
        with anyio.CancelScope(shield=True):
            self.post("begun")
            await self.tell(self.function)
            self.completed = True


def test_the_thread_calls_a_function_when_it_waits_again(loop: LoopThread) -> None:
    """The task continues after that, and keeps nothing of it."""
    threads: list[int] = []
    call = Telling(loop, lambda: threads.append(threading.get_ident()))
    assert call.result() == "begun"
    assert threads == []
    assert isinstance(call.take(), Outcome)
    assert threads == [threading.get_ident()]
    assert not call._told  # noqa: SLF001 - it would grow with each


def test_what_the_thread_raises_is_raised_in_the_task_that_told_it(loop: LoopThread) -> None:
    """As an error of a `trace` ends the call."""
    error = MineError()

    def fail() -> None:
        raise error

    call = Telling(loop, fail)
    assert call.result() == "begun"
    assert call.take().error is error


def end_by_finishing(call: Call) -> None:
    """Wait for the end, as closing a response does."""
    call.finish()


def end_by_giving_up(call: Call) -> None:
    """Wait for the end, as an interrupted thread does."""
    call.give_up()


def end_by_dropping(call: Call) -> None:
    """Do not wait, as the destructor of a response."""
    call.drop()
    wait_until(lambda: call.over)


def end_with_the_loop(call: Call) -> None:
    """Close the transport in the same thread."""
    loop: Any = call.loop
    loop.stop()


def end_by_an_interrupt(call: Call) -> None:
    """Interrupt the thread in the function that it calls for the task."""
    with pytest.raises(KeyboardInterrupt):
        call.take()
    wait_until(lambda: call.over)


@pytest.mark.parametrize(
    ("end", "told"),
    [
        (end_by_finishing, [1]),
        (end_by_giving_up, []),
        (end_by_dropping, []),
        (end_with_the_loop, []),
        (end_by_an_interrupt, [1]),
    ],
)
def test_a_task_does_not_wait_for_a_thread_that_no_longer_waits_for_it(
    loop: LoopThread, end: Callable[[Call], None], told: list[int]
) -> None:
    """Only closing a response waits, and does what the task asks for meanwhile."""
    done: list[int] = []

    def act() -> None:
        done.append(1)
        if end is end_by_an_interrupt:
            raise KeyboardInterrupt

    call = Telling(loop, act)
    assert call.result() == "begun"
    end(call)
    assert call.over
    assert call.completed
    assert done == told


def test_a_call_that_is_over_tells_nothing(loop: LoopThread) -> None:
    """What is left of its connection may be closed later."""
    call = Telling(loop, lambda: None)
    assert call.result() == "begun"
    assert isinstance(call.take(), Outcome)
    told: list[int] = []
    Job(loop, call.tell, told.append, 1).result()
    assert told == []
