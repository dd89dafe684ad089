"""A transport that repeats requests when a repetition is safe and likely to help."""

import random
import time
import uuid
from collections.abc import Awaitable, Callable, Container, Hashable, Sequence
from typing import Final, get_args

import httpx

from walltrack.core import family, validation, waiting
from walltrack.core.backoff import Random
from walltrack.core.budget import Budgets, RetryBudget
from walltrack.core.classification import UNCLASSIFIED, Classify
from walltrack.core.events import Listener, StopReason
from walltrack.core.exceptions import RequestRejectedError, WaitingRoomTimeoutError
from walltrack.core.extensions import (
    ATTEMPT,
    ATTEMPTS,
    DEADLINE,
    GATE,
    IDEMPOTENCY_KEY,
    RETRY,
    time_left,
)
from walltrack.core.family import BYTES_IN_MEMORY
from walltrack.core.mismatch import refuse_mismatch
from walltrack.core.named import shows_defaults_by_name
from walltrack.core.naming import origin_of
from walltrack.core.waiting import time_left_to_caller
from walltrack.http.body import ReadAhead, reading_ahead, take_body
from walltrack.http.classify import classified, classified_error
from walltrack.http.release import discard, release
from walltrack.http.wrapper import WrappingTransport
from walltrack.retry.call import Call
from walltrack.retry.outgoing import Outgoing
from walltrack.retry.policy import RetryPolicy, Wait
from walltrack.telemetry.emit import classifier_of, emit
from walltrack.telemetry.log import log_event

MAX_RESPONSE_BYTES: Final = 100 * 1024 * 1024

_PER_CALL: Final = frozenset({RETRY, GATE, DEADLINE})


def random_key() -> str:
    """Return a new Idempotency-Key."""
    # From the operating system, not from the injected RNG: two processes that seed theirs alike
    # would send the same keys, and a server would drop what the second one asks.
    return str(uuid.uuid4())


