import math
from email.utils import formatdate

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from walltrack.http.wait_hints import (
    MAX_HOLD_BACK,
    TELLING,
    TELLING_LENGTHS,
    Ask,
    asked_to_wait,
    should_retry,
)

NOW = 1_700_000_000.0
DAY = 86_400.0


def asked(*headers: tuple[str, str], refused: bool = False) -> Ask | None:
    """The wait that these headers ask for, at a time in 2023."""
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    return asked_to_wait(raw, NOW, refused=refused)


def seconds(*headers: tuple[str, str], refused: bool = False) -> float:
    """The seconds that they ask for; 0.0 if none."""
    ask = asked(*headers, refused=refused)
    return ask.seconds if ask else 0.0


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        ("30", 30.0),
        ("0.5", 0.5),
        ("0", 0.0),
        ("-5", 0.0),
        ("soon", 0.0),
        ("", 0.0),
        ("nan", 0.0),
        ("inf", 0.0),
        ("9" * 400, DAY),
        ("9" * 10_000, DAY),
        ("100000000", DAY),
        (formatdate(NOW + 90, usegmt=True), 90.0),
        (formatdate(NOW - 90, usegmt=True), 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", DAY),
    ],
)
def test_retry_after(value: str, wait: float) -> None:
    """It is seconds or a date, a day at most; a past or unreadable value asks for nothing."""
    assert seconds(("Retry-After", value), refused=True) == wait


def test_retry_after_counts_when_the_server_refused() -> None:
    """With other statuses, such as a redirect, it has another meaning."""
    assert asked(("retry-after", "30"), refused=True) == Ask(30.0, "Retry-After")
    assert asked(("retry-after", "30")) is None


@pytest.mark.parametrize(
    ("retry_after", "wait"), [("5", 5.0), ("0", 0.0), ("soon", 30.0), ("-1", 30.0)]
)
def test_retry_after_goes_before_all_others(retry_after: str, wait: float) -> None:
    """It has priority, as in the draft, if it can be read."""
    others = (("RateLimit", '"default";r=0;t=30'), ("X-RateLimit-Remaining", "0"))
    headers = (("Retry-After", retry_after), *others, ("X-RateLimit-Reset", "20"))
    assert seconds(*headers, refused=True) == wait


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        ('"default";r=0;t=30', 30.0),
        ('"default";t=30;r=0', 30.0),
        ('"default"; r=0; t=30', 30.0),
        ("default;r=0;t=30", 30.0),
        ('"default";r=1;t=30', 0.0),
        ('"default";r=0;t=0', 0.0),
        ('"default";r=0', 0.0),
        ('"default";t=30', 0.0),
        ('"default"', 0.0),
        ('"a";r=0;t=30, "b";r=0;t=60', 60.0),
        ('"a";r=0;t=30 ,\t"b";r=5;t=60', 30.0),
        ('"a,b;r=0;t=9";r=3;t=1, "c";r=0;t=2', 2.0),
        (r'"quo\"ted";r=0;t=30', 30.0),
        ('"user";r=0;t=7;pk=:cHsdsRa894==:', 7.0),
        ('"x";r=0;t=7;a;b=?1;c=tok/en;d=1.5;e=-3;f=@1659578233;g=%"f%c3%bc";h="s"', 7.0),
        ('"x";r=0;t=7;t=9', 9.0),
        ('"x";r=0;t=999999999999999', DAY),
    ],
)
def test_rate_limit(value: str, wait: float) -> None:
    """An item with nothing left asks for its window; of several items, the longest counts."""
    assert seconds(("RateLimit", value)) == wait


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        ",",
        '"default";r=0;t=30,',
        '"default";r=0;t=30 junk',
        '"default;r=0;t=30',
        '"default";r=0;t=30;',
        '"default";r=0;t=30;=1',
        '"default";r=0;t=',
        '"default";R=0;T=30',
        '("default");r=0;t=30',
        '"default";r=0;t=-30',
        '"default";r=0;t=3.5',
        '"default";r=0;t="30"',
        '"default";r=0;t=nan',
        '"default";r=0;t',
        '"default";r=-1;t=30',
        '"default";r=0.0;t=30',
        '"default";r=0;t=' + "9" * 400,
        '"d\xe9faut";r=0;t=30',
        '"a";r=0;t=30, "b";r=0;t=!',
        "0;r=0 0;t=30",
    ],
)
def test_a_malformed_rate_limit_asks_for_nothing(value: str) -> None:
    """The draft has it ignored."""
    assert asked(("RateLimit", value)) is None


