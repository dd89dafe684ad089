import ssl
import traceback

import httpx
import pytest

from tests.support import URL, get
from walltrack import (
    Delivery,
    ExternalServiceError,
    ResponseTooLargeError,
    TimeLimitExceededError,
)
from walltrack.core.extensions import CallReport
from walltrack.services import failures

WITHHELD = "text withheld: it may show a secret"


def answered(status: int, **extensions: object) -> httpx.Response:
    """A final response to a request whose query holds a key."""
    return httpx.Response(status, request=get(), extensions=extensions)


def shown(error: BaseException | None) -> str:
    """All that a log would show of `error` and of its causes."""
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
def test_a_final_response_is_described_in_one_sentence(response: httpx.Response, text: str) -> None:
    """The sentence has service, method, path, response and attempts."""
    assert str(failures.of_response("things", CallReport(), response)) == text


def test_a_final_response_is_described_in_fields() -> None:
    """Code can decide by the fields of the error."""
    response = answered(503, **{"walltrack.attempts": 4})
    error = failures.of_response("things", CallReport(), response)
    assert (error.service, error.status_code, error.attempts) == ("things", 503, 4)
    assert error.delivery is Delivery.ANSWERED
    assert error.response is response


def test_a_conflict_with_an_earlier_attempt_leaves_open_whether_it_acted() -> None:
    """The response to the second attempt says that the first may have been processed."""
    response = answered(409, **{"walltrack.attempts": 2, "walltrack.idempotency_key": "key"})
    uncertain = CallReport(2, Delivery.UNCERTAIN)
    error = failures.of_response("things", uncertain, response)
    assert (error.delivery, error.idempotency_key) == (Delivery.UNCERTAIN, "key")
    assert str(error).endswith("(an earlier attempt may have been processed)")
    assert "key" not in repr(error).replace("idempotency_key", "")
    plain = failures.of_response("things", CallReport(), response)
    assert plain.delivery is Delivery.ANSWERED


def test_a_damaged_tls_record_is_reported_as_a_broken_connection() -> None:
    """The cause is an exception of httpx, which code can handle."""
    error = failures.of_error("things", get(), CallReport(), ssl.SSLError("bad record"))
    assert isinstance(error.__cause__, httpx.ReadError)
    assert error.delivery is Delivery.UNCERTAIN


def test_behind_a_final_answer_stands_the_error_of_httpx() -> None:
    """It has the request and the response, but not the URL that httpx would show."""
    response = answered(503)
    cause = failures.of_response("things", CallReport(), response).__cause__
    assert isinstance(cause, httpx.HTTPStatusError)
    assert (cause.request, cause.response) == (response.request, response)
    assert "hunter2" not in shown(cause)


class Numbered(httpx.ConnectError):
    """An error of another transport's, made in another way."""

    def __init__(self, number: int, text: str) -> None:
        super().__init__(text)
        self.number = number


def failed(
    cause: httpx.RequestError, url: str = URL, report: CallReport | None = None
) -> ExternalServiceError:
    """The error of a call that ended with `cause`."""
    return failures.of_error("things", get(url), report or CallReport(), cause)


@pytest.mark.parametrize(
    ("cause", "delivery", "told"),
    [
        (httpx.ConnectError("refused"), Delivery.NOT_SENT, "it was not sent"),
        (httpx.ReadTimeout("late"), Delivery.UNCERTAIN, "the service may have acted on it"),
        (httpx.DecodingError("gzip"), Delivery.ANSWERED, "the service answered"),
    ],
)
def test_a_failure_without_a_response_is_described(
    cause: httpx.RequestError, delivery: Delivery, told: str
) -> None:
    """What happened, after how many attempts, and what matters before asking again."""
    error = failed(cause, report=CallReport(4, delivery))
    assert str(error) == (
        f"things: GET /things failed with {type(cause).__name__} after 4 attempts ({told})"
    )
    assert (error.service, error.status_code, error.attempts) == ("things", None, 4)
    assert error.delivery is delivery
    assert error.response is None


def test_what_any_attempt_may_have_done_goes_before_what_the_last_one_did() -> None:
    """The report covers all attempts; the cause is the exception of the last one."""
    error = failed(httpx.ConnectError("refused"), report=CallReport(2, Delivery.UNCERTAIN))
    assert error.delivery is Delivery.UNCERTAIN


@pytest.mark.parametrize(
    ("cause", "delivery"),
    [
        (httpx.ConnectError("scripted"), Delivery.UNCERTAIN),
        (ResponseTooLargeError("things", 5), Delivery.ANSWERED),
    ],
)
def test_without_a_report_the_cause_tells(cause: httpx.RequestError, delivery: Delivery) -> None:
    """If no attempt was noted, the delivery is concluded from the exception."""
    assert failed(cause).delivery is delivery


def test_a_response_that_is_too_large_is_reported_with_the_limit() -> None:
    """So that its reader knows which one to raise."""
    cause = ResponseTooLargeError("things", 5)
    error = failed(cause, report=CallReport(1, Delivery.ANSWERED))
    assert str(error) == (
        "things: GET /things was answered with more than max_response_bytes=5"
        " after 1 attempt (the service answered)"
    )
    assert error.__cause__ is cause


