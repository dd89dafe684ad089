"""The state machine of a circuit breaker: what it counts, when it opens, and when it closes."""

import math
from collections.abc import Callable

from walltrack.circuit_breaker.cooldown import Cooldown
from walltrack.circuit_breaker.ledger import Ledger
from walltrack.circuit_breaker.probation import Probation, needed
from walltrack.circuit_breaker.standing import Standing
from walltrack.circuit_breaker.state import CircuitMode, CircuitState
from walltrack.circuit_breaker.ticket import UNCOUNTED, Admission, TimedTicket
from walltrack.circuit_breaker.windows import CountWindow, TimeWindow
from walltrack.core.backoff import Backoff, Random
from walltrack.core.outcome import Verdict

_CLOSED, _OPEN, _HALF_OPEN = CircuitState  # a look-up on the class costs as much as a call
_OBSERVE_ONLY = CircuitMode.OBSERVE_ONLY


class Circuit(Standing):
    """The state machine of `CircuitBreaker`; its arguments are described there.

    Transports use these methods directly: they keep the ticket of each request, and emit an event
    for each state that a method returns.
    """

    __slots__ = (
        "_cooldown",
        "_due",
        "_enough",
        "_failed_at",
        "_is_timed",
        "_probation",
        "_shut_until",
        "_since",
        "_slow_after",
        "_tally",
        "_wall_clock",
        "failing_seconds",
        "failure_threshold",
        "probes",
    )

    def __init__(
        self,
        *,
        failure_threshold: int,
        failing_seconds: float,
        cooldown: Backoff,
        window: CountWindow | TimeWindow | None,
        probes: int,
        probe_success_rate: float,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
        rng: Random,
        ledger: Ledger,
    ) -> None:
        super().__init__(ledger, clock, cooldown.base)
        self.failure_threshold: int = failure_threshold
        self.failing_seconds: float = failing_seconds
        self.probes: int = probes
        self._enough = needed(probes, probe_success_rate)
        self._cooldown = Cooldown(cooldown, rng)
        self._wall_clock = wall_clock
        self._tally = None if window is None else window.tally(clock)
        self._slow_after = math.inf if window is None else window.slow_call_seconds or math.inf
        self._is_timed = self._slow_after < math.inf
        self._failed_at: float | None = None
        self._since: float | None = None  # when it opened, or became half-open
        self._probation: Probation | None = None  # HALF_OPEN
        self._due = -math.inf  # when a request can next change the state
        self._shut_until = -math.inf  # the same, or the past if no request is to be rejected
        if window is not None:
            ledger.see_all()

    @property
    def state(self) -> CircuitState:
        """The state that a request would find now."""
        if self._state is _CLOSED:
            return _CLOSED
        now = self._clock()
        if now < self._due:
            return self._state
        passed = self._probation is not None and self._probation.is_passed(now)
        return _CLOSED if passed else _HALF_OPEN

    def shut_for(self) -> float:
        """Return for how many seconds from now requests are rejected; 0.0 if they are admitted.

        While probes are in flight, this is the longest possible time: their verdicts may come
        sooner. Infinite while the breaker is forced open.
        """
        left = self._shut_until - self._clock()
        return left if left > 0.0 else 0.0  # noqa: FURB136 - faster than max()

    @property
    def is_probing(self) -> bool:
        """Whether probes are in flight: their verdicts may end `shut_for` sooner."""
        return self._probation is not None and not self._probation.is_untouched

    def admit(self) -> Admission | None:
        """Admit one request, or reject it by returning None."""
        # 1. Closed: admit.
        # 2. Open, or half-open and full: reject, or in observe-only mode admit without counting.
        # 3. Half-open, and enough probes are good, including those whose time ended after good
        #    headers: close. The probes keep their tickets: if a body breaks off later, it is an
        #    ordinary failure.
        # 4. The cooldown or a probe's time is over, or a place is free: admit a probe.
        if self._state is _CLOSED:
            if self._failures:
                self._note_use()
            return Admission(self._ticket() if self._is_timed else self.ledger.epoch, None)
        now = self._clock()
        if now < self._shut_until:
            return None
        if now < self._due:
            return Admission(UNCOUNTED, None)
        probation, became = self._probation, None
        if probation is None:
            probation = Probation(self.probes, self._enough, self._cooldown.probe_seconds)
            self._probation = probation
            became, self._state, self._since = _HALF_OPEN, _HALF_OPEN, now
        elif probation.is_passed(now):
            self._close()
            return Admission(self._ticket(), _CLOSED)
        self.ledger.epoch += 1
        ticket = self._ticket()
        self._generation = probation.begin(ticket, now)
        self._shut(probation.shut_until())
        return Admission(ticket, became)

    def is_probe(self, ticket: int) -> bool:
        """Return whether `ticket` belongs to a probe in flight."""
        return self._probation is not None and ticket in self._probation

    def answered(self, ticket: int) -> None:
        """Note that good headers came; the verdict follows at the end of the body."""
        if isinstance(ticket, TimedTicket):
            ticket.answer(self._clock())
        if self._probation is not None and ticket in self._probation and not self._is_slow(ticket):
            self._probation.answered(ticket)
            self._shut(self._probation.shut_until())

    def settle(self, ticket: int, verdict: Verdict) -> tuple[CircuitState, ...]:
        """Count the verdict on a request that was admitted.

        Returns:
            The states that the breaker changed to, in order; usually none.
        """
        if ticket < self._generation:  # the request began before the state changed
            return ()
        try:
            return self._settle(ticket, verdict)
        except BaseException:  # raised by a clock or a source of randomness
            self._recover(ticket)
            raise

    def _settle(self, ticket: int, verdict: Verdict) -> tuple[CircuitState, ...]:
        probation = self._probation
        if probation is None:
            return self._count(ticket, verdict)
        if probation.is_passed(self._clock()):  # case 3 of `admit`
            return self._close() + self._count(ticket, verdict)
        if ticket in probation:
            return self._judge(probation, ticket, verdict)
        return ()  # already settled

    def _count(self, ticket: int, verdict: Verdict) -> tuple[CircuitState, ...]:
        if verdict is Verdict.NONE:
            return ()
        failed = verdict is Verdict.FAILURE
        if failed:
            self._failed_at = self._wall_clock()
        if self._tally is not None:
            opens = self._tally.record(failed=failed, slow=self._is_slow(ticket))
            return self._open(self._tally.bad) if opens else ()
        if not failed:
            return self._close()
        lasts = not self.failing_seconds or self._failing_for() >= self.failing_seconds
        if lasts and self._failures + 1 >= self.failure_threshold:
            return self._open(self._failures + 1)
        self._failures += 1
        self._tell_ledger()
        self._note_use()
        return ()

    def _judge(
        self, probation: Probation, ticket: int, verdict: Verdict
    ) -> tuple[CircuitState, ...]:
        if verdict is Verdict.NONE:
            probation.give_back(ticket)
        else:
            good = verdict is Verdict.SUCCESS and not self._is_slow(ticket)
            probation.settle(ticket, good=good)
            self._failures += not good
            if verdict is Verdict.FAILURE:
                self._failed_at = self._wall_clock()
            if probation.is_passed(self._clock()):
                return self._close()
            if probation.is_failed():
                return self._open(self._failures)
        self._shut(probation.shut_until())
        return ()

    def _recover(self, ticket: int) -> None:
        probation = self._probation
        if probation is None:
            return
        if ticket in probation:
            probation.give_back(ticket)
        if probation.is_failed():  # opening it failed: the next request starts a new probation
            self._probation, self._state = None, _OPEN
            self._shut(-math.inf)
        else:
            self._shut(probation.shut_until())

    def _close(self) -> tuple[CircuitState, ...]:
        was = self._state
        if was is not _CLOSED:
            self._previous, self._state, self._since, self._probation = was, _CLOSED, None, None
            self._cooldown.reset()
            self._shut(-math.inf)
        if not self._is_clean:
            self._failures, self._failing_since = 0, math.inf
            self._tell_ledger()
        return () if was is _CLOSED else (_CLOSED,)

    def _open(self, failures: int) -> tuple[CircuitState, ...]:
        now = self._clock()
        until = now + self._cooldown.begin()
        self._previous, self._state, self._since = self._state, _OPEN, now
        self._failures = failures
        self._probation = None
        if self._tally is not None:
            self._tally.clear()
        self._shut(until)
        self.disown_results_in_flight()
        self._tell_ledger()
        return (_OPEN,)

    def _shut(self, until: float) -> None:
        self._due = until
        self._shut_until = -math.inf if self._mode is _OBSERVE_ONLY else until

    def _ticket(self) -> int:
        epoch = self.ledger.epoch
        return TimedTicket(epoch, self._clock()) if self._is_timed else epoch

    def _is_slow(self, ticket: int) -> bool:
        return isinstance(ticket, TimedTicket) and ticket.took(self._clock()) > self._slow_after