class RetryTransport(WrappingTransport):
    """Repeat a request that failed in a way that another attempt may mend.

    When retries end, the caller gets exactly what came last: the response as it is, or the
    exception. `response.extensions["walltrack.attempts"]` is the number of attempts, and
    `extensions["walltrack.attempt"]` of each attempt's request its own. A request may bring its own
    policy, by `extensions={"walltrack.retry": RetryPolicy(...)}`; False asks for a single attempt.

    Args:
        transport: What sends the requests. Default: an `HTTPTransport()`.
        policy: What is retried, how often, and after how long.
        budget: What retries are paid from: a budget like this one for each `key`, or this very one
            if it is `shared`. None: they are free.
        key: Requests with the same key share a budget. Default: those to the same origin.
        body: Which response bodies are read inside the attempt, so that a connection that breaks in
            the middle of one is retried like any other. "small": those with a Content-Length of at
            most 64 KiB. "whole": all, so that also a chunked body that breaks off is retried, and
            nothing is streamed. "stream": none. A request's
            `extensions={"walltrack.whole_body": True}` stands for "whole", False for "stream".
            Never read ahead are `text/event-stream`, switched protocols, and requests with
            `"walltrack.retry": False`.
        max_response_bytes: The longest body that is read whole, in bytes as they come over the
            wire; decompressed it may be much longer. Default: 100 MiB.
        classify: Says what the outcomes of one API mean, where that differs from the default; of
            several functions the first one that says something wins. See `walltrack.dialects`.
        listener: Called with `RetryScheduled` and `RetryStopped`; None for no events. Default: log
            them.
        clock: Monotonic seconds, to measure a deadline given as a number by.
        sleep: Waits for the given seconds; replace it to test without waiting.
        rng: Source of the backoff's jitter: the `random` module, or a `random.Random`.
        wall_clock: Seconds since the epoch, to measure a Retry-After date from.
        new_key: Makes the value of an Idempotency-Key. Default: a random UUID.

    Raises:
        TypeError: An argument is of another type.
        ValueError: `max_response_bytes` is below 1, or `body` is another word.
    """

    @shows_defaults_by_name
    def __init__(
        self,
        transport: family.Transport | None = None,
        *,
        policy: RetryPolicy = RetryPolicy(),
        budget: RetryBudget | None = None,
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
        self._short = self._budgets.short  # empty while all is well, and then no key is built
        self._key = key
        self._body: ReadAhead = body
        self._max_response_bytes = max_response_bytes
        self._listener = listener
        self._sleep = sleep
        self._rng = rng
        self._wall_clock = wall_clock

    def __repr__(self) -> str:
        return self._shown_with(f"policy={self._policy!r}")

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send `request`, and again where the policy says so.

        Raises:
            TypeError: The request's "walltrack.retry" is neither a RetryPolicy nor False, or its
                "walltrack.deadline" is not a deadline; nothing was sent.
            ResponseTooLargeError: The body is to be read whole, and is too long.
            TransportClosedError: The transport was closed while the call waited for a retry.
        """
        suspects: Container[int] = self._suspects
        if not _PER_CALL.isdisjoint(request.extensions):
            request, suspects = self._outgoing.prepare_by_extensions(request)
        # Plain: it acts once however often it is sent, and its body is in memory.
        elif (
            request.method not in self._idempotent
            or request.stream.__class__ not in BYTES_IN_MEMORY
        ):
            request, suspects = self._outgoing.prepare(request)
        request.extensions[ATTEMPT] = 1
        waits = self._waits
        response = None
        try:
            response = await self._inner.handle_async_request(request)
            if response.status_code not in suspects:
                if not response.is_closed and (
                    reading := reading_ahead(
                        request, response, self._body, self._max_response_bytes
                    )
                ):
                    await reading
                response.extensions[ATTEMPTS] = 1
                if self._short:
                    self._budgets.deposit(self._key(request))
                return response
            call = Call(request, self._outgoing.policy_for(request), response, waits)
        except WaitingRoomTimeoutError as error:  # it is retried as the PoolTimeout that it is
            call = Call(request, self._outgoing.policy_for(request), error, waits)
        except RequestRejectedError:
            raise
        except BaseException as error:
            await discard(response)
            if not isinstance(error, Exception):
                raise
            refuse_mismatch(request, error)
            call = Call(request, self._outgoing.policy_for(request), error, waits)
        return await self._retry(call)

    async def _retry(self, call: Call) -> httpx.Response:
        try:
            await self._conclude(call)
            while wait := self._decide(call):
                if call.response is not None:
                    await release(call.request, call.response)
                if self._listener is not None:
                    emit(self._listener, call.scheduled(wait))
                call.begin(wait.backoff)  # before the wait: what ended the last attempt is dropped
                # Another caller may have opened the circuit meanwhile; then the attempt is rejected
                # now.
                if wait.delay > 0.0 and not call.is_shut():
                    with call.waits.ended_by_closing(call.request):
                        await self._sleep(wait.delay)
                else:  # it may have been closed while the last response was discarded
                    call.waits.raise_if_over(call.request)
                await self._attempt(call)
            return await self._deliver(call)
        except BaseException:
            await discard(call.response)
            raise

    async def _attempt(self, call: Call) -> None:
        try:
            call.end(await self._inner.handle_async_request(call.request))
        except Exception as error:  # noqa: BLE001 - what is not retried is raised again, as it came
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
                    await self._take_body(call, response)
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

    def _decide(self, call: Call) -> Wait | None:
        call.gate = call.request.extensions.pop(GATE, None)
        if not call.is_worth_retrying:
            return None
        left = min(time_left(call.request.extensions), time_left_to_caller())
        last = call.last_attempt(self._wall_clock, shut=call.is_shut(), time_left=left)
        decision = call.policy.decide(last, self._rng)
        if isinstance(decision, Wait) and call.waits.over:
            decision = StopReason.TRANSPORT_CLOSED
        if isinstance(decision, Wait) and not self._budgets.withdraw(self._key(call.request)):
            decision = StopReason.BUDGET_EMPTY
        if isinstance(decision, Wait):
            return decision
        expected = call.policy.max_retries > 0
        if self._listener is not None and expected:
            emit(self._listener, call.stopped(decision))
        return None

    async def _deliver(self, call: Call) -> httpx.Response:
        """Hand over exactly what came last."""
        ended = call.ended
        try:
            if ended is not None and not isinstance(ended, Exception):
                await self._take_body(call, ended)
                ended.extensions[ATTEMPTS] = call.attempts
                if call.idempotency_key is not None:
                    ended.extensions[IDEMPOTENCY_KEY] = call.idempotency_key
                if self._short and not (call.has_failed or call.is_worth_retrying):
                    self._budgets.deposit(self._key(call.request))
                return ended
            assert ended is not None  # noqa: S101 - for the type checker: an attempt has ended
            call.ended = None  # see below
            raise ended
        finally:
            # An exception and a frame in its own traceback that hold each other would wait for the
            # garbage collector, request and all.
            del ended

    async def _take_body(self, call: Call, response: httpx.Response) -> None:
        await take_body(call.request, response, self._body, self._max_response_bytes)
