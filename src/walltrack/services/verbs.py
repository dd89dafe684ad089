"""The methods by which a `BaseAPIClient` sends requests."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Unpack

import httpx

from walltrack.services.requests import BodyOptions, RequestOptions
from walltrack.services.session import Session


class Verbs:
    """A method for each HTTP method; `request` and `stream` for all of them."""

    _session: Session

    async def get(self, path: str, **options: Unpack[RequestOptions]) -> httpx.Response:
        """Send a GET; see `request`."""
        return await self.request("GET", path, **options)

    async def head(self, path: str, **options: Unpack[RequestOptions]) -> httpx.Response:
        """Send a HEAD; see `request`."""
        return await self.request("HEAD", path, **options)

    async def post(self, path: str, **options: Unpack[BodyOptions]) -> httpx.Response:
        """Send a POST; see `request`."""
        return await self.request("POST", path, **options)

    async def put(self, path: str, **options: Unpack[BodyOptions]) -> httpx.Response:
        """Send a PUT; see `request`."""
        return await self.request("PUT", path, **options)

    async def patch(self, path: str, **options: Unpack[BodyOptions]) -> httpx.Response:
        """Send a PATCH; see `request`."""
        return await self.request("PATCH", path, **options)

    async def delete(self, path: str, **options: Unpack[RequestOptions]) -> httpx.Response:
        """Send a DELETE; see `request`."""
        return await self.request("DELETE", path, **options)

    async def request(
        self, method: str, path: str, **options: Unpack[BodyOptions]
    ) -> httpx.Response:
        """Send a request and read the whole response.

        Args:
            method: HTTP method.
            path: Joined to the base URL; an absolute URL of the same origin is used as it is.
            options: As in httpx: params, headers, timeout, auth, follow_redirects, extensions;
                content, data, files, json.

        Raises:
            ExternalServiceError: The final response was a 4xx or 5xx, or there was none.
            CircuitBreakerOpenError: The circuit is open; nothing was sent.
            ValueError: `path` leads to another origin; nothing was sent.
            TypeError: An option is unknown; nothing was sent.
        """
        return await self._session.send(method, path, options)

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, **options: Unpack[BodyOptions]
    ) -> AsyncIterator[httpx.Response]:
        """Send a request, and read the body of the response in parts inside the `async with`.

        Options and exceptions are those of `request`. A body that breaks off also raises
        ExternalServiceError; it is not requested again, because the caller already has a part of
        it.
        """
        async with self._session.stream(method, path, options) as response:
            yield response
