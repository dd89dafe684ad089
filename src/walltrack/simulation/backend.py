"""One backend of a simulated service: its workers and their queue."""

import asyncio
from collections import deque
from collections.abc import Callable
from random import Random

from walltrack.simulation.scenario import Service


class Job:
    """A request at a backend.

    Args:
        loop: The event loop.
        latest: When its client stops waiting, if the service knows it; then it is not started.
        late: The additional latency of the response, as a multiple of its duration.
    """

    __slots__ = ("abandoned", "answered", "late", "latest", "skipped")

    def __init__(self, loop: asyncio.AbstractEventLoop, latest: float, late: float = 0.0) -> None:
        self.answered: asyncio.Future[bool] = loop.create_future()
        self.latest: float = latest
        self.late: float = late
        self.abandoned: bool = False
        self.skipped: bool = False

    def answer(self) -> None:
        """Send the response, if the client still waits."""
        if not self.answered.done():
            self.answered.set_result(True)

    def expire(self) -> None:
        """Raise the timeout in the client, if it still waits; it is gone afterwards."""
        if not self.answered.done():
            self.abandoned = True
            self.answered.set_result(False)


class Backend:
    """Process jobs, first in, first out, whether or not their clients still wait.

    Args:
        loop: The event loop, with its virtual time.
        rng: Source of the durations.
        service: The service that the backend belongs to.
        slowdown: Returns by which factor the duration of a job that starts now is multiplied.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        rng: Random,
        service: Service,
        slowdown: Callable[[], float],
    ) -> None:
        self._loop = loop
        self._rng = rng
        self._latency = service.latency
        self._free = service.workers
        self._room = service.queue
        self._slowdown = slowdown
        self._queue: deque[Job] = deque()
        self.done: int = 0
        self.wasted: int = 0
        """Jobs that were completed after their client was gone."""

    def submit(self, job: Job) -> bool:
        """Accept a job; return False if the queue is full."""
        if self._free:
            self._free -= 1
            self._begin(job)
            return True
        if self._room is not None and len(self._queue) >= self._room:
            return False
        self._queue.append(job)
        return True

    def _begin(self, job: Job) -> None:
        seconds = self._latency.draw(self._rng) * self._slowdown()
        self._loop.call_later(seconds, self._end, job, seconds)

    def _end(self, job: Job, seconds: float) -> None:
        self.done += 1
        if job.abandoned:
            self.wasted += 1
        elif job.late:
            self._loop.call_later(seconds * job.late, job.answer)
        else:
            job.answer()
        while self._queue:
            following = self._queue.popleft()
            if following.latest >= self._loop.time():
                self._begin(following)
                return
            following.skipped = True
            following.answer()
        self._free += 1
