"""The random scenarios of tests/scenarios beneath a `SyncTransport`: each caller is a thread.

The layers and the server run in the event loop of the transport, in real time that is fifty times
as fast. A thread cannot be cancelled, and the operator does no more than close things.
`--scenario-seed` runs one of them again; it need not end alike.
"""

import io
import threading
import time
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from types import ModuleType
from typing import Any, Final

import anyio
import httpx
import httpx2
import pytest

from tests.integration.socket_world import SPEED, FastTime
from tests.integration.test_scenarios_over_http import INVARIANTS, PACE, tamed
from tests.scenarios import uploads
from tests.scenarios.attempts import RECOVERY
from tests.scenarios.broken import LeavesOpen, NeverAnswers
from tests.scenarios.callers import HOMES, Outcome, Report, Run
from tests.scenarios.layers import ORIGINS, HookInterrupt, current
from tests.scenarios.plan import BACKENDS, Call, Layer, Reply, Scenario, draw
from tests.scenarios.world import World
from tests.support import ConnectionBody
from walltrack import CircuitState, SyncTransport

DEFAULT: Final = 24
"""Scenarios, shared out between the event loops and families."""

AT_ONCE: Final = 12
TOO_LONG: Final = 20.0
"""Seconds, after which a thread hangs."""

# httpx leaves generators of its own around a body that is closed early.
pytestmark = pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")


class OwnUpload(httpx.SyncByteStream, httpx2.SyncByteStream):
    """A class of the caller's own, which can be read once."""

    def __init__(self, payload: bytes) -> None:
        self._pieces = pieces(payload)

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces


