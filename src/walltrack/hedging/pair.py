"""Two attempts at one request, possibly in flight at the same time, and their one outcome.

Awaits: an attempt is sent, kept and released here.
"""

from collections.abc import Awaitable, Callable
from typing import Final

import anyio
import httpx

from walltrack.core.delivery import Delivery
from walltrack.core.exceptions import RequestRejectedError
from walltrack.core.extensions import DELIVERY, GATE
from walltrack.http.cancellation import OwnCancellation
from walltrack.http.evidence import delivery_after
from walltrack.http.release import MAX_DRAIN_BYTES, discard, release
from walltrack.http.requests import copy_of
from walltrack.http.watched_body import watched

_TOLD: Final = (GATE, DELIVERY)
"""What layers inside leave on the request that they were sent, for those outside to read."""

_DRAIN_SECONDS: Final = 0.01  # somebody has an answer already, and waits for this


Send = Callable[[httpx.Request], Awaitable[tuple[httpx.Response, bool]]]


class Attempt:
    """One of the attempts, with a copy of the request of its own.

    Args:
        request: The request as it came.
    """

    __slots__ = ("_let_go", "ended", "good", "request")

    def __init__(self, request: httpx.Request) -> None:
        self.request: httpx.Request = copy_of(request)
        self.ended: httpx.Response | Exception | None = None
        self.good: bool = False
        self._let_go = False

    async def make(self, send: Send, both: anyio.CancelScope, own: OwnCancellation) -> None:
        """Send the request.

        Args:
            send: Sends it, and says whether the response is good.
            both: The scope of both attempts, which is cancelled when the other one has won.
            own: Tells that cancellation from one by the caller.
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
        """The response that it ended with, if it was answered."""
        return None if isinstance(self.ended, Exception) else self.ended

    @property
    def delivery(self) -> Delivery:
        """Whether the server can have acted on it."""
        if isinstance(self.ended, Exception):
            return delivery_after(self.request, self.ended)
        return Delivery.ANSWERED

    async def keep(self) -> bool:
        """Have the response in memory, and let go of all that an open one holds.

        That is a connection, and a place in every limit inside, for which the other attempt may be
        waiting: neither would ever get on.

        Returns:
            False when the body is too long for that, and goes on holding them.
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
        """Let go of its response, if there is one."""
        if self.response is not None and not self._let_go:
            await release(self.request, self.response, max_seconds=_DRAIN_SECONDS)

    async def close(self) -> None:
        """Close its response, if there is one."""
        if self.response is not None and not self._let_go:
            await discard(self.response)


class Pair:
    """The first attempt, and the second one if it is made.

    Args:
        request: The request as it came.
        began: When the first attempt began, by the clock of the transport.
    """

    __slots__ = ("began", "first", "request", "second")

    def __init__(self, request: httpx.Request, began: float) -> None:
        self.request: httpx.Request = request
        self.began: float = began
        self.first: Attempt = Attempt(request)
        self.second: Attempt | None = None

    def add_second(self) -> Attempt:
        """Begin the second attempt."""
        self.second = Attempt(self.request)
        return self.second

    @property
    def decided(self) -> bool:
        """Whether the outcome is known: see `outcome`."""
        # While the first is under way, only a good second decides.
        if self.first.ended is None:
            return self.second is not None and self.second.good
        return self.first.good or self.second is None or self.second.ended is not None

    @property
    def is_good(self) -> bool:
        """Whether the outcome is a good answer."""
        return self._winner.good

    async def release_loser(self) -> None:
        """Let go of the response that is not the outcome."""
        loser = self.second if self._winner is self.first else self.first
        if loser is not None:
            await loser.release()

    async def close(self) -> None:
        """Let go of everything: nobody waits for the outcome any more."""
        for attempt in (self.first, self.second):
            if attempt is not None:
                await attempt.close()
        self._forget()

    def outcome(self) -> httpx.Response:
        """Hand over the good answer, and otherwise what the first attempt ended with.

        What the layers inside told on that attempt's request is told on the caller's.
        """
        winner = self._winner
        told = winner.request.extensions
        self.request.extensions.update((key, told[key]) for key in _TOLD if key in told)
        self._tell_delivery()
        ended = winner.ended
        self._forget()
        try:
            assert ended is not None  # noqa: S101 - for the type checker: it is decided
            if isinstance(ended, Exception):
                raise ended
            if not ended.is_closed:  # its body may break off, and the layers inside tell then
                winner.request.extensions = self.request.extensions
            return ended
        finally:
            del ended  # or its traceback and this frame would hold each other

    @property
    def _winner(self) -> Attempt:
        # Of two good answers at once it is the first attempt's.
        second = self.second
        return self.first if second is None or self.first.good or not second.good else second

    def _tell_delivery(self) -> None:
        """State what an exception of the first attempt does not tell: the second was sent, too."""
        first, second = self.first, self.second
        if second is None or not isinstance(first.ended, Exception) or second.good:
            return
        if isinstance(first.ended, RequestRejectedError):  # is not asked
            return
        if first.delivery is Delivery.NOT_SENT and second.delivery is not Delivery.NOT_SENT:
            self.request.extensions[DELIVERY] = Delivery.UNCERTAIN

    def _forget(self) -> None:
        # An exception and a frame in its traceback that hold each other wait for the collector.
        self.first.ended = None
        if self.second is not None:
            self.second.ended = None
