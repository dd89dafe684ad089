import asyncio
import datetime as dt
import functools
import sys
import threading
import time
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

import pytest

from walltrack import CircuitBreaker
from walltrack.simulation.clock import EPOCH, run_virtually, virtual_clock_functions

REAL = time.monotonic
HERE = sys.modules[__name__]


def by_position(clock: Callable[[], float] = time.monotonic) -> float:
    """Read a clock that is a default value."""
    return clock()


def by_name(*, clock: Callable[[], float] = time.perf_counter, other: int = 1) -> float:
    """Read a clock that is a default value of a keyword."""
    return clock() * other


@functools.cache
def wrapped(clock: Callable[[], float] = time.monotonic) -> float:
    """Read a clock, within a decorator."""
    return clock()


def date() -> str:
    """Read a date."""
    return dt.datetime.now(dt.UTC).isoformat()


class Methods:
    """Has clocks as default values of all kinds of methods."""

    def usual(self, clock: Callable[[], float] = time.monotonic) -> float:
        """Read the clock."""
        return clock()

    @staticmethod
    def static(clock: Callable[[], float] = time.monotonic) -> float:
        """Read the clock."""
        return clock()

    @classmethod
    def of_class(cls, clock: Callable[[], float] = time.monotonic) -> float:
        """Read the clock."""
        return clock()


@pytest.fixture
def _virtual() -> Iterator[None]:
    with virtual_clock_functions():
        yield


@pytest.mark.usefixtures("_virtual")
@pytest.mark.parametrize(
    ("place", "name", "seen"),
    [
        (time, "monotonic", 60.0),
        (time, "perf_counter", 60.0),
        (time, "monotonic_ns", 60 * 10**9),
        (time, "perf_counter_ns", 60 * 10**9),
        (time, "time", EPOCH + 60.0),
        (time, "time_ns", int(EPOCH + 60) * 10**9),
        (HERE, "monotonic", 60.0),
        (HERE, "by_position", 60.0),
        (HERE, "by_name", 60.0),
        (HERE, "wrapped", 60.0),
        (HERE, "date", "2030-01-01T00:01:00+00:00"),
        (Methods(), "usual", 60.0),
        (Methods, "static", 60.0),
        (Methods, "of_class", 60.0),
    ],
)
def test_a_clock_is_virtual_wherever_it_comes_from(place: object, name: str, seen: object) -> None:
    """In the module, imported by name, or as a default value."""

    async def main() -> object:
        await asyncio.sleep(60.0)
        return getattr(place, name)()

    assert run_virtually(main) == seen


@pytest.mark.usefixtures("_virtual")
def test_a_breaker_made_in_virtual_time_recovers_in_it() -> None:
    """The clocks of this library are default values, too."""

    async def main() -> tuple[str, str]:
        breaker = CircuitBreaker(failure_threshold=1, cooldown_seconds=30.0)
        breaker.record_failure()
        before = breaker.state
        await asyncio.sleep(30.0)
        return before, breaker.state

    assert run_virtually(main) == ("open", "half_open")


@pytest.mark.usefixtures("_virtual")
def test_other_code_sees_real_time() -> None:
    """Outside of a virtual loop, in another loop, and in another thread."""
    seen: list[float] = []

    async def read() -> float:
        return time.monotonic()

    async def main() -> None:
        await asyncio.sleep(60.0)
        thread = threading.Thread(target=lambda: seen.append(time.monotonic()))
        thread.start()
        thread.join()

    run_virtually(main)
    seen += [time.monotonic(), asyncio.run(read()), by_position()]
    now = REAL()
    assert all(now - 5.0 < moment <= now for moment in seen)
    assert abs(dt.datetime.now(dt.UTC).timestamp() - time.time()) < 5.0


def test_everything_is_as_before_when_the_block_ends() -> None:
    """Also when it ends by an error."""
    defaults = by_position.__defaults__, by_name.__kwdefaults__, Methods.usual.__defaults__
    names = monotonic, dt, time.time
    with pytest.raises(ZeroDivisionError), virtual_clock_functions():
        assert by_position.__defaults__ == defaults[0] or 1 / 0
    assert defaults == (
        by_position.__defaults__,
        by_name.__kwdefaults__,
        Methods.usual.__defaults__,
    )
    assert names == (monotonic, dt, time.time)
    assert time.monotonic is REAL


def test_what_is_imported_meanwhile_works_ever_after() -> None:
    """It keeps a clock that is virtual in every simulation, and real outside."""
    namespace: dict[str, Any] = {}
    with virtual_clock_functions():
        exec("import time\ndef read(clock=time.monotonic): return clock()", namespace)  # noqa: S102 - our own
        assert run_virtually(lambda: _after_a_minute(namespace["read"])) == 60.0
    assert abs(namespace["read"]() - time.monotonic()) < 5.0
    with virtual_clock_functions():
        assert run_virtually(lambda: _after_a_minute(namespace["read"])) == 60.0


async def _after_a_minute(read: Callable[[], float]) -> float:
    await asyncio.sleep(60.0)
    return read()


class Lazy:
    """Answers to any name with itself, as the placeholders of some SDKs do."""

    def __getattr__(self, name: str) -> "Lazy":
        return self


LAZY = Lazy()


@pytest.mark.usefixtures("_virtual")
def test_a_lazy_object_in_a_module_does_no_harm() -> None:
    """It is not followed without end in search of the function that it wraps."""

    async def read() -> float:
        return time.monotonic()

    assert HERE.LAZY.any_name is LAZY
    assert run_virtually(read) < 1.0


def test_the_standard_library_keeps_its_clocks() -> None:
    """Threads and queues measure their timeouts by the clocks that they imported."""
    before = threading._time  # type: ignore[attr-defined]  # noqa: SLF001 - there is no public one
    with virtual_clock_functions():
        assert threading._time is before  # type: ignore[attr-defined]  # noqa: SLF001 - as above
