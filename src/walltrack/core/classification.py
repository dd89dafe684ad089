"""What the responses of one API mean, if they differ from the outcome table."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import httpx

from walltrack.core.delivery import Delivery


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """How one attempt ended: the argument of a `classify` function.

    Args:
        request: The request that was sent.
        response: The response; None if there was none. Do not read its body: see `content`.
        error: The exception that the attempt raised; None if there was a response.
        attempt: The number of the attempt, from 1.
        content: The decoded body if it is in memory, else None. Bodies of error responses of up to
            64 KiB are in memory, and so are bodies that are read within the attempt: see the
            `body` of `RetryTransport`.
    """

    request: httpx.Request
    response: httpx.Response | None = None
    error: BaseException | None = None
    attempt: int = 1
    content: bytes | None = None

    def __repr__(self) -> str:
        ended = type(self.error).__name__ if self.response is None else self.status
        return f"<{type(self).__name__} {ended}, attempt {self.attempt}>"

    @property
    def status(self) -> int | None:
        """The status of the response; None if there is no response."""
        return None if self.response is None else self.response.status_code

    @property
    def headers(self) -> httpx.Headers:
        """The headers of the response; empty if there is no response."""
        return httpx.Headers() if self.response is None else self.response.headers

    def json(self) -> Any:  # noqa: ANN401 - any JSON
        """Return the body as parsed JSON; None if it is not in memory, or not JSON."""
        try:
            return None if self.content is None else json.loads(self.content)
        except (ValueError, RecursionError):  # also if it is not UTF-8 or nested too deeply
            return None


@dataclass(frozen=True, slots=True)
class Classification:
    """What an outcome means. Where a field is None, the outcome table decides.

    Args:
        retry: Whether another attempt is likely to help. True does not override the policy: the
            number of retries, the safety of the method, the budget and the deadline still count.
        failure: Whether this counts as a failure of the service, for circuit breakers, hedging,
            adaptive limits and retry budgets.
        retry_after: How many seconds the service asks to wait before the next request; a rate limit
            delays other requests as well.
        delivery: Whether the service can have acted on the request.
    """

    retry: bool | None = None
    failure: bool | None = None
    retry_after: float | None = None
    delivery: Delivery | None = None


class Classify(Protocol):
    """A function that decides what an outcome means."""

    def __call__(self, outcome: Outcome, /) -> Classification | None:
        """Return what `outcome` means; None leaves the decision to others."""
        ...


UNCLASSIFIED = Classification()
"""The outcome table decides everything."""


class Classifier:
    """Call `classify` functions in order; the first one that returns a classification decides.

    Args:
        functions: The functions.
        on_error: Called with the first exception that a function raises, and not again.
    """

    __slots__ = ("_functions", "_has_failed", "_on_error")

    def __init__(
        self, functions: Sequence[Classify], on_error: Callable[[Exception], object]
    ) -> None:
        self._functions = tuple(functions)
        self._on_error = on_error
        self._has_failed = False

    def __repr__(self) -> str:
        names = (getattr(function, "__name__", repr(function)) for function in self._functions)
        return f"[{', '.join(names)}]"

    def __call__(self, outcome: Outcome) -> Classification:
        """Return what `outcome` means.

        A function that raises, or returns an object of another type, is skipped.
        """
        for function in self._functions:
            try:
                said = function(outcome)
                if isinstance(said, Classification):
                    return said
                if said is not None:
                    raise TypeError(  # noqa: TRY301 - reported like what a function raises
                        f"classify must return a Classification or None, got {said!r}"
                    )
            except Exception as error:  # noqa: BLE001 - the response must still be returned
                if not self._has_failed:
                    self._has_failed = True
                    self._on_error(error)
        return UNCLASSIFIED
