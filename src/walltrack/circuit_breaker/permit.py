"""Leave to make one call of any kind through a circuit breaker."""

from types import TracebackType
from typing import Protocol, Self

from walltrack.core.exceptions import RequestRejectedError
from walltrack.core.outcome import Verdict


class Settles(Protocol):
    """What gave a permit, and takes the verdict."""

    def settle(self, ticket: int, verdict: Verdict, /) -> object:
        """Take the verdict on the call that has this ticket."""
        ...


class Permit:
    """Leave to make one call through a `CircuitBreaker`, settled exactly once.

    As a context manager it settles by how the block ends: as a success, or on an exception as a
    failure; a cancellation, or a rejection by a layer of this library, is no verdict. Settling
    again, also by leaving the block, changes nothing.
    """

    __slots__ = ("_breaker", "_settled", "_ticket")

    def __init__(self, breaker: Settles, ticket: int) -> None:
        self._breaker = breaker
        self._ticket = ticket
        self._settled = False

    def success(self) -> None:
        """The call succeeded."""
        self._settle(Verdict.SUCCESS)

    def failure(self) -> None:
        """The call failed."""
        self._settle(Verdict.FAILURE)

    def release(self) -> None:
        """The call ended without a verdict on the service: it was cancelled, or never sent."""
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
