import httpx
import pytest

from tests.support import Scripted, get
from walltrack.services.connections import Connections

pytestmark = pytest.mark.anyio


class Made(list[Scripted]):
    """The transports that were made."""

    def __call__(self) -> httpx.AsyncBaseTransport:
        self.append(Scripted(200))
        return self[-1]


async def test_a_transport_is_made_by_the_first_request() -> None:
    """And serves all that follow."""
    made = Made()
    connections = Connections(made)
    assert made == []
    for _ in range(2):
        assert (await connections.handle_async_request(get())).status_code == 200
    assert [len(transport.requests) for transport in made] == [2]


async def test_each_closing_is_followed_by_a_new_one() -> None:
    """Whoever went on with a closed one would leave connections open behind."""
    made = Made()
    for _ in range(2):
        async with Connections(made) as connections:
            await connections.handle_async_request(get())
    connections = Connections(made)
    for _ in range(2):
        await connections.handle_async_request(get())
        await connections.aclose()
        await connections.aclose()
    assert [(len(t.requests), t.closed) for t in made] == [(1, 1)] * 4


async def test_what_was_never_opened_is_not_made_to_be_closed() -> None:
    """There is nothing to close."""
    made = Made()
    await Connections(made).aclose()
    assert made == []


async def test_one_that_cannot_be_made_can_be_later() -> None:
    """The exception comes out as it is, and nothing is kept of it."""
    made = Made()

    def make() -> httpx.AsyncBaseTransport:
        if not made:
            made()
            raise ValueError("not yet")
        return made()

    connections = Connections(make)
    with pytest.raises(ValueError, match="not yet"):
        await connections.handle_async_request(get())
    assert (await connections.handle_async_request(get())).status_code == 200


async def test_the_repr_shows_what_is_open() -> None:
    """Nothing, or a transport."""
    connections = Connections(Made())
    assert repr(connections) == "Connections(None)"
    await connections.handle_async_request(get())
    assert "Scripted" in repr(connections)
