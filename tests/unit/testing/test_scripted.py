from collections.abc import AsyncIterator
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest

from tests.support import Body, Clock, get
from walltrack import CircuitBreakerTransport, Delivery, RetryPolicy, RetryTransport
from walltrack.core import family
from walltrack.core.extensions import DELIVERY
from walltrack.testing import ScriptedTransport, UnexpectedRequestError

pytestmark = pytest.mark.anyio

URL = "https://user:secret@api.test/things?api-key=hunter2"
HOMES = pytest.mark.parametrize("home", family.FAMILIES, ids=lambda home: home.__name__)


@HOMES
async def test_each_request_takes_the_next_step(home: Any) -> None:  # noqa: ANN401 - a module
    """Steps are statuses, responses, exceptions, classes, and functions of both kinds."""

    def echo(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, text=request.method)

    async def slow(_: httpx.Request) -> type[Exception]:
        await anyio.lowlevel.checkpoint()
        return httpx.ReadTimeout

    transport = ScriptedTransport(
        [503, httpx.Response(200, json=[1]), httpx.ReadError("gone"), httpx.PoolTimeout, echo, slow]
    )
    async with home.AsyncClient(transport=transport) as client:
        assert (await client.get(URL)).status_code == 503
        assert (await client.get(URL)).json() == [1]
        with pytest.raises(home.ReadError, match="gone"):
            await client.get(URL)
        with pytest.raises(home.PoolTimeout, match="scripted PoolTimeout"):
            await client.get(URL)
        assert (await client.post(URL)).text == "POST"
        with pytest.raises(home.ReadTimeout):
            await client.get(URL)
    assert transport.calls == 6
    assert transport.left == 0


@pytest.mark.skipif(len(family.FAMILIES) == 1, reason="httpx2 is not installed")
async def test_a_response_of_either_family_serves_both() -> None:
    """A step made with one family also answers a client of the other."""
    other: Any = family.FAMILIES[1]
    transport = ScriptedTransport([other.Response(200, text="hello"), other.ConnectError])
    async with httpx.AsyncClient(transport=transport) as client:
        assert (await client.get(URL)).text == "hello"
        with pytest.raises(httpx.ConnectError):
            await client.get(URL)


@pytest.mark.parametrize("step", [200, httpx.Response(200, content=b"body")])
async def test_a_body_is_still_to_be_read(step: int | httpx.Response) -> None:
    """As over a connection, the caller has to read it and close it."""
    response = await ScriptedTransport([step]).handle_async_request(get())
    assert not response.is_closed
    await response.aread()
    assert response.is_closed


async def test_what_came_is_kept_as_it_came() -> None:
    """Requests are copied with their content, so later changes do not affect the record."""
    transport = ScriptedTransport([200, 200])
    request = httpx.Request("POST", URL, json={"n": 1})
    await transport.handle_async_request(request)
    request.headers["x-late"] = "1"
    await transport.handle_async_request(request)
    first, second = transport.requests
    assert first.content == second.content == b'{"n":1}'
    assert ("x-late" in first.headers, "x-late" in second.headers) == (False, True)
    assert first.url == request.url


async def test_a_body_that_can_be_read_once_is_read() -> None:
    """Its content is recorded, and it cannot be sent again, as over a network."""

    async def parts() -> AsyncIterator[bytes]:
        yield b"one"
        yield b"two"

    transport = ScriptedTransport([503, 200])
    async with httpx.AsyncClient(transport=RetryTransport(transport, listener=None)) as client:
        response = await client.put(URL, content=parts())
    assert response.status_code == 503
    assert transport.requests[0].content == b"onetwo"


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ([], "request 1 came (GET api.test/things), but the script has 0 steps"),
        ([500], "request 2 came (GET api.test/things), but the script has 1 step"),
        ([500, 500], "request 3 came (GET api.test/things), but the script has 2 steps"),
    ],
)
async def test_one_request_too_many_fails_the_test(script: list[int], text: str) -> None:
    """The error names the request without secrets; retries and a breaker do not swallow it."""
    transport = ScriptedTransport(script)
    layers = RetryTransport(
        CircuitBreakerTransport(transport, listener=None), sleep=Clock().sleep, listener=None
    )
    async with httpx.AsyncClient(transport=layers) as client:
        with pytest.raises(AssertionError) as caught:
            await client.get(URL)
    assert isinstance(caught.value, UnexpectedRequestError)
    assert str(caught.value) == text
    assert caught.value.number == transport.calls == len(script) + 1
    assert caught.value.steps == len(script)
    assert transport.left == 0


async def test_the_last_step_is_repeated_if_so_asked() -> None:
    """It answers every further request, each time with a body to read."""
    last = httpx.Response(200, text="well")
    transport = ScriptedTransport([503, last], repeat_last=True)
    async with httpx.AsyncClient(transport=transport) as client:
        texts = [(await client.get(URL)).text for _ in range(4)]
    assert texts == ["", "well", "well", "well"]
    assert transport.calls == 4


@pytest.mark.parametrize(
    ("step", "sent"), [(httpx.ConnectError, 2), (httpx.ReadError, 1), (httpx.ReadError("gone"), 1)]
)
async def test_an_exception_proves_what_it_would_in_earnest(step: Any, sent: int) -> None:  # noqa: ANN401 - a step
    """A POST without a key is sent again only if nothing had been sent."""
    transport = ScriptedTransport([step, 201])
    retry = RetryTransport(
        transport,
        policy=RetryPolicy(non_idempotent="proven"),
        sleep=Clock().sleep,
        listener=None,
    )
    async with httpx.AsyncClient(transport=retry) as client:
        if sent == 2:
            await client.post(URL)
        else:
            with pytest.raises(step if isinstance(step, type) else type(step)):
                await client.post(URL)
    assert transport.calls == sent


