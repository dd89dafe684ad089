import httpx
import pytest

from walltrack import (
    CircuitBreakerOpenError,
    RejectReason,
    RequestRejected,
    RetryScheduled,
    origin_of,
)
from walltrack.core.naming import Server, server_of, service_of
from walltrack.core.observer import Reading
from walltrack.telemetry.attributes import about, combined, of_call, of_span, outcome_of

A = origin_of(httpx.Request("GET", "https://a.test"))
B = origin_of(httpx.Request("GET", "http://b.test:8080"))


def test_attributes_are_those_of_the_conventions() -> None:
    """What is unknown is left out, and an unusual method is one value."""
    assert about("GET", "prices", Server("a.test", 443)) == {
        "walltrack.service": "prices",
        "server.address": "a.test",
        "server.port": 443,
        "http.request.method": "GET",
    }
    assert about(None, "prices", Server("a.test", None)) == {
        "walltrack.service": "prices",
        "server.address": "a.test",
    }
    assert about("BREW", "prices", None) == {
        "walltrack.service": "prices",
        "http.request.method": "_OTHER",
    }


@pytest.mark.parametrize(
    "url",
    [
        "https://api.test/x?y=1",
        "http://me:hunter2@api.test:8080/",
        "https://[::1]:444/",
        "https://bücher.test/",
        "gopher://api.test/",
    ],
)
@pytest.mark.parametrize("service", [None, "prices", 7, ["a list"]])
def test_a_call_has_the_attributes_of_its_events(url: str, service: object) -> None:
    """The same service and server, however the caller named it."""
    extensions = {} if service is None else {"walltrack.service": service}
    request = httpx.Request("POST", url, extensions=extensions)
    assert of_call(request) == about("POST", service_of(request), server_of(request))


@pytest.mark.parametrize(
    ("outcome", "error"),
    [
        (httpx.Response(200), None),
        (httpx.Response(399), None),
        (httpx.Response(404), "404"),
        (httpx.Response(503), "503"),
        (httpx.ReadTimeout("x"), "ReadTimeout"),
        (CircuitBreakerOpenError("x"), "CircuitBreakerOpenError"),
    ],
)
def test_a_failure_has_a_type(outcome: httpx.Response | BaseException, error: str | None) -> None:
    """A status as text, or the class of the exception."""
    assert outcome_of(outcome) == ({} if error is None else {"error.type": error})


def test_an_event_on_a_span_has_the_fields_of_the_event() -> None:
    """Without the server, which the span has, and without what is None."""
    scheduled = RetryScheduled("a", "GET", "/x", 1, 3, 1.5, "503", server=Server("a.test", 443))
    assert of_span(scheduled) == {
        "walltrack.service": "a",
        "walltrack.method": "GET",
        "walltrack.path": "/x",
        "walltrack.attempt": 1,
        "walltrack.max_retries": 3,
        "walltrack.delay": 1.5,
        "walltrack.failure": "503",
    }
    rejected = of_span(RequestRejected("a", "GET", "/x", RejectReason.QUEUE_FULL))
    assert "walltrack.retry_after" not in rejected
    assert type(rejected["walltrack.reason"]) is str


def test_readings_of_one_place_are_combined() -> None:
    """The worst circuit, the lowest budget, and all that wait."""
    circuits = [
        Reading("circuit_state", None, 0, "a"),
        Reading("circuit_state", None, 2, "a"),
        Reading("circuit_state", None, 1, "a"),
    ]
    assert combined(circuits) == [({"walltrack.service": "a"}, 2)]
    budgets = [Reading("budget_balance", A, 7), Reading("budget_balance", A, 3)]
    place = {"server.address": "a.test", "server.port": 443}
    assert combined(budgets) == [(place, 3)]
    queues = [
        Reading("queue_waiting", B, 2, "rate_limit"),
        Reading("queue_waiting", None, 4, "rate_limit"),
        Reading("queue_waiting", B, 3, "rate_limit"),
        Reading("queue_waiting", None, 1, "rate_limit"),
    ]
    place = {"server.address": "b.test", "server.port": 8080, "walltrack.queue": "rate_limit"}
    assert combined(queues) == [
        (place, 5),
        ({"walltrack.queue": "rate_limit"}, 5),
    ]


def test_an_origin_is_no_key() -> None:
    """It is the server; any other key is an attribute."""
    readings = [
        Reading("circuit_state", "acme", 0, "a"),
        Reading("circuit_state", A, 2, "a"),
        Reading("circuit_state", None, 1, "a"),
    ]
    keys = [attributes.get("walltrack.key") for attributes, _ in combined(readings)]
    assert keys == ["acme", None, None]
