"""What a response asks of its client: for how long to send nothing, and whether to retry.

How long, with what each takes for the time to wait:

- Of responses that refuse, `retry-after-ms` and `x-ms-retry-after-ms`, in milliseconds. OpenAI and
  Azure send them beside a `Retry-After` that is rounded to seconds, and so they go before it.
- Then `Retry-After`, also of responses that refuse (RFC 9110, section 10.2.3). Where any of
  these can be read it goes before all others.
- `RateLimit`, of draft-ietf-httpapi-ratelimit-headers-11: an item with `r=0` has nothing left for
  `t` seconds; without `t`, for the window `w` that `RateLimit-Policy` tells for the same policy.
  The draft's older forms as well: `RateLimit: limit=10, remaining=0, reset=30` (07), and
  `RateLimit-Remaining` with `RateLimit-Reset` (00 to 06).
- `X-RateLimit-Remaining: 0` with `X-RateLimit-Reset-After` or `X-RateLimit-Reset`, also spelt
  `X-Rate-Limit-`.
- The same with a quota in the name, as LLM APIs have it: `x-ratelimit-remaining-requests` with
  `x-ratelimit-reset-requests`, and `anthropic-ratelimit-requests-remaining` with `-reset`, both
  also for tokens.

No standard defines a reset. It is read as seconds, a duration such as `6m0s`, or a moment: a number
since 1970, an RFC 3339 timestamp or a date; see `walltrack.core.moments`. One that is more than a
year away tells nothing.

Whatever is malformed, repeated where one value is meant, or past, tells nothing; nor does any quota
in a response that has an `Age`, which comes from a cache.
"""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

import httpx

from walltrack.core.backoff import parse_retry_after
from walltrack.core.moments import DAY, YEAR, parse_moment, parse_number, seconds_until
from walltrack.http.structured import Member, parse_members

MAX_HOLD_BACK: Final = DAY
"""The longest that a response can hold back other requests, in seconds: a quota that comes back
later is tried once a day, and a nonsensical figure does not silence a client permanently."""

_AGE: Final = "Age"
_DATE: Final = "Date"
_MILLISECONDS: Final = ("retry-after-ms", "x-ms-retry-after-ms")
_RETRY_AFTER: Final = "Retry-After"
_RATE_LIMIT: Final = "RateLimit"
_POLICY: Final = "RateLimit-Policy"


class _Quota(NamedTuple):
    remaining: str
    resets: tuple[str, ...]


_QUOTAS: Final = (
    *(
        _Quota(f"{prefix}-Remaining", (f"{prefix}-Reset-After", f"{prefix}-Reset"))
        for prefix in ("RateLimit", "X-RateLimit", "X-Rate-Limit")
    ),
    *(
        _Quota(f"x-ratelimit-remaining-{kind}", (f"x-ratelimit-reset-{kind}",))
        for kind in ("requests", "tokens")
    ),
    *(
        _Quota(f"anthropic-ratelimit-{kind}-remaining", (f"anthropic-ratelimit-{kind}-reset",))
        for kind in ("requests", "tokens", "input-tokens", "output-tokens")
    ),
)
_READ: Final = {
    name.lower().encode(): name
    for name in (
        _AGE,
        _DATE,
        *_MILLISECONDS,
        _RETRY_AFTER,
        _RATE_LIMIT,
        _POLICY,
        *(name for quota in _QUOTAS for name in (quota.remaining, *quota.resets)),
    )
}

TELLING: Final = frozenset(
    name.lower().encode() for name in (_RATE_LIMIT, *(quota.remaining for quota in _QUOTAS))
)
"""Names, in lower case, one of which is in any response that asks for something without refusing.
"""

TELLING_LENGTHS: Final = frozenset(map(len, TELLING))
"""Their lengths: few other names have these, so that few have to be looked at more closely."""

_COUNT: Final = re.compile(r"[0-9]{1,15}")


class Ask(NamedTuple):
    """What a response asks for.

    Args:
        seconds: For how long nothing should be sent; above 0.
        header: The name of the header that tells.
    """

    seconds: float
    header: str