def pieces(payload: bytes) -> Generator[bytes, None, None]:
    """Generate `payload` in a few pieces, in the thread of the caller."""
    source = io.BytesIO(payload)
    while piece := source.read(len(payload) // uploads.PIECES):
        yield piece


def request_of_thread(
    home: ModuleType, method: str, url: str, kind: str, number: int
) -> httpx.Request:
    """Build the request of call `number`, whose body a thread reads."""
    payload, headers = uploads.content(number), {"x-call": str(number)}
    made: httpx.Request
    if kind == "generator":
        made = home.Request(method, url, headers=headers, content=pieces(payload))
    elif kind == "own class":
        headers["transfer-encoding"] = "chunked"
        made = home.Request(method, url, headers=headers, stream=OwnUpload(payload))
    else:
        made = uploads.build(home, method, url, kind, number)
    return made


class ThreadRun(Run):
    """One run of a scenario, of which each call is made by a thread.

    Args:
        scenario: What to run.
    """

    def __init__(self, scenario: Scenario) -> None:
        self.transports: list[SyncTransport] = []
        super().__init__(
            scenario,
            FastTime(),
            lambda reply_for, _: World(self.time, reply_for, lambda _: None, current),
            PACE,
        )

    def _new_client(self) -> Any:  # noqa: ANN401 - of either family
        backend: Any = self.scenario.backend
        self.transports.append(SyncTransport(self.built.top, backend=backend))
        return self.home.Client(transport=self.transports[-1], timeout=self.pace.timeout)

    def in_threads(self) -> Report:
        """Run calls and incidents, and find out whether everything recovers."""
        self.hooks.armed = True
        doing = [partial(self._caller_in_thread, outcome) for outcome in self.outcomes]
        doing += [partial(self._closing, i.at, i.does) for i in self.scenario.incidents]
        threads = [threading.Thread(target=does, daemon=True) for does in doing]
        for thread in threads:
            thread.start()
        until = time.monotonic() + TOO_LONG
        for thread in threads:
            thread.join(max(until - time.monotonic(), 0))
        self.report.hung = any(thread.is_alive() for thread in threads)
        self.hooks.armed = False
        if not self.report.hung:
            self._recover_in_thread()
        for passage in reversed(self.books.passages):  # a thread may be late in making its call
            if passage.call != RECOVERY:
                self.outcomes[passage.call].began = passage.began
        for transport in self.transports:  # a late call opens one that was closed
            transport.close()
        anyio.run(self.books.world.tidy)
        return self.report

    def _closing(self, at: float, does: str) -> None:
        time.sleep(at / SPEED)
        began = self.time.monotonic()
        (self.client if does == "close client" else self.transports[0]).close()
        self.report.closings.append((began, self.time.monotonic()))

    def _caller_in_thread(self, outcome: Outcome) -> None:
        time.sleep(outcome.call.at / SPEED)
        outcome.began = self.time.monotonic()
        try:
            self._send_in_thread(outcome)
        except (Exception, HookInterrupt) as error:  # noqa: BLE001 - to be judged afterwards
            outcome.error = error
        outcome.ended = self.time.monotonic()

    def _send_in_thread(self, outcome: Outcome) -> None:
        call, request = outcome.call, self.request_of(outcome, request_of_thread)
        response = self.client.send(request, stream=call.streams)
        outcome.status, outcome.tag = response.status_code, response.headers["x-attempt"]
        if not call.streams:
            outcome.received, outcome.whole = response.content, True
            return
        try:
            if call.closes_after != 0:
                self._read_in_thread(outcome, response)
        finally:
            response.close()

    def _read_in_thread(self, outcome: Outcome, response: httpx.Response) -> None:
        for count, chunk in enumerate(response.iter_raw(), 1):
            outcome.received += chunk
            if count == outcome.call.closes_after:
                return
            time.sleep(outcome.call.pause / SPEED)
        outcome.whole = True

    def _recover_in_thread(self) -> None:
        if self.client.is_closed:
            self.client = self._new_client()
        for origin in ORIGINS:
            time.sleep(self.pace.a_while / SPEED)
            for _ in range(self.pace.asks):
                problem = self._ask_in_thread(origin)
                states = {breaker_for(origin).state for breaker_for in self.built.breakers}
                if not (problem or states - {CircuitState.CLOSED}):
                    break
                time.sleep(self.pace.between / SPEED)
            else:
                self.report.recovered.append(f"{origin}: {problem} {sorted(states)}")

    def _ask_in_thread(self, origin: str) -> str:
        try:
            response = self.client.get(origin, headers={"x-call": str(RECOVERY)})
        except Exception as error:  # noqa: BLE001 - to be judged afterwards
            return repr(error)
        return "" if response.status_code == 200 else str(response.status_code)


def for_threads(seed: int) -> Scenario:
    """Return what threads can do of the scenario of a seed."""
    scenario = draw(seed)
    family = HOMES[scenario.family]
    calls = (replace(c, cancel_after=None, cancel_at=None) for c in scenario.calls)
    incidents = (i for i in scenario.incidents if i.does.startswith("close"))
    plain = replace(scenario, calls=tuple(calls), incidents=tuple(incidents))
    return tamed(plain, scenario.backend, family)


def wrong_with(report: Report) -> list[str]:
    """Return what does not hold after a run."""
    return [
        f"{check.__name__}: {w}\n{report.scenario}" for check in INVARIANTS for w in check(report)
    ]


def test_whatever_happens_in_threads(request: pytest.FixtureRequest) -> None:
    """All invariants hold for threads, too, and no event loop is left."""
    only = request.config.getoption("scenario_seed")
    count = max(DEFAULT, (request.config.getoption("scenarios") or 0) // 20)
    scenarios = [for_threads(seed) for seed in (range(count) if only is None else [only])]
    if only is None:
        assert {(s.backend, s.family) for s in scenarios} == {
            (backend, family) for backend in BACKENDS for family in HOMES
        }
    with ThreadPoolExecutor(AT_ONCE) as pool:
        reports = list(pool.map(lambda scenario: ThreadRun(scenario).in_threads(), scenarios))
    wrong = [found for report in reports for found in wrong_with(report)]
    wrong += [f"{t} is left" for t in threading.enumerate() if t.name == "walltrack event loop"]
    wrong += ConnectionBody.misreads
    if wrong:
        pytest.fail("\n".join(wrong), pytrace=False)


@pytest.mark.parametrize(
    ("make", "found"),
    [(LeavesOpen, "nothing_is_left_open"), (NeverAnswers, "every_call_ends")],
)
def test_what_is_wrong_is_found_out(
    make: type, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A layer that leaves a response open, or never answers, is seen from a thread as well."""
    monkeypatch.setattr("tests.integration.test_scenarios_in_threads.TOO_LONG", 0.2)
    scenario = Scenario(
        0, layers=(Layer("broken", {"make": make}),), calls=(Call(replies=(Reply(),)),)
    )
    wrong = wrong_with(ThreadRun(scenario).in_threads())
    assert any(each.startswith(found) for each in wrong)
