"""Tell a service how long its client still waits.

Awaits: requests pass through here.
"""

import math
import re
from collections.abc import Callable
from typing import Final

import anyio
import httpx

from walltrack.core import family, validation
from walltrack.core.extensions import time_left
from walltrack.core.mismatch import refuse_mismatch
from walltrack.http.requests import with_extensions
from walltrack.http.wrapper import WrappingTransport

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class DeadlineHeader(WrappingTransport):
    """Send the remaining seconds of a call in a header of each attempt.

    It is the lowest of the deadline of the call and the ends of all cancel scopes around it, which
    include those of attempt timeouts. Without any of them, there is no header.

    Args:
        transport: What sends the requests.
        name: Name of the header.
        clock: Monotonic seconds, for a deadline that is given as a number.

    Raises:
        TypeError: `name` is not a string.
        ValueError: `name` is not a token as in RFC 9110, section 5.6.2.
    """

    def __init__(self, transport: family.Transport, name: str, clock: Callable[[], float]) -> None:
        validation.instance("deadline_header", name, str)
        if not _TOKEN.fullmatch(name):
            raise ValueError(f"deadline_header must be the name of a header, got {name!r}")
        super().__init__(transport)
        self._name = name
        self._clock = clock

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send `request` with the header."""
        of_scopes = anyio.current_effective_deadline() - anyio.current_time()
        left = min(time_left(request.extensions, self._clock), of_scopes)
        sent = request
        if left < math.inf:
            sent = with_extensions(request, request.extensions)
            sent.headers = request.headers.copy()
            sent.headers[self._name] = f"{max(left, 0.0):.3f}"
        try:
            return await self._inner.handle_async_request(sent)
        except BaseException as error:
            refuse_mismatch(request, error)
            raise

    def __repr__(self) -> str:
        return self._shown_with(f"name={self._name!r}")
