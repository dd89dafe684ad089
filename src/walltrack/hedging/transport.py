"""A transport that sends a second attempt when the first response takes long."""

import contextlib
import time
from collections.abc import Awaitable, Callable, Hashable, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Any, Final, Literal, NoReturn

import anyio
import httpx

from walltrack.core import family, validation, waiting
from walltrack.core.budget import Budgets, RetryBudget
from walltrack.core.classification import Classify
from walltrack.core.events import Listener, RequestHedged
from walltrack.core.extensions import time_left
from walltrack.core.family import BYTES_IN_MEMORY
from walltrack.core.keyed import Keyed
from walltrack.core.methods import valid_methods
from walltrack.core.mismatch import refuse_mismatch
from walltrack.core.named import shows_defaults_by_name
from walltrack.core.naming import names_of, origin_of
from walltrack.core.statuses import DEFAULT_RETRY_STATUSES, valid_statuses
from walltrack.hedging.latency import MovingPercentile
from walltrack.hedging.pair import Pair
from walltrack.http.cancellation import OwnCancellation
from walltrack.http.classify import classified
from walltrack.http.release import guarded
from walltrack.http.waits import Waits
from walltrack.http.wrapper import WrappingTransport
from walltrack.telemetry.emit import classifier_of, emit
from walltrack.telemetry.log import log_event
from walltrack.telemetry.observed import introduce

