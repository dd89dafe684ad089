import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

import pytest

from walltrack.sync import interrupts
from walltrack.sync.interrupts import without_interrupts

INTERRUPT = signal.SIGINT
Handler = Callable[[int, FrameType | None], object] | int | signal.Handlers | None


def ignore(_: int, __: FrameType | None) -> None:
    """Handle a signal."""


@pytest.fixture(autouse=True)
def _handlers_stay() -> Iterator[None]:
    """Restore the handlers that a test sets, and fail a test that loses that of SIGINT."""
    signals = [INTERRUPT, signal.SIGALRM, signal.SIGUSR1, signal.SIGUSR2]
    before = [signal.getsignal(one) for one in signals]
    yield
    after = signal.getsignal(INTERRUPT)
    for one, handler in zip(signals, before, strict=True):
        signal.signal(one, handler)
    assert after in (before[0], ignore)


def interrupt() -> None:
    """Press Ctrl-C."""
    signal.raise_signal(INTERRUPT)


def test_an_interrupt_is_raised_at_the_end() -> None:
    """What was to end the context is called at once; the usual handler is back by then."""
    steps = []

    def go_on() -> None:
        with without_interrupts(lambda: steps.append("notified")):
            interrupt()
            steps.append("went on")

    with pytest.raises(KeyboardInterrupt):
        go_on()
    assert steps == ["notified", "went on"]
    assert signal.getsignal(INTERRUPT) is signal.default_int_handler


def test_nothing_is_raised_without_an_interrupt() -> None:
    """The usual handler is back afterwards."""
    with without_interrupts(pytest.fail) as is_safe:
        assert is_safe
        assert signal.getsignal(INTERRUPT) is not signal.default_int_handler
    assert signal.getsignal(INTERRUPT) is signal.default_int_handler


def test_a_second_interrupt_is_raised_at_once() -> None:
    """What is done in the context may hang."""
    steps = []

    def hang() -> None:
        with without_interrupts(lambda: steps.append("notified")):
            interrupt()
            interrupt()
            steps.append("went on")

    with pytest.raises(KeyboardInterrupt):
        hang()
    assert steps == ["notified"]


@pytest.mark.parametrize("handler", [ignore, signal.SIG_IGN, signal.SIG_DFL])
def test_the_programs_own_handler_stays(handler: Handler) -> None:
    """It may raise whatever it likes, so the context is not safe."""
    signal.signal(INTERRUPT, handler)
    with without_interrupts(pytest.fail) as is_safe:
        assert not is_safe
    assert signal.getsignal(INTERRUPT) == handler
    signal.signal(INTERRUPT, signal.default_int_handler)


def test_a_handler_that_was_set_within_stays() -> None:
    """It is newer than the one from before."""
    with without_interrupts(pytest.fail):
        signal.signal(INTERRUPT, ignore)
    assert signal.getsignal(INTERRUPT) is ignore


@pytest.mark.parametrize("number", [signal.SIGALRM, signal.SIGUSR1, signal.SIGUSR2])
def test_a_handler_of_a_time_limit_makes_the_context_unsafe(number: signal.Signals) -> None:
    """Such handlers raise in the middle of whatever runs; a signal that is ignored does not."""
    signal.signal(number, signal.SIG_IGN)
    with without_interrupts(pytest.fail) as is_safe:
        assert is_safe
    signal.signal(number, ignore)
    with without_interrupts(pytest.fail) as is_safe:
        assert not is_safe


def test_a_handler_that_python_has_not_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python could not restore it."""
    monkeypatch.setattr(interrupts, "_IS_OURS_TO_SET", False)
    monkeypatch.delattr(signal, "signal")
    with without_interrupts(pytest.fail) as is_safe:
        assert not is_safe


def test_other_threads_have_no_interrupts() -> None:
    """Python runs signal handlers in the main thread."""
    seen = []

    def enter() -> None:
        with without_interrupts(pytest.fail) as is_safe:
            seen.append(is_safe)
            seen.append(signal.getsignal(INTERRUPT) is signal.default_int_handler)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [True, True]
