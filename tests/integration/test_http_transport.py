"""Each option of `HTTPTransport`, by what it does on the wire."""

import asyncio
import os
import resource
import socket
import ssl
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias, Unpack

import anyio
import httpx
import httpx2
import pytest
import trustme

from tests.integration.fault_server import FaultServer, cut, falls_silent, running
from tests.integration.proxy import Proxy, answers
from tests.integration.socks import SocksProxy, socks_proxy
from tests.support import until
from walltrack import HTTPOptions, HTTPTransport
from walltrack.core.causes import chain_of, is_out_of_resources

pytestmark = pytest.mark.anyio

Home: TypeAlias = Any  # httpx or httpx2; to a type checker their classes have nothing in common

each_family = pytest.mark.parametrize("home", [httpx, httpx2], ids=["httpx", "httpx2"])

AUTHORITY = trustme.CA()
STRANGER = trustme.CA()


def trusting(authority: trustme.CA = AUTHORITY) -> ssl.SSLContext:
    """A client's context that trusts an authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    return context


def proving(authority: trustme.CA = AUTHORITY) -> ssl.SSLContext:
    """A server's context, with a certificate of an authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def secure_server() -> Iterator[FaultServer]:
    """A server over TLS."""
    with running(proving()) as fault_server:
        yield fault_server


@pytest.fixture
def socks() -> Iterator[SocksProxy]:
    """A SOCKS proxy."""
    with socks_proxy() as made:
        yield made


@contextmanager
def distrusted(home: Home) -> Iterator[None]:
    """Hold that a block fails to connect, because of a certificate."""
    with pytest.raises(home.ConnectError) as caught:
        yield
    assert any(isinstance(e, ssl.SSLCertVerificationError) for e in chain_of(caught.value))


async def fetch(home: Home, url: str, **options: Unpack[HTTPOptions]) -> httpx.Response:
    """Return the answer to a GET by a client over such a transport."""
    transport = HTTPTransport(**options)
    async with home.AsyncClient(transport=transport, timeout=5) as client:
        response: httpx.Response = await client.get(url)
    return response


@each_family
async def test_a_response_tells_of_its_connection(server: FaultServer, home: ModuleType) -> None:
    """Its extensions are those of the family's own transport."""
    async with home.AsyncClient(transport=HTTPTransport()) as client:
        response = await client.get(server.url)
        assert isinstance(response, home.Response)
        assert (response.http_version, response.reason_phrase) == ("HTTP/1.1", "Whatever")
        assert set(response.extensions) == {"http_version", "reason_phrase", "network_stream"}
        stream = response.extensions["network_stream"]
        assert stream.get_extra_info("server_addr")[1] == server.port


@each_family
async def test_connections_are_kept_for_the_next_request(
    server: FaultServer,
    home: Home,
) -> None:
    """They are kept until they expire or the transport is closed."""
    async with home.AsyncClient(transport=HTTPTransport()) as client:
        for _ in range(3):
            await client.get(server.url)
        assert server.connections == 1
    await until(lambda: server.open_connections == 0)
    limits = httpx.Limits(keepalive_expiry=0.0)
    async with home.AsyncClient(transport=HTTPTransport(limits=limits)) as client:
        for _ in range(3):
            await client.get(server.url)
    assert server.connections == 4


@each_family
async def test_a_body_that_breaks_off_is_an_error_of_the_clients_family(
    server: FaultServer,
    home: Home,
) -> None:
    """A body that stops coming is one, too."""
    async with home.AsyncClient(transport=HTTPTransport(), timeout=5) as client:
        server.will(cut(), falls_silent(content_length="8"))
        with pytest.raises(home.RemoteProtocolError):
            await client.get(server.url)
        with pytest.raises(home.ReadTimeout):
            await client.get(server.url, timeout=home.Timeout(5, read=0.02))
    await until(lambda: server.open_connections == 0)


@each_family
async def test_a_pool_that_is_full_is_an_error_of_the_clients_family(
    server: FaultServer,
    home: Home,
) -> None:
    """After the pool timeout, and only while it is full."""
    transport = HTTPTransport(limits=home.Limits(max_connections=1))
    async with home.AsyncClient(transport=transport, timeout=5) as client:
        async with client.stream("GET", server.url):
            with pytest.raises(home.PoolTimeout):
                await client.get(server.url, timeout=home.Timeout(5, pool=0.01))
        assert (await client.get(server.url)).status_code == 200


# Certificates


