"""A stand-in for httpcore2's pool: it answers by a script."""

from collections.abc import AsyncGenerator, Callable
from typing import Any, ClassVar

import anyio
import anyio.lowlevel
import httpcore2

Step = Callable[[httpcore2.Request], Any] | BaseException | None


class Body:
    """A body of one chunk."""

    def __init__(self) -> None:
        self.closed = 0

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        yield b"ok"

    async def aclose(self) -> None:
        self.closed += 1
        await anyio.lowlevel.checkpoint()


class Core:
    """A pool: each request takes the next step, which is an exception or a function to await."""

    made: ClassVar[list["Core"]]
    steps: ClassVar[list[Step]]

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - whatever it is given
        self.options = options
        self.requests: list[httpcore2.Request] = []
        self.bodies: list[Body] = []
        self.closed = 0
        self.made.append(self)

    async def handle_async_request(self, request: httpcore2.Request) -> httpcore2.Response:
        await anyio.lowlevel.checkpoint()
        if request.url.host == b"closed.invalid":
            raise RuntimeError("woken")  # what the waiting requests of the real one get
        self.requests.append(request)
        step = self.steps.pop(0) if self.steps else None
        if isinstance(step, BaseException):
            raise step
        if step is not None:
            await step(request)
        self.bodies.append(Body())
        return httpcore2.Response(
            200,
            headers=[(b"X-Case", b"Kept")],
            content=self.bodies[-1],
            extensions={"http_version": b"HTTP/1.1", "reason_phrase": b"Fine"},
        )

    async def aclose(self) -> None:
        await anyio.lowlevel.checkpoint()
        self.closed += 1
