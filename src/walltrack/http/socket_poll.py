"""Whether a socket has data that asyncio has not yet seen."""

import asyncio
import select


class SocketPoll:
    """Look at the socket of a transport.

    Args:
        secure: Whether the transport is TLS. It learns that its socket was closed too late for the
            poll object to be kept.
    """

    def __init__(self, *, secure: bool) -> None:
        self._secure = secure
        self._kept: select.poll | None = None

    def has_data(self, transport: asyncio.Transport) -> bool:
        """Return whether the socket has data, or the end of it."""
        poll = self._kept
        if poll is None:
            socket = transport.get_extra_info("socket")  # TLS has none from a reset on
            if socket is None or socket.fileno() < 0:
                return True
            poll = select.poll()
            poll.register(socket, select.POLLIN)
            if not self._secure:
                self._kept = poll
        return bool(poll.poll(0))