@each_family
async def test_a_server_is_verified(secure_server: FaultServer, home: Home) -> None:
    """The authority in the given context verifies it; with another one the call fails."""
    assert (await fetch(home, secure_server.url, verify=trusting())).text == "ok"
    with distrusted(home):
        await fetch(home, secure_server.url, verify=trusting(STRANGER))


@each_family
async def test_the_usual_authorities_verify(secure_server: FaultServer, home: Home) -> None:
    """They have not signed for this server, which matters only if certificates are verified."""
    with distrusted(home):
        await fetch(home, secure_server.url)
    assert (await fetch(home, secure_server.url, verify=False)).text == "ok"


@each_family
async def test_the_environment_names_authorities(
    secure_server: FaultServer,
    home: Home,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Unless it is not trusted; a path does the same for one transport."""
    path = str(tmp_path / "ca.pem")
    AUTHORITY.cert_pem.write_to_path(path)
    assert (await fetch(home, secure_server.url, verify=path)).text == "ok"
    monkeypatch.setenv("SSL_CERT_FILE", path)
    assert (await fetch(home, secure_server.url)).text == "ok"
    with distrusted(home):
        await fetch(home, secure_server.url, trust_env=False)


@each_family
async def test_a_client_shows_its_certificate(home: Home, tmp_path: Path) -> None:
    """A server that asks for it gets the certificate; without one there is no answer."""
    context = proving()
    context.verify_mode = ssl.CERT_REQUIRED
    AUTHORITY.configure_trust(context)
    chain = str(tmp_path / "client.pem")
    AUTHORITY.issue_cert("client.test").private_key_and_cert_chain_pem.write_to_path(chain)
    with running(context) as server:
        answered = await fetch(home, server.url, verify=trusting(), cert=chain)
        assert answered.text == "ok"
        with pytest.raises(home.TransportError):
            await fetch(home, server.url, verify=trusting())


# Ways


@each_family
async def test_a_proxy_that_was_given_is_taken(
    server: FaultServer,
    proxy: Proxy,
    home: Home,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is used although `NO_PROXY` excludes the server."""
    monkeypatch.setenv("NO_PROXY", "*")
    for given in (f"http://127.0.0.1:{proxy.port}", home.Proxy(f"http://127.0.0.1:{proxy.port}")):
        assert (await fetch(home, server.url, proxy=given)).text == "ok"
    assert proxy.asked == ["GET", "GET"]
    assert server.seen[0].target == f"{server.url}/"


@each_family
async def test_a_proxy_tunnels_to_a_secure_server(
    secure_server: FaultServer,
    proxy: Proxy,
    home: Home,
) -> None:
    """The proxy sees nothing of the request; a refusal is a ProxyError."""
    url = f"http://127.0.0.1:{proxy.port}"
    assert (await fetch(home, secure_server.url, verify=trusting(), proxy=url)).text == "ok"
    assert proxy.asked == ["CONNECT"]
    proxy.instead = answers(407)
    with pytest.raises(home.ProxyError, match="407"):
        await fetch(home, secure_server.url, verify=trusting(), proxy=url)


@each_family
@pytest.mark.parametrize("credentials", ["", "me:hunter2@"], ids=["open", "password"])
@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
async def test_a_socks_proxy_is_taken(
    *,
    home: Home,
    socks: SocksProxy,
    credentials: str,
    secure: bool,
) -> None:
    """With a password, if it wants one."""
    with running(proving() if secure else None) as server:
        url = f"socks5://{credentials}127.0.0.1:{socks.port}"
        assert (await fetch(home, server.url, verify=trusting(), proxy=url)).text == "ok"
        await until(lambda: server.open_connections == 0)
    assert socks.asked == [*([credentials[:-1]] if credentials else []), "connect"]
    await until(lambda: socks.open_connections == 0)


@each_family
async def test_a_socks_proxy_that_fails_leaves_no_connection(
    server: FaultServer,
    home: Home,
    socks: SocksProxy,
) -> None:
    """However it fails, its socket is closed, which no other part of the pool would do."""
    transport = HTTPTransport(proxy=f"socks5://127.0.0.1:{socks.port}")

    async def refuses(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(3)
        writer.write(b"\x05\xff")
        await reader.read()  # until the client closes

    async def hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del writer
        await reader.read(3)

    async with home.AsyncClient(transport=transport, timeout=5) as client:
        for instead in (refuses, hangs_up):
            socks.instead = instead
            with pytest.raises(home.ProxyError):
                await client.get(server.url)
            await until(lambda: socks.open_connections == 0)
        socks.instead = None
        assert (await client.get(server.url)).text == "ok"


@each_family
async def test_a_socket_in_the_file_system_is_taken(
    home: Home,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Past the proxy of the environment: it says where to connect."""
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    path = str(tmp_path / "s")

    async def serve(peer: anyio.abc.SocketStream) -> None:
        async with peer:
            await peer.receive()
            await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    listener = await anyio.create_unix_listener(path)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        assert (await fetch(home, "http://docker/", uds=path)).text == "ok"
        tasks.cancel_scope.cancel()


@each_family
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere loopback has a single address")
async def test_an_address_and_options_of_the_socket_are_set(
    server: FaultServer,
    proxy: Proxy,
    home: Home,
) -> None:
    """On the way to a server, and on the way to a proxy."""
    keep_alive = (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    options = {"local_address": "127.0.0.2", "socket_options": [keep_alive]}
    for way in ({}, {"proxy": f"http://127.0.0.1:{proxy.port}"}):
        transport = HTTPTransport(**options, **way)  # type: ignore[arg-type]  # of several types
        async with (
            home.AsyncClient(transport=transport) as client,
            client.stream("GET", server.url) as response,
        ):
            stream = response.extensions["network_stream"]
            assert stream.get_extra_info("client_addr")[0] == "127.0.0.2"
            made = stream.get_extra_info("socket")
            assert made.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


@each_family
async def test_a_connection_is_tried_again(home: Home) -> None:
    """It is tried again as often as `retries` says."""
    steps: list[str] = []

    async def trace(name: str, _: Mapping[str, object]) -> None:
        steps.append(name)

    async with home.AsyncClient(transport=HTTPTransport(retries=1)) as client:
        with pytest.raises(home.ConnectError):
            await client.get("http://127.0.0.1:1/", extensions={"trace": trace})
    assert steps.count("connection.connect_tcp.started") == 2


@each_family
async def test_a_port_that_does_not_exist_is_an_error_of_the_clients_family(home: Home) -> None:
    """This holds also on asyncio, where httpx raises a group of OverflowErrors."""
    for host in ("127.0.0.1", "localhost"):
        with pytest.raises(home.ConnectError, match="port 65536 does not exist"):
            await fetch(home, f"http://{host}:65536/")
    with pytest.raises(home.ConnectError, match=r"^(?!port)"):
        await fetch(home, "http://127.0.0.1:65535/")


@each_family
async def test_the_environment_is_not_asked_if_it_is_not_trusted(
    server: FaultServer,
    home: Home,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With `trust_env=False`, the environment's proxy, which does not exist, is not used."""
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    assert (await fetch(home, server.url, trust_env=False)).text == "ok"
    with pytest.raises(home.ConnectError):
        await fetch(home, server.url)


@contextmanager
def no_file_left() -> Iterator[None]:
    """Let this process open no other file or socket."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@each_family
async def test_a_process_without_a_file_left_fails_to_connect(
    server: FaultServer, home: Home
) -> None:
    """Whether it loads certificates or opens a socket; afterwards it can send again."""
    async with home.AsyncClient(transport=HTTPTransport(), timeout=5) as client:
        for _ in range(2):
            with no_file_left(), pytest.raises(home.ConnectError) as caught:
                await client.get(server.url)
            assert is_out_of_resources(caught.value)
            assert (await client.get(server.url)).status_code == 200
            await client._transport.aclose()  # noqa: SLF001 - its next call connects again


@pytest.mark.parametrize("anyio_backend", [("asyncio", {"use_uvloop": True})], ids=["uvloop"])
@each_family
async def test_it_runs_on_uvloop(
    server: FaultServer, secure_server: FaultServer, home: Home
) -> None:
    """It works with and without TLS, also after cancelled calls and after being closed."""
    assert type(asyncio.get_running_loop()).__module__.startswith("uvloop")
    transport = HTTPTransport(verify=trusting(), limits=home.Limits(max_connections=2))
    async with home.AsyncClient(transport=transport, timeout=5) as client:
        for url in (server.url, secure_server.url):
            assert (await client.get(url)).text == "ok"
        for _ in range(3):  # more than there are connections
            server.will(falls_silent())
            with anyio.move_on_after(0.02) as scope:
                await client.get(server.url)
            assert scope.cancelled_caught
        server.script.clear()  # one that came too late
        assert (await client.post(server.url, content=bytes(2**20))).text == "ok"
        await transport.aclose()
        assert (await client.get(secure_server.url)).text == "ok"
    await until(lambda: not server.open_connections and not secure_server.open_connections)
