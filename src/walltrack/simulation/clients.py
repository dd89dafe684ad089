"""The callers of the simulated service: what they send through, and how each call ends."""

import asyncio
import functools
import math
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final

import anyio
import httpx

from walltrack.simulation.arrivals import Arrival
from walltrack.simulation.scenario import Callers

Target = httpx.AsyncBaseTransport | httpx.AsyncClient
Send = Callable[[httpx.Request], Awaitable[httpx.Response]]

GAVE_UP: Final = "gave up"
"""How a call ends when its caller does not wait any longer."""

_BAD: Final = 400
_ROUNDING: Final = 1e-6  # seconds
_GRACE: Final = 300.0
"""Seconds after the start of the last call; then all calls that still run are cancelled."""


@dataclass(slots=True)
class Call:
    """A call that was made.

    Args:
        began: When it started, in seconds into the run.
        host: The host that it was sent to.
        ended: When it ended.
        failure: A status, the name of an exception, or `GAVE_UP`; None: it succeeded.
    """

    began: float
    host: str
    ended: float = math.inf
    failure: str | None = GAVE_UP

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.began


async def call_all(
    expected: Iterable[Arrival], targets: Sequence[Target], callers: Callers
) -> list[Call]:
    """Make all calls, each at its time.

    Args:
        expected: The calls, in order.
        targets: The transport or client of each client; opened before and closed afterwards.
        callers: How the callers behave.

    Returns:
        The calls, in the order in which they started.
    """
    loop = asyncio.get_running_loop()
    caller = _Caller(callers)
    calls: list[Call] = []
    tasks: set[asyncio.Task[None]] = set()
    async with AsyncExitStack() as stack:
        senders = [_sender(await stack.enter_async_context(target)) for target in targets]
        for arrival in expected:
            if arrival.at > loop.time():
                await asyncio.sleep(arrival.at - loop.time())
            call = Call(loop.time(), arrival.host)
            calls.append(call)
            task = loop.create_task(caller.make(call, senders[arrival.client]))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        if tasks:
            _, pending = await asyncio.wait(tasks, timeout=_GRACE)
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending)
    return calls


class _Caller:
    """Makes calls, and records how each ends."""

    def __init__(self, callers: Callers) -> None:
        self._callers = callers
        self._timeout = httpx.Timeout(callers.timeout).as_dict()
        self._templates: dict[str, httpx.Request] = {}

    async def make(self, call: Call, send: Send) -> None:
        loop, patience = asyncio.get_running_loop(), self._callers.patience
        try:
            if patience is None:
                await self._send(call, send)
            elif self._callers.announced:
                with anyio.move_on_after(patience):
                    await self._send(call, send)
            else:
                task = asyncio.current_task()
                assert task is not None  # noqa: S101 - for the type checker: this is a task
                timer = loop.call_later(patience, task.cancel)
                try:
                    await self._send(call, send)
                finally:
                    timer.cancel()
        except asyncio.CancelledError:
            call.failure = GAVE_UP
        except Exception as error:  # noqa: BLE001 - whatever a client raises is a failure to its caller
            call.failure = type(error).__name__
        call.ended = loop.time()
        if patience is not None and call.seconds > patience + _ROUNDING:
            call.failure = GAVE_UP  # the caller gave up, and the stack did not notice

    async def _send(self, call: Call, send: Send) -> None:
        response = await send(self._request(call.host))
        status = response.status_code
        call.failure = None if status < _BAD else str(status)

    def _request(self, host: str) -> httpx.Request:
        # Copied from another request: parsing the URL and the headers again would take longer than
        # the rest of a call.
        template = self._templates.get(host)
        if template is None:
            template = httpx.Request(self._callers.method, f"http://{host}/")
            self._templates[host] = template
        return httpx.Request(
            template.method,
            template.url,
            headers=template.headers,
            stream=template.stream,
            extensions={"timeout": dict(self._timeout)},
        )


def _sender(target: Target) -> Send:
    if isinstance(target, httpx.AsyncClient):
        return target.send
    return functools.partial(_send_by, target)


async def _send_by(transport: httpx.AsyncBaseTransport, request: httpx.Request) -> httpx.Response:
    """Send a request and read the body, as `AsyncClient.send` does.

    The other work of a client takes no virtual time, but most of the real time.
    """
    response = await transport.handle_async_request(request)
    stream: Any = response.stream  # an asynchronous one, from an asynchronous transport
    try:
        if not response.is_stream_consumed:  # by a layer that read it
            async for _ in stream:
                pass
    finally:
        await response.aclose()
    return response
