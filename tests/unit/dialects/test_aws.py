import httpx
import pytest

from tests.support import get
from tests.unit.dialects.answers import FINAL, answer, limited
from walltrack.core.classification import Classification, Outcome
from walltrack.dialects import aws

# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html
DYNAMODB = {
    "__type": "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException",
    "message": "The level of configured provisioned throughput for the table was exceeded.",
}
# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
EC2 = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<Response><Errors><Error>'
    "<Code>RequestLimitExceeded</Code><Message>Request limit exceeded.</Message>"
    "</Error></Errors><RequestID>ea966190-f9aa-478e-9ede-example</RequestID></Response>"
)
# https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html
QUERY = (
    '<ErrorResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><Error>\n'
    "  <Type>Sender</Type>\n  <Code>Throttling</Code>\n  <Message>Rate exceeded</Message>\n"
    "</Error><RequestId>42d59b56-7407-4c4a-be0f-example</RequestId></ErrorResponse>"
)


# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
def s3(code: str) -> str:
    """An error body of S3."""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code>'
        "<Message>…</Message><RequestId>4442587FB7D0A2F9</RequestId></Error>"
    )


# https://smithy.io/2.0/aws/protocols/aws-restjson1-protocol.html, "Operation error serialization"
URL = "http://internal.amazon.com/coral/com.amazon.coral.validate/"


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (400, {}, DYNAMODB),
        (503, {}, EC2),
        (400, {}, QUERY),
        (503, {}, s3("SlowDown")),
        (400, {"x-amzn-ErrorType": "ThrottlingException"}, {"message": "Rate exceeded"}),
        (400, {"x-amzn-ErrorType": f"ThrottlingException:{URL}"}, None),
        (429, {"x-amzn-ErrorType": f"aws.protocoltests.restjson#ThrottlingException:{URL}"}, None),
        (
            429,
            {"x-amzn-ErrorType": "TooManyRequestsException"},
            {"Type": "User"},
        ),
        (400, {"x-amzn-query-error": "RequestThrottled;Sender"}, None),
        (400, {}, {"code": "ThrottlingException"}),
        (400, {}, {"Code": "Throttling"}),
        (400, {}, {"__type": "ThrottlingException", "message": "Rate exceeded"}),
    ],
)
def test_a_throttled_request_can_be_sent_again(
    status: int, headers: dict[str, str], body: object
) -> None:
    """Whatever the status is, and wherever the service's protocol puts the code."""
    assert aws(answer(status, headers, body)) == limited(None)


@pytest.mark.parametrize(
    "code",
    [
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
    ],
)
def test_each_throttling_code_is_known(code: str) -> None:
    """https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html has the list."""
    assert aws(answer(400, {"x-amzn-errortype": code})) == limited(None)


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"x-amz-retry-after": "1500"}, 1.5),
        ({"x-amz-retry-after": "1500", "Retry-After": "7"}, 1.5),
        ({"x-amz-retry-after": "soon", "Retry-After": "7"}, 7.0),
        ({"Retry-After": "7"}, 7.0),
    ],
)
def test_a_service_may_say_how_long_it_throttles(headers: dict[str, str], wait: float) -> None:
    """In milliseconds in a header of AWS's own, or in seconds."""
    assert aws(answer(400, headers, DYNAMODB)) == limited(wait)
    assert aws(answer(400, headers, s3("RequestTimeout"))) == (
        Classification(retry=True, retry_after=wait)
    )


@pytest.mark.parametrize(
    "code", ["RequestTimeout", "RequestTimeoutException", "IDPCommunicationError"]
)
def test_a_transient_400_is_retried(code: str) -> None:
    """S3 ends a slow upload with 400, and STS answers so if an identity provider fails."""
    assert aws(answer(400, body=s3(code))) == Classification(retry=True)


@pytest.mark.parametrize(
    "code",
    [
        "AuthFailure",
        "InvalidSignatureException",
        "RequestExpired",
        "RequestInTheFuture",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
    ],
)
@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_refused_signature_is_final(code: str, status: int) -> None:
    """The same signature is refused again; only a corrected clock can help."""
    assert aws(answer(status, body=s3(code))) == FINAL


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (200, {"x-amzn-errortype": "ThrottlingException"}, DYNAMODB),
        (400, {"x-amzn-errortype": "ValidationException"}, DYNAMODB),
        (400, {}, {"__type": "com.amazonaws.dynamodb.v20120810#ResourceNotFoundException"}),
        (400, {}, {"message": "ThrottlingException"}),
        (400, {}, "ThrottlingException"),
        (403, {}, s3("AccessDenied")),
        (404, {}, None),
        (500, {}, s3("InternalError")),
        (503, {}, "<html>Service Unavailable</html>"),
        (429, {}, {"message": "Too Many Requests"}),
    ],
)
def test_anything_else_is_left_to_the_table(
    status: int, headers: dict[str, str], body: object
) -> None:
    """The code is unknown or missing."""
    assert aws(answer(status, headers, body)) is None


def test_an_attempt_without_a_response_is_left_to_the_table() -> None:
    """The dialect only reads responses."""
    assert aws(Outcome(get(), error=httpx.ReadTimeout("slow"))) is None
