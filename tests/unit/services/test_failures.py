import traceback

import httpx
import pytest

from tests.support import URL, get
from walltrack import Delivery
from walltrack.services import failures


def answered(status: int, **extensions: object) -> httpx.Response:
    """A final response to a request whose query holds a key."""
    return httpx.Response(status, request=get(), extensions=extensions)


def shown(error: BaseException | None) -> str:
    """All that a log would show of `error` and of what stands behind it."""
    cause = error and error.__cause__
    return "".join(traceback.format_exception(error)) + repr(error) + repr(cause)


@pytest.mark.parametrize(
    ("response", "text"),
    [
        (answered(404), "things: GET /things was answered 404 Not Found after 1 attempt"),
        (
            answered(503, **{"walltrack.attempts": 4}),
            "things: GET /things was answered 503 Service Unavailable after 4 attempts",
        ),
        (answered(599), "things: GET /things was answered 599 after 1 attempt"),
    ],
)
def test_a_final_answer_is_told_in_one_sentence(response: httpx.Response, text: str) -> None:
    """Service, method, path, answer and attempts."""
    assert str(failures.of_response("things", response)) == text


def test_a_final_answer_is_told_in_fields() -> None:
    """For code that decides by them."""
    response = answered(503, **{"walltrack.attempts": 4})
    error = failures.of_response("things", response)
    assert (error.service, error.status_code, error.attempts) == ("things", 503, 4)
    assert error.delivery is Delivery.ANSWERED
    assert error.response is response


def test_behind_a_final_answer_stands_the_error_of_httpx() -> None:
    """With the request and the response, and without the URL that httpx would put into it."""
    response = answered(503)
    cause = failures.of_response("things", response).__cause__
    assert isinstance(cause, httpx.HTTPStatusError)
    assert (cause.request, cause.response) == (response.request, response)
    assert "hunter2" not in shown(cause)


@pytest.mark.parametrize(
    ("cause", "delivery", "told"),
    [
        (httpx.ConnectError("refused"), Delivery.NOT_SENT, "it was not sent"),
        (
            httpx.ReadTimeout("late"),
            Delivery.UNCERTAIN,
            "the service may have acted on it",
        ),
    ],
)
def test_a_failure_without_an_answer_is_told(
    cause: httpx.RequestError, delivery: Delivery, told: str
) -> None:
    """What happened, after how many attempts, and what matters before asking again."""
    error = failures.of_error("things", get(), 4, cause)
    assert str(error) == (
        f"things: GET /things failed with {type(cause).__name__} after 4 attempts ({told})"
    )
    assert (error.service, error.status_code, error.attempts) == ("things", None, 4)
    assert error.delivery is delivery
    assert error.response is None


def test_behind_a_failure_stands_the_error_itself() -> None:
    """Where it shows nothing, it is handed on as it is."""
    cause = httpx.ReadTimeout("late")
    assert failures.of_error("things", get(), 1, cause).__cause__ is cause


@pytest.mark.parametrize(
    "cause",
    [
        httpx.LocalProtocolError("Illegal header value b'hunter2 '"),
        httpx.RemoteProtocolError("illegal status line: bytearray(b'hunter2')"),
        httpx.ConnectError(f"cannot reach {URL}"),
    ],
    ids=lambda cause: type(cause).__name__,
)
def test_a_text_that_may_show_a_secret_is_withheld(cause: httpx.RequestError) -> None:
    """A breach of the protocol quotes what breached it, and some transports quote the URL."""
    error = failures.of_error("things", get(), 1, cause)
    assert type(error.__cause__) is type(cause)
    assert str(error.__cause__) == "text withheld: it may show a secret"
    assert "hunter2" not in shown(error)


def test_an_error_whose_text_is_withheld_keeps_its_request() -> None:
    """Code that looks at it finds what httpx's own errors have."""
    request = get()
    cause = failures.of_error("things", request, 1, httpx.LocalProtocolError("hunter2")).__cause__
    assert isinstance(cause, httpx.LocalProtocolError)
    assert cause.request is request


@pytest.mark.parametrize(("extensions", "attempts"), [({}, 1), ({"walltrack.attempts": 3}, 3)])
def test_a_response_knows_its_attempts(extensions: dict[str, object], attempts: int) -> None:
    """One that did not come through a retry took a single attempt."""
    assert failures.attempts_of(answered(200, **extensions)) == attempts