def test_rate_limit_may_be_spread_over_several_lines() -> None:
    """It is a structured list, like others."""
    headers = ("RateLimit", '"a";r=0;t=3'), ("ratelimit", '"b";r=0;t=4')
    assert asked(*headers) == Ask(4.0, "RateLimit")


@pytest.mark.parametrize(
    ("policy", "wait"),
    [
        ('"default";q=100;w=60', 60.0),
        ('"other";q=100;w=60', 0.0),
        ('"other";q=1;w=9, "default";q=100;w=60', 60.0),
        ("default;q=100;w=60", 60.0),
        ('"default";q=100', 0.0),
        ('"default";q=100;w=x', 0.0),
        ("100;w=60", 0.0),
        ('"default";q=100;w=60,,', 0.0),
    ],
)
def test_the_window_of_the_policy_stands_in(policy: str, wait: float) -> None:
    """It is used for an item without a time of its own, if the policy has the same name."""
    assert seconds(("RateLimit", '"default";r=0'), ("RateLimit-Policy", policy)) == wait


def test_an_items_own_time_goes_before_its_policys_window() -> None:
    """The item's time is the rest of the window."""
    headers = ("RateLimit", '"default";r=0;t=7'), ("RateLimit-Policy", '"default";q=1;w=60')
    assert seconds(*headers) == 7.0


def test_a_policy_alone_asks_for_nothing() -> None:
    """It does not tell how much is left."""
    assert asked(("RateLimit-Policy", '"default";q=0;w=60')) is None


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        ("limit=100, remaining=0, reset=30", 30.0),
        ("limit=100, remaining=1, reset=30", 0.0),
        ("limit=100, remaining=0", 0.0),
        ("limit=100, remaining=0, reset=soon", 0.0),
    ],
)
def test_the_older_form_of_rate_limit(value: str, wait: float) -> None:
    """It is a dictionary, in the seventh draft."""
    assert seconds(("RateLimit", value)) == wait


@pytest.mark.parametrize("prefix", ["RateLimit", "X-RateLimit", "X-Rate-Limit", "x-ratelimit"])
@pytest.mark.parametrize(
    ("remaining", "reset", "wait"),
    [
        ("0", "30", 30.0),
        (" 0 ", " 30 ", 30.0),
        ("0", "1.5", 1.5),
        ("0.0", "30", 30.0),
        ("1", "30", 0.0),
        ("0", "0", 0.0),
        ("0", str(int(NOW + 60)), 60.0),
        ("0", f"{NOW + 0.5:.3f}", 0.5),
        ("0", str(int(NOW - 60)), 0.0),
        ("0", str(int((NOW + 60) * 1000)), 60.0),
        ("0", str(int((NOW - 60) * 1000)), 0.0),
        ("0", str(int(30 * DAY)), DAY),
        ("0", str(int(366 * DAY)), DAY),
        ("0", str(int(366 * DAY) + 1), 0.0),
        ("0", str(int(NOW + 30 * DAY)), DAY),
        ("0", "400000000", 0.0),  # 13 years from now, or a moment in 1982
        ("0", "100000000000", 0.0),  # the year 5138, or a moment in 1973
        ("0", "1700000030000000", 30.0),
        ("0", "30s", 30.0),
        ("0", "6m0s", 360.0),
        ("0", "2023-11-14T22:14:20Z", 60.0),
        ("0", "2023-11-14T22:12:20Z", 0.0),
        ("0", formatdate(NOW + 60, usegmt=True), 60.0),
    ],
)
def test_remaining_and_reset(prefix: str, remaining: str, reset: str, wait: float) -> None:
    """Seconds, a duration or a timestamp; values more than a year away are ignored."""
    headers = (f"{prefix}-Remaining", remaining), (f"{prefix}-Reset", reset)
    assert seconds(*headers) == pytest.approx(wait)


