"""A transport that injects faults, at given rates and reproducible by a seed."""

import contextlib
from collections.abc import Awaitable, Callable, Collection
from typing import Any, Final

import anyio
import httpx

from walltrack.core import family, validation, waiting
from walltrack.core.named import shows_defaults_by_name
from walltrack.http.body import content_length
from walltrack.http.wrapper import WrappingTransport
from walltrack.testing.cut_body import CutBody
from walltrack.testing.fault_plan import NO_CUT, FaultCounts, FaultPlan
from walltrack.testing.messages import bare_response, check_class, error_for, fresh_response

_ANSWER_LOST = family.each("ReadTimeout", "ReadError", "CloseError", "RemoteProtocolError")
_ASSUMED_LENGTH: Final = 8 * 1024
"""A body of unknown length breaks off before this many bytes."""

_SWITCHING: Final = 101  # switching protocols: what follows is not a body


class FaultTransport(WrappingTransport):
    """Inject latency, errors, error statuses and bodies that break off, for chaos tests.

        flaky = FaultTransport(error_rate=0.1, status_rate=0.1, latency_rate=0.5, seed=7)
        async with httpx.AsyncClient(transport=RetryTransport(flaky)) as client:
            await client.get("https://api.example.com/")
        print(flaky.injected)

    Each rate is a share of all requests, from 0 to 1. A request has at most one error, status or
    cut; latency is independent of these. The same seed gives the same faults for the same order of
    requests, whatever their timing.

    - An error after which the server may have acted (ReadTimeout, ReadError, CloseError,
      RemoteProtocolError) is raised after the server did act: the request is sent, and its response
      is lost. Any other error is raised instead of sending. As on a real network, a ConnectError
      proves to retry layers that nothing was sent.
    - A status is returned instead of sending, without content.
    - A body that is cut breaks off in its middle with a RemoteProtocolError, and the connection is
      closed. A response without a body is not changed.

    Set `enabled` to False to stop injecting faults, and back to True to go on.

    Args:
        transport: What sends the requests; None makes an `HTTPTransport()`.
        error_rate: The share of requests for which an exception is raised.
        errors: Exception classes to choose from; a client of httpx2 gets those of httpx2.
        status_rate: The share of requests that get an injected status.
        statuses: Statuses to choose from.
        latency_rate: The share of requests that are delayed.
        latency: The delay in seconds, or its lower and upper bound.
        cut_rate: The share of requests whose response body is cut.
        only: Returns whether faults may be injected into a request; None: into every request.
        seed: Seed of the random choices; None: different faults in each run.
        sleep: Waits for the given number of seconds; replace it to test without waiting.

    Raises:
        TypeError: An argument has another type.
        ValueError: A rate is not from 0 to 1, the rates of error, status and cut add up to more
            than 1, `errors` or `statuses` is empty, a status is unknown, or a latency is negative.
    """

    enabled: bool
    """Whether faults are injected now."""

    injected: FaultCounts
    """The number of faults that were injected so far."""

    @shows_defaults_by_name
    def __init__(
        self,
        transport: family.Transport | None = None,
        *,
        error_rate: float = 0.0,
        errors: Collection[type[Exception]] = (httpx.ConnectError, httpx.ReadTimeout),
        status_rate: float = 0.0,
        statuses: Collection[int] = (503,),
        latency_rate: float = 0.0,
        latency: float | tuple[float, float] = 0.1,
        cut_rate: float = 0.0,
        only: Callable[[httpx.Request], bool] | None = None,
        seed: int | None = None,
        sleep: Callable[[float], Awaitable[None]] = waiting.sleep,
    ) -> None:
        self._plan = FaultPlan(
            error_rate=error_rate,
            errors=errors,
            status_rate=status_rate,
            statuses=statuses,
            latency_rate=latency_rate,
            latency=latency,
            cut_rate=cut_rate,
            seed=seed,
        )
        for kind in errors:
            check_class("errors", kind)
        if only is not None:
            validation.function("only", only)
        validation.function("sleep", sleep)
        super().__init__(transport)
        self._only = only
        self._sleep = sleep
        self.enabled = True
        self.injected = FaultCounts()

    def __repr__(self) -> str:
        options = filter(None, (str(self._plan), "" if self.enabled else "not enabled"))
        return self._shown_with(*options)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send `request`, and inject its fault if it has one."""
        if not self.enabled or (self._only is not None and not self._only(request)):
            return await self._inner.handle_async_request(request)
        fault = self._plan.next()  # before any wait, so that only the order of requests counts
        if fault.latency > 0.0:
            self.injected.latencies += 1
            await self._sleep(fault.latency)
        if fault.error is not None:
            if issubclass(fault.error, _ANSWER_LOST):
                await self._lose_answer(request)
            self.injected.errors += 1
            raise error_for(request, fault.error, "injected")
        if fault.status is not None:
            self.injected.statuses += 1
            return bare_response(request, fault.status)
        response = await self._inner.handle_async_request(request)
        return response if fault.cut == NO_CUT else self._cut(request, response, fault.cut)

    async def _lose_answer(self, request: httpx.Request) -> None:
        response = await self._inner.handle_async_request(request)
        with anyio.CancelScope(shield=True), contextlib.suppress(Exception):
            await response.aclose()

    def _cut(
        self, request: httpx.Request, response: httpx.Response, share: float
    ) -> httpx.Response:
        if response.is_closed and response.content:  # from a mock: held in memory
            response = fresh_response(request, response)
        length = content_length(response)
        if (
            response.is_closed
            or length == 0
            or request.method == "HEAD"
            or response.status_code == _SWITCHING
        ):
            return response

        def broken() -> Exception:
            self.injected.cuts += 1
            return error_for(request, httpx.RemoteProtocolError, "injected")

        body: Any = response.stream  # the type also allows synchronous streams
        max_bytes = int(share * (_ASSUMED_LENGTH if length is None else length))
        response.stream = CutBody(body, max_bytes, broken)
        return response
