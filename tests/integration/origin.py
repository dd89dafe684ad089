"""A real server on loopback, over HTTP/1.1 and HTTP/2, with and without TLS."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hypercorn.asyncio
import trustme
from hypercorn.config import Config

from tests.integration.proxy import Relay, listening

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


@dataclass
class Exchange:
    """One request, for a behaviour to act on."""

    origin: "Origin"
    receive: Receive
    send: Send

    async def answer(self, status: int, body: bytes = b"ok", missing: int = 0) -> None:
        """Send a response, of which the last `missing` bytes do not come."""
        length = str(len(body) + missing).encode()
        headers = [(b"content-length", length)]
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body, "more_body": missing > 0})


Behaviour = Callable[[Exchange], Awaitable[None]]


def answers(status: int) -> Behaviour:
    """Answer by a status."""

    async def behave(exchange: Exchange) -> None:
        while (await exchange.receive()).get("more_body"):
            pass
        await exchange.answer(status)

    return behave


async def says_nothing(exchange: Exchange) -> None:
    """Say nothing until the client gives up."""
    while (await exchange.receive())["type"] != "http.disconnect":
        pass


async def resets_at_once(exchange: Exchange) -> None:
    """Reset the connection without a look at the body."""
    exchange.origin.reset()


async def resets_in_the_upload(exchange: Exchange) -> None:
    """Reset the connection when the body has begun to come."""
    assert (await exchange.receive())["more_body"]
    exchange.origin.reset()


async def resets_in_the_response(exchange: Exchange) -> None:
    """Reset the connection when half of the response has gone out."""
    while (await exchange.receive()).get("more_body"):
        pass
    await exchange.answer(200, b"half", missing=4)
    await asyncio.sleep(0.01)  # let the client take what was sent
    exchange.origin.reset()


async def damages_the_connection(exchange: Exchange) -> None:
    """Send a damaged TLS record instead of a response."""
    while (await exchange.receive()).get("more_body"):
        pass
    for relay in exchange.origin.relays.values():
        relay.damage()
    await says_nothing(exchange)


@dataclass
class Origin:
    """How to reach the server, and what it is to do."""

    behaviour: Behaviour = field(default_factory=lambda: answers(200))
    relays: dict[str, Relay] = field(default_factory=dict)
    urls: dict[str, str] = field(default_factory=dict)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve a request, as ASGI."""
        if scope["type"] == "http":
            await self.behaviour(Exchange(self, receive, send))

    def reset(self) -> None:
        """Reset all connections."""
        for relay in self.relays.values():
            relay.reset()


@asynccontextmanager
async def serving(certificate: trustme.LeafCert, folder: Path) -> AsyncIterator[Origin]:
    """The server, behind relays that can reset its connections."""
    key = folder / "key.pem"
    chain = folder / "chain.pem"
    certificate.private_key_pem.write_to_path(key)
    for pem in certificate.cert_chain_pems:
        pem.write_to_path(chain, append=True)
    secure, plain = socket.create_server(("127.0.0.1", 0)), socket.create_server(("127.0.0.1", 0))
    origin = Origin(
        relays={"https": Relay(secure.getsockname()[1]), "http": Relay(plain.getsockname()[1])}
    )
    config = Config()
    config.certfile, config.keyfile = str(chain), str(key)
    config.bind, config.insecure_bind = [f"fd://{secure.detach()}"], [f"fd://{plain.detach()}"]
    config.errorlog = None
    config.graceful_timeout = 1.0
    stop = asyncio.Event()
    running = asyncio.create_task(
        hypercorn.asyncio.serve(origin, config, shutdown_trigger=stop.wait)  # type: ignore[arg-type]
    )
    async with (
        listening(origin.relays["https"].serve) as https,
        listening(origin.relays["http"].serve) as http,
    ):
        origin.urls = {"https": f"https://127.0.0.1:{https}", "http": f"http://127.0.0.1:{http}"}
        yield origin
        origin.reset()
    stop.set()
    await running
