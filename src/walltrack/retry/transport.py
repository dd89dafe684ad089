"""A transport that retries requests when this is safe and likely to help."""

import random
import time
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from typing import Any, Final, get_args

import httpx

from walltrack.core import family, validation, waiting
from walltrack.core.backoff import Random
from walltrack.core.budget import Budgets, RetryBudget
from walltrack.core.classification import UNCLASSIFIED, Classify
from walltrack.core.events import Listener
from walltrack.core.exceptions import CircuitBreakerOpenError, WaitingRoomTimeoutError
from walltrack.core.extensions import ATTEMPT, ATTEMPTS
from walltrack.core.family import BYTES_IN_MEMORY
from walltrack.core.mismatch import refuse_mismatch
from walltrack.core.named import shows_defaults_by_name
from walltrack.core.naming import origin_of
from walltrack.core.observer import Reading
from walltrack.http.body import ReadAhead, reading_ahead, take_body
from walltrack.http.classify import classified, classified_error
from walltrack.http.release import discard, guarded, release
from walltrack.http.wrapper import WrappingTransport
from walltrack.retry.call import Call
from walltrack.retry.decisions import Decisions
from walltrack.retry.outgoing import PER_CALL, Outgoing, random_key
from walltrack.retry.policy import RetryPolicy
from walltrack.retry.reports import Reports
from walltrack.telemetry.emit import classifier_of
from walltrack.telemetry.log import log_event
from walltrack.telemetry.observed import introduce

MAX_RESPONSE_BYTES: Final = 100 * 1024 * 1024


