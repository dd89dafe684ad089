"""Azure: Resource Manager, Storage, Cosmos DB and Azure OpenAI."""

from http import HTTPStatus

from walltrack.core.classification import Classification, Outcome
from walltrack.core.delivery import Delivery
from walltrack.dialects.reading import (
    FIRST_ERROR,
    error_of,
    rate_limited,
    text_in,
    wait_of,
    xml_code_of,
)


def azure(outcome: Outcome) -> Classification | None:
    """Say what a response of an Azure service means.

    A 429 is a rate limit for as long as `retry-after-ms`, `x-ms-retry-after-ms` or `Retry-After`
    say, and so is a `ServerBusy` of Storage because the account is over its limit. Any other
    `ServerBusy` is a failure that is retried. So is `OperationTimedOut`, which may have succeeded.
    Cosmos DB's 449, "retry with", did not, and its 408 may have.

    See https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling,
    https://learn.microsoft.com/rest/api/storageservices/common-rest-api-error-codes,
    https://learn.microsoft.com/azure/cosmos-db/nosql/conceptual-resilient-sdk-applications and
    https://learn.microsoft.com/azure/ai-foundry/openai/how-to/quota.
    """
    if outcome.status is None or outcome.status < FIRST_ERROR:
        return None
    wait = wait_of(outcome)
    said = None
    match outcome.status, _code_of(outcome):
        case HTTPStatus.TOO_MANY_REQUESTS, _:
            said = rate_limited(wait)
        case 449, _:
            said = Classification(True, False, wait, Delivery.NOT_SENT)
        case HTTPStatus.REQUEST_TIMEOUT, _:
            said = Classification(retry=True, retry_after=wait, delivery=Delivery.UNCERTAIN)
        case _, "ServerBusy" if b"over the account limit" in (outcome.content or b""):
            said = rate_limited(wait)
        case _, "ServerBusy":
            said = Classification(True, True, wait)
        case _, "OperationTimedOut":
            said = Classification(True, True, wait, Delivery.UNCERTAIN)
    return said


def _code_of(outcome: Outcome) -> str:
    header = outcome.headers.get("x-ms-error-code")
    return header or text_in(error_of(outcome), "code") or xml_code_of(outcome)
