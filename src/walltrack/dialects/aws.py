"""Amazon Web Services: many services answer 400, and only the error code shows the reason."""

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
    """Classify a response of an AWS service.

    A throttling code, with any status, is a rate limit that lasts as long as `x-amz-retry-after` or
    `Retry-After` states. `RequestTimeout` and `IDPCommunicationError` come with a 400 and are
    retried. A rejected signature, perhaps caused by a wrong local clock, is final: the same request
    would be rejected again. The code is read from the headers `x-amzn-errortype` and
    `x-amzn-query-error`, and from JSON and XML bodies.

    See https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html, for the codes
    https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html and
    https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html, and for
    their location in a response https://smithy.io/2.0/aws/protocols/aws-restjson1-protocol.html.
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
    # It may have a namespace before "#", a URL after ":", and the party at fault after ";".
    return code.partition(":")[0].partition(";")[0].rpartition("#")[2].strip()
