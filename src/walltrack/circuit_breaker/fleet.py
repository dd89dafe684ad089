"""Share the circuits of one transport with the same circuits in other processes.

Awaits: the store is asked here, never while every circuit is clean.
"""

from asyncio import get_running_loop
from collections.abc import Callable, Hashable, Mapping
from functools import partial
from typing import Any, Final
from weakref import finalize

import anyio
import httpx

from walltrack.circuit_breaker.breaker import DEFAULT_SERVICE, CircuitBreaker
from walltrack.circuit_breaker.member import Member
from walltrack.circuit_breaker.settling import Settling
from walltrack.circuit_breaker.state import CircuitMode
from walltrack.core.loops import running
from walltrack.core.shared_names import name_of_origin, name_of_service
from walltrack.core.shared_state import ManualSetting, SharedState
from walltrack.http.followed_body import FollowedBody

_MODES: Final = frozenset(CircuitMode)

_MOST_REPORTS: Final = 4
"""In a row: a store that answers nonsense must not keep a call."""


class _Member(Member):
    """A member with the lock that lets its reports go out one after the other."""

    __slots__ = ("_lock", "_loop")

    def __init__(self, breaker: CircuitBreaker, name: str, clock: Callable[[], float]) -> None:
        super().__init__(breaker, name, clock)
        self._loop: object = None
        self._lock = anyio.Lock()

    @property
    def lock(self) -> anyio.Lock:
        """The lock of the event loop that is running: a task of another one may never release."""
        if self._loop is not running():
            self._loop, self._lock = running(), anyio.Lock()
        return self._lock


