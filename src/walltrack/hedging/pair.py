"""Two attempts at one request, possibly in flight at the same time, with one common outcome.

Awaits: an attempt is sent, kept and released here.
"""

from collections.abc import Awaitable, Callable
from typing import Final

import anyio
import httpx

from walltrack.core.delivery import Delivery
from walltrack.core.exceptions import RequestRejectedError
from walltrack.core.extensions import DELIVERY, SHARED_CALL, SharedCall
from walltrack.http.cancellation import OwnCancellation
from walltrack.http.evidence import delivery_after, note_repeated
from walltrack.http.release import MAX_DRAIN_BYTES, discard, release
from walltrack.http.requests import copy_of, hand_up
from walltrack.http.watched_body import watched

_DRAIN_SECONDS: Final = 0.01  # short, since the caller's response waits for this


Send = Callable[[httpx.Request], Awaitable[tuple[httpx.Response, bool]]]


class Attempt:
    """One of the two attempts, with its own copy of the request.

    Args:
        request: The caller's request.
        shared: The call that both attempts belong to.
    """

    __slots__ = ("_let_go", "ended", "good", "request")

    def __init__(self, request: httpx.Request, shared: SharedCall) -> None:
        self.request: httpx.Request = copy_of(request)
        self.request.extensions[SHARED_CALL] = shared
        self.ended: httpx.Response | Exception | None = None
        self.good: bool = False
        self._let_go = False

    async def make(self, send: Send, both: anyio.CancelScope, own: OwnCancellation) -> None:
        """Send the request.

        Args:
            send: Sends the request, and returns the response and whether it is good.
            both: The scope of both attempts, which is cancelled when the other one has won.
            own: Distinguishes that cancellation from one by the caller.
        """
        try:
            self.ended, self.good = await send(self.request)
        except Exception as error:  # noqa: BLE001 - an outcome, which `Pair.outcome` raises again
            self.ended = error
        except BaseException as error:
            if not own.explains(error, both):
                raise

    @property
    def response(self) -> httpx.Response | None:
        """The response of this attempt; None if there is none."""
        return None if isinstance(self.ended, Exception) else self.ended

    @property
    def delivery(self) -> Delivery:
        """Whether the server can have acted on this attempt."""
        if self.ended is None:
            return Delivery.UNCERTAIN
        if isinstance(self.ended, Exception):
            return delivery_after(self.request, self.ended)
        return Delivery.ANSWERED

    async def keep(self) -> bool:
        """Read the response into memory, and free the connection and the permits that it holds.

        An open response holds a connection, and a permit of every inner limit. If the other attempt
        waits for one of these, both attempts would wait without end.

        Returns:
            False if the body is too long, so that they cannot be freed.
        """
        if self.response is None or self.response.is_closed:
            return True
        body = watched(self.response)
        self._let_go = True
        try:
            if not await body.read_ahead(MAX_DRAIN_BYTES):
                self._let_go = False
                return False
            with anyio.CancelScope(shield=True):
                await body.aclose()
        except Exception as error:  # noqa: BLE001 - an outcome, as above
            self.ended = error
        return True

    async def release(self) -> None:
        """Release its response, if there is one, so that its connection can be reused."""
        if self.response is not None and not self._let_go:
            await release(self.request, self.response, max_seconds=_DRAIN_SECONDS)

    async def close(self) -> None:
        """Close its response, if there is one."""
        if self.response is not None and not self._let_go:
            await discard(self.response)


class Pair:
    """The first attempt at a request, and the second one if there is one.

    Args:
        request: The caller's request.
        began: When the first attempt began, by the clock of the transport.
    """

    __slots__ = ("_shared", "began", "first", "request", "second")

    def __init__(self, request: httpx.Request, began: float) -> None:
        self.request: httpx.Request = request
        self.began: float = began
        self._shared: SharedCall = request.extensions.get(SHARED_CALL) or SharedCall()
        self.first: Attempt = Attempt(request, self._shared)
        self.second: Attempt | None = None

    def add_second(self) -> Attempt:
        """Add a second attempt, and return it."""
        self.second = Attempt(self.request, self._shared)
        return self.second

    @property
    def decided(self) -> bool:
        """Whether the outcome is known: see `outcome`."""
        # While the first is in flight, only a good second decides.
        if self.first.ended is None:
            return self.second is not None and self.second.good
        return self.first.good or self.second is None or self.second.ended is not None

    @property
    def has_ended(self) -> bool:
        """Whether there is an outcome, possibly only because the other attempt was cancelled."""
        return self._winner.ended is not None

    @property
    def is_good(self) -> bool:
        """Whether the outcome is a good response."""
        return self._winner.good

    async def release_loser(self) -> None:
        """Release the response that is not the outcome."""
        if self._loser is not None:
            await self._loser.release()

    async def close(self) -> None:
        """Close both responses: the outcome is no longer needed."""
        for attempt in (self.first, self.second):
            if attempt is not None:
                await attempt.close()
        self._forget()

    def outcome(self) -> httpx.Response:
        """Return the good response; without one, return or raise what ended the first attempt.

        The extensions that inner layers set on the request of that attempt are copied to the
        caller's request.
        """
        winner = self._winner
        hand_up(winner.request, self.request)
        self._note_loser()
        ended = winner.ended
        self._forget()
        try:
            assert ended is not None  # noqa: S101 - for the type checker: it is decided
            if isinstance(ended, Exception):
                raise ended
            if not ended.is_closed:  # if its body breaks off, inner layers set extensions then
                winner.request.extensions = self.request.extensions
            return ended
        finally:
            del ended  # else its traceback and this frame would form a reference cycle

    @property
    def _winner(self) -> Attempt:
        # If both responses are good, the first attempt wins.
        second = self.second
        return self.first if second is None or self.first.good or not second.good else second

    @property
    def _loser(self) -> Attempt | None:
        return self.second if self._winner is self.first else self.first

    def _note_loser(self) -> None:
        """Note that the other attempt was sent, which the outcome cannot show."""
        winner, loser = self._winner, self._loser
        if loser is None:
            return
        delivery = loser.delivery
        status = None if loser.response is None else loser.response.status_code
        note_repeated(loser.request, delivery, status)
        if not isinstance(winner.ended, Exception) or isinstance(
            winner.ended, RequestRejectedError
        ):  # a rejection has a delivery of its own
            return
        if winner.delivery is Delivery.NOT_SENT and delivery is not Delivery.NOT_SENT:
            self.request.extensions[DELIVERY] = Delivery.UNCERTAIN

    def _forget(self) -> None:
        # Else an exception and a frame in its traceback would form a reference cycle.
        self.first.ended = None
        if self.second is not None:
            self.second.ended = None
