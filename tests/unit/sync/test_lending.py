import asyncio
import sys

import anyio
import pytest

from walltrack.sync import interrupts, lending


def test_an_ordinary_thread_may_run_an_event_loop_that_is_lent() -> None:
    """It runs none, its stack is nearly empty, and no interrupt is expected."""
    assert not lending.refused_here()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_one_that_runs_an_event_loop_may_not(backend: str) -> None:
    """A thread runs one at a time."""

    async def refused() -> bool:
        return lending.refused_here()

    assert anyio.run(refused, backend=backend)


def test_one_that_runs_plain_asyncio_may_not() -> None:
    """Plain asyncio is detected as well, which sniffio does not notice."""

    async def refused() -> bool:
        return lending.refused_here()

    assert asyncio.run(refused())


def test_one_deep_in_its_stack_may_not() -> None:
    """Asyncio would ignore a RecursionError, and the call could wait without end."""

    def refused(depth: int) -> bool:
        return refused(depth - 1) if depth else lending.refused_here()

    assert refused(sys.getrecursionlimit() // 2)


def test_one_whose_signal_handlers_raise_may_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asyncio would ignore what they raise."""
    monkeypatch.setattr(interrupts, "are_expected", lambda: True)
    assert lending.refused_here()
