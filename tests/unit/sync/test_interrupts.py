import asyncio
import selectors
import signal
import threading
from collections.abc import Iterator
from types import FrameType

import pytest

from walltrack.sync import interrupts

RAISING = [
    signal.SIGALRM,
    signal.SIGHUP,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
]


def handler(_: int, __: FrameType | None) -> None:
    """Handle a signal."""


@pytest.fixture(autouse=True)
def _handlers_are_restored() -> Iterator[None]:
    """Leave the signals as they were."""
    before = [signal.getsignal(number) for number in RAISING]
    yield
    for number, previous in zip(RAISING, before, strict=True):
        signal.signal(number, previous)


def test_without_handlers_no_exception_is_expected() -> None:
    """That of SIGINT may come, but does not go unnoticed."""
    assert not interrupts.are_expected()


@pytest.mark.parametrize("number", RAISING)
def test_the_handler_of_a_program_is_expected_to_raise(number: signal.Signals) -> None:
    """A signal that is ignored is not."""
    signal.signal(number, signal.SIG_IGN)
    assert not interrupts.are_expected()
    signal.signal(number, handler)
    assert interrupts.are_expected()


def test_other_threads_run_no_handlers() -> None:
    """Python runs them in the main thread."""
    signal.signal(signal.SIGALRM, handler)
    seen: list[bool] = []
    thread = threading.Thread(target=lambda: seen.append(interrupts.are_expected()))
    thread.start()
    thread.join()
    assert seen == [False]


def raised_in(loop: asyncio.AbstractEventLoop) -> KeyboardInterrupt:
    """The interrupt that ends an event loop."""
    try:
        loop.run_forever()
    except KeyboardInterrupt as error:
        return error
    finally:
        loop.close()
    raise AssertionError


def test_an_interrupt_comes_while_an_event_loop_waits() -> None:
    """Whether Python itself raises it, or a handler of the program."""

    def raise_it(_: int, __: FrameType | None) -> None:
        raise KeyboardInterrupt

    for present in (signal.default_int_handler, raise_it):
        signal.signal(signal.SIGALRM, present)
        loop = asyncio.SelectorEventLoop()
        signal.setitimer(signal.ITIMER_REAL, 0.005)
        assert interrupts.came_while_waiting(raised_in(loop))


def test_an_interrupt_comes_within_a_step() -> None:
    """The event loop was not waiting."""
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    loop = asyncio.SelectorEventLoop()
    loop.call_soon(signal.raise_signal, signal.SIGALRM)
    assert not interrupts.came_while_waiting(raised_in(loop))


def test_the_event_loop_waits_in_the_selector_that_is_looked_for() -> None:
    """Else each interrupt would give the event loop up."""
    loop = asyncio.SelectorEventLoop()
    try:
        assert isinstance(loop._selector, selectors.DefaultSelector)  # type: ignore[attr-defined] # noqa: SLF001 - there is no other way to see it
    finally:
        loop.close()
