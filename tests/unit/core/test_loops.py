import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest
import trio

from walltrack.core.loops import is_needed, is_over, moved, running

BACKENDS = ("asyncio", "trio")


@contextmanager
def elsewhere(backend: str) -> Iterator[object]:
    """An event loop that runs in another thread while the block runs."""
    with anyio.from_thread.start_blocking_portal(backend) as portal:
        yield portal.call(running)


@pytest.mark.anyio
async def test_the_running_loop_is_the_same_in_all_its_tasks() -> None:
    """Each task of one event loop sees one loop, on asyncio and trio."""
    seen = {running()}

    async def look() -> None:
        seen.add(running())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(look)
    assert len(seen) == 1
    assert None not in seen


@pytest.mark.parametrize("backend", BACKENDS)
def test_each_event_loop_is_another_one(backend: str) -> None:
    """A second run, and a run in another thread, have other event loops."""

    async def look() -> object:
        return running()

    one, two = anyio.run(look, backend=backend), anyio.run(look, backend=backend)
    with elsewhere(backend) as three:
        assert len({id(loop) for loop in (one, two, three)}) == 3


def test_outside_of_an_event_loop_none_is_running() -> None:
    """State may be created without a running event loop."""
    assert running() is None


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_loop_that_runs_is_not_over(backend: str) -> None:
    """It is not over as seen from itself, from outside, or from another event loop."""

    async def look(other: object) -> list[bool]:
        return [is_over(running()), is_over(other)]

    with elsewhere(backend) as loop:
        assert not is_over(loop)
        for here in BACKENDS:
            assert anyio.run(look, loop, backend=here) == [False, False]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_loop_that_was_closed_is_over(backend: str) -> None:
    """No task of a closed asyncio loop, or of a trio run that has returned, will run again."""
    with elsewhere(backend) as loop:
        pass
    assert is_over(loop)

    async def look() -> bool:
        return is_over(loop)

    for here in BACKENDS:
        assert anyio.run(look, backend=here)


def test_a_loop_that_is_stopped_but_open_is_not_over() -> None:
    """It may run again with its tasks."""
    loop = asyncio.new_event_loop()
    loop.run_until_complete(asyncio.sleep(0))
    assert not is_over(loop)
    loop.close()
    assert is_over(loop)


def test_no_loop_is_not_over() -> None:
    """State that no event loop has used does not belong to a closed one."""

    async def look() -> bool:
        return is_over(None)

    assert not is_over(None)
    assert not any(anyio.run(look, backend=backend) for backend in BACKENDS)


@dataclass
class Desk:
    """State that is in use or not."""

    loop: object
    in_use: bool = True

    def renewed(self) -> Self:
        return type(self)(running(), in_use=False)


@pytest.mark.parametrize("backend", BACKENDS)
def test_state_in_use_moves_when_its_loop_is_over_and_not_before(backend: str) -> None:
    """An open loop keeps the state that its callers use; the error says what to do."""
    with elsewhere(backend) as loop:
        state = Desk(loop)
        assert is_needed(state)
        with pytest.raises(RuntimeError, match=r"^this list is in use in another event loop") as no:
            moved(state, [])
        assert "needs its own transport and client" in str(no.value)
    assert not is_needed(state)
    assert moved(state, []) == Desk(None, in_use=False)


@pytest.mark.parametrize("backend", BACKENDS)
def test_idle_state_moves_at_any_time(backend: str) -> None:
    """The loop that it leaves does not need it."""
    with elsewhere(backend) as loop:
        assert moved(Desk(loop, in_use=False), []) == Desk(None, in_use=False)


def test_asking_whether_a_trio_run_is_over_does_not_disturb_it() -> None:
    """The other thread's run continues, and ends normally."""
    asked = threading.Event()

    async def main() -> str:
        loops.append(running())
        started.set()
        await anyio.to_thread.run_sync(asked.wait)
        return "done"

    def run() -> None:
        ended.append(trio.run(main))

    loops, ended, started = list[object](), list[str](), threading.Event()
    thread = threading.Thread(target=run)
    thread.start()
    assert started.wait(5)
    assert [is_over(loops[0]) for _ in range(100)] == 100 * [False]
    asked.set()
    thread.join(5)
    assert ended == ["done"]
    assert is_over(loops[0])
