import httpx
import pytest

from tests.support import get
from tests.unit.dialects.answers import NOT_ACTED_ON, answer, limited
from walltrack.core.classification import Classification, Outcome
from walltrack.core.delivery import Delivery
from walltrack.dialects import azure

# https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling
ARM = {
    "Retry-After": "23",
    "x-ms-ratelimit-remaining-subscription-reads": "0",
    "x-ms-request-id": "8f2c1d44-2a17-49b8-9c0e-1d3f5a6b7c80",
}
TOO_MANY = {"error": {"code": "TooManyRequests", "message": "The request is being throttled."}}
# https://learn.microsoft.com/azure/ai-foundry/openai/how-to/quota
OPENAI = {"retry-after-ms": "37250", "retry-after": "38", "x-ratelimit-remaining-requests": "5"}


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        (ARM, 23.0),
        (OPENAI, 37.25),
        ({"x-ms-retry-after-ms": "1250"}, 1.25),  # Cosmos DB
        ({}, None),
    ],
)
@pytest.mark.parametrize("body", [TOO_MANY, None])
def test_a_429_lasts_as_long_as_the_headers_say(
    headers: dict[str, str], wait: float | None, body: object
) -> None:
    """Every service throttles with it, and each has a different header for the time."""
    assert azure(answer(429, headers, body)) == limited(wait)


# https://learn.microsoft.com/rest/api/storageservices/common-rest-api-error-codes
def storage(code: str, message: str) -> str:
    """A body: https://learn.microsoft.com/rest/api/storageservices/status-and-error-codes2."""
    return (
        '\ufeff<?xml version="1.0" encoding="utf-8"?>\n'
        f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    )


BUSY = "The server is currently unable to receive requests. Please retry your request."
TIMED_OUT = "The operation could not be completed within the permitted time."


@pytest.mark.parametrize(
    "message",
    [
        "Operations per second is over the account limit.",
        "Ingress is over the account limit.",
        "Egress is over the account limit.",
    ],
)
def test_an_account_over_its_limit_is_a_rate_limit(message: str) -> None:
    """The service has not failed, though it answers with 503."""
    body = storage("ServerBusy", message)
    assert azure(answer(503, {"Retry-After": "5"}, body)) == limited(5.0)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"x-ms-error-code": "ServerBusy"}, None),
        ({}, storage("ServerBusy", BUSY)),
        ({}, {"error": {"code": "ServerBusy", "message": BUSY}}),
    ],
)
def test_a_busy_server_has_failed(headers: dict[str, str], body: object) -> None:
    """The code is read from the header, XML or JSON."""
    assert azure(answer(503, headers, body)) == Classification(retry=True, failure=True)


def test_a_code_counts_with_every_error_and_no_success() -> None:
    """Some proxies in between change the status."""
    assert azure(answer(400, {"x-ms-error-code": "ServerBusy"})) == Classification(True, True)
    assert azure(answer(399, {"x-ms-error-code": "ServerBusy"})) is None


def test_an_operation_that_timed_out_may_have_succeeded() -> None:
    """The documentation says to check before repeating it: the delivery is uncertain."""
    uncertain = Classification(retry=True, failure=True, delivery=Delivery.UNCERTAIN)
    assert azure(answer(500, body=storage("OperationTimedOut", TIMED_OUT))) == uncertain
    assert azure(answer(500, {"x-ms-error-code": "OperationTimedOut"})) == uncertain


# https://learn.microsoft.com/azure/cosmos-db/nosql/conceptual-resilient-sdk-applications
def test_a_conflicting_write_can_be_sent_again() -> None:
    """Cosmos DB's 449 occurs only for writes, and is safe to retry."""
    assert azure(answer(449, {"x-ms-retry-after-ms": "10"})) == (
        Classification(True, False, 0.01, NOT_ACTED_ON)
    )


def test_a_request_that_timed_out_may_have_been_carried_out() -> None:
    """Cosmos DB's 408 is retried if a repetition is safe."""
    assert azure(answer(408)) == Classification(retry=True, delivery=Delivery.UNCERTAIN)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, None),
        (400, storage("InvalidInput", "One of the request inputs is not valid.")),
        (403, {"error": {"code": "AuthorizationFailed"}}),
        (404, None),
        (409, {"error": {"code": "Conflict"}}),
        (412, storage("ConditionNotMet", "…")),
        (500, storage("InternalError", "…")),
        (503, "<html>Service Unavailable</html>"),
    ],
)
def test_anything_else_is_left_to_the_table(status: int, body: object) -> None:
    """Azure uses these with their usual meaning."""
    assert azure(answer(status, body=body)) is None


def test_an_attempt_without_a_response_is_left_to_the_table() -> None:
    """The dialect only reads responses."""
    assert azure(Outcome(get(), error=httpx.ReadTimeout("slow"))) is None
