"""Settle what came of a request, and report to other processes what this has changed.

Awaits: bodies of errors are read for the classifier, and the store of a fleet is asked.
"""

from collections.abc import Set as AbstractSet

import httpx

from walltrack.circuit_breaker.breaker import CircuitBreaker
from walltrack.circuit_breaker.fleet import Fleet
from walltrack.circuit_breaker.settling import Settling
from walltrack.core.classification import Classifier
from walltrack.core.outcome import Verdict
from walltrack.http.classify import classified
from walltrack.http.release import awaited, guarded


class Outcomes:
    """Settle the requests of one transport.

    Args:
        settling: Settles a request with its breaker.
        statuses: Responses that count as failures.
        classifier: Decides before `statuses`; None if there is none.
        fleet: The other processes; None if nothing is shared.
    """

    __slots__ = ("_classifier", "_fleet", "_settling", "_statuses")

    def __init__(
        self,
        settling: Settling,
        statuses: AbstractSet[int],
        classifier: Classifier | None,
        fleet: Fleet | None,
    ) -> None:
        self._settling = settling
        self._statuses = statuses
        self._classifier = classifier
        self._fleet = fleet

    async def failed(
        self,
        request: httpx.Request,
        ticket: int,
        breaker: CircuitBreaker | None,
        error: BaseException,
    ) -> None:
        """Settle a request whose attempt ended with `error`."""
        self._settling.settle_error(request, ticket, breaker, error)
        if self._fleet is not None:
            await self._fleet.after(request)

    async def settled(
        self,
        request: httpx.Request,
        response: httpx.Response,
        ticket: int,
        breaker: CircuitBreaker | None,
        verdict: Verdict,
    ) -> None:
        """Settle a request that was answered."""
        await guarded(response, self._settling.settle, request, ticket, breaker, verdict)
        if self._fleet is not None:
            await awaited(response, self._fleet.after(request))

    async def answered(
        self,
        request: httpx.Request,
        response: httpx.Response,
        ticket: int,
        breaker: CircuitBreaker,
    ) -> None:
        """Note good headers, whose body decides later."""
        await guarded(response, breaker.answered, ticket)
        if self._fleet is not None:
            self._fleet.follow(request, response)

    async def is_failure(
        self,
        request: httpx.Request,
        response: httpx.Response,
        ticket: int,
        breaker: CircuitBreaker | None,
    ) -> bool:
        """Return whether a response with one of the suspicious statuses counts as a failure."""
        if self._classifier is None:
            return True
        try:
            said = (await classified(self._classifier, request, response)).failure
        except BaseException as error:  # its body broke off
            await self.failed(request, ticket, breaker, error)
            raise
        return response.status_code in self._statuses if said is None else said
