"""Admit requests, and settle them with their breakers."""

from collections.abc import Callable, Hashable

import httpx

from walltrack.circuit_breaker.breaker import CircuitBreaker
from walltrack.circuit_breaker.breakers import BreakersByKey
from walltrack.circuit_breaker.ledger import Ledger
from walltrack.circuit_breaker.reports import Reports
from walltrack.circuit_breaker.state import CircuitState
from walltrack.core.classification import Classifier
from walltrack.core.events import Listener
from walltrack.core.exceptions import CircuitBreakerOpenError
from walltrack.core.extensions import GATE
from walltrack.core.naming import service_of
from walltrack.core.outcome import Errors, Verdict, is_of_service, verdict_on
from walltrack.http.classify import classified_error


class Settling:
    """Decide for a transport which breaker a request settles with, and have changes reported.

    Args:
        breakers: The breakers of the transport, one for each key.
        shared: One breaker for every request, instead of `breakers`; None if there is none.
        key: Requests with the same key share a breaker.
        has_window: Whether the breakers have a window, so that every call has to be counted.
        exceptions: Exceptions that count as failures.
        classifier: Decides before `exceptions`; None if there is none.
        listener: Called with the events of the breakers; None: there are no events.
    """

    __slots__ = (
        "_breakers",
        "_classifier",
        "_exceptions",
        "_find",
        "_has_window",
        "_key",
        "_ledger",
        "_rejection",
        "_reports",
        "_shared",
    )

    def __init__(
        self,
        breakers: BreakersByKey,
        shared: CircuitBreaker | None,
        key: Callable[[httpx.Request], Hashable],
        *,
        has_window: bool,
        exceptions: Errors,
        classifier: Classifier | None,
        listener: Listener | None,
    ) -> None:
        self._breakers = breakers
        self._find = breakers.find
        self._shared = shared
        self._key = key
        self._has_window = has_window
        self._exceptions = exceptions
        self._classifier = classifier
        self._ledger: Ledger = breakers if shared is None else shared.ledger
        self._reports = None if listener is None else Reports(breakers, shared, listener)
        self._rejection: Callable[..., CircuitBreakerOpenError] = CircuitBreakerOpenError
        if self._reports is not None:
            self._ledger.watch(self._reports)
            self._rejection = self._reports.rejection

    @property
    def ledger(self) -> Ledger:
        """The ledger of the breakers."""
        return self._ledger

    def find(self, request: httpx.Request) -> CircuitBreaker | None:
        """Return the breaker of `request`, if there was a need for one."""
        return self._shared or self._find(self._key(request))

    def obtain(self, request: httpx.Request) -> CircuitBreaker:
        """Return the breaker of `request`; make one if there is none."""
        if self._shared is not None:
            return self._shared
        key = self._key(request)
        breaker = self._find(key)
        if breaker is None:
            breaker = self._breakers.obtain(key)
            breaker.service = service_of(request)
        return breaker

    def key_of_made(self, request: httpx.Request) -> Hashable:
        """Return the key of `request`, after its breaker was made."""
        key = self._key(request)
        if self._find(key) is None:
            self.obtain(request)
        return key

    def admit(self, request: httpx.Request, breaker: CircuitBreaker) -> int:
        """Return the ticket with which `breaker` lets `request` through.

        Raises:
            CircuitBreakerOpenError: The breaker is open, or half-open with its probes in flight.
        """
        admission = breaker.admit()
        if admission is None:
            request.extensions[GATE] = breaker
            raise self._rejection(retry_after=breaker.shut_for(), request=request)
        if admission.became is not None:
            try:
                self.report(request, breaker, admission.became)
            except BaseException:  # a listener that ends the program
                breaker.settle(admission.ticket, Verdict.NONE)
                raise
        return admission.ticket

    def end_of_body(
        self,
        request: httpx.Request,
        ticket: int,
        breaker: CircuitBreaker | None,
        error: BaseException | None,
    ) -> None:
        """Settle a request whose response's body has ended, with `error` if reading it failed."""
        if error is not None:
            self.settle_error(request, ticket, breaker, error)
        elif self._ledger.alert:
            self.settle(request, ticket, breaker, Verdict.SUCCESS)

    def settle_error(
        self,
        request: httpx.Request,
        ticket: int,
        breaker: CircuitBreaker | None,
        error: BaseException,
    ) -> None:
        """Settle a request whose attempt ended with `error`."""
        verdict = verdict_on(error, failures=self._exceptions)
        if self._classifier is not None and is_of_service(error):
            said = classified_error(self._classifier, request, error).failure
            if said is not None:
                verdict = Verdict.FAILURE if said else Verdict.NONE
        self.settle(request, ticket, breaker, verdict)

    def settle(
        self,
        request: httpx.Request,
        ticket: int,
        breaker: CircuitBreaker | None,
        verdict: Verdict,
    ) -> None:
        """Settle a request, and report how this changes the state of its breaker.

        Args:
            request: The request.
            ticket: Its ticket, or the ledger's epoch at its start if no breaker admitted it.
            breaker: The breaker that admitted it; None if there was none.
            verdict: What the attempt says about the health of the service.
        """
        try:
            current = self._breaker_to_settle(request, verdict, breaker)
        except BaseException:  # raised by the caller's key
            if breaker is not None:
                breaker.settle(ticket, Verdict.NONE)
            raise
        if current is None:
            return
        if verdict is Verdict.FAILURE:
            request.extensions[GATE] = current
        elif verdict is Verdict.NONE:  # a rejection by another circuit inside names that one
            request.extensions.setdefault(GATE, current)
        for state in current.settle(ticket, verdict):
            self.report(request, current, state)

    def _breaker_to_settle(
        self, request: httpx.Request, verdict: Verdict, breaker: CircuitBreaker | None
    ) -> CircuitBreaker | None:
        if verdict is Verdict.FAILURE:
            return self.obtain(request)
        if self._has_window and breaker is not None:
            return breaker  # if it was evicted in the meantime, the success is lost with it
        if not self._ledger.alert:
            return None
        return self.find(request)

    def report(
        self, request: httpx.Request | None, breaker: CircuitBreaker, state: CircuitState
    ) -> None:
        """Report that `breaker` changed to `state`, by `request` if it was one."""
        if self._reports is not None:
            self._reports.changed(request, breaker, state)
