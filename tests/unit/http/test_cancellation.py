import asyncio

import anyio
import anyio.lowlevel
import pytest

from walltrack.http.cancellation import OwnCancellation

asynchronous = pytest.mark.anyio
on_asyncio = pytest.mark.parametrize("anyio_backend", ["asyncio"])


async def foreign() -> None:
    """Wait, and raise its own CancelledError when cancelled, as some transports do."""
    try:
        await anyio.sleep_forever()
    except anyio.get_cancelled_exc_class():
        raise asyncio.CancelledError from None


async def limited(scope: anyio.CancelScope) -> str:
    """Wait in a scope that is cancelled, as in a layer."""
    own = OwnCancellation()
    with scope:
        try:
            await foreign()
        except BaseException as error:
            if not own.explains(error, scope):
                raise
    await own.check()
    return "went on"


@asynchronous
@on_asyncio
async def test_a_cancellation_that_anyio_took_for_its_own_comes_out() -> None:
    """If the block in a scope did not end, only a cancellation can have left it."""
    await OwnCancellation().check(ended=True)
    with pytest.raises(asyncio.CancelledError):
        await OwnCancellation().check(ended=False)


@asynchronous
@on_asyncio
async def test_a_foreign_exception_for_our_own_scope_cancels_nothing_else() -> None:
    """The layer continues, and the task is not cancelled afterwards either."""
    assert await limited(anyio.move_on_after(0.01)) == "went on"
    await anyio.lowlevel.checkpoint()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


@asynchronous
@on_asyncio
async def test_a_cancellation_by_the_caller_is_never_swallowed() -> None:
    """Cancelled by its caller while its own scope is still open, the task ends as cancelled."""
    task = asyncio.create_task(limited(anyio.move_on_after(60)))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


@asynchronous
@on_asyncio
async def test_a_cancellation_by_the_caller_at_the_same_moment_is_never_swallowed() -> None:
    """Both cancel in the same step of the event loop: the caller's cancellation propagates."""
    scope = anyio.CancelScope()
    task = asyncio.create_task(limited(scope))
    await asyncio.sleep(0.01)
    scope.cancel()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


@asynchronous
@on_asyncio
async def test_a_scope_of_the_callers_that_is_cancelled_as_well_ends_the_call_by_itself() -> None:
    """The caller's scope catches its own cancellation, and the task is not cancelled."""
    scope = anyio.CancelScope()
    with anyio.CancelScope() as outer:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(cancel_both, outer, scope)
            await limited(scope)
    assert outer.cancelled_caught
    await anyio.lowlevel.checkpoint()


async def cancel_both(outer: anyio.CancelScope, inner: anyio.CancelScope) -> None:
    """Cancel the scope of the caller and that of the layer in one step."""
    await anyio.lowlevel.checkpoint()
    inner.cancel()
    outer.cancel()


@asynchronous
@on_asyncio
async def test_a_task_that_was_cancelled_before_may_still_be_limited() -> None:
    """A request in the clean-up of a cancelled task still has a timeout."""
    ended: list[str] = []

    async def cleaning_up() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(await limited(anyio.move_on_after(0.01)))

    task = asyncio.create_task(cleaning_up())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == ["went on"]


@asynchronous
async def test_what_is_no_cancellation_is_not_explained() -> None:
    """An exception is an outcome, whether the scope was cancelled or not."""
    own = OwnCancellation()
    scope = anyio.CancelScope()
    scope.cancel()
    assert not own.explains(ValueError(), scope)
    await own.check()


@asynchronous
@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_on_trio_there_is_nothing_to_explain() -> None:
    """Trio recognizes its own cancellation, which no other code can raise."""
    own = OwnCancellation()
    explained: list[bool] = []
    with anyio.move_on_after(0.01) as scope:
        try:
            await anyio.sleep_forever()
        except BaseException as error:
            explained.append(own.explains(error, scope))
            raise
    assert scope.cancelled_caught
    assert explained == [False]
    await own.check()
