import asyncio
import math
import random
from collections.abc import Callable

from walltrack.simulation.backend import Backend, Job
from walltrack.simulation.clock import run_virtually
from walltrack.simulation.scenario import Latency, Service

EXACT = Latency(minimum=1.0, tail=0.0)


def backend(
    service: Service, slowdown: Callable[[], float] = lambda: 1.0
) -> tuple[Backend, Callable[..., Job]]:
    """A backend, and what makes a job for it."""
    loop = asyncio.get_running_loop()

    def job(latest: float = math.inf, late: float = 0.0) -> Job:
        return Job(loop, latest, late)

    return Backend(loop, random.Random(1), service, slowdown), job  # noqa: S311 - a model


async def answered_at(job: Job) -> float:
    """When a job is answered; negative if its client's timeout passed before."""
    in_time = await job.answered
    now = asyncio.get_running_loop().time()
    return now if in_time else -now


def test_workers_take_one_job_after_the_other() -> None:
    """Two workers serve two jobs at a time, first in, first out."""

    async def main() -> list[float]:
        served, job = backend(Service(workers=2, latency=EXACT))
        jobs = [job() for _ in range(5)]
        assert all(served.submit(each) for each in jobs)
        return await asyncio.gather(*map(answered_at, jobs))

    assert run_virtually(main) == [1.0, 1.0, 2.0, 2.0, 3.0]


def test_a_full_queue_takes_no_more() -> None:
    """The queue's size counts waiting jobs, without those in work."""

    async def main() -> list[bool]:
        served, job = backend(Service(workers=1, queue=2, latency=EXACT))
        return [served.submit(job()) for _ in range(4)]

    assert run_virtually(main) == [True, True, True, False]


def test_a_slowdown_counts_for_jobs_that_begin_in_it() -> None:
    """A job that began before takes as long as usual."""

    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        service = Service(workers=1, latency=EXACT, queue=None)
        served, job = backend(service, lambda: 5.0 if 0.5 <= loop.time() < 2.0 else 1.0)
        jobs = [job() for _ in range(3)]
        assert all(served.submit(each) for each in jobs)
        return await asyncio.gather(*map(answered_at, jobs))

    assert run_virtually(main) == [1.0, 6.0, 7.0]


def test_abandoned_jobs_are_done_in_vain() -> None:
    """A server does not notice that its client is gone."""

    async def main() -> tuple[int, int, float]:
        served, job = backend(Service(workers=1, latency=EXACT))
        first, second = job(), job()
        assert served.submit(first)
        assert served.submit(second)
        first.expire()
        ended = await answered_at(second)
        return served.done, served.wasted, ended

    assert run_virtually(main) == (2, 1, 2.0)


def test_a_timeout_and_an_answer_reach_a_client_once() -> None:
    """A client gets whichever comes first, and only that."""

    async def main() -> tuple[bool, bool, bool]:
        _, job = backend(Service())
        late, early = job(), job()
        late.expire()
        late.answer()
        early.answer()
        early.expire()
        return await late.answered, await early.answered, early.abandoned

    assert run_virtually(main) == (False, True, False)


def test_a_late_answer_frees_its_worker_in_time() -> None:
    """A late answer takes no more of the worker's time than any other."""

    async def main() -> list[float]:
        served, job = backend(Service(workers=1, latency=EXACT))
        late, next_one = job(late=9.0), job()
        assert served.submit(late)
        assert served.submit(next_one)
        return list(await asyncio.gather(answered_at(late), answered_at(next_one)))

    assert run_virtually(main) == [10.0, 2.0]


def test_a_job_whose_client_has_stopped_waiting_is_skipped() -> None:
    """If the service knows when the client stops, such a job takes no time."""

    async def main() -> tuple[bool, list[float], int]:
        served, job = backend(Service(workers=1, latency=EXACT))
        jobs = [job(), job(latest=0.5), job(latest=5.0)]
        assert all(served.submit(each) for each in jobs)
        ended = await asyncio.gather(*map(answered_at, jobs))
        return jobs[1].skipped, ended, served.done

    assert run_virtually(main) == (True, [1.0, 1.0, 2.0], 2)
