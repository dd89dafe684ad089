"""What tests are made of: time that is moved by hand, scripted transports, remembered events."""

import gc
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Self

import anyio
import anyio.lowlevel
import httpcore
import httpx

from walltrack import Event

URL = "https://api.test/things?api-key=hunter2"

Step = int | httpx.Response | BaseException | type[BaseException] | Callable[[httpx.Request], Any]


class Clock:
    """Monotonic seconds; as `sleep` it moves on at once and remembers how long it was to sleep."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now
        self.sleeps: list[float] = []

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass."""
        self.now += seconds

    async def sleep(self, seconds: float) -> None:
        """Pass `seconds` without waiting, but let other tasks and cancellation in."""
        self.sleeps.append(seconds)
        self.now += seconds
        await anyio.lowlevel.checkpoint()


class Failing:
    """A function that works so many times, and then raises an exception once.

    Args:
        error: What it raises.
        works: How many calls work before that.
        value: What it returns when it works.
    """

    def __init__(self, error: BaseException, works: int = 0, value: object = 0.0) -> None:
        self.error: BaseException | None = error
        self.works = works
        self.value = value

    def __call__(self, *_: object) -> Any:  # noqa: ANN401 - whatever the test needs
        self.works -= 1
        if self.works < 0 and self.error is not None:
            error, self.error = self.error, None
            raise error
        return self.value


class Events(list[Event]):
    """A listener that keeps what it hears."""

    def __call__(self, event: Event, /) -> None:
        self.append(event)

    @property
    def names(self) -> list[str]:
        """The names of the events, in order."""
        return [event.name for event in self]


class Scripted(httpx.AsyncBaseTransport):
    """Answers each request with the next step of a script, and the last step again ever after.

    A step is a status, a response, an exception to raise, a class of exceptions to raise one of as
    if it came from httpcore, or a function of the request that returns a response or an awaitable
    of one.
    """

    def __init__(self, *steps: Step) -> None:
        self.steps = list(steps)
        self.requests: list[httpx.Request] = []
        self.entered = 0
        self.exited = 0
        self.closed = 0

    async def __aenter__(self) -> Self:
        self.entered += 1
        return self

    async def __aexit__(self, *args: object) -> None:
        self.exited += 1

    async def aclose(self) -> None:
        self.closed += 1

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        if isinstance(step, int):
            return httpx.Response(step)
        if isinstance(step, httpx.Response):
            return step
        if isinstance(step, BaseException):
            raise step
        if isinstance(step, type):
            raise step(f"scripted {step.__name__}") from httpcore.NetworkError()
        answer = step(request)
        response: httpx.Response = await answer if hasattr(answer, "__await__") else answer
        return response


class Body(httpx.AsyncByteStream):
    """A response body that yields `chunks`, raises those that are exceptions, counts closes."""

    def __init__(self, *chunks: bytes | BaseException) -> None:
        self.chunks: Iterable[bytes | BaseException] = chunks
        self.read = 0
        self.closes = 0

    async def __aiter__(self) -> Any:  # noqa: ANN401 - an async generator, whatever httpx calls it
        for chunk in self.chunks:
            await anyio.lowlevel.checkpoint()
            if isinstance(chunk, BaseException):
                raise chunk
            self.read += len(chunk)
            yield chunk

    async def aclose(self) -> None:
        self.closes += 1


class Endless(Body):
    """A body of which more comes for ever, by an iterator that needs no clean-up when dropped."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        await anyio.lowlevel.checkpoint()
        self.read += 1
        return b"x"


def get(url: str = URL, **kwargs: Any) -> httpx.Request:  # noqa: ANN401 - handed on to httpx
    """A GET request."""
    return httpx.Request("GET", url, **kwargs)


def post(url: str = URL, **kwargs: Any) -> httpx.Request:  # noqa: ANN401 - handed on to httpx
    """A POST request."""
    return httpx.Request("POST", url, **kwargs)


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Let what happens in other threads and tasks happen until `condition` holds."""
    with anyio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110 - a thread cannot set an event of this loop
            await anyio.sleep(0.001)


@contextmanager
def without_gc() -> Iterator[None]:
    """What dies in here died by itself."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
