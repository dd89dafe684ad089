import socket
import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import anyio
import anyio.lowlevel
import httpcore2
import pytest

from walltrack.http import network as module
from walltrack.http.network import Network, NetworkClosedError, close

pytestmark = pytest.mark.anyio

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class Negotiated:
    """TLS that has agreed on a protocol."""

    def __init__(self, protocol: str | None) -> None:
        self._protocol = protocol

    def selected_alpn_protocol(self) -> str | None:
        return self._protocol


class Wire(httpcore2.AsyncNetworkStream):
    """A connection: it refuses to be used once it is closed, as a socket does."""

    def __init__(self, *reads: bytes | Exception) -> None:
        self.reads = list(reads)
        self.written: list[bytes] = []
        self.closed = False
        self.tls: Wire | BaseException | None = None
        self.alpn: Negotiated | None = None
        self.waits = anyio.Event()

    async def read(self, max_bytes: int, *_: object, **__: object) -> bytes:
        await anyio.lowlevel.checkpoint()
        if self.closed:
            raise httpcore2.ReadError
        step = self.reads.pop(0)
        if isinstance(step, Exception):
            raise step
        return step[:max_bytes]

    async def write(self, buffer: bytes, *_: object, **__: object) -> None:
        await anyio.lowlevel.checkpoint()
        if self.closed:
            raise httpcore2.WriteError
        self.written.append(buffer)

    async def aclose(self) -> None:
        self.closed = True
        await anyio.lowlevel.checkpoint()

    async def start_tls(self, *_: object, **__: object) -> httpcore2.AsyncNetworkStream:
        if self.tls is None:
            self.waits.set()
            await anyio.sleep_forever()
        if isinstance(self.tls, BaseException):
            raise self.tls
        assert self.tls is not None
        return self.tls

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - httpcore2's
        return self.alpn if info == "ssl_object" else f"its {info}"


class Backend(httpcore2.AsyncNetworkBackend):
    """Connects by a script: a wire, an exception, or None for a connection that does not come."""

    def __init__(self, *steps: Wire | Exception | None, shielded: bool = False) -> None:
        self.steps = list(steps)
        self.asked: list[tuple[object, ...]] = []
        self.shielded = shielded
        self.waits = anyio.Event()
        self.goes_on = anyio.Event()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore2's
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        self.asked.append((host, port, timeout, local_address, socket_options))
        step = self.steps.pop(0)
        if self.shielded:
            self.waits.set()
            with anyio.CancelScope(shield=True):
                await self.goes_on.wait()
        if step is None:
            self.waits.set()
            await anyio.sleep_forever()
        if isinstance(step, Exception):
            raise step
        assert step is not None
        return step

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore2's
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        self.asked.append((path, timeout, socket_options))
        step = self.steps.pop(0)
        assert isinstance(step, Wire)
        return step


@pytest.fixture
def patched(monkeypatch: pytest.MonkeyPatch) -> Any:  # noqa: ANN401 - a function
    """Has networks connect by a backend."""

    def patch(backend: Backend) -> Backend:
        monkeypatch.setattr(module, "_backend", lambda: backend)
        return backend

    return patch


async def test_a_connection_passes_what_is_read_and_written(patched: Any) -> None:  # noqa: ANN401 - a function
    """Untouched, until it is closed."""
    wire = Wire(b"answer")
    patched(Backend(wire))
    stream = await Network().connect_tcp("api.test", 80, 5.0)

    await stream.write(b"question", 1.0)
    assert await stream.read(3, 1.0) == b"ans"
    assert stream.get_extra_info("socket") == "its socket"
    await stream.aclose()
    assert wire.written == [b"question"]
    assert wire.closed


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
    """Over real sockets, by the backend for that loop."""
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
    """As to a host."""
    path = str(tmp_path / "s")
    async with await anyio.create_unix_listener(path):
        stream = await Network().connect_unix_socket(path, 5.0)
        await stream.aclose()


async def test_closing_ends_what_is_connecting(patched: Any) -> None:  # noqa: ANN401 - a function
    """At once, however long the server would take; the call learns why."""
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
    """Nor wait before it would connect again."""
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
    """One that is under way; one that nothing ends is over in time."""
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
    """The caller's cancellation is not taken for a closing, nor swallowed."""
    backend = patched(Backend(None))
    network = Network()
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(network.connect_tcp, "api.test", 80)
            await backend.waits.wait()
            scope.cancel()
    assert scope.cancelled_caught


async def test_an_error_of_connecting_propagates(patched: Any) -> None:  # noqa: ANN401 - a function
    """As it came."""
    patched(Backend(httpcore2.ConnectError("refused")))
    with pytest.raises(httpcore2.ConnectError, match="refused"):
        await Network().connect_tcp("api.test", 80)


async def test_closing_closes_every_stream(patched: Any) -> None:  # noqa: ANN401 - a function
    """Those that are open; one that fails to close does not keep the others open."""

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


async def test_a_stream_of_a_closed_network_is_not_used(patched: Any) -> None:  # noqa: ANN401 - a function
    """Nothing is sent; and what is read must not pass for the end of a body."""
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
    """httpcore2 lets it through as it is."""
    patched(Backend(Wire(ssl.SSLError(1, "bad record mac"))))
    stream = await Network().connect_tcp("api.test", 443)
    with pytest.raises(httpcore2.ReadError, match="bad record mac") as caught:
        await stream.read(10)
    assert isinstance(caught.value.__cause__, ssl.SSLError)


async def test_tls_takes_the_place_of_the_socket(patched: Any) -> None:  # noqa: ANN401 - a function
    """From then on it is what is open."""
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
    """Only in a tunnel, where something was written before, does httpcore2 keep counting it."""
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
    """By the closing of the network, or by a cancellation of its caller."""
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


class Lost:
    """What a call left behind when it failed: how far its connection came, and what it wanted."""

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
    """What httpcore2 does not know yet, and so does not close."""
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
    """Neither another call's connection nor one that was there before."""
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


async def test_closing_is_not_cancelled() -> None:
    """What has to be closed is closed, also in a call that is cancelled."""
    wire = Wire()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await close(wire)
        await anyio.lowlevel.checkpoint()  # the cancellation is still there afterwards
    assert wire.closed
    assert scope.cancelled_caught


async def test_the_write_that_opens_a_connection_may_be_cut_short(patched: Any) -> None:  # noqa: ANN401 - a function
    """Then httpcore2 closes the connection; it cannot go on as if that was done."""

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
    """It strikes while httpcore2 still closes the connection for it."""
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


async def test_a_connection_that_is_shared_is_lost_until_a_request_is_sent(patched: Any) -> None:  # noqa: ANN401 - a function
    """httpcore2 would use it with a wrong count of its streams."""
    for writes in (1, 2):
        wire = Wire()
        patched(Backend(wire))
        network = Network(multiplexes=True)
        stream = await network.connect_tcp("api.test", 80)
        for _ in range(writes):
            await stream.write(b"frames")
        await network.close_lost(0, secure=False)
        assert wire.closed is network.spoiled is (writes == 1)


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
    """It carries frames of other requests, too; the call is cancelled right after it."""

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