@pytest.mark.parametrize(
    ("remaining", "reset"),
    [
        ("", "30"),
        ("none", "30"),
        ("-1", "30"),
        ("-0", "30"),
        ("0, 0", "30"),
        ("0;w=60", "30"),
        ("nan", "30"),
        ("0", ""),
        ("0", "-30"),
        ("0", "nan"),
        ("0", "inf"),
        ("0", "1e9"),
        ("0", "12 ms"),
        ("0", "30, 30"),
        ("0", "9999d"),
        ("0", "2030-01-01T00:00:00Z"),
        ("0", "9" * 400),
        ("0", "\u00b2"),
    ],
)
def test_figures_that_are_none_ask_for_nothing(remaining: str, reset: str) -> None:
    """No guess is made, however plausible."""
    assert asked(("X-RateLimit-Remaining", remaining), ("X-RateLimit-Reset", reset)) is None


def test_half_a_pair_asks_for_nothing() -> None:
    """Nor does a mix of two pairs, or a header that is there twice."""
    remaining, reset = ("X-RateLimit-Remaining", "0"), ("X-RateLimit-Reset", "30")
    assert asked(remaining) is None
    assert asked(reset) is None
    assert asked(remaining, ("RateLimit-Reset", "30")) is None
    assert asked(remaining, remaining, reset) is None
    assert asked(remaining, reset, reset) is None


