"""BaseAPIClient over two servers: what belongs to one of them never reaches the other."""

import ssl
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import trustme
from pydantic import SecretStr

from tests.integration.fault_server import FaultServer, answer, running
from walltrack import Backoff, BaseAPIClient, ExternalServiceError, RetryPolicy

pytestmark = pytest.mark.anyio

SECRET = "hunter2"  # noqa: S105 - so that it can be looked for
ENCODED = "dXNlcjpodW50ZXIy"  # user:hunter2 in base 64, as Authorization has it

ONCE = RetryPolicy(max_retries=0)
AT_ONCE = RetryPolicy(max_retries=1, backoff=Backoff(base=0.0))

AUTHORITY = trustme.CA()
TRUST = ssl.create_default_context()
AUTHORITY.configure_trust(TRUST)


@pytest.fixture
def home(server: FaultServer) -> FaultServer:
    """The server that the client is for."""
    return server


@pytest.fixture
def stranger() -> Iterator[FaultServer]:
    """A server of another origin."""
    with running() as fault_server:
        yield fault_server


@pytest.fixture
def encrypted() -> Iterator[FaultServer]:
    """A server whose origin differs by its scheme, too."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("127.0.0.1").configure_cert(tls)
    with running(tls) as fault_server:
        yield fault_server


def client_of(server: FaultServer, userinfo: str = "", **options: Any) -> BaseAPIClient:  # noqa: ANN401 - handed on
    """A client that does not retry, unless `options` say otherwise."""
    return BaseAPIClient(
        server.url.replace("://", f"://{userinfo}"),
        listener=None,
        transport=httpx.AsyncHTTPTransport(verify=TRUST),
        **{"retry": ONCE, **options},
    )


def secrets_at(server: FaultServer) -> list[str]:
    """The secrets of the other server that this server has seen."""
    told = [str(part) for seen in server.seen for part in (seen.target, seen.headers, seen.body)]
    return [part for part in told if SECRET in part or ENCODED in part]


@pytest.mark.parametrize(
    "path",
    [
        "http://{it}/",
        "http://{it}",
        "HTTP://{it}/x",
        "https://{it}/",
        "ftp://{it}/",
        "//{it}/x",
        "//{it}",
        "//user@{it}/",
        "//{home}@{it}/",
        "http://{home}@{it}/",
        "http://{home}:80@{it}/",
        "http://user:pass@{home}/",
        "//user@{home}/",
        "http://{home}.elsewhere.test/",
        "http://{home}0/",
        "https://{home}/",
        "http://LOCALHOST:{port}/",
        "http://[::1]:{port}/",
        "http://2130706433:{port}/",
        "http://127.1:{port}/",
        "http://127.0.0.1/",
        "http://{home}\\@{it}/",
        "//{it}\\@{home}/",
        "http:\\\\{it}\\",
        "http:{it}",
        "http:///{it}/",
        "\thttp://{it}/",
        "http://\t{it}/",
        "ht\ntp://{it}/",
        "/\n/{it}/",
        "//{it}\r\nHost: x/",
        "javascript://{it}/",
        "//{home}/",
        "%2e%2e",
        "a/%2e%2e/%2e%2e/b",
        "a/..%2f..%2fb",
    ],
    ids=ascii,
)
async def test_a_path_that_leads_elsewhere_is_refused(
    home: FaultServer, stranger: FaultServer, path: str
) -> None:
    """Nothing is sent, and no connection is opened."""
    names = {"it": f"127.0.0.1:{stranger.port}", "home": f"127.0.0.1:{home.port}"}
    async with client_of(home) as client:
        with pytest.raises(ValueError, match=r"^path "):
            await client.get(path.format(**names, port=home.port))
    assert (home.connections, stranger.connections) == (0, 0)


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/\\{it}/", "/\\{it}/"),
        ("\\\\{it}\\", "/\\\\{it}\\"),
        ("..", "/"),
        ("///{it}/", "/{it}/"),
        ("/@{it}/", "/@{it}/"),
        ("@{it}/", "/@{it}/"),
        (" //{it}/", "/%20//{it}/"),
        ("/http://{it}/", "/http://{it}/"),
        ("?next=http://{it}/", "/?next=http://{it}/"),
        ("/a;http://{it}", "/a;http://{it}"),
        ("/%2f%2f{it}/", "/%2f%2f{it}/"),
        ("http://{home}/a", "/a"),
        ("HTTP://{home}/a", "/a"),
    ],
)
async def test_a_path_that_only_looks_like_it_stays_home(
    home: FaultServer, stranger: FaultServer, path: str, target: str
) -> None:
    """It is the path of a request to the client's own server."""
    names = {"it": f"127.0.0.1:{stranger.port}", "home": f"127.0.0.1:{home.port}"}
    async with client_of(home) as client:
        await client.get(path.format(**names))
    assert [seen.target for seen in home.seen] == [target.format(**names)]
    assert home.seen[0].headers["host"] == names["home"]
    assert stranger.connections == 0


