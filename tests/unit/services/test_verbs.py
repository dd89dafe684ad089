import pytest

from tests.support import Scripted
from tests.unit.services.clients import Make

asynchronous = pytest.mark.anyio

VERBS = ["get", "head", "post", "put", "patch", "delete"]


@asynchronous
@pytest.mark.parametrize("verb", VERBS)
async def test_every_verb_takes_options(make: Make, verb: str) -> None:
    """They reach the request under the names that httpx gave them."""
    inner = Scripted(204)
    await getattr(make(inner=inner), verb)(
        "/a", params={"x": "1"}, headers={"X-A": "1"}, timeout=3.0, extensions={"mine": 1}
    )
    [request] = inner.requests
    assert request.url.query == b"x=1"
    assert request.headers["X-A"] == "1"
    assert request.extensions["timeout"]["read"] == 3.0
    assert request.extensions["mine"] == 1
