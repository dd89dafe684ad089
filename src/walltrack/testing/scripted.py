"""A transport that responds according to a script, and records the requests."""

import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import anyio.lowlevel
import httpx

from walltrack.core import family
from walltrack.core.naming import path_of, service_of
from walltrack.http.requests import copy_of
from walltrack.testing.messages import (
    RESPONSES,
    bare_response,
    check_class,
    error_for,
    fresh_response,
    is_used_up,
)

Answer = int | httpx.Response | Exception | type[Exception]
Step = Answer | Callable[[httpx.Request], Answer | Awaitable[Answer]]

_FIRST_STATUS, _LAST_STATUS = 100, 599
_A_STEP = "a status, a response, an exception, a class of exceptions or a function of the request"


class UnexpectedRequestError(AssertionError):
    """More requests came than the script has steps. No layer retries it.

    Args:
        number: The number of the unexpected request, from 1.
        steps: How many steps the script has.
        request: Method, service and path of the request.
    """

    def __init__(self, number: int, steps: int, request: str) -> None:
        super().__init__(number, steps, request)
        self.number = number
        self.steps = steps
        self.request = request

    def __str__(self) -> str:
        plural = "" if self.steps == 1 else "s"
        return (
            f"request {self.number} came ({self.request}), "
            f"but the script has {self.steps} step{plural}"
        )


class ScriptedTransport(family.AsyncBaseTransport):
    """Respond to each request with the next step of a script, and record the requests.

        transport = ScriptedTransport([503, httpx.ConnectTimeout, httpx.Response(200, json=[])])
        async with httpx.AsyncClient(transport=RetryTransport(transport)) as client:
            assert (await client.get("https://api.example.com/")).json() == []
        assert transport.calls == 3

    It behaves like a network. The body of a response still has to be read. An exception of httpx
    has its request, and proves the same as if httpcore had raised it: for example, a ConnectError
    proves that nothing was sent. Clients of httpx and of httpx2 get objects of their own family.

    Args:
        steps: The responses, one for each request in the order of their arrival:

            - a status: a response without content;
            - a response: a fresh copy of it each time;
            - an exception, or an exception class: it is raised;
            - a function of the request that returns any of these, or an awaitable of one.

            An empty list: no request is expected.
        repeat_last: Whether the last step is repeated for all further requests.

    Raises:
        TypeError: `steps` is not a list or tuple, or a step is none of the above.
        ValueError: A status is not from 100 to 599, the body of a response was a stream that has
            already been read, or there is no last step to repeat.
    """

    requests: list[httpx.Request]
    """The requests in order: copies made when they came, with their content read."""

    def __init__(self, steps: Sequence[Step], *, repeat_last: bool = False) -> None:
        if isinstance(steps, str | bytes) or not isinstance(steps, Sequence):
            raise TypeError(f"steps must be a list or a tuple, got {steps!r}")
        for position, step in enumerate(steps):
            if isinstance(step, type) or not callable(step):
                _check(f"steps[{position}]", step, _A_STEP)
        if repeat_last and not steps:
            raise ValueError("steps must not be empty if repeat_last is True")
        self._steps = tuple(steps)
        self._repeat_last = repeat_last
        self.requests = []

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.calls} calls, {self.left} of {len(self._steps)} left)"

    @property
    def calls(self) -> int:
        """How many requests came, including unexpected ones."""
        return len(self.requests)

    @property
    def left(self) -> int:
        """How many steps have not been used."""
        return max(0, len(self._steps) - self.calls)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Respond to `request` with the next step.

        Raises:
            UnexpectedRequestError: There is no step left.
            TypeError: A function returned something that is not a step.
            ValueError: A function returned a step that cannot be used.
        """
        seen = copy_of(request)
        self.requests.append(seen)
        step = self._step(self.calls, seen)
        await anyio.lowlevel.checkpoint()
        await seen.aread()  # the copy shares the body, so a body that can be read once is consumed
        if not isinstance(step, type) and callable(step):
            step = await _result_of(step, request)
        if isinstance(step, int):
            return bare_response(request, step)
        if isinstance(step, RESPONSES):
            return fresh_response(request, step)
        raise error_for(request, step, "scripted")

    def _step(self, number: int, request: httpx.Request) -> Any:  # noqa: ANN401 - already checked
        steps = self._steps
        if number <= len(steps):
            return steps[number - 1]
        if self._repeat_last:
            return steps[-1]
        what = f"{request.method} {service_of(request)}{path_of(request)}"
        raise UnexpectedRequestError(number, len(steps), what)


async def _result_of(function: Callable[[httpx.Request], Any], request: httpx.Request) -> Answer:
    answer = function(request)
    if inspect.isawaitable(answer):
        answer = await answer
    _check("what a step's function returns", answer, "a status, a response or an exception")
    result: Answer = answer
    return result


def _check(name: str, answer: object, wanted: str) -> None:
    if isinstance(answer, bool):
        raise TypeError(f"{name} must be {wanted}, got {answer}")
    if isinstance(answer, int):
        if not _FIRST_STATUS <= answer <= _LAST_STATUS:
            raise ValueError(f"{name} must be a status from 100 to 599, got {answer}")
    elif isinstance(answer, RESPONSES):
        if is_used_up(answer):
            raise ValueError(f"{name} is a response whose body was read from a stream already")
    elif isinstance(answer, type) and issubclass(answer, Exception):
        check_class(name, answer)
    elif not isinstance(answer, Exception):
        raise TypeError(f"{name} must be {wanted}, got {answer!r}")