def asked_to_wait(
    headers: Iterable[tuple[bytes, bytes]],
    wall_now: float,
    *,
    refused: bool,
    at_most: float = MAX_HOLD_BACK,
) -> Ask | None:
    """Return what a response's headers ask for; None when they ask for nothing.

    Args:
        headers: Names and values, as they came.
        wall_now: Seconds since 1970 by the local clock. A moment is measured from the response's
            `Date`; this is for responses without one.
        refused: Whether the response refuses the request, so that its Retry-After counts.
        at_most: The longest wait, in seconds; a longer one is cut. Default: a day.
    """
    found: dict[str, list[str]] = {}
    for raw_name, value in headers:
        name = _READ.get(raw_name.lower())
        if name is not None:
            found.setdefault(name, []).append(value.decode("latin-1").strip())
    date = _sent_at(found)
    ask = _by_refusal(found, wall_now, date) if refused else None
    if ask is None:
        if any(parse_number(age) for age in found.get(_AGE, ())):
            return None
        asks = [Ask(_by_draft(found), _RATE_LIMIT)]
        asks += (_by_quota(quota, found, wall_now, date) for quota in _QUOTAS)
        ask = max(asks, key=lambda ask: ask.seconds)
    return Ask(min(ask.seconds, at_most), ask.header) if ask.seconds > 0.0 else None


def should_retry(headers: httpx.Headers, name: str = "x-should-retry") -> bool | None:
    """Return whether a response says that its request should be sent again; None if it does not.

    OpenAI's and Anthropic's APIs say so in `x-should-retry: true` or `false`, and their own clients
    obey it whatever the status.

    Args:
        headers: The headers of the response.
        name: The header to read.
    """
    said = {value.strip().lower() for value in headers.get_list(name, split_commas=True)}
    return {"true": True, "false": False}.get(said.pop()) if len(said) == 1 else None


def _sent_at(found: dict[str, list[str]]) -> float | None:
    """When the response was sent by its server's clock; later by its age if it was stored."""
    dates = found.get(_DATE)
    date = parse_moment(dates[0]) if dates else None
    if date is None:
        return None
    return date + min(parse_number(found.get(_AGE, ["0"])[0]) or 0.0, DAY)


def _by_refusal(found: dict[str, list[str]], wall_now: float, date: float | None) -> Ask | None:
    for name in _MILLISECONDS:
        numbers = (parse_number(value) for value in found.get(name, ()))
        waits = [number / 1000.0 for number in numbers if number is not None]
        if waits:
            return Ask(max(waits), name)
    seconds = parse_retry_after(found.get(_RETRY_AFTER, ()), wall_now, date)
    return None if seconds is None else Ask(seconds, _RETRY_AFTER)


def _by_draft(found: dict[str, list[str]]) -> float:
    members = parse_members(found.get(_RATE_LIMIT, ()))
    if not members:
        return 0.0
    named = {member.key: member.value for member in members}
    if _count(named.get("remaining")) == 0:  # draft 07
        return float(_count(named.get("reset")) or 0)
    windows = {
        _policy(member): _count(member.parameters.get("w"))
        for member in parse_members(found.get(_POLICY, ()))
    }
    used_up = [member for member in members if _count(member.parameters.get("r")) == 0]
    waits = (
        _count(member.parameters["t"]) if "t" in member.parameters else windows.get(_policy(member))
        for member in used_up
    )
    return float(max((wait or 0 for wait in waits), default=0))


def _policy(member: Member) -> str:
    return member.value.strip('"')  # some drafts have a token where others have a string


def _count(text: str | None) -> int | None:
    return int(text) if text is not None and _COUNT.fullmatch(text) else None


def _by_quota(
    quota: _Quota, found: dict[str, list[str]], wall_now: float, date: float | None
) -> Ask:
    remaining = found.get(quota.remaining, ())
    if len(remaining) == 1 and parse_number(remaining[0]) == 0.0:
        for reset in quota.resets:
            values = found.get(reset, ())
            wait = seconds_until(values[0], wall_now, date) if len(values) == 1 else None
            if wait is not None and wait <= YEAR:
                return Ask(wait, reset)
    return Ask(0.0, quota.remaining)
