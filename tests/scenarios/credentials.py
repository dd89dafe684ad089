"""Credentials of a scenario's layers: a nonce for each attempt, as Digest and signatures have."""

from collections.abc import Generator

import httpx
import httpx2

HEADER = "x-nonce"


class Nonces(httpx.Auth, httpx2.Auth):  # type: ignore[misc]  # of both families
    """Sign each request with a nonce of its own.

    Args:
        flow: "sign": no more than that; "body": with the bodies of request and response read;
            "challenge": once more after a 401; "stale": always with the same nonce, which is wrong.
    """

    def __init__(self, flow: str) -> None:
        self.requires_request_body = self.requires_response_body = flow == "body"
        self._flow = flow
        self._count = 0

    def auth_flow(  # type: ignore[override]  # of both families
        self, request: httpx.Request
    ) -> Generator[httpx.Request, httpx.Response, None]:
        """Send `request`, and once more if it was challenged."""
        response = yield self._signed(request)
        if self._flow == "challenge" and response.status_code == httpx.codes.UNAUTHORIZED:
            yield self._signed(request)

    def _signed(self, request: httpx.Request) -> httpx.Request:
        self._count += self._flow != "stale"
        request.headers[HEADER] = f"{id(self)} {self._count}"
        return request
