"""What a response asks of its client: how long to send nothing, and whether to retry.

These headers state a time to wait, in the order in which they are used:

- `retry-after-ms` and `x-ms-retry-after-ms`, in milliseconds, if the response refuses the request.
  OpenAI and Azure send them beside a `Retry-After` that is rounded to seconds, so they come first.
- `Retry-After`, if the response refuses the request (RFC 9110, section 10.2.3). If any of these
  three can be read, the headers below are ignored.
- `RateLimit` of draft-ietf-httpapi-ratelimit-headers-11: an item with `r=0` has no quota left for
  `t` seconds; without `t`, for the window `w` that `RateLimit-Policy` states for the same policy.
  Older forms of the draft are supported as well: `RateLimit: limit=10, remaining=0, reset=30` (07),
  and `RateLimit-Remaining` with `RateLimit-Reset` (00 to 06).
- `X-RateLimit-Remaining: 0` with `X-RateLimit-Reset-After` or `X-RateLimit-Reset`, also spelled
  `X-Rate-Limit-`.
- The same with the name of a quota, as in APIs of language models: `x-ratelimit-remaining-requests`
  with `x-ratelimit-reset-requests`, and `anthropic-ratelimit-requests-remaining` with `-reset`,
  each also for tokens.

No standard defines the format of a reset. It is read as seconds, as a duration such as `6m0s`, or
as a point in time: a number since 1970, an RFC 3339 timestamp or a date; see
`walltrack.core.moments`. A point in time that is more than a year away is ignored.

Values are ignored if they are malformed, repeated although only one is allowed, or in the past.
Quotas are also ignored in a response with an `Age`, because it comes from a cache.
"""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

import httpx

from walltrack.core.backoff import parse_retry_after
from walltrack.core.moments import DAY, YEAR, parse_moment, parse_number, seconds_until
from walltrack.http.structured import Member, parse_members

MAX_HOLD_BACK: Final = DAY
"""The longest time for which a response can delay other requests, in seconds. A quota that is
restored later is tried once a day, and a wrong value does not stop a client permanently."""

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
"""Lower-case names of headers. A response that does not refuse the request, but still asks for a
wait, has at least one of them."""

TELLING_LENGTHS: Final = frozenset(map(len, TELLING))
"""The lengths of `TELLING`: few other names have them, so that few have to be compared."""

_COUNT: Final = re.compile(r"[0-9]{1,15}")


class Ask(NamedTuple):
    """What a response asks for.

    Args:
        seconds: How long nothing should be sent, in seconds; above 0.
        header: The name of the header that states it.
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
    """Return what the headers of a response ask for; None if they ask for nothing.

    Args:
        headers: Names and values, as received.
        wall_now: Seconds since 1970 by the local clock, for a response without `Date`.
        refused: Whether the response refuses the request, so that its Retry-After applies.
        at_most: The longest wait, in seconds; a longer one is shortened to it. Default: a day.
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
    """Return whether a response states that its request should be sent again; None if it does not.

    The APIs of OpenAI and Anthropic state this by `x-should-retry: true` or `false`, and their own
    clients follow it for every status.

    Args:
        headers: The headers of the response.
        name: The header to read.
    """
    said = {value.strip().lower() for value in headers.get_list(name, split_commas=True)}
    return {"true": True, "false": False}.get(said.pop()) if len(said) == 1 else None


def _sent_at(found: dict[str, list[str]]) -> float | None:
    """Return when the response was sent, by the server's clock; add its age if it was cached."""
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
    return member.value.strip('"')  # a token in some drafts, a string in others


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
