"""For how long a response asks to be left alone: Retry-After, RateLimit and X-RateLimit-*.

Read are, with what each takes for the time to wait:

- `Retry-After` of the statuses that refuse (RFC 9110, section 10.2.3). Where it can be read it goes
  before all others.
- `RateLimit`, of draft-ietf-httpapi-ratelimit-headers-11: an item with `r=0` has nothing left for
  `t` seconds; without `t`, for the window `w` that `RateLimit-Policy` tells for the same policy.
  The draft's older forms as well: `RateLimit: limit=10, remaining=0, reset=30` (07), and
  `RateLimit-Remaining` with `RateLimit-Reset` (00 to 06).
- `X-RateLimit-Remaining: 0` with `X-RateLimit-Reset`, also spelt `X-Rate-Limit-`. Nobody ever
  defined them. A reset of up to a year is taken for seconds from now; one that is within a year of
  now as a moment, in seconds or milliseconds since 1970, for that moment; any other tells nothing.

Whatever is malformed, repeated where one value is meant, or past, tells nothing; nor does anything
but Retry-After in a response that has an `Age`, which comes from a cache. At most a day is
asked for: a quota that comes back later is tried once a day, and a nonsensical figure does not
silence a client for ever.
"""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from walltrack.core.backoff import parse_retry_after

MAX_HOLD_BACK: Final = 86_400.0
"""The longest that a response can ask for, in seconds: a day."""

_AGE: Final = "Age"
_RETRY_AFTER: Final = "Retry-After"
_RATE_LIMIT: Final = "RateLimit"
_POLICY: Final = "RateLimit-Policy"
_PREFIXES: Final = ("RateLimit", "X-RateLimit", "X-Rate-Limit")

_PAIRS: Final = tuple((f"{prefix}-Remaining", f"{prefix}-Reset") for prefix in _PREFIXES)
_READ: Final = {
    name.lower().encode(): name
    for name in (
        _AGE,
        _RETRY_AFTER,
        _RATE_LIMIT,
        _POLICY,
        *(name for pair in _PAIRS for name in pair),
    )
}

TELLING: Final = frozenset(
    name.lower().encode() for name in (_RATE_LIMIT, *(remaining for remaining, _ in _PAIRS))
)
"""Names, in small letters, one of which a response has that asks for something by anything but its
Retry-After."""

TELLING_LENGTHS: Final = frozenset(map(len, TELLING))
"""Their lengths: few other names have these, so that few have to be looked at more closely."""

_YEAR: Final = 366 * 86_400.0

# RFC 9651. Nothing in these can be read in two ways, and `++` and `*+` never give back: no header,
# however long, takes more than one pass.
_KEY: Final = r"[a-z*][a-z0-9_\-.*]*+"
_BARE: Final = (
    r'"(?:[ !#-\[\]-~]|\\["\\])*+"'  # a string
    r"|@?-?[0-9]++(?:\.[0-9]++)?+"  # a number or a date
    r"|[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*+"  # a token
    r"|:[A-Za-z0-9+/=]*+:"  # bytes
    r"|\?[01]"  # a boolean
    r'|%"[ !#-~]*+"'  # a display string
)
_MEMBER: Final = re.compile(rf"[ \t]*+(?:({_KEY})=)?({_BARE})")
_PARAMETER: Final = re.compile(rf"; *+({_KEY})(?:=({_BARE}))?+")
_NEXT: Final = re.compile(r"[ \t]*+(,|\Z)")

_COUNT: Final = re.compile(r"[0-9]{1,15}")
_DECIMAL: Final = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,15})?")


class Ask(NamedTuple):
    """What a response asks for.

    Args:
        seconds: For how long nothing should be sent; above 0, `MAX_HOLD_BACK` at most.
        header: The name of the header that tells.
    """

    seconds: float
    header: str


class _Member(NamedTuple):
    key: str | None
    value: str
    parameters: dict[str, str | None]


def asked_to_wait(
    headers: Iterable[tuple[bytes, bytes]], wall_now: float, *, refused: bool
) -> Ask | None:
    """What a response's headers ask for; None when they ask for nothing.

    Args:
        headers: Names and values, as they came.
        wall_now: Seconds since the epoch, to measure a moment from.
        refused: Whether the response has a status by which a server refuses, so that its
            Retry-After counts.
    """
    found: dict[str, list[str]] = {}
    for raw_name, value in headers:
        name = _READ.get(raw_name.lower())
        if name is not None:
            found.setdefault(name, []).append(value.decode("latin-1").strip())
    if refused:
        seconds = parse_retry_after(found.get(_RETRY_AFTER, ()), wall_now)
        if seconds is not None:
            return _bounded(Ask(seconds, _RETRY_AFTER))
    if any(_number(age) for age in found.get(_AGE, ())):
        return None
    asks = [Ask(_by_draft(found), _RATE_LIMIT)]
    asks += (
        Ask(_by_pair(found.get(remaining), found.get(reset), wall_now), reset)
        for remaining, reset in _PAIRS
    )
    return _bounded(max(asks, key=lambda ask: ask.seconds))


def _bounded(ask: Ask) -> Ask | None:
    return Ask(min(ask.seconds, MAX_HOLD_BACK), ask.header) if ask.seconds > 0.0 else None


def _by_draft(found: dict[str, list[str]]) -> float:
    members = _members(found.get(_RATE_LIMIT, ()))
    if not members:
        return 0.0
    named = {member.key: member.value for member in members}
    if _count(named.get("remaining")) == 0:  # draft 07
        return float(_count(named.get("reset")) or 0)
    windows = {
        _policy(member): _count(member.parameters.get("w"))
        for member in _members(found.get(_POLICY, ()))
    }
    used_up = [member for member in members if _count(member.parameters.get("r")) == 0]
    waits = (
        _count(member.parameters["t"]) if "t" in member.parameters else windows.get(_policy(member))
        for member in used_up
    )
    return float(max((wait or 0 for wait in waits), default=0))


def _policy(member: _Member) -> str:
    return member.value.strip('"')  # some drafts have a token where others have a string


def _members(lines: Iterable[str]) -> list[_Member]:
    """The members of a list or a dictionary; none when it is malformed anywhere."""
    text, position, members = ",".join(lines), 0, list[_Member]()
    while member := _MEMBER.match(text, position):
        position = member.end()
        parameters: dict[str, str | None] = {}
        while parameter := _PARAMETER.match(text, position):
            parameters[parameter[1]] = parameter[2]
            position = parameter.end()
        members.append(_Member(member[1], member[2], parameters))
        following = _NEXT.match(text, position)
        if following is None:
            return []
        if not following[1]:
            return members
        position = following.end()
    return []


def _by_pair(remaining: list[str] | None, reset: list[str] | None, wall_now: float) -> float:
    if remaining is None or reset is None or len(remaining) != 1 or len(reset) != 1:
        return 0.0
    left, when = _number(remaining[0]), _number(reset[0])
    if left != 0.0 or when is None:
        return 0.0
    if when <= _YEAR:
        return when
    for moment in (when, when / 1000.0):
        if abs(moment - wall_now) <= _YEAR:
            return max(moment - wall_now, 0.0)
    return 0.0


def _count(text: str | None) -> int | None:
    return int(text) if text is not None and _COUNT.fullmatch(text) else None


def _number(text: str) -> float | None:
    return float(text) if _DECIMAL.fullmatch(text) else None
