"""A connection after a switch of protocols, such as to WebSocket."""

import contextlib
import ssl
from typing import Any

from walltrack.core.exceptions import TransportClosedError
from walltrack.sync.call import Job
from walltrack.sync.interfaces import Loop


class NetworkStream:
    """What a response has as `extensions["network_stream"]`, with the methods of httpcore.

    Args:
        loop: The event loop.
        stream: httpcore's stream in that loop.
    """

    def __init__(self, loop: Loop, stream: Any) -> None:  # noqa: ANN401 - httpcore's or httpcore2's
        self._loop = loop
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read what there is; at most `timeout` seconds long."""
        data: bytes = Job(self._loop, self._stream.read, max_bytes, timeout).result()
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write all of it."""
        Job(self._loop, self._stream.write, buffer, timeout).result()

    def close(self) -> None:
        """Close the connection."""
        with contextlib.suppress(TransportClosedError):
            Job(self._loop, self._stream.aclose).result()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> "NetworkStream":
        """Return TLS over this connection."""
        upgrade = Job(self._loop, self._stream.start_tls, ssl_context, server_hostname, timeout)
        return NetworkStream(self._loop, upgrade.result())

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - as httpcore has it
        """Return what is known of the connection."""
        return self._stream.get_extra_info(info)
