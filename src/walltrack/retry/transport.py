"""A transport that asks again when it helps, and only then."""

import random
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Final

import httpx

from walltrack.core import family, validation, waiting
from walltrack.core.backoff import Random
from walltrack.core.budget import RetryBudget
from walltrack.core.events import Listener, StopReason
from walltrack.core.exceptions import RequestRejectedError
from walltrack.core.extensions import ATTEMPTS, GATE, RETRY
from walltrack.core.family import BYTES_IN_MEMORY
from walltrack.core.outcome import FAILURE_STATUSES, is_retryable
from walltrack.http.body import reading_ahead, take_body
from walltrack.http.release import release
from walltrack.http.wrapper import WrappingTransport
from walltrack.retry.call import Call, outgoing
from walltrack.retry.policy import IDEMPOTENT_METHODS, RetryPolicy, Wait
from walltrack.telemetry.emit import emit
from walltrack.telemetry.log import log_event

MAX_RESPONSE_BYTES: Final = 100 * 1024 * 1024

_NO_RETRIES: Final = RetryPolicy(max_retries=0)


def _new_key() -> str:
    # From the operating system, not from the injected RNG: two processes that seed theirs alike
    # would send the same keys, and a server would drop what the second one asks.
    return str(uuid.uuid4())


class RetryTransport(WrappingTransport):
    """Sends a request again when it failed in a way that another attempt may mend.

    At the end of the line the caller gets exactly what came last, the response as it is or the
    exception; `response.extensions["walltrack.attempts"]` tells how many attempts it took. A
    request's `extensions={"walltrack.retry": RetryPolicy(...)}` is its own policy, and False a
    single attempt.

    A body of up to 1 MiB by its Content-Length is read inside the attempt, so that a connection
    that dies in the middle of it is retried like any other; so is one of any length for a caller
    who wants the whole, by `extensions={"walltrack.whole_body": True}`. Others stream through.

    Args:
        transport: What sends the requests; None makes an `AsyncHTTPTransport()`.
        policy: What is retried, how often, and after how long.
        budget: What all retries through this transport are paid from; None: they are free.
        max_response_bytes: The longest body that is read whole for a caller who wants it so, in
            bytes as they come over the wire; decompressed it may be much longer. Default: 100 MiB.
        listener: Hears of `RetryScheduled` and `RetryStopped`; None: nobody does. Default: a
            structlog entry each.
        sleep: Waits for so many seconds; replace it to test without waiting.
        rng: Source of the backoff's jitter: the `random` module, or a `random.Random`.
        wall_clock: Seconds since the epoch, to measure a Retry-After date from.
        new_key: Makes the value of an Idempotency-Key. Default: a random UUID.

    Raises:
        TypeError: `policy` is no RetryPolicy, or `max_response_bytes` no whole number.
        ValueError: `max_response_bytes` is below 1.
    """

    def __init__(
        self,
        transport: family.Transport | None = None,
        *,
        policy: RetryPolicy = RetryPolicy(),
        budget: RetryBudget | None = None,
        max_response_bytes: int = MAX_RESPONSE_BYTES,
        listener: Listener | None = log_event,
        sleep: Callable[[float], Awaitable[None]] = waiting.sleep,
        rng: Random = random,
        wall_clock: Callable[[], float] = time.time,
        new_key: Callable[[], str] = _new_key,
    ) -> None:
        validation.instance("policy", policy, RetryPolicy)
        validation.instance("budget", budget, RetryBudget | None)
        validation.function("sleep", sleep)
        validation.integer("max_response_bytes", max_response_bytes, minimum=1)
        super().__init__(transport)
        self._policy = policy
        self._max_response_bytes = max_response_bytes
        self._budget = budget
        self._listener = listener
        self._sleep = sleep
        self._rng = rng
        self._wall_clock = wall_clock
        self._new_key = new_key

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._inner!r}, max_retries={self._policy.max_retries})"

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send `request`, and again where the policy says so.

        Raises:
            TypeError: The request's "walltrack.retry" is neither a RetryPolicy nor False.
            ResponseTooLargeError: The body is to be read whole, and is too long.
        """
        policy = self._policy
        extensions = request.extensions
        if RETRY in extensions:
            policy = _policy_of_call(request, policy)
        if GATE in extensions:  # of another call: the same request was sent before
            del extensions[GATE]
        # Plain: it acts once however often it is sent, and its body is in memory.
        if request.method not in IDEMPOTENT_METHODS or type(request.stream) not in BYTES_IN_MEMORY:
            request = outgoing(request, policy, self._new_key)
        try:
            response = await self._inner.handle_async_request(request)
            if response.status_code not in policy.statuses:
                if not response.is_closed and (
                    reading := reading_ahead(request, response, self._max_response_bytes)
                ):
                    await reading
                response.extensions[ATTEMPTS] = 1
                if self._budget is not None:
                    _fund(self._budget, response)
                return response
        except RequestRejectedError:
            raise
        except Exception as error:  # noqa: BLE001 - what is not retried is raised again, as it came
            call = Call(request, policy, error)
        else:
            call = Call(request, policy, response)
        return await self._retry(call)

    async def _retry(self, call: Call) -> httpx.Response:
        while wait := self._decide(call):
            if call.response is not None:
                await release(call.request, call.response)
            if self._listener is not None:
                emit(self._listener, call.scheduled(wait))
            call.begin(wait.backoff)  # before the wait: what ended the last attempt is let go of
            # Another caller may have opened the circuit meanwhile; then the attempt is refused now.
            if wait.delay > 0.0 and not call.is_shut():
                await self._sleep(wait.delay)
            try:
                response = await self._inner.handle_async_request(call.request)
                if response.status_code not in call.policy.statuses:
                    await take_body(call.request, response, self._max_response_bytes)
                    response.extensions[ATTEMPTS] = call.attempts
                    if self._budget is not None:
                        _fund(self._budget, response)
                    return response
            except Exception as error:  # noqa: BLE001 - as above
                call.end(error)
            except BaseException:
                call.cancel()
                raise
            else:
                call.end(response)
        return await self._deliver(call)

    def _decide(self, call: Call) -> Wait | None:
        call.gate = call.request.extensions.pop(GATE, None)
        if call.error is not None and not is_retryable(call.error, call.policy.exceptions):
            return None
        last = call.last_attempt(self._wall_clock, shut=call.is_shut())
        decision = call.policy.decide(last, self._rng)
        if isinstance(decision, Wait) and self._budget is not None and not self._budget.withdraw():
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
        call.ended = None  # see below
        try:
            if ended is not None and not isinstance(ended, Exception):
                await take_body(call.request, ended, self._max_response_bytes)
                ended.extensions[ATTEMPTS] = call.attempts
                return ended
            assert ended is not None  # noqa: S101 - for the type checker: an attempt has ended
            raise ended
        finally:
            # An exception and a frame in its own traceback that hold each other would wait for the
            # garbage collector, request and all.
            del ended


def _fund(budget: RetryBudget, response: httpx.Response) -> None:
    if response.status_code not in FAILURE_STATUSES:  # whatever the policy retries
        budget.deposit()


def _policy_of_call(request: httpx.Request, default: RetryPolicy) -> RetryPolicy:
    given: object = request.extensions[RETRY]
    if given is None:
        return default
    if given is False:
        return _NO_RETRIES
    if isinstance(given, RetryPolicy):
        return given
    raise TypeError(f"extensions[{RETRY!r}] must be a RetryPolicy or False, got {given!r}")
