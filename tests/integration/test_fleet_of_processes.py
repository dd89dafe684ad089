"""Real processes over real sockets, which share their state in a real server."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.fleet.server import Server, serving
from tests.fleet.workers import Plan, argument
from tests.integration.fault_server import Behaviour, Exchange, FaultServer, answer, late

WORKERS = 8
THRESHOLD = 5


@pytest.fixture
def store() -> Iterator[Server]:
    """The server that the processes share."""
    with serving() as running:
        yield running


class Crew:
    """Workers that are at work, and what they said."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.said: list[dict[str, Any]] = []
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(json.loads(line))

    def heard(self, event: str, since: int = 0) -> list[dict[str, Any]]:
        """What was said of an event, after this number of lines."""
        return [line for line in self.said[since:] if line["event"] == event]

    def workers(self, event: str, since: int = 0) -> set[int]:
        """The workers that told of an event."""
        return {line["worker"] for line in self.heard(event, since)}

    def all_tell(self, event: str, since: int) -> bool:
        """Whether every worker told of an event."""
        return len(self.workers(event, since)) == WORKERS


@contextmanager
def at_work(plan: Plan) -> Iterator[Crew]:
    """Workers that are at work while the block runs, and to whose callers no error came."""
    command = [sys.executable, "-m", "tests.fleet.workers", argument(plan)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own workers
        crew = Crew(process)
        try:
            wait_until(lambda: len(crew.workers("ready")) == plan.workers)
            yield crew
        finally:
            process.terminate()
            process.wait(10)
            crew.reader.join(10)
    assert crew.heard("error") == []


def wait_until(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    """Wait for other processes."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it took too long"
        time.sleep(0.02)


class Recording:
    """A behaviour that notes when each request came, and when it was answered."""

    def __init__(self, then: Behaviour) -> None:
        self.then = then
        self.came: list[float] = []
        self.answered: list[float] = []

    async def __call__(self, exchange: Exchange) -> None:
        self.came.append(time.time())
        await self.then(exchange)
        self.answered.append(time.time())


def assert_all_keys_expire(store: Server) -> None:
    """Nothing is left of a fleet that has ended."""
    with store.client() as look:
        keys = look.keys()
        assert keys
        assert all(0 < look.pttl(key) <= 86_400_000 for key in keys)


def test_one_probe_of_a_fleet_ends_each_of_ten_outages(store: Server, server: FaultServer) -> None:
    """Ten outages in a row, in 8 processes.

    Each process sends at most one request after the threshold was reached. One request of the fleet
    probes, and its success closes the circuit in all processes within a second. Only if a probe
    takes longer than its lease, as on a machine that is very busy, there is one more.
    """
    plan = Plan(store.url, server.url, cooldown=0.15, interval=0.03)
    with at_work(plan) as crew:
        for _ in range(10):
            since = len(crew.said)
            server.default = down = Recording(answer(503))
            wait_until(lambda: crew.all_tell("circuit_opened", since))  # noqa: B023 - called at once
            server.default = up = Recording(late(0.02))
            wait_until(lambda: crew.all_tell("circuit_closed", since))  # noqa: B023 - called at once

            opened, probes, closed = (
                [line["at"] for line in crew.heard(f"circuit_{change}", since)]
                for change in ("opened", "half_opened", "closed")
            )
            failed = len(opened) - WORKERS  # probes that came while the service was still down
            expired = int((closed[0] - opened[0]) / plan.cooldown) - 1 - 2 * failed
            assert failed + 1 <= len(probes) <= failed + 1 + max(expired, 0)
            assert len(down.came) <= THRESHOLD + WORKERS + failed
            assert sum(moment < up.answered[0] for moment in up.came) <= 1 + max(expired, 0)
            assert max(closed) - closed[0] < 1.0
        assert crew.heard("shared_state_lost") == []
    assert_all_keys_expire(store)


class Serving:
    """A behaviour that answers after `seconds`, and notes what happens, in its order."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.log: list[tuple[str, int, float]] = []  # "came" or "goes", the worker, and when

    async def __call__(self, exchange: Exchange) -> None:
        worker = int(exchange.seen.headers["x-worker"])
        self.log.append(("came", worker, time.time()))
        await asyncio.sleep(self.seconds)
        self.log.append(("goes", worker, time.time()))
        await answer()(exchange)

    def times(self, what: str, worker: int | None = None) -> list[float]:
        """When this happened, for one of the workers or all."""
        return [at for kind, who, at in self.log if kind == what and worker in (who, None)]


def test_the_waiters_of_all_processes_go_soon_after_one_probe(
    store: Server, server: FaultServer
) -> None:
    """80 callers in 8 standard stacks wait for the circuit, and one of them probes.

    Each process asks again after half a second at most, and no process waits longer than that for
    the success of another one. It sends one request first, and the others as the service answers.
    Meanwhile each sends the store two commands per second at most, and one at the beginning, at
    the end, and for the look at manual settings.
    """
    plan = Plan(store.url, server.url, waits=True, callers=10)
    waiting = plan.workers * plan.callers
    with at_work(plan) as crew:
        server.default = answer(503)
        wait_until(lambda: len(crew.heard("request_waiting")) >= waiting)
        store.commands()  # counts from here
        server.default = up = Serving(0.1)
        wait_until(lambda: len(crew.workers("circuit_closed")) == plan.workers)
        wait_until(lambda: len(up.times("goes")) >= waiting)
        wait_until(lambda: all(up.times("goes", worker) for worker in range(plan.workers)))
        commands, served = store.commands(), up.times("goes")
        opened, closed = (
            [line["at"] for line in crew.heard(f"circuit_{change}")]
            for change in ("opened", "closed")
        )
    expired = max(int(served[0] - opened[0]) - 1, 0)  # leases, on a machine that is very busy
    assert 1 <= sum(at < served[0] for at in up.times("came")) <= 1 + expired
    assert max(closed) - closed[0] < 1.0
    for worker in range(plan.workers):
        first = min(up.times("goes", worker))
        assert sum(at < first for at in up.times("came", worker)) <= 1 + expired
    seconds = max(closed) - min(up.times("came"))
    assert commands <= plan.workers * (3 + 2 * seconds)
    assert crew.heard("request_rejected") == []


def test_another_process_probes_when_the_prober_is_killed(
    store: Server, server: FaultServer
) -> None:
    """Its lease expires, and no circuit is open for longer than its cooldown and that lease."""
    probers: list[int] = []

    async def hang(exchange: Exchange) -> None:
        probers.append(int(exchange.seen.headers["x-worker"]))
        await exchange.reader.read()
        exchange.end()

    plan = Plan(store.url, server.url, workers=4, cooldown=0.4)
    with at_work(plan) as crew:
        server.default = answer(503)
        wait_until(lambda: len(crew.workers("circuit_opened")) == 4)
        server.default = hang
        wait_until(lambda: bool(probers))
        server.default = answer()
        pids = {line["worker"]: line["pid"] for line in crew.heard("ready")}
        os.kill(pids[probers[0]], signal.SIGKILL)
        killed = time.time()
        wait_until(lambda: len(crew.workers("circuit_closed")) == 3)
        took = max(line["at"] for line in crew.heard("circuit_closed")) - killed
    assert len(probers) == 1
    assert took < plan.cooldown + 1.0


def test_a_storm_outlives_its_store(store: Server, server: FaultServer) -> None:
    """The store hangs, dies and comes back while the service fails: callers notice nothing.

    Without it each process opens its circuit by itself; with it again, one probe closes them all.
    """
    plan = Plan(store.url, server.url, workers=4, cooldown=0.3, interval=0.02)
    with at_work(plan) as crew:
        store.pause()
        server.default = answer(503)
        wait_until(lambda: len(crew.workers("circuit_opened")) == 4)
        wait_until(lambda: len(crew.workers("shared_state_lost")) == 4)
        store.kill()
        store.start()
        wait_until(lambda: len(crew.workers("shared_state_recovered")) == 4)
        server.default = answer()
        wait_until(lambda: len(crew.workers("circuit_closed")) == 4)
    assert_all_keys_expire(store)


def test_a_fleet_reaches_its_rate_and_never_exceeds_it(store: Server, server: FaultServer) -> None:
    """In any period, 8 processes send at most what the rate allows in it and in 0.1 s more.

    And one request each, if the machine is so busy that an answer takes longer than that. There is
    a second in which they reach 95 % of it, and in which each has at least half its share: in the
    first one, unless the machine is busy with something else.
    """
    rate = 200.0
    plan = Plan(store.url, server.url, rate=rate, callers=10, interval=0.0)

    def reached() -> bool:
        sent = crew.heard("sent")
        last = Counter(line["worker"] for line in sent if line["at"] > sent[-1]["at"] - 1.0)
        return last.total() >= 0.95 * rate and min(last.values()) >= rate / WORKERS / 2

    with at_work(plan) as crew:
        wait_until(lambda: len(crew.workers("sent")) == WORKERS)
        wait_until(reached)
    moments = sorted(line["at"] for line in crew.heard("sent"))
    for length in (0.05, 0.2, 0.5, 1.0):
        most = max(bisect_left(moments, start + length) - at for at, start in enumerate(moments))
        assert most <= rate * (length + 0.1) + 1 + WORKERS
    assert crew.heard("shared_state_lost") == []
    assert_all_keys_expire(store)
