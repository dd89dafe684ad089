"""A transport in which callers that meet an open circuit wait for its next probe."""

import time
from collections.abc import Callable, Hashable, Iterable
from typing import Any

import anyio
import anyio.lowlevel
import httpx

from walltrack.core import family, validation
from walltrack.core.events import Listener
from walltrack.core.exceptions import CircuitBreakerOpenError
from walltrack.core.extensions import GATE, WAITS_AT_GATE, Gate
from walltrack.core.loops import moved, running
from walltrack.core.mismatch import refuse_mismatch
from walltrack.core.named import shows_defaults_by_name
from walltrack.core.naming import origin_of
from walltrack.core.observer import Reading
from walltrack.http.release import guarded
from walltrack.http.waits import Waits
from walltrack.http.watched_body import WatchedBody
from walltrack.http.wrapper import WrappingTransport
from walltrack.telemetry.log import log_event
from walltrack.telemetry.observed import introduce
from walltrack.waiting_room.patience import Patience, patience_of
from walltrack.waiting_room.reporting import Reporter
from walltrack.waiting_room.room import Place, Room

Timer = Callable[[float], anyio.CancelScope]


class WaitingRoomTransport(WrappingTransport):
    """Let callers that meet an open circuit wait for its next probe, instead of rejecting them.

    It goes around a `CircuitBreakerTransport` and inside a `RetryTransport`, which sends a call
    whose attempt opened the circuit back to the room. When the cooldown ends, one waiter becomes
    the probe. Once the circuit is closed, new callers pass directly, and each success releases one
    or two waiters, the newest first: a service that recovers is not hit by the backlog.

    A caller is rejected at once if the room is full, or if the next probe comes too late: after
    `max_wait`, its deadline, or the end of its own cancel scope (of anyio or trio; that of an
    `asyncio.timeout` is not visible). It is rejected later if a probe fails and the next one comes
    too late, and at the end of that time.

    httpx's pool timeout limits each wait as it limits the wait for a connection: 5 seconds, unless
    the client's `timeout` says otherwise. A `RetryTransport` retries the call that exceeds it.

    Args:
        transport: What sends the requests, with a circuit breaker; None makes an `HTTPTransport()`,
            which has none.
        max_waiting: How many callers may wait for one circuit; at least 1. Default: 1000.
        max_wait: The longest that an attempt waits, in seconds; above 0. Default: 10.
        key: Requests with the same key share a room. Give it the `key` of the circuit breaker.
            Default: those to the same origin.
        clock: Monotonic seconds; every duration is measured by it.
        timer: Opens a scope that is cancelled after the given seconds; to test, replace both.
        listener: Called with `RequestWaiting`, `RequestAdmitted` and `RequestRejected`; None for no
            events. Default: a log entry each.

    Raises:
        TypeError: An argument is of another type.
        ValueError: A number is too small, infinite or NaN.
    """

    @shows_defaults_by_name
    def __init__(
        self,
        transport: family.Transport | None = None,
        max_waiting: int = 1000,
        max_wait: float = 10.0,
        *,
        key: Callable[[httpx.Request], Hashable] = origin_of,
        clock: Callable[[], float] = time.monotonic,
        timer: Timer = anyio.move_on_after,
        listener: Listener | None = log_event,
    ) -> None:
        validation.integer("max_waiting", max_waiting, minimum=1)
        validation.positive("max_wait", max_wait)
        validation.function("key", key)
        validation.function("clock", clock)
        validation.function("timer", timer)
        validation.listener("listener", listener)
        super().__init__(transport)
        self._rooms: dict[Hashable, Room] = {}  # each ends with its last caller
        self._max_waiting = max_waiting
        self._max_wait = max_wait
        self._key = key
        self._clock = clock
        self._timer = timer
        self._reporter = Reporter(listener)
        introduce(self, listener)

    def __repr__(self) -> str:
        waiting = sum(room.waiting for room in self._rooms.values())
        limits = f"max_waiting={self._max_waiting}, max_wait={self._max_wait!r}"
        return self._shown_with(limits, f"<{waiting} waiting>")

    def describe(self) -> dict[str, Any]:
        """Return the settings, and how many callers wait for which circuit."""
        settings = {"max_waiting": self._max_waiting, "max_wait": self._max_wait}
        rooms = [room.describe(key) for key, room in self._rooms.items()]
        return {"settings": settings, "rooms": rooms}

    def readings(self) -> Iterable[Reading]:
        """Return how many callers wait."""
        waiting = [(key, room.waiting) for key, room in tuple(self._rooms.items())]
        return [Reading("queue_waiting", *room, "waiting_room") for room in waiting]

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send `request`; wait if its circuit is open.

        Raises:
            CircuitBreakerOpenError: It was not sent: the room is full, or the circuit is open for
                longer than the call can wait. If httpx's pool timeout is the reason, it is an
                httpx.PoolTimeout as well.
            TransportClosedError: It was not sent: the transport was closed while it waited.
            RuntimeError: It was not sent: callers in another event loop wait for the circuit, or
                the clock stands still.
        """
        request.extensions.pop(GATE, None)  # of an earlier call with the same request
        request.extensions[WAITS_AT_GATE] = True
        waits = self._waits
        place: Place | None = None
        while True:
            try:
                response = await self._inner.handle_async_request(request)
            except CircuitBreakerOpenError:
                if place is not None:  # another request is the probe
                    place.room.rejected()
                    self._close_if_empty(place.key, place.room)
                gate: Gate | None = request.extensions.get(GATE)
                if gate is None or self._reporter.is_open_again(request, gate):
                    raise  # it is not of our breaker, or there is nothing to wait for
            except BaseException as error:
                self._failed(request, place, error)
                refuse_mismatch(request, error)
                raise
            else:
                if place is not None or self._rooms or not response.is_closed:
                    await guarded(response, self._answered, request, response, place)
                return response
            await anyio.lowlevel.checkpoint_if_cancelled()
            place = place or self._place_for(request, gate)
            await self._wait(request, gate, place, waits)

    def _place_for(self, request: httpx.Request, gate: Gate) -> Place:
        """Return a place for `request`.

        Raises:
            CircuitBreakerOpenError: There is none, or it would be of no use.
        """
        key = self._key(request)
        room = self._rooms.get(key)
        if room is None:
            room = Room(gate, self._clock)
        elif room.loop is not running():
            room = moved(room, self)
        room.gate = gate
        patience = self._patience(request)
        if room.waiting >= self._max_waiting:
            raise self._reporter.no_space(request, gate)
        now = self._clock()
        place = Place(room, key, latest=now + patience.total, until=now + patience.here)
        if room.is_hopeless(place.until):
            raise self._reporter.of_no_use(request, place)
        return place

    async def _wait(self, request: httpx.Request, gate: Gate, place: Place, waits: Waits) -> None:
        room, began = place.room, self._clock()
        room.gate = gate
        room.join(place)
        self._rooms[place.key] = room
        try:
            del request.extensions[GATE]  # so that a retry comes back
            self._reporter.waits(request, gate)
            with waits.ended_by_closing(request):
                while (seconds := room.look(place)) > 0.0:
                    turn = anyio.Event()
                    place.wake = turn.set
                    with self._timer(seconds) as scope:
                        await turn.wait()
                    if scope.cancelled_caught:
                        room.timed_out(place)
            now = self._clock()
            if place.released:
                self._reporter.goes(request, now - began)
        except BaseException:
            self._leave(place)
            raise
        if not place.released:
            self._leave(place)
            raise self._reporter.in_vain(request, place, now, now - began)

    def _answered(
        self, request: httpx.Request, response: httpx.Response, place: Place | None
    ) -> None:
        succeeded = GATE not in request.extensions
        is_due = self._settle(request, place, succeeded=succeeded)
        body = response.stream
        if succeeded and not response.is_closed and isinstance(body, WatchedBody):
            body.when_ended(self._probe_ended if is_due else self._body_ended, request)

    def _failed(self, request: httpx.Request, place: Place | None, error: BaseException) -> None:
        try:
            self._settle(request, place, succeeded=False)
        except Exception:
            if isinstance(error, Exception):  # a clock's must not replace a cancellation
                raise

    def _body_ended(self, request: httpx.Request, error: BaseException | None) -> None:
        if error is not None:
            self._failed(request, None, error)

    def _probe_ended(self, request: httpx.Request, error: BaseException | None) -> None:
        if error is None:
            self._settle(request, None, succeeded=True)
        self._body_ended(request, error)

    def _settle(self, request: httpx.Request, place: Place | None, *, succeeded: bool) -> bool:
        """Note how a request has ended, and send its retry to the room rather than end its call.

        Returns:
            As `Room.settled`.
        """
        room, is_due = None, False
        if place is not None:
            key, room = place.key, place.room
        elif self._rooms:
            key = self._key(request)
            room = self._rooms.get(key)
        if room is not None and room.loop is running():
            is_due = room.settled(place, succeeded=succeeded)
            self._close_if_empty(key, room)
        gate: Gate | None = request.extensions.get(GATE)
        has_space = room is None or room.waiting < self._max_waiting
        if gate is not None and has_space and self._patience(request).is_enough_for(gate):
            del request.extensions[GATE]
        return is_due

    def _patience(self, request: httpx.Request) -> Patience:
        return patience_of(request, self._max_wait, self._clock)

    def _leave(self, place: Place) -> None:
        place.room.leave(place)
        self._close_if_empty(place.key, place.room)

    def _close_if_empty(self, key: Hashable, room: Room) -> None:
        if room.is_empty and self._rooms.get(key) is room:
            del self._rooms[key]