def test_of_several_headers_the_longest_wait_is_asked_for() -> None:
    """The result has the name of the header that counts, in its common spelling."""
    draft = ("RateLimit", '"default";r=0;t=5')
    pair = ("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "30")
    assert asked(draft, *pair) == Ask(30.0, "X-RateLimit-Reset")
    assert asked(("RateLimit", '"default";r=0;t=50'), *pair) == Ask(50.0, "RateLimit")


@pytest.mark.parametrize(
    ("age", "wait"), [("60", 0.0), ("0.5", 0.0), ("0", 30.0), ("old", 30.0), ("", 30.0)]
)
def test_what_comes_from_a_cache_asks_for_nothing(age: str, wait: float) -> None:
    """The stored values are not the current ones."""
    assert seconds(("RateLimit", '"default";r=0;t=30'), ("Age", age)) == wait
    pair = ("X-RateLimit-Remaining", "0"), ("X-RateLimit-Reset", "30")
    assert seconds(*pair, ("age", age)) == wait
    assert seconds(("Retry-After", "30"), ("Age", age), refused=True) == 30.0


MILLISECONDS = ["retry-after-ms", "x-ms-retry-after-ms"]


@pytest.mark.parametrize("name", MILLISECONDS)
@pytest.mark.parametrize(
    ("value", "wait"),
    [
        ("2500", 2.5),
        ("20", 0.02),
        ("1500.5", 1.5005),
        ("0", 0.0),
        ("9" * 400, DAY),
        ("-20", 7.0),
        ("", 7.0),
        ("soon", 7.0),
        ("2s", 7.0),
    ],
)
def test_milliseconds_go_before_retry_after(name: str, value: str, wait: float) -> None:
    """If readable they are more precise, 0 included; else Retry-After counts."""
    headers = ("Retry-After", "7"), (name.upper(), value)
    assert seconds(*headers, refused=True) == pytest.approx(wait)
    assert seconds(*headers) == 0.0


def test_of_several_milliseconds_the_longest_counts() -> None:
    """The shorter name has priority, as in the clients of the services that send them."""
    short, long = [(name, "100") for name in MILLISECONDS]
    assert asked(long, (MILLISECONDS[0], "30"), short, refused=True) == Ask(0.1, "retry-after-ms")
    assert asked(("x-ms-retry-after-ms", "30"), refused=True) == Ask(0.03, "x-ms-retry-after-ms")


@pytest.mark.parametrize("prefix", ["RateLimit", "X-RateLimit", "X-Rate-Limit"])
def test_reset_after_goes_before_reset(prefix: str) -> None:
    """It needs no clock; if it is unreadable or there twice, the reset counts."""
    remaining, reset = (f"{prefix}-Remaining", "0"), (f"{prefix}-Reset", "30")
    after = f"{prefix}-Reset-After"
    assert asked(remaining, reset, (after, "1.25")) == Ask(1.25, after)
    assert asked(remaining, reset, (after, "soon")) == Ask(30.0, f"{prefix}-Reset")
    assert asked(remaining, reset, (after, "1"), (after, "1")) == Ask(30.0, f"{prefix}-Reset")
    assert asked((f"{prefix}-Remaining", "1"), (after, "1.25")) is None


LLM_QUOTAS = [
    *((f"x-ratelimit-remaining-{k}", f"x-ratelimit-reset-{k}") for k in ("requests", "tokens")),
    *(
        (f"anthropic-ratelimit-{k}-remaining", f"anthropic-ratelimit-{k}-reset")
        for k in ("requests", "tokens", "input-tokens", "output-tokens")
    ),
]


@pytest.mark.parametrize(("remaining", "reset"), LLM_QUOTAS)
@pytest.mark.parametrize(
    ("left", "when", "wait"),
    [
        ("0", "6m0s", 360.0),
        ("0", "20ms", 0.02),
        ("0", "7.66s", 7.66),
        ("0", "37", 37.0),
        ("0", "2023-11-14T22:13:50Z", 30.0),
        ("0", "2023-11-14T22:13:10Z", 0.0),
        ("1", "6m0s", 0.0),
        ("-1", "0", 0.0),
        ("0", "later", 0.0),
    ],
)
def test_each_quota_of_an_llm_api_is_read(
    remaining: str, reset: str, left: str, when: str, wait: float
) -> None:
    """One quota with nothing left is enough, whatever is left of the others."""
    others = [(name, "50") for name, _ in LLM_QUOTAS if name != remaining]
    headers = (remaining.title(), left), (reset, when), *others
    assert seconds(*headers) == pytest.approx(wait)


def test_the_quotas_of_an_llm_api_are_not_mixed_up() -> None:
    """The reset of a quota that has something left does not count for an empty one."""
    tokens = ("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-reset-tokens", "1s")
    requests = ("x-ratelimit-remaining-requests", "9"), ("x-ratelimit-reset-requests", "6m0s")
    assert asked(*tokens, *requests) == Ask(1.0, "x-ratelimit-reset-tokens")
    assert asked(tokens[0], *requests) is None


@pytest.mark.parametrize("skew", [-300.0, 300.0])
@pytest.mark.parametrize(
    "headers",
    [
        [("Retry-After", formatdate(NOW + 30, usegmt=True))],
        [("X-RateLimit-Remaining", "0"), ("X-RateLimit-Reset", str(int(NOW + 30)))],
        [
            ("anthropic-ratelimit-requests-remaining", "0"),
            ("anthropic-ratelimit-requests-reset", "2023-11-14T22:13:50Z"),
        ],
    ],
)
def test_a_local_clock_that_is_wrong_changes_no_wait(
    skew: float, headers: list[tuple[str, str]]
) -> None:
    """A time is measured from the Date of its response; without a usable one, from now."""
    for date, wait in ((formatdate(NOW, usegmt=True), 30.0), ("soon", 30.0 - skew)):
        raw = [(n.encode(), v.encode()) for n, v in (("Date", date), *headers)]
        ask = asked_to_wait(raw, NOW + skew, refused=True)
        assert (ask.seconds if ask else 0.0) == max(wait, 0.0)


@pytest.mark.parametrize(("age", "wait"), [("10", 20.0), ("0", 30.0), ("old", 30.0), ("40", 0.0)])
def test_a_stored_refusal_is_older_than_its_date(age: str, wait: float) -> None:
    """The cache gives its age, which is subtracted from the wait."""
    date, later = (formatdate(moment, usegmt=True) for moment in (NOW, NOW + 30))
    headers = ("Date", date), ("Retry-After", later), ("Age", age)
    assert seconds(*headers, refused=True) == wait


def test_the_longest_wait_can_be_set() -> None:
    """It is a day, unless the caller sets another limit."""
    raw = [(b"Retry-After", b"9999999")]
    for at_most, wait in ((10.0, 10.0), (math.inf, 9_999_999.0)):
        assert asked_to_wait(raw, NOW, refused=True, at_most=at_most) == Ask(wait, "Retry-After")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (["true"], True),
        (["false"], False),
        ([" TRUE "], True),
        (["False"], False),
        (["true", "true"], True),
        (["true, true"], True),
        (["true", "false"], None),
        (["true, false"], None),
        (["1"], None),
        (["yes"], None),
        ([""], None),
        ([], None),
    ],
)
def test_a_response_may_say_whether_to_retry(values: list[str], said: bool | None) -> None:  # noqa: FBT001 - by position
    """Only true and false count, and contradictory values are ignored."""
    headers = httpx.Headers([("X-Should-Retry", value) for value in values])
    assert should_retry(headers) is said
    assert should_retry(headers, "other-should-retry") is None


