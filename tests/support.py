"""Helpers for tests: time that is moved manually, scripted transports, recorded events."""

import gc
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Any, ClassVar, NoReturn, Self

import anyio
import anyio.lowlevel
import httpcore
import httpx
import httpx2  # noqa: F401 - so that tests know of both families when they are collected

from walltrack import Event, RetryStopped

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
    """A function that works for some calls, and then raises an exception once.

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
    """A listener that records the events."""

    def __call__(self, event: Event, /) -> None:
        self.append(event)

    @property
    def names(self) -> list[str]:
        """The names of the events, in order."""
        return [event.name for event in self]

    @property
    def of_circuits(self) -> list[Event]:
        """The events about circuits alone, without those about requests."""
        return [event for event in self if event.name.startswith("circuit_")]

    @property
    def circuit_names(self) -> list[str]:
        """The names of the events about circuits."""
        return [event.name for event in self.of_circuits]

    @property
    def stops(self) -> list[str]:
        """Why there was no retry, where one of these events says so."""
        return [str(event.stop_reason) for event in self if isinstance(event, RetryStopped)]


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


class MisreadError(AssertionError):
    """A body was read as no connection's body can be read."""


class ConnectionBody(httpx.AsyncByteStream):
    """A body that refuses what the body on a connection cannot bear, and counts its closes.

    Raises a MisreadError for a second iteration, for a second reader while a read is in progress,
    and for a read after the body was closed. Layers discard what is raised while they release a
    response, so each is noted in `misreads` as well, and a fixture fails the test that left one.

    A subclass defines `chunks`.
    """

    misreads: ClassVar[list[str]] = []

    def __init__(self) -> None:
        self.read = 0
        self.closes = 0
        self._begun = False
        self._reading = False

    def chunks(self) -> AsyncGenerator[bytes, None]:
        """Generate the body."""
        raise NotImplementedError

    def __aiter__(self) -> AsyncIterator[bytes]:
        self.begin()
        return self._pass()

    async def aclose(self) -> None:
        self.closes += 1

    def begin(self) -> None:
        """Begin the only iteration."""
        if self._begun:
            self.refuse("iterated a second time")
        self._begun = True

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Hold the body while one chunk is read."""
        if self.closes:
            self.refuse("read after it was closed")
        if self._reading:
            self.refuse("read while another read was in progress")
        self._reading = True
        try:
            yield
        finally:
            self._reading = False

    def refuse(self, what: str) -> NoReturn:
        """Note the misuse, and raise it."""
        misuse = f"{type(self).__name__} was {what}"
        self.misreads.append(misuse)
        raise MisreadError(misuse)

    async def _pass(self) -> AsyncGenerator[bytes, None]:
        # A generator, as the iterators of httpx and httpcore are.
        async with aclosing(self.chunks()) as chunks:
            while True:
                with self.reading():
                    try:
                        chunk = await anext(chunks)
                    except StopAsyncIteration:
                        return
                yield chunk


class IteratorBody(ConnectionBody):
    """The same by an iterator that needs no clean-up when it is dropped.

    A subclass defines `next_chunk`.
    """

    def __aiter__(self) -> AsyncIterator[bytes]:
        self.begin()
        return _Chunks(self)

    async def next_chunk(self) -> bytes:
        """Return the next chunk."""
        raise NotImplementedError


class _Chunks:
    """The iterator. Not the body itself: `async for` over an iterator asks it for one, too."""

    def __init__(self, body: IteratorBody) -> None:
        self._body = body

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        with self._body.reading():
            return await self._body.next_chunk()


class Body(ConnectionBody):
    """A response body that yields `chunks`, raises those that are exceptions, counts closes."""

    def __init__(self, *chunks: bytes | BaseException) -> None:
        super().__init__()
        self._chunks = chunks

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        for chunk in self._chunks:
            await anyio.lowlevel.checkpoint()
            if isinstance(chunk, BaseException):
                raise chunk
            self.read += len(chunk)
            yield chunk


class Endless(IteratorBody):
    """A body without an end."""

    async def next_chunk(self) -> bytes:
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
    """Wait for other threads and tasks until `condition` holds."""
    with anyio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110 - a thread cannot set an event of this loop
            await anyio.sleep(0.001)


@contextmanager
def without_gc() -> Iterator[None]:
    """Disable the garbage collector, so that objects die by their reference counts alone."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
