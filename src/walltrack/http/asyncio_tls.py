"""TLS over a transport of asyncio.

Awaits: it waits for the handshake.
"""

import asyncio
import ssl
from asyncio.sslproto import SSLProtocol
from functools import partial
from typing import Final, cast

_HANDSHAKE_SECONDS: Final = 24 * 60 * 60.0
"""The limit that asyncio must have for a handshake; the caller's is shorter, or there is none."""


async def start(
    transport: asyncio.Transport,
    protocol: asyncio.Protocol,
    context: ssl.SSLContext,
    server_hostname: str | None,
) -> asyncio.Transport:
    """Return TLS over `transport` for `protocol`, after the handshake.

    When the buffer of a socket has drained, asyncio has TLS write on in the same step. This step
    fails if that write breaks the connection, and asyncio logs an AttributeError. So TLS writes on
    in a step of its own.

    Raises:
        OSError: The handshake failed.
    """
    loop = asyncio.get_running_loop()
    secure = await loop.start_tls(
        transport,
        protocol,
        context,
        server_hostname=server_hostname,
        ssl_handshake_timeout=_HANDSHAKE_SECONDS,
    )
    tls = transport.get_protocol()
    if isinstance(tls, SSLProtocol):  # the connection may be lost by now
        tls.resume_writing = partial(loop.call_soon, _resume, transport)  # type: ignore[method-assign,assignment]
    return cast("asyncio.Transport", secure)


def _resume(transport: asyncio.Transport) -> None:
    tls = transport.get_protocol()
    if isinstance(tls, SSLProtocol):
        SSLProtocol.resume_writing(tls)
