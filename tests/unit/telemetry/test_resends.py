from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from opentelemetry.trace import INVALID_SPAN

from tests.recorded import Recorded
from walltrack.telemetry.resends import number_resends

pytestmark = pytest.mark.anyio


async def attributes_after(extensions: dict[str, Any] | None, **recorded: str) -> dict[str, Any]:
    """The attributes of a span with `recorded` ones after the hook."""
    span = Recorded().tracers.get_tracer("t").start_span("GET")
    span.set_attributes({name.replace("_", "."): value for name, value in recorded.items()})
    url = httpx.URL("https://api.test:8443/bot7:x/send?a=b")
    await number_resends(span, SimpleNamespace(url=url, extensions=extensions))
    return dict(span.attributes or {})  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("extensions", "resends"),
    [
        (None, {}),
        ({}, {}),
        ({"walltrack.attempt": 1}, {}),
        ({"walltrack.attempt": 2}, {"http.request.resend_count": 1}),
        ({"walltrack.attempt": 4}, {"http.request.resend_count": 3}),
    ],
)
async def test_a_retry_has_its_number(
    extensions: dict[str, Any] | None, resends: dict[str, int]
) -> None:
    """The first attempt has none, by the semantic conventions."""
    assert await attributes_after(extensions) == resends


@pytest.mark.parametrize("name", ["http_url", "url_full"])
async def test_a_route_replaces_the_path_of_a_span(name: str) -> None:
    """In the old and in the stable attribute, whichever the span has."""
    route = {"walltrack.route": "/bot{token}/send"}
    attributes = await attributes_after(route, **{name: "https://api.test:8443/bot7:x/send?a=b"})
    assert attributes == {
        "url.template": "/bot{token}/send",
        name.replace("_", "."): "https://api.test:8443/bot{token}/send",
    }


async def test_a_route_that_is_no_text_hides_the_path() -> None:
    """A secret must not be shown because of a mistake."""
    attributes = await attributes_after(
        {"walltrack.route": 7}, url_full="https://api.test:8443/bot7:x/send?a=b"
    )
    assert attributes == {"url.full": "https://api.test:8443/..."}


async def test_a_span_that_records_nothing_is_left_alone() -> None:
    """As without an SDK, or if it was not sampled."""
    request = SimpleNamespace(url=httpx.URL("https://a.test"), extensions={"walltrack.route": "/a"})
    await number_resends(INVALID_SPAN, request)
