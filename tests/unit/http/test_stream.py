import ssl
from typing import Any

import anyio
import anyio.lowlevel
import httpcore2
import pytest

from tests.unit.http.wires import NO_TLS, Backend, Negotiated, Wire
from walltrack.http.network import Network, NetworkClosedError
from walltrack.http.stream import close

pytestmark = pytest.mark.anyio


async def test_a_connection_passes_what_is_read_and_written(patched: Any) -> None:  # noqa: ANN401 - a function
    """Data passes unchanged until the connection is closed."""
    wire = Wire(b"answer")
    patched(Backend(wire))
    stream = await Network().connect_tcp("api.test", 80, 5.0)

    await stream.write(b"question", 1.0)
    assert await stream.read(3, 1.0) == b"ans"
    assert stream.get_extra_info("socket") == "its socket"
    await stream.aclose()
    assert wire.written == [b"question"]
    assert wire.closed


async def test_a_stream_of_a_closed_network_is_not_used(patched: Any) -> None:  # noqa: ANN401 - a function
    """Nothing is sent; and a read must not look like the end of a body."""
    wire = Wire(b"")
    patched(Backend(wire))
    network = Network()
    stream = await network.connect_tcp("api.test", 80)
    network.close()
    with pytest.raises(httpcore2.WriteError, match="the transport was closed"):
        await stream.write(b"question")
    with pytest.raises(httpcore2.ReadError, match="the transport was closed"):
        await stream.read(10)
    assert wire.written == []


async def test_a_broken_tls_record_is_a_read_error(patched: Any) -> None:  # noqa: ANN401 - a function
    """httpcore2 raises it unchanged."""
    patched(Backend(Wire(ssl.SSLError(1, "bad record mac"))))
    stream = await Network().connect_tcp("api.test", 443)
    with pytest.raises(httpcore2.ReadError, match="bad record mac") as caught:
        await stream.read(10)
    assert isinstance(caught.value.__cause__, ssl.SSLError)


async def test_tls_takes_the_place_of_the_socket(patched: Any) -> None:  # noqa: ANN401 - a function
    """From then on the TLS stream is the one that is open."""
    wire, secure = Wire(), Wire()
    wire.tls = secure
    patched(Backend(wire))
    network = Network()
    stream = await (await network.connect_tcp("api.test", 443)).start_tls(NO_TLS, "api.test", 5.0)
    await stream.write(b"question")
    assert secure.written == [b"question"]
    await network.close_streams()
    assert secure.closed
    assert not wire.closed  # the real one closes the socket below it
    assert not network.spoiled


async def test_tls_that_fails_closes_the_socket(patched: Any) -> None:  # noqa: ANN401 - a function
    """Only in a tunnel, after a write, does httpcore2 keep counting the connection."""
    for written, spoiled in ((False, False), (True, True)):
        wire = Wire()
        wire.tls = httpcore2.ConnectError("handshake")
        patched(Backend(wire))
        network = Network()
        stream = await network.connect_tcp("api.test", 443)
        if written:
            await stream.write(b"CONNECT")
        with pytest.raises(httpcore2.ConnectError, match="handshake"):
            await stream.start_tls(NO_TLS)
        assert wire.closed
        assert network.spoiled is spoiled


@pytest.mark.parametrize("closing", [True, False], ids=["closed", "cancelled"])
async def test_tls_that_is_ended_closes_the_socket(patched: Any, closing: bool) -> None:  # noqa: ANN401, FBT001 - a function, a flag
    """The cause is the closing of the network, or a cancellation by its caller."""
    wire = Wire()
    patched(Backend(wire))
    network = Network()
    stream = await network.connect_tcp("api.test", 443)

    async def shake_hands() -> None:
        if closing:
            with pytest.raises(NetworkClosedError):
                await stream.start_tls(NO_TLS)
        else:
            await stream.start_tls(NO_TLS)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(shake_hands)
            await wire.waits.wait()
            if closing:
                network.close()
            else:
                tasks.cancel_scope.cancel()
    assert wire.closed


async def test_closing_is_not_cancelled() -> None:
    """The connection is closed even in a call that is cancelled."""
    wire = Wire()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await close(wire)
        await anyio.lowlevel.checkpoint()  # the cancellation is still there afterwards
    assert wire.closed
    assert scope.cancelled_caught


async def test_the_write_that_opens_a_connection_may_be_cut_short(patched: Any) -> None:  # noqa: ANN401 - a function
    """httpcore2 then closes the connection, which must not continue as if it were open."""

    class Full(Wire):
        async def write(self, *_: object, **__: object) -> None:
            self.waits.set()
            await anyio.sleep_forever()

    wire = Full()
    patched(Backend(wire))
    stream = await Network(multiplexes=True).connect_tcp("api.test", 80)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stream.write, b"preface")
            await wire.waits.wait()
            tasks.cancel_scope.cancel()


async def test_a_cancellation_right_after_the_opening_belongs_to_it(patched: Any) -> None:  # noqa: ANN401 - a function
    """It arrives while httpcore2 can still close the connection because of it."""
    with anyio.CancelScope() as scope:

        class Cancelling(Wire):
            async def write(self, buffer: bytes, *_: object, **__: object) -> None:
                self.written.append(buffer)
                scope.cancel()

        wire = Cancelling()
        patched(Backend(wire))
        stream = await Network(multiplexes=True).connect_tcp("api.test", 80)
        await stream.write(b"preface")
        pytest.fail("the cancellation came later")
    assert wire.written == [b"preface"]


@pytest.mark.parametrize(
    ("protocol", "multiplexes", "whole"),
    [("h2", False, True), ("http/1.1", False, False), (None, False, False), (None, True, True)],
)
async def test_a_write_on_a_connection_that_is_shared_is_not_cut_short(
    *,
    patched: Any,  # noqa: ANN401 - a function
    protocol: str | None,
    multiplexes: bool,
    whole: bool,
) -> None:
    """It carries frames of other requests, too; the call is cancelled right after the write."""

    class Slow(Wire):
        async def write(self, buffer: bytes, *limit: object, **_: object) -> None:
            self.waits.set()
            await anyio.sleep(0.01)
            self.written.append(buffer)
            limits.extend(limit)

    limits: list[object] = []
    wire = Wire()
    secure = wire.tls = Slow()
    secure.alpn = Negotiated(protocol)
    patched(Backend(wire))
    network = Network(multiplexes=multiplexes)
    stream = await (await network.connect_tcp("api.test", 443)).start_tls(NO_TLS)
    await stream.write(b"preface", 5.0)
    secure.waits, secure.written, limits = anyio.Event(), [], []

    async def write() -> None:
        await stream.write(b"question")
        await anyio.lowlevel.checkpoint()
        pytest.fail("the cancellation was swallowed")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write)
        await secure.waits.wait()
        tasks.cancel_scope.cancel()
    assert secure.written == [b"question"] * whole
    assert limits == [30.0] * whole
    if whole:
        await stream.write(b"another", 5.0)
        assert limits == [30.0, 5.0]
