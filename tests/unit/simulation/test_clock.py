import asyncio
import time

import anyio
import pytest

from walltrack.simulation.clock import EPOCH, VirtualLoop, run_virtually, virtual_now


def test_hours_pass_in_no_time() -> None:
    """Asyncio's own sleep takes virtual time, exactly as much as was asked for."""

    async def main() -> float:
        await asyncio.sleep(3600.0)
        return asyncio.get_running_loop().time()

    began = time.monotonic()
    assert run_virtually(main) == 3600.0
    assert time.monotonic() - began < 1.0


def test_time_stands_still_while_a_task_has_something_to_do() -> None:
    """Time moves only when all tasks wait, and only to the next timer."""
    seen: list[tuple[str, float]] = []

    async def waiting(name: str, seconds: float) -> None:
        for _ in range(3):
            await asyncio.sleep(0)
        seen.append((name, asyncio.get_running_loop().time()))
        await asyncio.sleep(seconds)
        seen.append((name, asyncio.get_running_loop().time()))

    async def main() -> None:
        await asyncio.gather(waiting("long", 2.0), waiting("short", 0.5))

    run_virtually(main)
    assert seen == [("long", 0.0), ("short", 0.0), ("short", 0.5), ("long", 2.0)]


def test_timeouts_of_asyncio_and_anyio_are_virtual() -> None:
    """Both cancel what takes longer, at the moment that they say."""

    async def main() -> tuple[float, float]:
        loop = asyncio.get_running_loop()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(7.0):
                await asyncio.sleep(100.0)
        first = loop.time()
        with anyio.move_on_after(5.0) as scope:
            await anyio.sleep(100.0)
        assert scope.cancelled_caught
        return first, loop.time()

    assert run_virtually(main) == (7.0, 12.0)


def test_a_program_that_waits_for_something_real_ends_with_an_error() -> None:
    """A wait that no timer ends would otherwise never end."""

    async def main() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(RuntimeError, match="must not wait for sockets"):
        run_virtually(main)


def test_what_is_left_running_is_cancelled() -> None:
    """No task and no generator outlives the run."""
    ended: list[str] = []

    async def endless() -> None:
        try:
            await asyncio.sleep(1e6)
        finally:
            ended.append("task")

    async def main() -> asyncio.Task[None]:
        task = asyncio.create_task(endless())
        await asyncio.sleep(1.0)
        return task

    assert run_virtually(main).cancelled()
    assert ended == ["task"]


def test_it_refuses_to_run_inside_of_an_event_loop() -> None:
    """A thread has one loop at a time; in another thread it runs."""

    async def main() -> float:
        await asyncio.sleep(1.0)
        return asyncio.get_running_loop().time()

    async def outer() -> float:
        with pytest.raises(RuntimeError, match=r"asyncio\.to_thread"):
            run_virtually(main)
        return await asyncio.to_thread(run_virtually, main)

    assert asyncio.run(outer()) == 1.0


def test_virtual_time_is_that_of_the_running_loop() -> None:
    """There is none without a virtual loop."""

    async def main() -> float | None:
        await asyncio.sleep(4.0)
        return virtual_now()

    assert virtual_now() is None
    assert asyncio.run(_now()) is None
    assert run_virtually(main) == 4.0


async def _now() -> float | None:
    return virtual_now()


def test_the_loop_knows_what_it_was_given() -> None:
    """Its selector keeps what is registered, as the base class expects, and forgets it again."""
    loop = VirtualLoop()
    loop.close()
    assert loop.time() == 0.0
    assert EPOCH > 0
