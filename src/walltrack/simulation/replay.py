"""A transport that repeats the recorded results of a real service."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Final

import httpx

from walltrack.simulation.messages import short_response, timeout_of
from walltrack.simulation.observation import Observation, observed_near
from walltrack.testing.messages import error_for

_CONNECTING: Final = frozenset({"ConnectError", "ConnectTimeout"})


class ReplayTransport(httpx.AsyncBaseTransport):
    """Give each request the result of one that was recorded within a second of it.

    Args:
        record: The observations, in order of time.
        rng: Source of the choice between several observations.
        requests: Counts the requests, by second.
    """

    def __init__(self, record: Sequence[Observation], rng: Random, requests: Counter[int]) -> None:
        self._record = record
        self._rng = rng
        self._requests = requests

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Respond to `request`.

        Raises:
            httpx.TransportError: The recorded exception, or a timeout if the recorded latency is
            longer than the timeout of the request.
        """
        now = asyncio.get_running_loop().time()
        self._requests[int(now)] += 1
        near = observed_near(self._record, now)
        chosen = near[self._rng.randrange(len(near))]
        connecting = chosen.outcome in _CONNECTING
        limit = timeout_of(request, "connect" if connecting else "read")
        await asyncio.sleep(min(chosen.seconds, limit))
        if chosen.seconds > limit:
            kind = httpx.ConnectTimeout if connecting else httpx.ReadTimeout
            raise error_for(request, kind, "replayed")
        if isinstance(chosen.outcome, str):
            raise error_for(request, getattr(httpx, chosen.outcome), "replayed")
        return short_response(chosen.outcome)
