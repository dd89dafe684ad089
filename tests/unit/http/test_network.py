import socket
from pathlib import Path
from typing import Any, ClassVar

import anyio
import anyio.lowlevel
import httpcore2
import pytest

from tests.unit.http.wires import NO_TLS, Backend, Wire
from walltrack.http.network import Network, NetworkClosedError

pytestmark = pytest.mark.anyio


async def test_what_was_configured_holds_where_httpcore2_leaves_it_out(patched: Any) -> None:  # noqa: ANN401 - a function
    """It passes on neither the local address nor the socket options for a proxy."""
    option = (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    backend = patched(Backend(Wire(), Wire()))
    network = Network("127.0.0.1", (option,))
    await network.connect_tcp("proxy.test", 3128, 5.0)
    await network.connect_unix_socket("/run/s", 5.0)
    assert backend.asked == [
        ("proxy.test", 3128, 5.0, "127.0.0.1", (option,)),
        ("/run/s", 5.0, (option,)),
    ]


async def test_it_connects_on_the_event_loop_that_runs() -> None:
    """It uses real sockets, with the backend for that loop."""
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610 - not Django's

        async def echo(peer: anyio.abc.SocketStream) -> None:
            async with peer:
                await peer.send(await peer.receive())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, echo)
            stream = await Network().connect_tcp("127.0.0.1", port, 5.0)
            await stream.write(b"hello", 5.0)
            assert await stream.read(10, 5.0) == b"hello"
            await stream.aclose()
            tasks.cancel_scope.cancel()


async def test_it_connects_to_a_socket_in_the_file_system(tmp_path: Path) -> None:
    """It works as with a host."""
    path = str(tmp_path / "s")
    async with await anyio.create_unix_listener(path):
        stream = await Network().connect_unix_socket(path, 5.0)
        await stream.aclose()


async def test_closing_ends_what_is_connecting(patched: Any) -> None:  # noqa: ANN401 - a function
    """At once, however long the server would take; the call gets the reason."""
    backend = patched(Backend(None))
    network = Network()

    async def connect() -> None:
        with pytest.raises(NetworkClosedError):
            await network.connect_tcp("api.test", 80)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(connect)
            await backend.waits.wait()
            network.close()


async def test_a_connection_that_comes_after_the_closing_is_closed(patched: Any) -> None:  # noqa: ANN401 - a function
    """A backend may be at a step that cannot be cancelled."""
    wire = Wire()
    backend = patched(Backend(wire, shielded=True))
    network = Network()

    async def connect() -> None:
        with pytest.raises(NetworkClosedError):
            await network.connect_tcp("api.test", 80)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(connect)
        await backend.waits.wait()
        network.close()
        backend.goes_on.set()
    assert wire.closed


async def test_a_closed_network_does_not_connect(patched: Any) -> None:  # noqa: ANN401 - a function
    """It does not wait before another attempt to connect either."""
    backend = patched(Backend())
    network = Network()
    network.close()
    for connect in (
        lambda: network.connect_tcp("api.test", 80),
        lambda: network.connect_unix_socket("/run/s"),
        lambda: network.sleep(3600),
    ):
        with pytest.raises(NetworkClosedError):
            await connect()
    assert backend.asked == []


async def test_closing_ends_a_wait_before_connecting_again() -> None:
    """A wait in progress ends at once, with a NetworkClosedError."""
    network = Network()
    await network.sleep(0)

    async def wait() -> None:
        with pytest.raises(NetworkClosedError):
            await network.sleep(3600)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            network.close()


async def test_a_cancelled_connect_is_cancelled(patched: Any) -> None:  # noqa: ANN401 - a function
    """The caller's cancellation is neither taken for a closing nor swallowed."""
    backend = patched(Backend(None))
    network = Network()
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(network.connect_tcp, "api.test", 80)
            await backend.waits.wait()
            scope.cancel()
    assert scope.cancelled_caught


async def test_an_error_of_connecting_propagates(patched: Any) -> None:  # noqa: ANN401 - a function
    """It is raised unchanged."""
    patched(Backend(httpcore2.ConnectError("refused")))
    with pytest.raises(httpcore2.ConnectError, match="refused"):
        await Network().connect_tcp("api.test", 80)


async def test_closing_closes_every_stream(patched: Any) -> None:  # noqa: ANN401 - a function
    """If one fails to close, the others are still closed."""

    class Stuck(Wire):
        async def aclose(self) -> None:
            await super().aclose()
            raise OSError("cannot close")

    wires = [Wire(), Stuck(), Wire(), Wire()]
    patched(Backend(*wires))
    network = Network()
    streams = [await network.connect_tcp("api.test", 80) for _ in wires]
    await streams[0].aclose()
    wires[0].closed = False  # it is not closed again
    network.close()
    await network.close_streams()
    assert [wire.closed for wire in wires] == [False, True, True, True]


class Lost:
    """The state of a call's connection when the call failed, and whether httpcore2 loses it."""

    cases: ClassVar = [
        # written, over TLS, wanted TLS, SOCKS -> is it lost?
        (False, False, False, False, True),  # cancelled right after it was connected
        (True, False, False, False, False),  # the request was being sent: httpcore2 closes it
        (False, False, True, False, True),  # cancelled before the handshake
        (True, False, True, False, True),  # cancelled in a tunnel, before the handshake
        (False, True, True, False, True),  # cancelled right after the handshake
        (True, True, True, False, False),  # the request was being sent
        (True, True, False, False, False),  # ... to a proxy, over TLS
        (True, False, False, True, True),  # cancelled while SOCKS was spoken
        (True, True, True, True, False),  # the request was being sent
    ]


@pytest.mark.parametrize(("written", "tls", "secure", "socks", "lost"), Lost.cases)
async def test_what_a_call_has_lost_is_closed(
    *,
    patched: Any,  # noqa: ANN401 - a function
    written: bool,
    tls: bool,
    secure: bool,
    socks: bool,
    lost: bool,
) -> None:
    """The network closes a connection that httpcore2 does not know yet, and would not close."""
    wire = Wire()
    wire.tls = Wire()
    patched(Backend(wire))
    network = Network(negotiates=socks)
    stream = await network.connect_tcp("api.test", 443)
    if tls:
        stream = await stream.start_tls(NO_TLS)
    if written:
        await stream.write(b"hello")
    await network.close_lost(0, secure=secure)
    assert (wire.tls.closed if tls else wire.closed) is lost
    assert network.spoiled is lost


async def test_what_others_have_connected_is_not_lost(patched: Any) -> None:  # noqa: ANN401 - a function
    """Neither another call's connection nor one that existed before."""
    wires = [Wire(), Wire()]
    patched(Backend(*wires))
    network = Network()
    await network.connect_tcp("api.test", 80)
    before = network.connected
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(network.connect_tcp, "api.test", 80)
    await network.close_lost(before, secure=False)
    assert [wire.closed for wire in wires] == [False, False]
    assert not network.spoiled


async def test_a_connection_that_is_shared_is_lost_until_a_request_is_sent(patched: Any) -> None:  # noqa: ANN401 - a function
    """Otherwise httpcore2 would use it with a wrong count of its streams."""
    for writes in (1, 2):
        wire = Wire()
        patched(Backend(wire))
        network = Network(multiplexes=True)
        stream = await network.connect_tcp("api.test", 80)
        for _ in range(writes):
            await stream.write(b"frames")
        await network.close_lost(0, secure=False)
        assert wire.closed is network.spoiled is (writes == 1)
