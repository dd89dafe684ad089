import asyncio
import errno
import select
import socket
from pathlib import Path
from typing import Any

import anyio
import httpcore2
import pytest

from tests.support import until
from tests.unit.http.asyncio_peer import connected
from walltrack.http.asyncio_backend import AsyncioBackend
from walltrack.http.asyncio_stream import AsyncioStream

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]


async def test_it_connects_to_a_socket_in_the_file_system(tmp_path: Path) -> None:
    """It reads and writes as over TCP."""
    path = str(tmp_path / "s")
    async with await anyio.create_unix_listener(path):
        stream = await AsyncioBackend().connect_unix_socket(path, 5.0)
        assert type(stream) is AsyncioStream
        await stream.aclose()


async def test_without_a_descriptor_left_the_socket_stays_with_anyio(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is slower, but no reason to fail."""

    def exhausted(_: object) -> None:
        raise OSError(24, "Too many open files")

    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    plain = await httpcore2.AnyIOBackend().connect_tcp("127.0.0.1", port)
    monkeypatch.setattr(type(plain.get_extra_info("socket")), "dup", exhausted)
    await plain.aclose()
    listener.close()
    async with connected() as (stream, peer):
        assert type(stream) is not AsyncioStream
        await stream.write(b"x")
        assert await peer.reader.read(1) == b"x"


async def test_where_sockets_cannot_be_taken_over_they_stay_with_anyio(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On Windows, and on event loops that are not asyncio's own."""
    monkeypatch.delattr(select, "poll")
    async with connected() as (stream, _):
        assert type(stream) is not AsyncioStream


async def test_taking_over_may_be_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The socket is closed in this case."""
    loop = asyncio.get_running_loop()
    seen: list[socket.socket] = []

    async def stuck(_: object, *, sock: socket.socket) -> None:
        seen.append(sock)
        await anyio.sleep_forever()

    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    create = loop.create_connection

    def connect(*args: Any, **options: Any) -> Any:  # noqa: ANN401 - handed on
        return stuck(*args, **options) if "sock" in options else create(*args, **options)

    with monkeypatch.context() as patch, anyio.move_on_after(5) as scope:
        patch.setattr(loop, "create_connection", connect)
        async with anyio.create_task_group() as tasks:

            async def take() -> None:
                await AsyncioBackend().connect_tcp("127.0.0.1", port, 5.0)

            tasks.start_soon(take)
            await until(lambda: bool(seen))
            tasks.cancel_scope.cancel()
    assert not scope.cancelled_caught
    assert seen[0].fileno() == -1
    server.close()


async def test_what_fails_in_taking_over_is_a_connect_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing was sent, and the cause tells why."""
    loop = asyncio.get_running_loop()
    create = loop.create_connection

    def connect(*args: Any, **options: Any) -> Any:  # noqa: ANN401 - handed on
        if "sock" in options:
            raise OSError(errno.EINVAL, "reset meanwhile")
        return create(*args, **options)

    monkeypatch.setattr(loop, "create_connection", connect)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(httpcore2.ConnectError) as caught:
            await AsyncioBackend().connect_tcp("127.0.0.1", port, 5.0)
    assert isinstance(caught.value.__cause__, OSError)
