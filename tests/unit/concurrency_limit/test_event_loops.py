"""A concurrency limit that is used from several event loops, in turn or at once."""

import asyncio
import gc
import threading
from collections.abc import Callable, Hashable
from typing import Any

import anyio
import httpx
import pytest

from tests.support import Body, Clock, Scripted, get
from walltrack import AdaptiveLimit, ConcurrencyLimitError, ConcurrencyLimitTransport
from walltrack.core.naming import origin_of

BACKENDS = ("asyncio", "trio")
Key = Callable[[httpx.Request], Hashable] | None
KEYS: tuple[Key, ...] = (None, origin_of)

pytestmark = [
    pytest.mark.parametrize("first", BACKENDS),
    pytest.mark.parametrize("second", BACKENDS),
]


def streamed(_: httpx.Request) -> httpx.Response:
    """A response that holds its place until it is closed."""
    return httpx.Response(200, stream=Body(b"body"))


def layer(limit: Any = 1, **options: Any) -> ConcurrencyLimitTransport:  # noqa: ANN401 - handed on
    """The transport under test."""
    return ConcurrencyLimitTransport(Scripted(streamed), limit, **{"listener": None, **options})


async def hold(transport: httpx.AsyncBaseTransport, url: str = "https://a.test/") -> httpx.Response:
    """Take a place, within a short time, and keep it."""
    with anyio.fail_after(2):
        return await transport.handle_async_request(get(url))


async def use(transport: httpx.AsyncBaseTransport, url: str = "https://a.test/") -> int:
    """Take a place, within a short time, and give it back."""
    response = await hold(transport, url)
    await response.aclose()
    return response.status_code


@pytest.mark.parametrize("key", KEYS)
def test_places_of_a_closed_loop_do_not_count(first: str, second: str, key: Key) -> None:
    """A response that was never closed loses its place together with its event loop."""
    transport = layer(key=key)
    anyio.run(hold, transport, backend=first)
    assert anyio.run(use, transport, backend=second) == 200
    assert anyio.run(use, transport, backend=first) == 200


@pytest.mark.parametrize("key", KEYS)
def test_a_place_that_is_given_back_late_frees_none_in_the_new_loop(
    first: str, second: str, key: Key
) -> None:
    """The limit counts what the new event loop sends, whatever is closed in the old one."""
    transport = layer(key=key, max_queue=0)
    stale = anyio.run(hold, transport, backend=first)

    async def main() -> None:
        held = await hold(transport)
        await stale.aclose()
        with pytest.raises(ConcurrencyLimitError):
            await hold(transport)
        await held.aclose()
        await use(transport)

    anyio.run(main, backend=second)


def test_what_was_learnt_moves_along(first: str, second: str) -> None:
    """An adaptive limit keeps in the second event loop what it measured in the first one."""
    clock = Clock()

    def slow(_: httpx.Request) -> httpx.Response:
        clock.advance(0.1)
        return httpx.Response(200)

    limit = AdaptiveLimit(8, window=0.05)
    transport = ConcurrencyLimitTransport(Scripted(slow), limit, clock=clock, listener=None)

    async def main() -> None:
        for _ in range(10):
            await use(transport)

    anyio.run(main, backend=first)
    assert "<0 of 8 in flight" in repr(transport)
    anyio.run(use, transport, backend=second)
    assert "<0 of 8 in flight" in repr(transport)


@pytest.mark.parametrize("limit", [1, AdaptiveLimit(1)])
def test_two_running_loops_are_refused_with_an_explanation(
    first: str,
    second: str,
    limit: Any,  # noqa: ANN401 - a number or an object
) -> None:
    """A call that would hang raises an error that says what to do; the first loop continues."""
    transport = layer(limit)
    held, done = threading.Event(), threading.Event()
    ended: list[int] = []

    async def main() -> None:
        response = await hold(transport)
        held.set()
        await anyio.to_thread.run_sync(done.wait)
        await response.aclose()
        ended.append(await use(transport))

    thread = threading.Thread(target=anyio.run, args=(main,), kwargs={"backend": first})
    thread.start()
    assert held.wait(5)
    with pytest.raises(RuntimeError, match=r"^this ConcurrencyLimitTransport is in use in another"):
        anyio.run(use, transport, backend=second)
    done.set()
    thread.join(5)
    assert ended == [200]
    assert anyio.run(use, transport, backend=second) == 200