HEDGED_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""Safe methods: sending a request twice costs the server work, but has no other effect."""

_FEW_HEDGES: Final = RetryBudget(10.0, deposit=0.05, refill=0.0)

_MAX_KEYS: Final = 1000  # the latencies of one key take about 10 KB


class HedgingTransport(WrappingTransport):
    """Send a second attempt if the first one has no response after a while, and use the faster one.

    The first good response wins: one whose status is not in `statuses`. The other attempt is
    cancelled, and its connection is freed. If one attempt fails, the result is that of the other,
    unless the first response is longer than the 64 KiB that can be kept in memory meanwhile. If
    both fail, or the first one fails before there is a second, the result is that of the first,
    unchanged. Retries after a failure are the job of `RetryTransport`, which belongs outside of
    this layer. Limits and breakers belong inside, so that they see each attempt.

    Only requests whose body is in memory are sent twice, since both attempts may read it at the
    same time. All other requests, requests for an upgrade (a WebSocket), and methods that are not
    in `methods` are sent once.

    Args:
        transport: What sends the requests; None makes an `HTTPTransport()`.
        delay: Seconds without response headers after which the second attempt is sent. "p95": the
            time within which 95 % of the last 200 requests were answered; until 20 requests were
            measured, no second attempt is sent.
        methods: Methods that may be sent twice. A request that is sent twice may be processed
            twice.
        budget: Limits the second attempts: a budget like this one for each `key`, to which each
            good response adds that needed no second attempt. A budget that is `shared`, for
            instance with a `RetryTransport` that adds to it, is used as it is. Default: capacity
            10, and 0.05 for each such response. So about 5 % more requests are sent at most, and
            almost none while requests fail or all responses are slow.
        key: Requests with the same key are measured together, and share a budget. Default: those to
            the same origin.
        statuses: Responses that are not good. Default: 429 and every 5xx.
        classify: Decides which responses are failures; a function, or several of which the first
            result that is not None counts. Where none decides, `statuses` do.
        clock: Monotonic seconds; measures latencies.
        sleep: Waits for the given number of seconds; replace it to test without waiting.
        listener: Called with `RequestHedged`; None: no events. Default: log entries.

    Raises:
        TypeError: An argument has another type.
        ValueError: `delay` is negative, infinite, NaN or an unknown name; or a status is unknown.
    """

    @shows_defaults_by_name
    def __init__(
        self,
        transport: family.Transport | None = None,
        delay: float | Literal["p95"] = "p95",
        *,
        methods: AbstractSet[str] = HEDGED_METHODS,
        budget: RetryBudget | None = None,
        key: Callable[[httpx.Request], Hashable] = origin_of,
        statuses: AbstractSet[int] = DEFAULT_RETRY_STATUSES,
        classify: Classify | Sequence[Classify] | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = waiting.sleep,
        listener: Listener | None = log_event,
    ) -> None:
        if isinstance(delay, str):
            validation.choice("delay", delay, ("p95",))
        else:
            validation.number("delay", delay)
        validation.instance("budget", budget, RetryBudget | None)
        validation.function("key", key)
        validation.function("clock", clock)
        validation.function("sleep", sleep)
        validation.listener("listener", listener)
        super().__init__(transport)
        self._delay = None if isinstance(delay, str) else delay
        self._latencies = Keyed(MovingPercentile, _MAX_KEYS)
        self._methods = valid_methods("methods", methods)
        self._is_funded_here = budget is None or not budget.shared
        self._budgets = Budgets(_FEW_HEDGES if budget is None else budget, clock)
        self._key = key
        self._statuses = valid_statuses("statuses", statuses)
        self._classifier = classifier_of(classify)
        self._clock = clock
        self._sleep = sleep
        self._listener = listener
        introduce(self, listener)

    def __repr__(self) -> str:
        delay = "p95" if self._delay is None else self._delay
        return self._shown_with(f"delay={delay!r}")

    def describe(self) -> dict[str, Any]:
        """Return the settings, and the budgets that are not full."""
        delay = "p95" if self._delay is None else self._delay
        return {"settings": {"delay": delay}, "budgets": self._budgets.describe()}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send `request`, and a second time if the response takes long."""
        if (
            request.method not in self._methods
            or type(request.stream) not in BYTES_IN_MEMORY
            or "upgrade" in request.headers
        ):
            try:
                return await self._inner.handle_async_request(request)
            except AssertionError as error:
                refuse_mismatch(request, error)
                raise
        key = self._key(request)
        delay, latencies = self._delay, None
        if delay is None:
            latencies = self._latencies.obtain(key)
            delay = latencies.value
        began = self._clock()
        try:
            # A task costs more than everything else, so none is started if it cannot help.
            if (
                delay is None
                or not self._budgets.can_afford(key)
                or time_left(request.extensions, self._clock) <= delay
            ):
                response, good = await self._send(request)
            else:
                response, good = await self._race(request, delay, began)
        except Exception as error:
            self._note(key, latencies, delay, began, good=False)
            refuse_mismatch(request, error)
            raise
        except BaseException:
            with contextlib.suppress(
                Exception
            ):  # an exception of the clock must not replace a cancellation
                self._note(key, latencies, delay, began, good=False)
            raise
        await guarded(response, partial(self._note, key, latencies, delay, began, good=good))
        return response

    async def _send(self, request: httpx.Request) -> tuple[httpx.Response, bool]:
        response = await self._inner.handle_async_request(request)
        said = None
        if self._classifier is not None:
            said = (await classified(self._classifier, request, response)).failure
        return response, response.status_code not in self._statuses if said is None else not said

    def _note(
        self,
        key: Hashable,
        latencies: MovingPercentile | None,
        delay: float | None,
        began: float,
        *,
        good: bool,
    ) -> None:
        took = self._clock() - began
        # If the second attempt won, the first would have taken at least as long.
        if latencies is not None:
            (latencies.note if good else latencies.note_at_least)(took)
        if good and self._is_funded_here and (delay is None or took <= delay):
            self._budgets.deposit(key)

    async def _race(
        self, request: httpx.Request, delay: float, began: float
    ) -> tuple[httpx.Response, bool]:
        pair, own = Pair(request, began), OwnCancellation()
        try:
            async with anyio.create_task_group() as tasks:
                both = tasks.cancel_scope
                # The first attempt runs in the task of the caller.
                tasks.start_soon(self._second, pair, delay, both, self._waits)
                await pair.first.make(self._send, both, own)
                if pair.decided or not await pair.first.keep():
                    both.cancel()
            await own.check(ended=pair.has_ended)
            await pair.release_loser()
        except BaseExceptionGroup as group:
            await pair.close()
            await own.obey_caller()  # before an exception of the caller's functions
            _raise_alone(group)
        except BaseException:
            await pair.close()
            raise
        good = pair.is_good
        return pair.outcome(), good

    async def _second(
        self, pair: Pair, delay: float, both: anyio.CancelScope, waits: Waits
    ) -> None:
        await self._sleep(delay)
        if (
            pair.first.ended is not None
            or waits.over
            or not self._budgets.withdraw(self._key(pair.request))
        ):
            return
        if self._listener is not None:
            after = self._clock() - pair.began
            emit(self._listener, RequestHedged(**names_of(pair.request), after=after))
        second = pair.add_second()
        await second.make(self._send, both, OwnCancellation())
        if second.good:
            both.cancel()
        elif pair.first.ended is None:
            await second.release()  # now, since the first may take long


def _raise_alone(group: BaseExceptionGroup) -> NoReturn:
    # Exceptions of attempts are not in this group. It contains an interrupt, or one of `sleep`.
    _, rest = group.split(anyio.get_cancelled_exc_class())
    error = (rest or group).exceptions[0]
    context = error.__context__
    try:
        raise error
    finally:
        error.__context__ = context  # not the group, which would form a reference cycle
        del error, group, rest
