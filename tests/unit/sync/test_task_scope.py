import asyncio

import pytest

from walltrack.sync.task_scope import TaskScope


def test_a_scope_that_was_cancelled_early_cancels_its_task() -> None:
    """A task that begins at once is bound to its scope only after its first steps."""

    async def call() -> tuple[bool, bool]:
        scope = TaskScope()
        scope.cancel()
        task = asyncio.current_task()
        assert task is not None
        scope.bind(task)
        with scope:
            await asyncio.sleep(0)
        return scope.cancel_called, scope.cancelled_caught

    assert asyncio.run(call()) == (True, True)


def test_a_scope_lets_what_it_has_not_caused_pass() -> None:
    """A cancellation by anyone else, too."""

    async def call() -> None:
        scope = TaskScope()
        with scope:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(call())


def test_a_scope_cancels_what_its_task_does() -> None:
    """It catches that cancellation, and says so."""

    async def call() -> tuple[bool, bool]:
        scope = TaskScope()
        task = asyncio.current_task()
        assert task is not None
        scope.bind(task)
        asyncio.get_running_loop().call_soon(scope.cancel)
        with scope:
            await asyncio.sleep(20.0)
        return scope.cancel_called, scope.cancelled_caught

    assert asyncio.run(call()) == (True, True)
