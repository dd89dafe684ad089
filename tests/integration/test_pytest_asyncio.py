"""Under pytest-asyncio, a fixture is entered in one task and left in another."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support import get
from walltrack import RetryTransport, TimeLimitExceededError, TimeoutTransport
from walltrack.testing import ScriptedTransport, VirtualTime

TWO_LOOPS = """
import pytest, pytest_asyncio
from walltrack.testing import VirtualTime

@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def time():
    async with VirtualTime() as time:
        yield time

@pytest.mark.asyncio(loop_scope="function")
async def test_other_loop(time):
    with pytest.raises(RuntimeError, match="VirtualTime was entered in another event loop"):
        await time.sleep(1)
    with pytest.raises(RuntimeError, match="VirtualTime was entered in another event loop"):
        time.move_on_after(1)
    assert time.slept == []

@pytest.mark.asyncio(loop_scope="session")
async def test_same_loop(time):
    await time.sleep(1)
    assert time.monotonic() == 1
"""


@pytest_asyncio.fixture
async def time() -> AsyncIterator[VirtualTime]:
    """Virtual time as a user of pytest-asyncio has it; it leaves no task behind."""
    before = asyncio.all_tasks()
    async with VirtualTime() as time:
        entered = asyncio.current_task()
        yield time
    assert asyncio.current_task() is not entered  # or this file would prove nothing
    assert asyncio.all_tasks() - before == {asyncio.current_task()}


@pytest.mark.asyncio
async def test_retries_take_no_time(time: VirtualTime) -> None:
    """The waits of a layer pass at once."""
    script = ScriptedTransport([503, 503, 200])
    transport = RetryTransport(script, sleep=time.sleep, wall_clock=time.time, listener=None)
    assert (await transport.handle_async_request(get())).status_code == 200
    assert time.monotonic() == 1 + 2


@pytest.mark.asyncio
async def test_a_time_limit_strikes_in_no_time(time: VirtualTime) -> None:
    """A scope of this time is cancelled by it."""

    async def slow(_: object) -> int:
        await time.sleep(60)
        return 200

    limited = TimeoutTransport(
        ScriptedTransport([slow]), 30, clock=time.monotonic, timer=time.move_on_after
    )
    with pytest.raises(TimeLimitExceededError):
        await limited.handle_async_request(get())
    assert time.monotonic() == 30


@pytest.mark.asyncio
async def test_tasks_of_asyncio_share_it(time: VirtualTime) -> None:
    """Time waits for tasks that anyio has not started, too."""
    woke: list[float] = []

    async def sleeper(seconds: float) -> None:
        await time.sleep(seconds)
        woke.append(time.monotonic())

    await asyncio.gather(*map(sleeper, (30, 10, 20)))
    assert woke == [10, 20, 30]


@pytest.mark.asyncio
async def test_a_task_that_outlives_the_fixture_is_ended(time: VirtualTime) -> None:
    """Its sleep would never end; nothing is reported about a task that was left behind."""
    asyncio.create_task(time.sleep(3600)).add_done_callback(_seen)
    await asyncio.sleep(0)
    assert time.slept == [3600]


def _seen(task: "asyncio.Task[None]") -> None:
    assert isinstance(task.exception(), RuntimeError)


def test_another_event_loop_is_refused(tmp_path: Path) -> None:
    """A fixture whose loop has another scope than that of its test says so, and does not hang."""
    module = tmp_path / "test_two_loops.py"
    module.write_text(TWO_LOOPS)
    command = [sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    options = ["-c", "/dev/null", "--rootdir", str(tmp_path)]
    options += ["-o", "asyncio_default_fixture_loop_scope=function", str(module)]
    ran = subprocess.run([*command, *options], capture_output=True, text=True, check=False)  # noqa: S603 - our own code
    assert ran.returncode == 0, ran.stdout
    assert "2 passed" in ran.stdout