class RetryTransport(WrappingTransport):
    """Retry failed requests if another attempt is safe and likely to succeed.

    When retries end, the caller gets the last response, or the last exception, unchanged.
    `response.extensions` have the number of attempts ("walltrack.attempts"), and why there was no
    other ("walltrack.stop_reason"); a note of the exception (PEP 678) states both. The request of
    each attempt has its number in `extensions["walltrack.attempt"]`. A request can have its own
    policy: `extensions={"walltrack.retry": RetryPolicy(...)}`; False allows a single attempt.

    Args:
        transport: What sends the requests. Default: an `HTTPTransport()`.
        policy: What is retried, how often, and after how long.
        budget: Limits the retries: a budget like this one for each `key`, or this object for all if
            it is `shared`. Default: 100 retries, or 10 after timeouts, and 3 for each success. In a
            simulated brownout of 10 s (10 clients) 64 % of the calls succeed with it, and 11 % with
            None: no limit.
        key: Requests with the same key share a budget. Default: those to the same origin.
        body: Which response bodies are read inside the attempt, so that a connection that breaks in
            the middle of one is retried like any other failure. "small": those with a
            Content-Length of at most 64 KiB. "whole": all, so that nothing is streamed. "stream":
            none. `extensions={"walltrack.whole_body": True}` of a request means "whole", False
            means "stream". `text/event-stream`, switched protocols and requests with
            `"walltrack.retry": False` are never read ahead.
        max_response_bytes: The longest body that is read whole, in bytes as received; decompressed
            it can be much longer. Default: 100 MiB.
        classify: Decides what the outcomes of one API mean: a function, or several, of which the
            first result other than None counts; else the outcome table. See `walltrack.dialects`.
        listener: Called with `RetryScheduled`, `RetryStopped` and `CallSucceededAfterRetries`;
            None: no events. Default: log entries.
        clock: Monotonic seconds, for a deadline that is given as a number.
        sleep: Waits for the given number of seconds; replace it to test without waiting.
        rng: Source of the backoff's jitter: the `random` module, or a `random.Random`.
        wall_clock: Seconds since the epoch, for a Retry-After with a date.
        new_key: Makes the value of an Idempotency-Key. Default: a random UUID.

    Raises:
        TypeError: An argument has another type.
        ValueError: `max_response_bytes` is below 1, or `body` is an unknown name.
    """

    @shows_defaults_by_name
    def __init__(
        self,
        transport: family.Transport | None = None,
        *,
        policy: RetryPolicy = RetryPolicy(),
        budget: RetryBudget | None = RetryBudget(deposit=3, refused_cost=0.1, timeout_cost=10),
        key: Callable[[httpx.Request], Hashable] = origin_of,
        body: ReadAhead = "small",
        max_response_bytes: int = MAX_RESPONSE_BYTES,
        classify: Classify | Sequence[Classify] | None = None,
        listener: Listener | None = log_event,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = waiting.sleep,
        rng: Random = random,
        wall_clock: Callable[[], float] = time.time,
        new_key: Callable[[], str] = random_key,
    ) -> None:
        validation.instance("policy", policy, RetryPolicy)
        validation.instance("budget", budget, RetryBudget | None)
        validation.function("key", key)
        validation.choice("body", body, get_args(ReadAhead))
        validation.integer("max_response_bytes", max_response_bytes, minimum=1)
        for name, function in (("clock", clock), ("sleep", sleep), ("wall_clock", wall_clock)):
            validation.function(name, function)
        validation.function("new_key", new_key)
        validation.listener("listener", listener)
        super().__init__(transport)
        self._classifier = classifier_of(classify)
        self._policy = policy
        self._idempotent = policy.idempotent_methods
        self._outgoing = Outgoing(
            policy, new_key, clock, is_classified=self._classifier is not None
        )
        self._suspects = self._outgoing.suspects
        self._budgets = Budgets(budget, clock)
        self._short = self._budgets.short  # empty while all is well
        self._reports = Reports(listener, clock)
        self._decisions = Decisions(self._budgets, key, self._reports, rng, wall_clock)
        self._reading: tuple[ReadAhead, int] = body, max_response_bytes
        self._sleep = sleep
        introduce(self, listener)

    def __repr__(self) -> str:
        return self._shown_with(f"policy={self._policy!r}")

    def describe(self) -> dict[str, Any]:
        """Return the settings, and the budgets that are not full."""
        return {"settings": self._policy.describe(), "budgets": self._budgets.describe()}

    def readings(self) -> Iterable[Reading]:
        """Return the balances of the budgets."""
        return self._budgets.readings()

    async def handle_async_request(  # noqa: C901 - a healthy call takes one frame
        self, request: httpx.Request
    ) -> httpx.Response:
        """Send `request`, and retry it according to the policy.

        Raises:
            TypeError: The request's "walltrack.retry" is neither a RetryPolicy nor False, or its
                "walltrack.deadline" is not a deadline; nothing was sent.
            ResponseTooLargeError: The body has to be read whole, and is too long.
            TransportClosedError: The transport was closed while the call waited for a retry.
        """
        sent, suspects = request, self._suspects
        if not PER_CALL.isdisjoint(request.extensions):
            sent, suspects = self._outgoing.prepare_by_extensions(request)
        # Plain: it acts once however often it is sent, and its body is in memory.
        elif (
            request.method not in self._idempotent
            or request.stream.__class__ not in BYTES_IN_MEMORY
        ):
            sent, suspects = self._outgoing.prepare(request)
        sent.extensions[ATTEMPT] = 1
        waits = self._waits
        try:
            response = await self._inner.handle_async_request(sent)
            if response.status_code not in suspects:
                if not response.is_closed:
                    reading = reading_ahead(sent, response, *self._reading)
                    if reading:
                        await reading  # if it fails, it closes the response
                    else:
                        self._reports.watch(sent, response, 1, self._policy)
                response.extensions[ATTEMPTS] = 1
                if self._short:
                    await guarded(response, self._decisions.fund, sent)
                return response
            call = Call(request, sent, self._outgoing.policy_for(sent), response, waits)
        except WaitingRoomTimeoutError as error:  # it is retried as the PoolTimeout that it is
            call = Call(request, sent, self._outgoing.policy_for(sent), error, waits)
        except CircuitBreakerOpenError:
            raise
        except BaseException as error:
            if not self._reports.ended_attempt(error, sent, self._policy):
                raise
            refuse_mismatch(sent, error)
            call = Call(request, sent, self._outgoing.policy_for(sent), error, waits)
        return await self._retry(call)

    async def _retry(self, call: Call) -> httpx.Response:
        try:
            await self._conclude(call)
            while wait := self._decisions.after_attempt(call):
                if call.response is not None:
                    await release(call.request, call.response)
                self._reports.scheduled(call, wait)
                call.begin(wait.backoff)  # before the wait: what ended the last attempt is dropped
                # Another caller may have opened the circuit meanwhile: then it is rejected now.
                if wait.delay > 0.0 and not call.is_shut():
                    with call.waits.ended_by_closing(call.request):
                        await self._sleep(wait.delay)
                else:  # it may have been closed while the last response was discarded
                    call.waits.raise_if_over(call.request)
                await self._attempt(call)
            return await self._deliver(call)
        except BaseException as error:
            await discard(call.response)
            self._reports.lost(call, error)
            raise

    async def _attempt(self, call: Call) -> None:
        call.is_waiting = False
        try:
            call.end(await self._inner.handle_async_request(call.request))
        except Exception as error:  # noqa: BLE001 - as above
            call.end(error)
        except BaseException:
            call.cancel()
            raise
        await self._conclude(call)

    async def _conclude(self, call: Call) -> None:
        """Find out what the end of an attempt means; a response that is final is read with it."""
        said = UNCLASSIFIED
        if (response := call.response) is not None:
            try:
                if self._classifier is not None:
                    said = call.said = await classified(self._classifier, call.request, response)
                if not call.is_worth_retrying:
                    await take_body(call.request, response, *self._reading)
            except Exception as error:  # noqa: BLE001 - as above
                await discard(response)
                call.end(error)
                said = UNCLASSIFIED
            except BaseException:
                call.cancel()
                raise
        if self._classifier is not None and call.error is not None:
            said = classified_error(self._classifier, call.request, call.error)
        call.conclude(said)

    async def _deliver(self, call: Call) -> httpx.Response:
        """Return the last response, or raise the last exception, unchanged."""
        call.leave_notes()
        ended = call.ended
        try:
            if ended is not None and not isinstance(ended, Exception):
                await take_body(call.request, ended, *self._reading)
                call.describe_on(ended)
                if not (call.has_failed or call.is_worth_retrying):
                    self._decisions.fund(call.request)
                if not ended.is_closed:
                    self._reports.watch_last(call, ended)
                return ended
            assert ended is not None  # noqa: S101 - for the type checker: an attempt has ended
            call.ended = None  # see below
            raise ended
        finally:
            # An exception and a frame in its own traceback that hold each other would wait for the
            # garbage collector, request and all.
            del ended
