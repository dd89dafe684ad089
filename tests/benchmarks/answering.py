"""A server in a process of its own that answers at once, or after a while."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator

SERVER = """
import asyncio, sys

DELAY = float(sys.argv[1])
ANSWER = b"HTTP/1.1 200 OK\\r\\ncontent-length: 2\\r\\n\\r\\nok"


class Answering(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.received = transport, b""

    def data_received(self, data):
        *requests, self.received = (self.received + data).split(b"\\r\\n\\r\\n")
        if DELAY:
            asyncio.get_running_loop().call_later(DELAY, self.answer, len(requests))
        else:
            self.answer(len(requests))

    def answer(self, requests):
        self.transport.write(ANSWER * requests)


async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Answering, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
"""


@contextlib.asynccontextmanager
async def server(delay: float = 0.0) -> AsyncIterator[str]:
    """The URL of a server that answers after `delay` seconds."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVER, str(delay), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    port = int(await process.stdout.readline())
    try:
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        await process.wait()