def test_a_limit_that_is_idle_serves_running_loops_in_turn(first: str, second: str) -> None:
    """With nothing in flight, no caller has to be woken: the state moves between the loops."""
    transport = layer()
    moved, done = threading.Event(), threading.Event()
    ended: list[int] = []

    async def main() -> None:
        ended.append(await use(transport))
        moved.set()
        await anyio.to_thread.run_sync(done.wait)
        ended.append(await use(transport))

    thread = threading.Thread(target=anyio.run, args=(main,), kwargs={"backend": first})
    thread.start()
    assert moved.wait(5)
    assert anyio.run(use, transport, backend=second) == 200
    done.set()
    thread.join(5)
    assert ended == [200, 200]


def test_keys_of_a_closed_loop_are_forgotten(first: str, second: str) -> None:
    """What a closed event loop still holds takes no memory beyond the bound."""
    transport = layer(key=origin_of, max_keys=2)

    async def hold_many() -> None:
        for number in range(20):
            await hold(transport, f"https://host{number}.test/")

    async def use_many() -> None:
        for number in range(20, 40):
            await use(transport, f"https://host{number}.test/")

    anyio.run(hold_many, backend=first)
    assert len(vars(transport)["_turns"]) == 20
    anyio.run(use_many, backend=second)
    assert len(vars(transport)["_turns"]) == 2


class Abandoned:
    """An asyncio event loop with a call in flight and others in the queue, all unfinished."""

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(lambda *_: None)  # it complains of what is abandoned
        calls = [transport.handle_async_request(get()) for _ in range(3)]
        self.tasks = [self.loop.create_task(call) for call in calls]
        self.loop.run_until_complete(asyncio.sleep(0.01))


@pytest.fixture
def stuck() -> ConcurrencyLimitTransport:
    """A limit of one place over a server that does not answer the first requests."""
    return ConcurrencyLimitTransport(
        Scripted(lambda _: anyio.sleep_forever(), 200), 1, listener=None
    )


@pytest.mark.parametrize("collected", ["before", "while", "never"])
def test_a_queue_of_a_closed_loop_does_not_count(
    first: str, second: str, stuck: ConcurrencyLimitTransport, collected: str
) -> None:
    """Abandoned callers wake no others, wherever their tasks are collected."""
    if first == "trio":
        return  # a trio run ends when all of its tasks have
    abandoned = Abandoned(stuck)
    abandoned.loop.close()
    if collected == "before":
        abandoned.tasks.clear()
        gc.collect()

    async def main() -> None:
        await use(stuck)
        if collected == "while":
            abandoned.tasks.clear()
            gc.collect()
        assert "<0 of 1 in flight, 0 waiting>" in repr(stuck)
        assert await use(stuck) == 200

    anyio.run(main, backend=second)
    abandoned.tasks.clear()
    gc.collect()


def test_a_loop_that_is_stopped_but_open_is_in_use(
    first: str, second: str, stuck: ConcurrencyLimitTransport
) -> None:
    """It may run again with its calls; once it is closed they no longer count."""
    if first == "trio":
        return  # a trio run cannot be stopped without an end
    abandoned = Abandoned(stuck)
    with pytest.raises(RuntimeError, match="which is still open"):
        anyio.run(use, stuck, backend=second)
    abandoned.tasks[0].cancel()
    abandoned.loop.run_until_complete(asyncio.wait(abandoned.tasks))
    assert [task.cancelled() for task in abandoned.tasks] == [True, False, False]
    assert anyio.run(use, stuck, backend=second) == 200
    abandoned.loop.close()