async def test_a_function_may_state_what_it_knows() -> None:
    """Its own exception is raised unchanged, with the delivery that it stated."""

    def refuse(request: httpx.Request) -> httpx.Response:
        request.extensions[DELIVERY] = Delivery.ANSWERED
        raise httpx.ConnectError("as I say")

    request = get()
    with pytest.raises(httpx.ConnectError, match="as I say"):
        await ScriptedTransport([refuse]).handle_async_request(request)
    assert request.extensions[DELIVERY] is Delivery.ANSWERED


async def test_callers_at_once_take_steps_in_their_order() -> None:
    """Steps follow the order in which requests came, not that of the answers."""
    transport = ScriptedTransport(list(range(200, 300)))
    got = {}

    async def ask(path: str) -> None:
        response = await transport.handle_async_request(get(f"https://api.test/{path}"))
        got[path] = response.status_code

    async with anyio.create_task_group() as group:
        for number in range(100):
            group.start_soon(ask, str(number))
    order = [request.url.path.strip("/") for request in transport.requests]
    assert [got[path] for path in order] == list(range(200, 300))


async def test_a_cancelled_caller_used_up_its_step() -> None:
    """The next request gets the next step, not that of the cancelled one."""
    transport = ScriptedTransport([200, 201])
    with anyio.CancelScope() as scope:
        scope.cancel()
        await transport.handle_async_request(get())
    assert scope.cancelled_caught
    assert (await transport.handle_async_request(get())).status_code == 201
    assert transport.calls == 2


@pytest.mark.parametrize(
    ("steps", "text"),
    [
        ("503", "steps must be a list or a tuple, got '503'"),
        (503, "steps must be a list or a tuple, got 503"),
        (iter([503]), "steps must be a list or a tuple"),
        ([200, True], r"steps\[1\] must be a status, a response, .*, got True"),
        ([200, "503"], r"steps\[1\] must be a status, a response, .*, got '503'"),
        ([None], r"steps\[0\] must be a status"),
        ([KeyboardInterrupt], r"steps\[0\] must be a status"),
        ([int], r"steps\[0\] must be a status"),
        ([httpx.HTTPStatusError], r"steps\[0\] must be an exception: HTTPStatusError cannot"),
    ],
)
def test_a_mistaken_step_is_refused(steps: Any, text: str) -> None:  # noqa: ANN401 - bad input
    """The constructor raises an error with its position."""
    with pytest.raises(TypeError, match=text):
        ScriptedTransport(steps)


@pytest.mark.parametrize("status", [42, 99, 600, -1])
def test_a_status_that_is_none_is_refused(status: int) -> None:
    """The error has its position in the script."""
    with pytest.raises(
        ValueError, match=rf"steps\[1\] must be a status from 100 to 599, got {status}"
    ):
        ScriptedTransport([200, status])


@pytest.mark.parametrize("status", [100, 599])
@pytest.mark.parametrize("kind", ["status", "function"])
async def test_the_first_and_the_last_status_are_answered(status: int, kind: str) -> None:
    """100 and 599 are valid statuses, too."""
    transport = ScriptedTransport([status if kind == "status" else lambda _: status])
    async with httpx.AsyncClient(transport=transport) as client:
        assert (await client.get(URL)).status_code == status


@pytest.mark.parametrize("status", [99, 600])
async def test_a_function_that_returns_no_status_is_found_out(status: int) -> None:
    """The error states the bounds, which are those of a step."""
    transport = ScriptedTransport([lambda _: status])
    with pytest.raises(ValueError, match=f"must be a status from 100 to 599, got {status}"):
        await transport.handle_async_request(get())


async def test_a_response_without_its_body_is_refused() -> None:
    """A response that was read elsewhere has nothing left to stream."""
    response = httpx.Response(200, stream=Body(b"one"))
    await response.aread()
    with pytest.raises(ValueError, match=r"steps\[0\] is a response whose body was read"):
        ScriptedTransport([response])


def test_nothing_cannot_be_repeated() -> None:
    """An empty script has no last step to repeat."""
    with pytest.raises(ValueError, match="steps must not be empty"):
        ScriptedTransport([], repeat_last=True)


@pytest.mark.parametrize("returned", [None, "503", True, len])
async def test_a_function_that_returns_no_answer_is_found_out(returned: Any) -> None:  # noqa: ANN401 - bad input
    """The error is raised when the function is called."""
    transport = ScriptedTransport([lambda _: returned])
    with pytest.raises(TypeError, match="what a step's function returns must be a status"):
        await transport.handle_async_request(get())


async def test_it_outlives_the_client() -> None:
    """After a client is closed, the next one continues with the script."""
    transport = ScriptedTransport([200, 201])
    for status in (200, 201):
        async with httpx.AsyncClient(transport=transport) as client:
            assert (await client.get(URL)).status_code == status


async def test_repr_tells_how_far_it_is() -> None:
    """It shows the position, but no body, header or URL."""
    transport = ScriptedTransport([httpx.Response(200, text="secret"), 200])
    await transport.handle_async_request(get())
    assert repr(transport) == "ScriptedTransport(1 calls, 1 of 2 left)"
