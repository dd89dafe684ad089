"""The names under which processes share the state of a key."""

import hashlib
from collections.abc import Hashable
from urllib.parse import quote

_READABLE = ":/[]@"
"""Unreserved characters, and those of an origin. Braces are not among them: see `RedisState`."""


def name_of_origin(key: Hashable) -> str:
    """Return a name for a key; an origin stays readable.

    Any other key is hashed, because it can be a secret, such as a token of a tenant. Its `repr` has
    to be the same in every process.
    """
    match key:
        case (str() as scheme, bytes() as host, None):
            return quote(f"{scheme}://{host.decode('latin-1')}", safe=_READABLE)
        case (str() as scheme, bytes() as host, int() as port):
            return quote(f"{scheme}://{host.decode('latin-1')}:{port}", safe=_READABLE)
    return f"key:{hashlib.sha256(repr(key).encode()).hexdigest()[:32]}"


def name_of_service(service: str) -> str:
    """Return a name for everything that goes to `service`."""
    return f"service:{quote(service, safe=_READABLE)}"