async def test_a_host_in_capitals_is_the_same_host() -> None:
    """Host names are case-insensitive, so links of a server to itself may be in any case."""
    sent: list[str] = []

    def note(request: httpx.Request) -> httpx.Response:
        sent.append(str(request.url))
        return httpx.Response(200)

    async with BaseAPIClient("http://api.test", transport=httpx.MockTransport(note)) as client:
        await client.get("http://API.Test:80/a")
    assert sent == ["http://api.test/a"]


CREDENTIALS: list[Any] = [
    pytest.param({"headers": {"X-Api-Key": SECRET}}, {}, id="header of the client"),
    pytest.param({"headers": {"x-secret": SecretStr(SECRET)}}, {}, id="SecretStr of the client"),
    pytest.param({}, {"headers": {"X-Api-Key": SECRET}}, id="header of the call"),
    pytest.param({}, {"headers": {"X-Api-Key": SecretStr(SECRET)}}, id="SecretStr of the call"),
    pytest.param({"headers": {"Authorization": f"Bearer {SECRET}"}}, {}, id="Authorization"),
    pytest.param({}, {"headers": {"Proxy-Authorization": SECRET}}, id="Proxy-Authorization"),
    pytest.param({"auth": ("user", SECRET)}, {}, id="auth of the client"),
    pytest.param({}, {"auth": ("user", SECRET)}, id="auth of the call"),
    pytest.param({"cookies": {"sid": SECRET}}, {}, id="cookies of the client"),
    pytest.param({"userinfo": f"user:{SECRET}@"}, {}, id="userinfo"),
]

ONLY_AT_FIRST: list[Any] = [  # httpx sends neither to where a redirect leads
    pytest.param({"headers": {"Cookie": f"sid={SECRET}"}}, {}, id="header Cookie"),
    pytest.param({"params": {"key": SecretStr(SECRET)}}, {"params": {"k": SECRET}}, id="params"),
]


@pytest.mark.parametrize("status", [302, 308])
@pytest.mark.parametrize(("of_client", "of_call"), CREDENTIALS + ONLY_AT_FIRST)
async def test_a_redirect_to_a_stranger_takes_no_credentials_along(
    home: FaultServer,
    stranger: FaultServer,
    of_client: dict[str, Any],
    of_call: dict[str, Any],
    status: int,
) -> None:
    """The other server gets the request, but no credentials."""
    home.will(answer(status, location=f"{stranger.url}/x"))
    async with client_of(home, **of_client) as client:
        response = await client.get("/a", follow_redirects=True, **of_call)
    assert response.status_code == 200
    assert len(secrets_at(home)) >= 1
    assert [seen.target for seen in stranger.seen] == ["/x"]
    assert secrets_at(stranger) == []


@pytest.mark.parametrize(("of_client", "of_call"), CREDENTIALS)
async def test_a_redirect_to_another_scheme_takes_no_credentials_along(
    home: FaultServer, encrypted: FaultServer, of_client: dict[str, Any], of_call: dict[str, Any]
) -> None:
    """This includes a redirect that httpx regards as an upgrade of the same server."""
    home.will(answer(302, location=f"{encrypted.url}/x"))
    async with client_of(home, **of_client) as client:
        await client.get("/a", follow_redirects=True, **of_call)
    assert [seen.target for seen in encrypted.seen] == ["/x"]
    assert secrets_at(encrypted) == []


