"""The waits of calls in one transport, which end when it is closed.

Awaits: callers wait inside the scopes that are opened here.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import anyio
import httpx

from walltrack.core.exceptions import TransportClosedError


class Waits:
    """The waits of calls in one transport, from its opening to its closing.

    Closing a transport ends its `Waits`, and it gets a new object: calls that began before end,
    even if the transport is used again.
    """

    __slots__ = ("_scopes", "over")

    def __init__(self) -> None:
        self.over: bool = False
        """Whether the transport was closed."""
        self._scopes: dict[anyio.CancelScope, int] = {}

    def __len__(self) -> int:
        return len(self._scopes)

    @contextmanager
    def ended_by_closing(self, request: httpx.Request) -> Iterator[None]:
        """Run a block that waits, and end it when the transport is closed.

        Raises:
            TransportClosedError: The transport was closed before or during the wait.
        """
        with anyio.CancelScope() as scope:
            self._scopes[scope] = threading.get_ident()
            if self.over:
                scope.cancel()
            try:
                yield
            finally:
                del self._scopes[scope]
        self.raise_if_over(request)

    def raise_if_over(self, request: httpx.Request) -> None:
        """Raise if the transport was closed.

        Raises:
            TransportClosedError: It was.
        """
        if self.over:
            raise TransportClosedError(request=request)

    def end(self) -> None:
        """End every wait: the transport is closed."""
        self.over = True
        here = threading.get_ident()
        for scope, thread in tuple(self._scopes.items()):
            if thread == here:  # a wait in another thread notices it only when it ends by itself
                with suppress(RuntimeError):  # its event loop was closed in the meantime
                    scope.cancel()
