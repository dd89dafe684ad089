"""Runs that show what a library does: retries, opens a circuit, limits, falls back."""

import asyncio
import contextlib
import re
import time
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import httpx_retries

URL = "https://api.example.com/"
MOMENT = 0.05
Function = Callable[[], Awaitable[Any]]
Guard = Callable[[Any], Any]
Transport = httpx.AsyncBaseTransport


class Flaky:
    """A function that fails the first calls, or every second one."""

    def __init__(self, failures: float, *, every_second: bool = False) -> None:
        self.failures, self.every_second, self.calls = failures, every_second, 0

    def now(self) -> str:
        """Fail or not."""
        self.calls += 1
        if self.calls % 2 if self.every_second else self.calls <= self.failures:
            raise ConnectionError
        return "well"

    async def __call__(self) -> str:
        """Fail or not, in asynchronous code."""
        return self.now()


async def retries(guard: Guard) -> bool:
    """Whether a function that fails twice succeeds."""
    return bool(await guard(Flaky(2).__call__)() == "well")


async def serves_synchronous_code(guard: Guard) -> bool:
    """Whether a guarded synchronous function returns what it returns."""
    result = guard(Flaky(0).now)()
    if asyncio.iscoroutine(result):
        result.close()
    return bool(result == "well")


async def opens(guard: Guard, function: Flaky | None = None, calls: int = 50) -> bool:
    """Whether a function that keeps failing is called no more."""
    function = function or Flaky(calls)
    guarded = guard(function.__call__)
    for _ in range(calls):
        with contextlib.suppress(Exception):
            await guarded()
    return function.calls < calls


async def opens_by_rate(guard: Guard) -> bool:
    """Whether that is so for a function of which every second call fails."""
    return await opens(guard, Flaky(0, every_second=True))


async def opens_by_slow_calls(guard: Guard) -> bool:
    """Whether that is so for a function that succeeds, but takes too long."""
    calls = 0

    async def slow() -> None:
        nonlocal calls
        calls += 1
        await asyncio.sleep(1.5 * MOMENT)

    guarded = guard(slow)
    for _ in range(10):
        await took(guarded)
    return calls < 10


async def took(guarded: Function) -> float:
    """Seconds that a call takes, however it ends."""
    began = time.perf_counter()
    with contextlib.suppress(Exception):
        await guarded()
    return time.perf_counter() - began


async def hang() -> None:
    """Take ten moments."""
    await asyncio.sleep(10 * MOMENT)


async def ends_a_call(guard: Guard) -> bool:
    """Whether a call that hangs is ended."""
    return await took(guard(hang)) < 5 * MOMENT


async def ends_the_retries_alone(guard: Guard) -> bool:
    """Whether failures that go on for long end early, and a call that hangs does not."""
    function = Flaky(1e9)

    async def slow() -> None:
        await asyncio.sleep(MOMENT)
        await function()

    return await took(guard(slow)) < 5 * MOMENT and not await ends_a_call(guard)


async def rejects_by_rate(guard: Guard) -> bool:
    """Whether most of ten calls at once are rejected."""
    function = Flaky(0)
    guarded = guard(function.__call__)
    await asyncio.gather(*(guarded() for _ in range(10)), return_exceptions=True)
    return function.calls < 5


async def limits_the_number(guard: Guard) -> bool:
    """Whether at most two of ten calls are in flight."""
    now = most = 0

    async def count() -> None:
        nonlocal now, most
        now += 1
        most = max(now, most)
        await asyncio.sleep(MOMENT)
        now -= 1

    guarded = guard(count)
    await asyncio.gather(*(guarded() for _ in range(10)), return_exceptions=True)
    return most == 2


async def falls_back(guard: Guard) -> bool:
    """Whether something else takes the place of a failure."""
    return bool(await guard(Flaky(1e9).__call__)() == "else")


async def otherwise(*_: object, **_options: object) -> str:
    """Return what takes the place of a failure."""
    return "else"


async def never(package: str, word: str) -> bool:
    """Whether a package does not have a word in its source, in any case."""
    return not any(re.search(word, text, re.IGNORECASE) for text in sources(package))


def sources(package: str) -> list[str]:
    """Return the text of every module of a package."""
    spec = find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0])
    return [file.read_text("utf-8") for file in folder.rglob("*.py")]


async def fails(check: Awaitable[bool]) -> bool:
    """Whether a check does not hold."""
    return not await check


async def all_of(*checks: Awaitable[bool]) -> bool:
    """Whether all checks hold."""
    return all([await check for check in checks])


async def obeys_retry_after(make: Callable[[Transport], Any]) -> bool:
    """Whether a transport repeats a request after the time that the response names."""
    answers = iter([httpx.Response(503, headers={"Retry-After": "1"}), httpx.Response(200)])
    transport = make(httpx.MockTransport(lambda _: next(answers)))
    began = time.perf_counter()
    async with httpx.AsyncClient(transport=transport) as client:
        response = await client.get(URL)
    return response.status_code == 200 and time.perf_counter() - began >= 1


async def waits_less_than_told() -> bool:
    """Whether httpx-retries limits the time of its waits, and not that of a request."""

    async def late(_: httpx.Request) -> httpx.Response:
        await asyncio.sleep(3 * MOMENT)
        return httpx.Response(503, headers={"Retry-After": "60"})

    retry = httpx_retries.Retry(total=3, total_timeout=MOMENT)
    transport = httpx_retries.RetryTransport(httpx.MockTransport(late), retry)
    async with httpx.AsyncClient(transport=transport) as client:
        seconds = await took(lambda: client.get(URL))
    return 3 * MOMENT <= seconds < 60


async def serves_a_synchronous_client() -> bool:
    """Whether httpx-retries goes beneath `httpx.Client`."""
    answers = iter([httpx.Response(503), httpx.Response(200)])
    transport = httpx_retries.RetryTransport(httpx.MockTransport(lambda _: next(answers)))
    with httpx.Client(transport=transport) as client:
        return client.get(URL).status_code == 200  # noqa: ASYNC212 - what is checked


async def opens_beneath(make: Callable[[Transport], Any]) -> bool:
    """Whether a transport sends nothing more to a service that keeps failing."""
    sent: list[httpx.Request] = []

    def failing(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(503)

    async with httpx.AsyncClient(transport=make(httpx.MockTransport(failing))) as client:
        for _ in range(50):
            with contextlib.suppress(httpx.TransportError):
                await client.get(URL)
    return len(sent) < 50