@pytest.mark.parametrize("location", ["b", "{home}/b"])
@pytest.mark.parametrize(("of_client", "of_call"), CREDENTIALS)
async def test_a_redirect_within_the_origin_keeps_them(
    home: FaultServer, of_client: dict[str, Any], of_call: dict[str, Any], location: str
) -> None:
    """The second request carries the same credentials as the first."""
    home.will(answer(302, location=location.format(home=home.url)))
    async with client_of(home, **of_client) as client:
        await client.get("/a", follow_redirects=True, **of_call)
    assert [seen.target for seen in home.seen] == ["/a", "/b"]
    assert len(secrets_at(home)) == 2


@pytest.mark.parametrize(("of_client", "of_call"), CREDENTIALS)
async def test_the_way_back_from_a_stranger_does_not_restore_them(
    home: FaultServer, stranger: FaultServer, of_client: dict[str, Any], of_call: dict[str, Any]
) -> None:
    """Another origin cannot choose which requests carry the caller's credentials."""
    home.will(answer(302, location=f"{stranger.url}/x"))
    stranger.will(answer(302, location=f"{home.url}/delete-it-all"))
    async with client_of(home, **of_client) as client:
        await client.get("/a", follow_redirects=True, **of_call)
    assert [seen.target for seen in home.seen] == ["/a", "/delete-it-all"]
    assert len(secrets_at(home)) == 1


@pytest.mark.parametrize(("of_client", "of_call"), CREDENTIALS)
async def test_a_failing_stranger_is_asked_again_without_them(
    home: FaultServer, stranger: FaultServer, of_client: dict[str, Any], of_call: dict[str, Any]
) -> None:
    """A retry adds no credentials to a request that was redirected to another origin."""
    home.will(answer(302, location=f"{stranger.url}/x"))
    stranger.will(answer(503, retry_after="0"))
    async with client_of(home, retry=AT_ONCE, **of_client) as client:
        await client.get("/a", follow_redirects=True, **of_call)
    assert len(stranger.seen) == 2
    assert secrets_at(stranger) == []


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_a_cookie_stays_with_its_origin(
    home: FaultServer, stranger: FaultServer, host: str
) -> None:
    """One that the server set comes back to it, and goes neither to another host nor port."""
    elsewhere = stranger.url.replace("127.0.0.1", host)
    home.will(answer(200, set_cookie=f"sid={SECRET}"), answer(302, location=f"{elsewhere}/x"))
    async with client_of(home) as client:
        await client.get("/login")
        await client.get("/a", follow_redirects=True)
    assert home.seen[1].headers["cookie"] == f"sid={SECRET}"
    assert [seen.target for seen in stranger.seen] == ["/x"]
    assert secrets_at(stranger) == []


async def test_a_redirect_is_not_followed_unless_the_caller_says_so(
    home: FaultServer, stranger: FaultServer
) -> None:
    """By default, the caller gets the redirect response."""
    home.will(answer(302, location=stranger.url))
    async with client_of(home, headers={"X-Api-Key": SECRET}) as client:
        response = await client.get("/a")
    assert response.status_code == 302
    assert stranger.connections == 0


async def test_a_redirect_that_cannot_be_followed_sends_no_request(
    home: FaultServer, stranger: FaultServer
) -> None:
    """A malformed location, or one with a scheme other than HTTP's, fails the call."""
    names = [f"ftp://127.0.0.1:{stranger.port}/", f"http://[127.0.0.1:{stranger.port}/"]
    home.will(*[answer(302, location=name) for name in names])
    async with client_of(home, headers={"X-Api-Key": SECRET}) as client:
        for _ in names:
            with pytest.raises(ExternalServiceError):
                await client.get("/a", follow_redirects=True)
    assert stranger.connections == 0
