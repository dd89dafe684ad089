"""A transport that rejects requests to a service that keeps failing."""

import random
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Literal

import httpx

from walltrack.circuit_breaker.breaker import CircuitBreaker
from walltrack.circuit_breaker.breakers import BreakersByKey
from walltrack.circuit_breaker.cooldown import COOLDOWN
from walltrack.circuit_breaker.described import described, readings_of
from walltrack.circuit_breaker.fleet import Fleet
from walltrack.circuit_breaker.ledger import Ledger
from walltrack.circuit_breaker.outcomes import Outcomes
from walltrack.circuit_breaker.settling import Settling
from walltrack.circuit_breaker.state import CircuitMode
from walltrack.circuit_breaker.windows import CountWindow, TimeWindow
from walltrack.core import family, validation
from walltrack.core.backoff import Backoff, Random
from walltrack.core.classification import Classify
from walltrack.core.events import Listener
from walltrack.core.mismatch import refuse_mismatch
from walltrack.core.named import shows_defaults_by_name
from walltrack.core.naming import origin_of
from walltrack.core.observer import Reading
from walltrack.core.outcome import TRANSIENT_ERRORS, Verdict, valid_errors
from walltrack.core.shared_state import SharedState
from walltrack.core.statuses import EVERY_STATUS, UNHEALTHY_STATUSES, valid_statuses
from walltrack.http.release import guarded
from walltrack.http.watched_body import WatchedBody
from walltrack.http.wrapper import WrappingTransport
from walltrack.telemetry.emit import classifier_of
from walltrack.telemetry.log import log_event
from walltrack.telemetry.observed import introduce


