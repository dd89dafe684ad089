"""Read lists and dictionaries of structured header fields (RFC 9651)."""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

# The alternatives are unambiguous, and `++` and `*+` never backtrack: a header of any length takes
# one pass.
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


class Member(NamedTuple):
    """One member of a list or a dictionary.

    Args:
        key: Its key; None in a list.
        value: Its value as written; a string includes its quotes.
        parameters: The parameters of the value; None for a parameter without a value.
    """

    key: str | None
    value: str
    parameters: dict[str, str | None]


def parse_members(lines: Iterable[str]) -> list[Member]:
    """Return the members of a list or a dictionary; an empty result if any part is malformed.

    Args:
        lines: The values of all header lines with that name, in order.
    """
    text, position, members = ",".join(lines), 0, list[Member]()
    while member := _MEMBER.match(text, position):
        position = member.end()
        parameters: dict[str, str | None] = {}
        while parameter := _PARAMETER.match(text, position):
            parameters[parameter[1]] = parameter[2]
            position = parameter.end()
        members.append(Member(member[1], member[2], parameters))
        following = _NEXT.match(text, position)
        if following is None:
            return []
        if not following[1]:
            return members
        position = following.end()
    return []