class Fleet:
    """Report what happens to the circuits of one transport, and let them follow the fleet.

    While every circuit is clean, nothing is sent. Only manual settings of other processes have to
    be looked for: a timer raises the ledger's alert after `SharedState.refresh` seconds, and the
    next request looks. An event loop that is closed drops its timers, which raises the alert too.

    Args:
        state: The store.
        settling: Finds the breakers of the transport, and reports their changes of state.
        key: Requests with the same key share a breaker.
        sole: The only breaker; None if there is one for each key.
        clock: Monotonic seconds.

    Raises:
        ValueError: The only breaker does not have the name of its service.
    """

    def __init__(
        self,
        state: SharedState,
        settling: Settling,
        key: Callable[[httpx.Request], Hashable],
        sole: CircuitBreaker | None,
        clock: Callable[[], float],
    ) -> None:
        self._state = state
        self._settling = settling
        self._ledger = settling.ledger
        self._key = key
        self._name = None if sole is None else _name_of_sole(sole)
        self._clock = clock
        self._settings: Mapping[str, ManualSetting] = {}
        self._has_orders = False  # whether any mode of the fleet is not automatic
        self._is_watching = False  # whether the ledger's alert is raised until the next look
        self._looks_at = clock()
        self._ledger.share()
        self._watch()
        if self._name is not None and sole is not None and sole.member is None:
            self._admit(sole, self._name)

    def obtain(self, request: httpx.Request) -> CircuitBreaker:
        """Return the breaker of `request`, whose manual settings are shared from now on."""
        return self._member_of(request, self._settling.obtain(request)).breaker

    async def before(self, request: httpx.Request) -> None:
        """Prepare for a request while any circuit is not clean, or a look is due."""
        if self._clock() >= self._looks_at:
            await self._look()
        await self.publish()
        breaker = self._find(request)
        if breaker is not None:
            member = self._member_of(request, breaker)
            self._obey(member)
            await self._talk(member, request, ask=True)

    async def after(self, request: httpx.Request) -> None:
        """Report what a request has changed, also if it was cancelled."""
        breaker = self._settling.find(request)
        if breaker is not None:
            with anyio.CancelScope(shield=True):
                await self._talk(self._member_of(request, breaker), request, ask=False)

    async def publish(self) -> None:
        """Report what happened outside of requests: manual settings, and the ends of bodies."""
        unsent = self._ledger.take_unsent()
        try:
            while unsent:
                member = unsent[0].member
                if isinstance(member, _Member):
                    await self._publish_setting(member)
                    await self._talk(member, None, ask=False)
                del unsent[0]
        finally:  # for the next attempt, if this one was cancelled
            for entry in unsent:
                self._ledger.note_unsent(entry)

    def follow(self, request: httpx.Request, response: httpx.Response) -> None:
        """Report what `request` has changed, as soon as the body of its `response` has ended."""
        body: Any = response.stream  # the type also allows synchronous streams
        response.stream = FollowedBody(body, partial(self.after, request))

    async def _publish_setting(self, member: _Member) -> None:
        breaker = member.breaker
        if member.settings == breaker.settings:
            return
        settings = breaker.settings
        member.begin_again()
        await self._state.report(member.name, member.reset_report())
        stamp = await self._state.set_mode(member.name, breaker.mode.value)
        if stamp is None:
            self._ledger.note_unsent(breaker)  # for the next attempt
        else:
            member.stamp, member.settings = stamp, settings

    async def _talk(self, member: _Member, request: httpx.Request | None, *, ask: bool) -> None:
        if not member.has_report(ask=ask):
            return
        async with member.lock:
            for _ in range(_MOST_REPORTS):
                report = member.next_report(ask=ask)
                if report is None:
                    return
                asked_at = self._clock()
                view = await self._state.report(member.name, report)
                if view is None:
                    member.continue_alone()
                    return
                for state in member.follow(asked_at, view):
                    self._settling.report(request, member.breaker, state)

    def _find(self, request: httpx.Request) -> CircuitBreaker | None:
        breaker = self._settling.find(request)
        if breaker is None and self._has_orders and self._name_of(request) in self._settings:
            return self._settling.obtain(request)
        return breaker

    def _member_of(self, request: httpx.Request, breaker: CircuitBreaker) -> _Member:
        member = breaker.member
        if isinstance(member, _Member):
            return member
        return self._admit(breaker, self._name_of(request))

    def _admit(self, breaker: CircuitBreaker, name: str) -> _Member:
        member = breaker.member = _Member(breaker, name, self._clock)
        setting = self._settings.get(name)
        if setting is not None and setting.mode == CircuitMode.AUTOMATIC:
            member.stamp = setting.stamp  # the breaker is new, and has nothing to reset
        return member

    def _name_of(self, request: httpx.Request) -> str:
        return self._name or name_of_origin(self._key(request))

    # Manual settings of other processes

    async def _look(self) -> None:
        self._looks_at = self._clock() + self._state.refresh
        settings = await self._state.modes()
        if settings is not None:
            self._settings = settings
            had, has = (
                self._has_orders,
                any(setting.mode != CircuitMode.AUTOMATIC for setting in settings.values()),
            )
            self._ledger.alert += has - had
            self._has_orders = has
        self._watch_later()

    def _obey(self, member: _Member) -> None:
        setting = self._settings.get(member.name)
        if setting is not None and setting.stamp > member.stamp and setting.mode in _MODES:
            member.follow_setting(CircuitMode(setting.mode), setting.stamp)

    def _watch(self) -> None:
        if not self._is_watching:
            self._is_watching = True
            self._ledger.alert += 1

    def _watch_later(self) -> None:
        try:
            loop = get_running_loop()
        except RuntimeError:
            return  # on trio, which has no timers, the alert stays raised
        if self._is_watching:
            self._is_watching = False
            self._ledger.alert -= 1
        timer = _Timer()
        finalize(timer, self._watch).atexit = False
        loop.call_later(self._state.refresh, timer)


class _Timer:
    """What an event loop calls once and then drops, or drops when it is closed."""

    def __call__(self) -> None:
        """Do nothing: what matters is that it is dropped."""


def _name_of_sole(breaker: CircuitBreaker) -> str:
    if breaker.service == DEFAULT_SERVICE:
        raise ValueError(
            "a breaker that is shared must have the name of its service, so that other processes "
            'find its circuit: CircuitBreaker(service="...")'
        )
    return name_of_service(breaker.service)
