import asyncio
import math

import anyio
import pytest

from tests.support import get
from walltrack import TransportClosedError
from walltrack.http.waits import Waits

pytestmark = pytest.mark.anyio


async def wait(waits: Waits, ended: list[object], seconds: float = math.inf) -> None:
    """Wait, and note how the wait ended."""
    try:
        with waits.ended_by_closing(get()):
            await (anyio.sleep_forever() if seconds == math.inf else anyio.sleep(seconds))
    except TransportClosedError as error:
        ended.append(error)
    else:
        ended.append("over")


async def test_a_wait_that_is_over_changes_nothing() -> None:
    """A block that ends by itself ends as if there was no scope."""
    waits, ended = Waits(), list[object]()
    await wait(waits, ended, seconds=0)
    assert ended == ["over"]
    assert len(waits) == 0


async def test_closing_ends_every_wait_with_an_error_that_names_it() -> None:
    """Each waiting call ends at once, with an error about its own request."""
    waits, ended = Waits(), list[object]()
    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(wait, waits, ended)
        await anyio.wait_all_tasks_blocked()
        assert len(waits) == 3
        waits.end()
    assert [str(error) for error in ended] == 3 * [
        "api.test: the transport was closed while the request waited; it was not sent"
    ]
    assert len(waits) == 0


async def test_a_call_that_began_before_the_closing_does_not_wait_after_it() -> None:
    """It ends at its first step, and does not wait among those that are over."""
    waits, ended = Waits(), list[object]()
    waits.end()
    with anyio.fail_after(1):
        await wait(waits, ended)
    assert [type(error) for error in ended] == [TransportClosedError]


async def test_a_wait_that_ends_just_as_the_transport_is_closed_counts_as_ended() -> None:
    """A call that was woken before the closing must not continue after it."""
    waits = Waits()
    with pytest.raises(TransportClosedError), waits.ended_by_closing(get()):
        waits.over = True  # as seen from a wait in another event loop


async def test_a_cancellation_by_the_caller_is_not_taken_for_a_closing() -> None:
    """A cancelled wait propagates the cancellation, even if the closing comes with it."""
    waits, ended = Waits(), list[object]()
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait, waits, ended)
            await anyio.wait_all_tasks_blocked()
            scope.cancel()
            waits.end()
    assert scope.cancelled_caught
    assert ended == []


async def test_an_exception_in_the_block_is_raised_as_it_is() -> None:
    """An error while waiting is not replaced, and the wait is forgotten."""
    waits = Waits()
    with pytest.raises(ZeroDivisionError), waits.ended_by_closing(get()):
        raise ZeroDivisionError
    assert len(waits) == 0


def test_closing_from_another_thread_leaves_the_scope_to_its_own() -> None:
    """A scope is not thread-safe: a closing elsewhere is noticed when the wait is over."""
    waits, ended = Waits(), list[object]()

    async def wait_for(over: anyio.Event) -> None:
        try:
            with waits.ended_by_closing(get()):
                await over.wait()
                ended.append("over")
        except TransportClosedError:
            ended.append("closed")

    async def both() -> None:
        over = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait_for, over)
            await anyio.wait_all_tasks_blocked()
            await anyio.to_thread.run_sync(anyio.run, close)
            over.set()

    async def close() -> None:
        waits.end()

    anyio.run(both)
    assert ended == ["over", "closed"]


def test_closing_passes_over_waits_whose_event_loop_was_closed() -> None:
    """A task that was abandoned with its loop waits no more, and must not break the closing."""
    waits, ended = Waits(), list[object]()
    loop = asyncio.new_event_loop()
    abandoned = loop.create_task(wait(waits, ended))
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()

    waits.end()

    assert waits.over
    abandoned._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001 - it is
