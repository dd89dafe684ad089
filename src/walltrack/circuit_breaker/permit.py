"""Permission for one call of any kind through a circuit breaker."""

from types import TracebackType
from typing import Protocol, Self

from walltrack.core.exceptions import RequestRejectedError
from walltrack.core.outcome import Verdict


class Settles(Protocol):
    """A circuit breaker, as far as a permit needs it."""

    def settle(self, ticket: int, verdict: Verdict, /) -> object:
        """Count the verdict on the call with this ticket."""
        ...


class Permit:
    """Permission for one call through a `CircuitBreaker`, to be settled exactly once.

    As a context manager, it settles when the block ends: as a success, or as a failure if an
    exception was raised. A cancellation, or a rejection by a layer of this library, is released
    without a verdict. Settling it again, also by leaving the block, has no effect.
    """

    __slots__ = ("_breaker", "_settled", "_ticket")

    def __init__(self, breaker: Settles, ticket: int) -> None:
        self._breaker = breaker
        self._ticket = ticket
        self._settled = False

    def success(self) -> None:
        """Settle the call as a success."""
        self._settle(Verdict.SUCCESS)

    def failure(self) -> None:
        """Settle the call as a failure."""
        self._settle(Verdict.FAILURE)

    def release(self) -> None:
        """Settle the call without a verdict on the service: it was cancelled, or never sent."""
        self._settle(Verdict.NONE)

    def _settle(self, verdict: Verdict) -> None:
        if not self._settled:
            self._settled = True
            self._breaker.settle(self._ticket, verdict)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc is None:
            self.success()
        elif isinstance(exc, Exception) and not isinstance(exc, RequestRejectedError):
            self.failure()
        else:
            self.release()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'settled' if self._settled else 'pending'}>"
