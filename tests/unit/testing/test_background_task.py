from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from walltrack.testing.background_task import BackgroundTask

pytestmark = pytest.mark.anyio


class Work:
    """What a task does, and what became of it."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.fault = fault
        self.steps: list[str] = []

    async def __call__(self) -> None:
        self.steps.append("begun")
        try:
            if self.fault is not None:
                raise self.fault
            await anyio.sleep_forever()
        finally:
            self.steps.append("ended")

    def failed(self) -> None:
        """Note that the task reported its failure."""
        self.steps.append("failed")


def started(work: Work) -> BackgroundTask:
    """A task that does `work`."""
    return BackgroundTask(work, work.failed, "some work")


def running() -> set[str | None]:
    """The names of all tasks."""
    return {task.name for task in anyio.get_running_tasks()}


async def in_another_task(function: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Call `function` in a task of its own."""
    async with anyio.create_task_group() as group:
        group.start_soon(function)


async def test_one_task_starts_it_and_another_one_stops_it() -> None:
    """Both may have ended before the test goes on; nothing is left of it."""
    work = Work()
    tasks: list[BackgroundTask] = []

    async def start() -> None:
        tasks.append(started(work))

    await in_another_task(start)
    await anyio.wait_all_tasks_blocked()
    assert work.steps == ["begun"]
    assert "some work" in running()

    await in_another_task(tasks[0].stop)
    assert work.steps == ["begun", "ended"]
    assert "some work" not in running()
    assert tasks[0].failure is None


async def test_it_can_be_stopped_before_it_has_done_anything() -> None:
    """Its first wait is its last, and stopping it twice changes nothing."""
    work = Work()
    task = started(work)
    await task.stop()
    await task.stop()
    assert work.steps == ["begun", "ended"]
    assert "some work" not in running()


async def test_a_failure_is_kept_and_reported() -> None:
    """At once, and without ending the program."""
    work = Work(ValueError("broken"))
    task = started(work)
    await anyio.wait_all_tasks_blocked()
    assert work.steps == ["begun", "ended", "failed"]
    assert task.failure is work.fault
    await task.stop()


async def test_the_task_that_stops_it_may_be_cancelled() -> None:
    """It still waits until the task has ended."""
    task = started(work := Work())
    await anyio.wait_all_tasks_blocked()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await task.stop()
        assert work.steps == ["begun", "ended"]


async def test_it_knows_its_event_loop(anyio_backend_name: str) -> None:
    """Another one, in another thread, is not its own."""
    task = started(Work())
    seen: list[bool] = []

    async def look() -> None:
        seen.append(task.is_in_this_loop())

    await look()
    await anyio.to_thread.run_sync(partial(anyio.run, look, backend=anyio_backend_name))
    await task.stop()
    assert seen == [True, False]


async def test_a_program_may_end_without_stopping_it(anyio_backend_name: str) -> None:
    """The event loop cancels it; that is no failure."""
    work = Work()

    async def program() -> None:
        started(work)
        await anyio.wait_all_tasks_blocked()

    await anyio.to_thread.run_sync(partial(anyio.run, program, backend=anyio_backend_name))
    assert work.steps == ["begun", "ended"]
