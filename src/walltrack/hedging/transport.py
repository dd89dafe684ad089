"""A transport that asks a second time when the first answer takes long."""

import contextlib
import time
from collections.abc import Awaitable, Callable, Hashable, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Final, Literal, NoReturn

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
from walltrack.core.naming import origin_of, path_of, service_of
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

HEDGED_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that ask for nothing to be done: to ask twice at once costs work, and that is all."""

_FEW_HEDGES: Final = RetryBudget(10.0, deposit=0.05, refill=0.0)

_MAX_KEYS: Final = 1000  # latencies of one take some 10 KB


class HedgingTransport(WrappingTransport):
    """Sends a request a second time when the first attempt has not answered after a while.

    The first good answer wins: one with a status that is not in `statuses`. The other attempt is
    cancelled, and its connection freed. If one fails, the other is waited for, unless the first has
    answered at more length than can be kept meanwhile, 64 KiB; if both do, or the first does before
    there is a second, the first one's outcome comes back, as it is. What asks
    again after a failure is `RetryTransport`, which belongs outside of this; limits and breakers
    belong inside, where they see each attempt.

    Only requests whose body is in memory are sent twice, as two may be read at once. All others,
    requests for an upgrade (a WebSocket), and methods not in `methods` pass straight through.

    Args:
        transport: What sends the requests; None makes an `HTTPTransport()`.
        delay: After how many seconds without an answer (its headers) the second attempt is sent.
            "p95": after as long as 95 % of the last 200 requests took; before 20 were measured,
            no request is sent twice.
        methods: Requests with these may be sent twice. Another one of a method that may act twice
            will, sooner or later.
        budget: What each second attempt is paid from: a budget like this one for each `key`, funded
            by good answers that needed no second attempt; or this very one if it is `shared`, as
            with a `RetryTransport`, which funds it. Default: one of 10 to which such an answer adds
            0.05. So at most some 5 % more requests are sent, and next to none while answers fail or
            everything is slow.
        key: Requests with the same key are measured together, and share a budget. Default: those to
            the same origin.
        statuses: Responses that are not good. Default: 429 and every 5xx.
        classify: Says which responses are failures, where that differs from `statuses`; of several
            functions the first one that says something wins.
        clock: Monotonic seconds; latencies are measured by it.
        sleep: Waits for the given seconds; replace it to test without waiting.
        listener: Called with `RequestHedged`; None for no events. Default: a log entry each.

    Raises:
        TypeError: An argument is of another type.
        ValueError: `delay` is negative, infinite or NaN, or no known name; or a status is unknown.
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

    def __repr__(self) -> str:
        delay = "p95" if self._delay is None else self._delay
        return self._shown_with(f"delay={delay!r}")

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send `request`, and once more if the answer takes long."""
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
            # A task costs more than all the rest: none is made that cannot be of use.
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
            with contextlib.suppress(Exception):  # a clock's must not replace a cancellation
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
                # The first attempt takes no task of its own: it runs in the caller's.
                tasks.start_soon(self._second, pair, delay, both, self._waits)
                await pair.first.make(self._send, both, own)
                if pair.decided or not await pair.first.keep():
                    both.cancel()
            await own.check(ended=pair.has_ended)
            await pair.release_loser()
        except BaseExceptionGroup as group:
            await pair.close()
            await own.obey_caller()  # before what a function of the caller's raised
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
            request, after = pair.request, self._clock() - pair.began
            names = service_of(request), request.method, path_of(request)
            emit(self._listener, RequestHedged(*names, after))
        second = pair.add_second()
        await second.make(self._send, both, OwnCancellation())
        if second.good:
            both.cancel()
        elif pair.first.ended is None:
            await second.release()  # at once: the first may take long


def _raise_alone(group: BaseExceptionGroup) -> NoReturn:
    # What an attempt raises is an outcome, and in no group: this is an interrupt, or of `sleep`.
    _, rest = group.split(anyio.get_cancelled_exc_class())
    error = (rest or group).exceptions[0]
    context = error.__context__
    try:
        raise error
    finally:
        error.__context__ = context  # not the group, which holds it
        del error, group, rest
