"""A transport that asks again when it helps, and only then."""

import random
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import anyio
import httpx

from walltrack.core.extensions import ATTEMPTS, GATE, REPORT, RETRY, CallReport
from walltrack.resilience.backoff import Random, parse_retry_after
from walltrack.resilience.budget import RetryBudget
from walltrack.resilience.events import Listener, RetryScheduled, RetryStopped, StopReason
from walltrack.resilience.outcome import Delivery, delivery_of, is_retryable
from walltrack.resilience.retry import Attempt, RetryPolicy, Wait
from walltrack.telemetry.emit import emit
from walltrack.telemetry.log import log_event
from walltrack.transports.release import release
from walltrack.transports.requests import can_replay, path_of, service_of, with_header
from walltrack.transports.wrapper import WrappingTransport

_KEY_HEADER: Final = "Idempotency-Key"
_NO_RETRIES: Final = RetryPolicy(max_retries=0)


def _new_key() -> str:
    # From the operating system, not from the injected RNG: two processes that seed theirs alike
    # would send the same keys, and a server would drop what the second one asks.
    return str(uuid.uuid4())


@dataclass(slots=True)
class _Call:
    """A call whose last attempt failed, with a status or an exception."""

    request: httpx.Request
    policy: RetryPolicy
    ended: httpx.Response | Exception | None  # None while the next attempt is under way
    attempts: int = 1
    backoff: float = 0.0

    @property
    def response(self) -> httpx.Response | None:
        return self.ended if isinstance(self.ended, httpx.Response) else None

    @property
    def reason(self) -> str:
        return (
            type(self.ended).__name__ if self.response is None else str(self.response.status_code)
        )

    @property
    def delivery(self) -> Delivery:
        return delivery_of(self.ended) if isinstance(self.ended, Exception) else Delivery.ANSWERED


class RetryTransport(WrappingTransport):
    """Sends a request again when it failed in a way that another attempt may mend.

    At the end of the line the caller gets exactly what came last, the response as it is or the
    exception; `response.extensions["walltrack.attempts"]` tells how many attempts it took. A
    request's `extensions={"walltrack.retry": RetryPolicy(...)}` is its own policy, and False a
    single attempt.

    Args:
        transport: What sends the requests; None makes an `httpx.AsyncHTTPTransport()`.
        policy: What is retried, how often, and after how long.
        budget: What all retries through this transport are paid from; None: they are free.
        listener: Hears of `RetryScheduled` and `RetryStopped`; None: nobody does. Default: a
            structlog entry each.
        sleep: Waits for so many seconds; replace it to test without waiting.
        rng: Source of the backoff's jitter: the `random` module, or a `random.Random`.
        wall_clock: Seconds since the epoch, to measure a Retry-After date from.
        new_key: Makes the value of an Idempotency-Key. Default: a random UUID.

    Raises:
        TypeError: `policy` is no RetryPolicy.
    """

    def __init__(
        self,
        transport: httpx.AsyncBaseTransport | None = None,
        *,
        policy: RetryPolicy = RetryPolicy(),
        budget: RetryBudget | None = None,
        listener: Listener | None = log_event,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        rng: Random = random,
        wall_clock: Callable[[], float] = time.time,
        new_key: Callable[[], str] = _new_key,
    ) -> None:
        if not isinstance(policy, RetryPolicy):
            raise TypeError(f"policy must be a RetryPolicy, got {policy!r}")
        super().__init__(transport)
        self._policy = policy
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
        """
        policy = self._policy
        if RETRY in request.extensions:
            policy = _policy_of_call(request, policy)
        if policy.wants_key(request.method) and _KEY_HEADER not in request.headers:
            request = with_header(request, _KEY_HEADER, self._new_key())
        try:
            response = await self._inner.handle_async_request(request)
        except policy.exceptions as error:
            call = _Call(request, policy, error)
        else:
            if response.status_code not in policy.statuses:
                return self._succeeded(response, 1)
            call = _Call(request, policy, response)
        return await self._retry(call)

    async def _retry(self, call: _Call) -> httpx.Response:
        report = call.request.extensions.get(REPORT)
        while wait := self._decide(call):
            if call.response is not None:
                await release(call.response)
            self._tell_scheduled(call, wait)
            call.ended = None
            await self._sleep(wait.delay)
            call.backoff = wait.backoff
            call.attempts += 1
            if isinstance(report, CallReport):
                report.attempts = call.attempts
            try:
                call.ended = await self._inner.handle_async_request(call.request)
            except call.policy.exceptions as error:
                call.ended = error
            else:
                if call.ended.status_code not in call.policy.statuses:
                    return self._succeeded(call.ended, call.attempts)
        return _deliver(call)

    def _succeeded(self, response: httpx.Response, attempts: int) -> httpx.Response:
        if self._budget is not None:
            self._budget.deposit()
        response.extensions[ATTEMPTS] = attempts
        return response

    def _decide(self, call: _Call) -> Wait | None:
        gate = call.request.extensions.pop(GATE, None)
        if isinstance(call.ended, Exception) and not is_retryable(
            call.ended, call.policy.exceptions
        ):
            return None
        response = call.response
        decision = call.policy.decide(
            Attempt(
                number=call.attempts,
                method=call.request.method,
                delivery=call.delivery,
                status=None if response is None else response.status_code,
                retry_after=None if response is None else self._retry_after(response),
                replayable=can_replay(call.request),
                shut=gate is not None and gate.shut_for() > 0.0,
                previous_delay=call.backoff,
            ),
            self._rng,
        )
        if isinstance(decision, Wait) and self._budget is not None and not self._budget.withdraw():
            decision = StopReason.BUDGET_EMPTY
        if isinstance(decision, Wait):
            return decision
        self._tell_stopped(call, decision)
        return None

    def _retry_after(self, response: httpx.Response) -> float | None:
        return parse_retry_after(response.headers.get_list("retry-after"), self._wall_clock())

    def _tell_scheduled(self, call: _Call, wait: Wait) -> None:
        event = RetryScheduled(
            service=service_of(call.request),
            method=call.request.method,
            path=path_of(call.request),
            attempt=call.attempts,
            max_retries=call.policy.max_retries,
            delay=wait.delay,
            reason=call.reason,
        )
        emit(self._listener, event)

    def _tell_stopped(self, call: _Call, because: StopReason) -> None:
        if call.policy.max_retries == 0:  # turned off: nobody expected a retry
            return
        event = RetryStopped(
            service=service_of(call.request),
            method=call.request.method,
            path=path_of(call.request),
            attempt=call.attempts,
            max_retries=call.policy.max_retries,
            reason=call.reason,
            because=because,
        )
        emit(self._listener, event)


def _deliver(call: _Call) -> httpx.Response:
    """Hand over exactly what came last."""
    # The call lets go of it: an exception and a frame in its own traceback that hold each other
    # would wait for the garbage collector, request and all.
    ended, call.ended = call.ended, None
    try:
        if isinstance(ended, Exception):
            raise ended
        assert ended is not None  # noqa: S101 - for the type checker: an attempt has ended
        ended.extensions[ATTEMPTS] = call.attempts
        return ended
    finally:
        del ended


def _policy_of_call(request: httpx.Request, default: RetryPolicy) -> RetryPolicy:
    given: object = request.extensions[RETRY]
    if given is None:
        return default
    if given is False:
        return _NO_RETRIES
    if isinstance(given, RetryPolicy):
        return given
    raise TypeError(f"extensions[{RETRY!r}] must be a RetryPolicy or False, got {given!r}")