class CircuitBreakerTransport(WrappingTransport):
    """Reject requests to an origin that keeps failing, until a probe shows that it has recovered.

    A failing status or an exception counts at once. A success counts at the end of the body: a body
    that breaks off is a failure, and one that its reader closes early is a success.

    Args:
        transport: What sends the requests; None makes an `HTTPTransport()`.
        failure_threshold: How many failures in a row open a breaker; at least 1. Ignored with a
            `window`.
        cooldown: How long a breaker stays open before a probe, in seconds; above 0. A `Backoff`
            makes it grow each time that the breaker opens without having closed. Default: 30.
        cooldown_seconds: Another name for a constant `cooldown`; give only one of the two.
        failing_seconds: How long requests must have failed in a row, in seconds; at least 0. So at
            a high rate, failures in a row by chance open no breaker. It does not apply before the
            first success after a failure, nor with a `window`. With `shared`, each process counts
            its own failures then. Default: 0.
        window: A `CountWindow` or `TimeWindow`: open at a rate of failures or slow calls instead of
            failures in a row. The duration of a call ends at its headers, however long its body
            takes.
        probes: How many requests a half-open breaker admits; at least 1.
        probe_success_rate: The share of the probes that must succeed; above 0, at most 1.
        breaker: One breaker for all requests, instead of one for each key. It has its own clock,
            and its own values of the options above.
        key: Requests with the same key share a breaker. Default: those to the same origin. Events
            show any other key as text, so it must not contain a secret.
        max_breakers: How many breakers are kept. On insertion, the oldest closed breaker without
            failures in a row is evicted, with the calls in its window; if there is none, one that
            had no request for longer than its cooldown. Breakers that are open, half-open or set
            manually are never evicted, so that a large outage can exceed this number.
        statuses: Responses that count as failures. Default: 429 and every 5xx except 501 and 505.
        exceptions: Exceptions that count as failures. Default: timeouts, network and proxy errors,
            and breaches of the protocol by the server. A rejection by this library is never
            counted.
        classify: Decides which outcomes are failures; a function, or several of which the first
            result that is not None counts. Where none decides, `statuses` and `exceptions` do. See
            `walltrack.dialects`.
        mode: The mode in which all breakers begin, also the `breaker` if one is given:
            "observe_only" counts and reports, but rejects nothing, for a safe rollout. Default:
            "automatic".
        listener: Called with `CircuitOpened`, `CircuitHalfOpened`, `CircuitClosed`,
            `CircuitModeChanged` and `RequestRejected`; None: no events. Default: log entries.
        clock: Monotonic seconds; measures all durations.
        rng: Source of the cooldown's jitter: the `random` module, or a `random.Random`.
        shared: Shares the circuits with other processes: a `walltrack.fleet.RedisState`. See there.
            A `breaker` needs a `service`, which names its circuit.

    Raises:
        TypeError: An argument has another type.
        ValueError: A number is too small or too large, infinite or NaN, or a status is unknown.
    """

    @shows_defaults_by_name
    def __init__(
        self,
        transport: family.Transport | None = None,
        *,
        failure_threshold: int = 5,
        cooldown: float | Backoff = COOLDOWN,
        cooldown_seconds: float | None = None,
        failing_seconds: float = 0.0,
        window: CountWindow | TimeWindow | None = None,
        probes: int = 1,
        probe_success_rate: float = 1.0,
        breaker: CircuitBreaker | None = None,
        key: Callable[[httpx.Request], Hashable] = origin_of,
        max_breakers: int = 10_000,
        statuses: AbstractSet[int] = UNHEALTHY_STATUSES,
        exceptions: tuple[type[Exception], ...] = TRANSIENT_ERRORS,
        classify: Classify | Sequence[Classify] | None = None,
        mode: Literal["automatic", "observe_only"] = "automatic",
        listener: Listener | None = log_event,
        clock: Callable[[], float] = time.monotonic,
        rng: Random = random,
        shared: SharedState | None = None,
    ) -> None:
        def make(ledger: Ledger) -> CircuitBreaker:
            return CircuitBreaker(
                failure_threshold,
                cooldown,
                cooldown_seconds=cooldown_seconds,
                failing_seconds=failing_seconds,
                window=window,
                probes=probes,
                probe_success_rate=probe_success_rate,
                clock=clock,
                rng=rng,
                ledger=ledger,
            )

        validation.instance("breaker", breaker, CircuitBreaker | None)
        validation.function("key", key)
        validation.choice("mode", mode, ("automatic", "observe_only"))
        validation.function("clock", clock)
        validation.listener("listener", listener)
        validation.instance("shared", shared, SharedState | None)
        super().__init__(transport)
        make(Ledger())  # rejects bad options here, and not at the first request
        self._make = make
        self._breakers = BreakersByKey(make, max_breakers)
        self._breakers.usual_mode = CircuitMode(mode)
        if window is not None:
            self._breakers.see_all()
        self._look_up = self._breakers.find
        self._shared = breaker
        self._ledger: Ledger = self._breakers if breaker is None else breaker.ledger
        statuses = valid_statuses("statuses", statuses)
        classifier = classifier_of(classify)
        self._suspects = statuses if classifier is None else EVERY_STATUS
        settling = Settling(
            self._breakers,
            breaker,
            key,
            has_window=window is not None,
            exceptions=valid_errors("exceptions", exceptions),
            classifier=classifier,
            listener=listener,
        )
        if breaker is not None and mode == "observe_only":
            breaker.observe_only()
        # A window has to count every call, so its breaker is made at the first one.
        self._key = key if window is None else settling.key_of_made
        self._obtain = settling.obtain
        self._admit = settling.admit
        self._end_of_body = settling.end_of_body
        self._fleet = None if shared is None else Fleet(shared, settling, key, breaker, clock)
        if self._fleet is not None:
            self._obtain = self._fleet.obtain
        self._outcomes = Outcomes(settling, statuses, classifier, self._fleet)
        introduce(self, listener)

    def __repr__(self) -> str:
        if self._shared is not None:
            return self._shown_with(f"breaker={self._shared!r}")
        count = len(self._breakers)
        return self._shown_with("1 breaker" if count == 1 else f"{count} breakers")

    def describe(self) -> dict[str, Any]:
        """Return the settings, and the breakers that are not closed or were set manually."""
        one = self._make(Ledger()) if self._shared is None else self._shared
        return described(one, self._ledger.usual_mode, self.breakers)

    def readings(self) -> Iterable[Reading]:
        """Return the state of each breaker."""
        return readings_of(self.breakers)

    @property
    def breakers(self) -> Mapping[Hashable, CircuitBreaker]:
        """The breakers by their keys, read-only; the key of a `breaker` for all requests is None.

        A key without failures has no breaker until there is a need for one; see `breaker_for`.
        """
        return self._breakers.view if self._shared is None else {None: self._shared}

    def breaker_for(self, target: httpx.Request | httpx.URL | str) -> CircuitBreaker:
        """Return the breaker for a request, or for a GET of a URL; make it if there is none."""
        if isinstance(target, family.REQUESTS):
            return self._obtain(target)
        return self._obtain(httpx.Request("GET", str(target)))

    async def publish(self) -> None:
        """Report manual settings to the other processes now, and not with the next request."""
        if self._fleet is not None:
            await self._fleet.publish()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send `request`, unless its breaker rejects it.

        Raises:
            CircuitBreakerOpenError: The breaker is open, or half-open with all probes in flight.
        """
        # While every breaker is clean, a request is admitted and its success changes nothing: only
        # the epoch is noted, and no key is built.
        ledger = self._ledger
        ticket = ledger.epoch
        breaker = None
        if ledger.alert:
            if self._fleet is not None:
                await self._fleet.before(request)
            breaker = self._shared or self._look_up(self._key(request))
            if breaker is not None:
                ticket = self._admit(request, breaker)
        try:
            response = await self._inner.handle_async_request(request)
        except BaseException as error:
            await self._outcomes.failed(request, ticket, breaker, error)
            refuse_mismatch(request, error)
            raise
        if response.status_code in self._suspects and (
            await self._outcomes.is_failure(request, response, ticket, breaker)
        ):
            await self._outcomes.settled(request, response, ticket, breaker, Verdict.FAILURE)
        elif not response.is_closed:
            if breaker is not None:
                await self._outcomes.answered(request, response, ticket, breaker)
            body: Any = response.stream  # the type also allows synchronous streams
            if isinstance(body, WatchedBody):
                # If it was read ahead, it has ended: then this settles now, and may raise.
                settle = body.when_ended
                await guarded(response, settle, self._end_of_body, request, ticket, breaker)
            else:
                response.stream = WatchedBody(body, self._end_of_body, request, ticket, breaker)
        elif breaker is not None or ledger.epoch != ticket:
            await self._outcomes.settled(request, response, ticket, breaker, Verdict.SUCCESS)
        return response
