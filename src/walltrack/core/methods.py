"""HTTP methods, and which of them are safe to send again."""

from collections.abc import Collection
from typing import Final

from walltrack.core.named import shown_as

SAFE_METHODS: Final = frozenset(
    {"GET", "HEAD", "OPTIONS", "TRACE", "PRI", "PROPFIND", "QUERY", "REPORT", "SEARCH"}
)
"""Methods that do not change anything on the server (IANA HTTP Method Registry)."""

IDEMPOTENT_METHODS: Final = shown_as(
    "IDEMPOTENT_METHODS",
    SAFE_METHODS
    | {
        "ACL",
        "BASELINE-CONTROL",
        "BIND",
        "CHECKIN",
        "CHECKOUT",
        "COPY",
        "DELETE",
        "LABEL",
        "LINK",
        "MERGE",
        "MKACTIVITY",
        "MKCALENDAR",
        "MKCOL",
        "MKREDIRECTREF",
        "MKWORKSPACE",
        "MOVE",
        "ORDERPATCH",
        "PROPPATCH",
        "PUT",
        "REBIND",
        "UNBIND",
        "UNCHECKOUT",
        "UNLINK",
        "UPDATE",
        "UPDATEREDIRECTREF",
        "VERSION-CONTROL",
    },
)
"""Methods for which a repeated request has no further effect (RFC 9110, 9.2.2; same registry)."""


def valid_methods(name: str, methods: Collection[str]) -> frozenset[str]:
    """Return `methods` in upper case.

    Raises:
        TypeError: `methods` is not a collection of strings.
    """
    plausible = isinstance(methods, Collection) and not isinstance(methods, str | bytes)
    if not plausible or not all(isinstance(method, str) for method in methods):
        raise TypeError(f"{name} must be a collection of names, got {methods!r}")
    return frozenset(method.upper() for method in methods)