def test_a_response_without_any_asks_for_nothing() -> None:
    """Nearly all responses have none, refusals included."""
    assert asked(("Content-Type", "text/plain")) is None
    assert asked(("Content-Type", "text/plain"), refused=True) is None


def test_every_name_that_can_tell_is_looked_for() -> None:
    """The set of names to look for contains every name that this module can read."""
    assert {
        b"ratelimit",
        b"ratelimit-remaining",
        b"x-ratelimit-remaining",
        b"x-rate-limit-remaining",
        *(remaining.encode() for remaining, _ in LLM_QUOTAS),
    } == TELLING
    assert {len(name) for name in TELLING} == TELLING_LENGTHS


NAMES = ["Age", "Date", "Retry-After", *MILLISECONDS, "RateLimit", "RateLimit-Policy"]
NAMES += ["X-RateLimit-Reset-After", *(name for pair in LLM_QUOTAS for name in pair)]
NAMES += [f"{p}-{s}" for p in ("RateLimit", "X-RateLimit") for s in ("Remaining", "Reset")]
PIECES = ['"a"', ";r=0", ";t=5", ";", ",", " ", "=", '"', "\\", "0", "9" * 20, ":", "(", "\t", "-1"]
VALUES = st.one_of(
    st.binary(max_size=60).map(lambda value: value.decode("latin-1")),
    st.lists(st.sampled_from(PIECES), max_size=20).map("".join),
    st.floats().map(str),
    st.integers().map(str),
    st.datetimes().map(str),
    st.from_regex(r"([0-9]{1,3}(\.[0-9])?(d|h|m|s|ms)){1,4}", fullmatch=True),
)


@given(st.lists(st.tuples(st.sampled_from(NAMES), VALUES), max_size=6), st.booleans())
@example([("Retry-After", "Mon, 99 Foo 99999 99:99:99 GMT")], True)
@example([("Retry-After", "\x00")], True)
def test_nothing_that_a_server_can_send_breaks_anything(
    headers: list[tuple[str, str]],
    refused: bool,  # noqa: FBT001 - Hypothesis gives it by position
) -> None:
    """Any bytes lead to a wait between zero and a day."""
    ask = asked(*headers, refused=refused)
    assert ask is None or 0.0 < ask.seconds <= MAX_HOLD_BACK


@pytest.mark.parametrize(
    "piece", ['"', '"a', ";r=0", "a,", ";a=1", "\\", " ", "a=", "0", "::", "t"]
)
def test_a_long_header_takes_one_pass(piece: str) -> None:
    """Two or more passes per character would delay every caller."""
    for start in ("", '"a"', '"a";r=0', "a=", '"'):
        value = start + piece * (100_000 // len(piece)) + "\x7f"
        asked(("RateLimit", value), ("Retry-After", value), ("Date", value), refused=True)
