"""Amazon Web Services: many services refuse with 400, and only the code tells why."""

from typing import Final

from walltrack.core.classification import Classification, Outcome
from walltrack.core.moments import parse_number
from walltrack.dialects.reading import (
    FINAL,
    FIRST_ERROR,
    object_of,
    rate_limited,
    text_in,
    wait_of,
    xml_code_of,
)

_THROTTLING: Final = frozenset(
    {
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "LimitExceededException",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionInProgressException",
    }
)
_TRANSIENT: Final = frozenset(
    {"IDPCommunicationError", "RequestTimeout", "RequestTimeoutException"}
)
_CLOCK_SKEW: Final = frozenset(
    {
        "AuthFailure",
        "InvalidSignatureException",
        "RequestExpired",
        "RequestInTheFuture",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
    }
)


def aws(outcome: Outcome) -> Classification | None:
    """Say what a response of an AWS service means.

    A throttling code, with whatever status, is a rate limit for as long as `x-amz-retry-after` or
    `Retry-After` say. `RequestTimeout` and `IDPCommunicationError` come with a 400 and are retried.
    A signature that is refused, perhaps because of the local clock, is final: the same request
    would be refused again. The code is read from the `x-amzn-errortype` and `x-amzn-query-error`
    headers and from JSON and XML bodies.

    See https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html, for the codes
    https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html and
    https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html, and for
    where they stand https://smithy.io/2.0/aws/protocols/aws-restjson1-protocol.html.
    """
    if outcome.status is None or outcome.status < FIRST_ERROR:
        return None
    code = _code_of(outcome)
    if code in _THROTTLING:
        return rate_limited(_wait_of(outcome))
    if code in _TRANSIENT:
        return Classification(retry=True, retry_after=_wait_of(outcome))
    return FINAL if code in _CLOCK_SKEW else None


def _wait_of(outcome: Outcome) -> float | None:
    milliseconds = parse_number(outcome.headers.get("x-amz-retry-after", ""))
    return wait_of(outcome) if milliseconds is None else milliseconds / 1000.0


def _code_of(outcome: Outcome) -> str:
    body = object_of(outcome)
    candidates = (
        outcome.headers.get("x-amzn-errortype", ""),
        outcome.headers.get("x-amzn-query-error", ""),
        text_in(body, "code"),
        text_in(body, "Code"),
        text_in(body, "__type"),
        xml_code_of(outcome),
    )
    code = next(filter(None, candidates), "")
    # Around it may stand a namespace before "#", a URL after ":", and who is at fault after ";".
    return code.partition(":")[0].partition(";")[0].rpartition("#")[2].strip()