def test_a_time_limit_is_reported_with_its_name() -> None:
    """So that its reader knows which one to raise."""
    cause = TimeLimitExceededError("things", 2.5, "deadline", request=get())
    error = failed(cause, report=CallReport(2, Delivery.UNCERTAIN))
    assert str(error) == (
        "things: GET /things was not done within 2.5 s (deadline)"
        " after 2 attempts (the service may have acted on it)"
    )
    assert error.__cause__ is cause


def test_a_time_limit_whose_text_shows_a_secret_is_withheld_like_any_other() -> None:
    """A service that is named like the key of its query; the cause is a timeout of httpx's."""
    cause = TimeLimitExceededError("api-key=hunter2", 2.5, "deadline", request=get())
    error = failed(cause)
    assert type(error.__cause__) is httpx.TimeoutException
    assert str(error.__cause__) == WITHHELD


def test_behind_a_failure_stands_the_error_itself() -> None:
    """If it shows no secret, it is the cause unchanged."""
    cause = httpx.ReadTimeout("late")
    assert failed(cause).__cause__ is cause


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
    error = failed(cause)
    assert type(error.__cause__) is type(cause)
    assert str(error.__cause__) == WITHHELD
    assert "hunter2" not in shown(error)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("https://me:hunter2@api.test/a", "no way to https://me:hunter2@api.test/a"),
        ("https://me:hunter2@api.test/a", "login failed: password hunter2"),
        ("https://me:hunt%40er2@api.test/a", "login failed: password hunt@er2"),
        ("https://me:hunt%40er2@api.test/a", "login failed: me:hunt%40er2"),
        ("https://hunter2@api.test/a", "no user hunter2"),
        ("https://api.test/a?key=hunter%202", "no way to /a?key=hunter%202"),
        ("https://api.test/a?key=hunter%202", "no way to /a?key=hunter 2"),
        ("https://api.test/a?key=hunter+2", "no way to /a?key=hunter 2"),
    ],
)
def test_userinfo_and_query_are_withheld_in_either_spelling(url: str, text: str) -> None:
    """Both the encoded and the decoded form are withheld."""
    error = failed(httpx.ConnectError(text), url)
    assert str(error.__cause__) == WITHHELD
    assert "hunt" not in shown(error)


@pytest.mark.parametrize("url", ["https://api.test/a", "https://me:@api.test/a?"])
def test_nothing_is_withheld_where_there_is_no_secret(url: str) -> None:
    """An empty password, which is a part of every text, withholds nothing."""
    cause = httpx.ConnectError("refused")
    assert failed(cause, url).__cause__ is cause


def test_an_error_of_another_make_is_replaced_by_that_of_httpx() -> None:
    """Its foreign class may take other arguments, or keep the secret in them."""
    error = failed(Numbered(7, f"no way to {URL}"))
    assert type(error.__cause__) is httpx.ConnectError
    assert "hunter2" not in shown(error)


def test_an_error_of_another_make_that_shows_nothing_is_handed_on() -> None:
    """Code that knows its class finds it as the cause."""
    cause = Numbered(7, "refused")
    assert failed(cause).__cause__ is cause


def test_an_error_whose_text_is_withheld_keeps_its_request() -> None:
    """It has the request, as httpx's own errors do."""
    request = get()
    cause = failures.of_error(
        "things", request, CallReport(), httpx.LocalProtocolError("hunter2")
    ).__cause__
    assert isinstance(cause, httpx.LocalProtocolError)
    assert cause.request is request


@pytest.mark.parametrize(("extensions", "attempts"), [({}, 1), ({"walltrack.attempts": 3}, 3)])
def test_a_response_knows_its_attempts(extensions: dict[str, object], attempts: int) -> None:
    """One that did not come through a retry took a single attempt."""
    assert failures.attempts_of(answered(200, **extensions)) == attempts


def test_the_query_of_a_redirect_is_withheld() -> None:
    """What failed may be another request than the one that was made, with secrets of its own."""
    moved = get("https://cdn.test/x?sig=swordfish")
    cause = httpx.ConnectError(f"no way to {moved.url}", request=moved)
    error = failures.of_error("things", get(), CallReport(), cause)
    assert "swordfish" not in repr(error.__cause__)


def test_a_user_name_is_withheld() -> None:
    """Some services expect their key as a user name."""
    cause = httpx.ConnectError("no user sk_live")
    error = failures.of_error("things", get("https://sk_live:x@api.test/a"), CallReport(), cause)
    assert "sk_live" not in repr(error.__cause__)


@pytest.mark.parametrize("path", ["bot7:x/send", "bot7%3Ax/send"])
def test_a_path_that_a_route_replaces_is_withheld(path: str) -> None:
    """In either spelling; without a route, a path is no secret."""
    cause = httpx.ConnectError("no way to bot7:x/send")
    for route, text in (({"walltrack.route": "/bot{t}/send"}, WITHHELD), ({}, str(cause))):
        request = get(f"https://api.test/{path}", extensions=route)
        error = failures.of_error("things", request, CallReport(), cause)
        assert str(error.__cause__) == text
