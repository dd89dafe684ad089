"""Tell an SDK outside that there is nothing left to retry.

Awaits: responses pass through here.
"""

from typing import Final

import httpx

from walltrack.core.mismatch import refuse_mismatch
from walltrack.http.wrapper import WrappingTransport

SHOULD_RETRY: Final = "x-should-retry"


class SoleRetrier(WrappingTransport):
    """Mark final 4xx and 5xx responses with `x-should-retry: false`, around a `RetryTransport`.

    SDKs that Stainless generates (openai, anthropic, groq and others) obey this header. They still
    repeat a call that ended with an exception, which has no header.
    """

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send `request`, and mark its response."""
        try:
            response = await self._inner.handle_async_request(request)
        except BaseException as error:
            refuse_mismatch(request, error)
            raise
        if response.is_error:
            response.headers[SHOULD_RETRY] = "false"
        return response

    def __repr__(self) -> str:
        return self._shown_with()
