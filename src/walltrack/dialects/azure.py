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
    """Classify a response of an Azure service.

    A 429 is a rate limit that lasts as long as `retry-after-ms`, `x-ms-retry-after-ms` or
    `Retry-After` states. So is a `ServerBusy` of Storage if the account is over its limit; any
    other `ServerBusy` is a failure that is retried. `OperationTimedOut` is retried as well, but the
    operation may have succeeded. A 449 of Cosmos DB ("retry with") was not processed, while its 408
    may have been; both are retried.

    See https://learn.microsoft.com/azure/ai-foundry/openai/how-to/quota,
    https://learn.microsoft.com/rest/api/storageservices/common-rest-api-error-codes,
    https://learn.microsoft.com/azure/cosmos-db/nosql/conceptual-resilient-sdk-applications and
    https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling.
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
