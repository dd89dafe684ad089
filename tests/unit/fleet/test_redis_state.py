import asyncio
from collections.abc import Sequence
from typing import Any, Self

import anyio
import anyio.lowlevel
import pytest

from tests.support import Clock, Events
from walltrack.core.shared_state import CircuitAct, CircuitReport, Pace, SharedState
from walltrack.fleet import RedisState, SharedStateLost, SharedStateRecovered, scripts

pytestmark = pytest.mark.anyio

REPORT = CircuitReport(CircuitAct.FAILED, 1, 2, 3, 4, 5.0, 6.0, 7.0)
ANSWER = [b"closed", 7, 0, 0, 1, 0]


class Client:
    """A client whose scripts answer with the next step, and with the last one from then on."""

    def __init__(self, *steps: object) -> None:
        self.steps = list(steps)
        self.sent: list[tuple[str, Sequence[object], Sequence[object]]] = []

    async def __aenter__(self) -> Self:
        return self

    def __repr__(self) -> str:
        return "<Client password=hunter2>"

    def register_script(self, script: str, /) -> Any:  # noqa: ANN401 - as in the clients
        """Return a function that takes a step."""

        async def run(keys: Sequence[object], args: Sequence[object]) -> object:
            self.sent.append((script, keys, args))
            step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
            if isinstance(step, BaseException):
                raise step
            if isinstance(step, anyio.Event):
                await step.wait()
                step = ANSWER
            if isinstance(step, ExceptionGroup):
                try:
                    await anyio.sleep_forever()
                finally:
                    raise step
            await anyio.lowlevel.checkpoint()
            return step

        return run


def state(client: Client, clock: Clock, events: Events | None = None, **options: Any) -> RedisState:  # noqa: ANN401 - handed on
    """The state under test."""
    return RedisState(client, clock=clock, listener=events, **options)


async def test_it_is_a_shared_state(clock: Clock) -> None:
    """Layers check it when they are made."""
    assert isinstance(state(Client(ANSWER), clock), SharedState)


async def test_each_operation_runs_its_script(clock: Clock) -> None:
    """With one key, whose name of the origin is in braces, and times in microseconds."""
    client = Client(ANSWER, 5, [], [1, 0, 0], 1)
    shared = state(client, clock, prefix="p")
    await shared.report("a", REPORT)
    await shared.set_mode("a", "disabled")
    await shared.modes()
    await shared.lease("a", Pace(0.5, 2), 3, 60.0)
    await shared.hold_back("a", 1.5)
    assert client.sent == [
        (
            scripts.CIRCUIT,
            ["p:{a}:circuit"],
            ("failed", 1, 2, 3, 4, 5_000_000, 6_000_000, 7_000_000),
        ),
        (scripts.SET_MODE, ["p:{settings}"], ("a", "disabled")),
        (scripts.MODES, ["p:{settings}"], ()),
        (scripts.LEASE, ["p:{a}:rate"], (500_000.0, 2, 3, 60_000_000)),
        (scripts.HOLD_BACK, ["p:{a}:rate"], (1_500_000,)),
    ]


async def test_times_are_limited(clock: Clock) -> None:
    """An endless hold-back is one of a month, and no time is negative."""
    client = Client(1)
    await state(client, clock).hold_back("a", float("inf"))
    await state(client, clock).hold_back("a", -1.0)
    assert [sent[2] for sent in client.sent] == [(30 * 86_400_000_000,), (0,)]


@pytest.mark.parametrize("failure", [ConnectionError("hunter2"), b"nonsense", None])
async def test_a_failure_is_no_answer(clock: Clock, events: Events, failure: object) -> None:
    """The error stays here; the event has its class, and no text."""
    shared = state(Client(failure), clock, events)
    assert await shared.report("a", REPORT) is None
    name = type(failure).__name__ if isinstance(failure, Exception) else "ValueError"
    assert events == [SharedStateLost("walltrack", name)]
    assert "hunter2" not in repr(events)


async def test_it_does_not_wait_for_longer_than_its_timeout(clock: Clock, events: Events) -> None:
    """A server that does not answer is a lost one."""
    client = Client(anyio.Event())
    shared = state(client, clock, events, timeout=0.01)
    with anyio.fail_after(5):
        assert await shared.report("a", REPORT) is None
    assert events == [SharedStateLost("walltrack", "TimeoutError")]


async def test_a_lost_server_is_left_alone(clock: Clock, events: Events) -> None:
    """The first attempt after a loss is made when a second has passed at most, and by one call."""
    client = Client(ConnectionError(), ConnectionError(), ANSWER)
    shared = state(client, clock, events)
    for _ in range(5):
        assert await shared.report("a", REPORT) is None
    assert len(client.sent) == 1
    clock.advance(1.0)
    for _ in range(5):
        assert await shared.report("a", REPORT) is None
    assert len(client.sent) == 2
    clock.advance(2.0)
    assert await shared.report("a", REPORT) is not None
    assert events == [
        SharedStateLost("walltrack", "ConnectionError"),
        SharedStateRecovered("walltrack"),
    ]


async def test_commands_in_flight_report_neither_another_loss_nor_a_recovery(
    clock: Clock, events: Events
) -> None:
    """A hundred calls: what ends after the loss, good or bad, says nothing of the time since."""
    answers, late = anyio.Event(), anyio.Event()
    steps = [late, *[answers] * 49, ConnectionError(), *[answers] * 48, ANSWER]
    shared = state(Client(*steps), clock, events, timeout=5.0)
    async with anyio.create_task_group() as calls:
        for _ in steps[:-1]:
            calls.start_soon(shared.report, "a", REPORT)
        await anyio.wait_all_tasks_blocked()
        answers.set()
        await anyio.wait_all_tasks_blocked()
        assert events == [SharedStateLost("walltrack", "ConnectionError")]
        assert await shared.report("a", REPORT) is None
        clock.advance(1.0)
        assert await shared.report("a", REPORT) is not None
        late.set()
    assert events[1:] == [SharedStateRecovered("walltrack")]


async def test_a_failure_from_before_a_recovery_is_no_loss(clock: Clock, events: Events) -> None:
    """The server has answered in the meantime."""
    shared = state(Client(anyio.Event(), ConnectionError(), ANSWER), clock, events, timeout=0.05)
    async with anyio.create_task_group() as calls:
        calls.start_soon(shared.report, "a", REPORT)  # its time will be over
        await anyio.wait_all_tasks_blocked()
        assert await shared.report("a", REPORT) is None
        clock.advance(1.0)
        assert await shared.report("a", REPORT) is not None
    assert [type(event) for event in events] == [SharedStateLost, SharedStateRecovered]


async def test_no_group_of_errors_reaches_a_caller(clock: Clock, events: Events) -> None:
    """A client that is cancelled at its timeout can raise one."""
    client = Client(ExceptionGroup("hunter2", [OSError()]))
    assert await state(client, clock, events, timeout=0.01).report("a", REPORT) is None
    assert [type(event) for event in events] == [SharedStateLost]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_task_that_asyncio_cancels_does_not_keep_the_attempt(clock: Clock) -> None:
    """No scope shields from it, and the next call makes the attempt after a loss."""
    shared = state(Client(ConnectionError(), anyio.Event(), ANSWER), clock, timeout=5.0)
    assert await shared.report("a", REPORT) is None
    clock.advance(1.0)
    call = asyncio.ensure_future(shared.report("a", REPORT))
    await anyio.wait_all_tasks_blocked()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await shared.report("a", REPORT) is not None


async def test_it_tries_at_least_every_30_seconds(clock: Clock) -> None:
    """However long the server was lost."""
    client = Client(ConnectionError())
    shared = state(client, clock)
    for _ in range(20):
        await shared.report("a", REPORT)
        clock.advance(30.0)
    assert len(client.sent) == 20


async def test_a_cancelled_caller_leaves_no_command_half_way(clock: Clock) -> None:
    """The command ends by its own timeout, and the cancellation follows."""
    client = Client(ANSWER)
    shared = state(client, clock)
    answers = []
    with anyio.CancelScope() as scope:
        scope.cancel()
        answers.append(await shared.report("a", REPORT))
    assert answers != []
    assert answers != [None]


async def test_no_repr_shows_the_client(clock: Clock) -> None:
    """The repr of a client can contain its password."""
    shared = state(Client(ConnectionError()), clock)
    assert repr(shared) == "RedisState(prefix='walltrack', timeout=0.1)"
    await shared.modes()
    assert repr(shared) == "RedisState(prefix='walltrack', timeout=0.1, <lost>)"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"prefix": ""}, ValueError, "prefix must be"),
        ({"prefix": "a{b"}, ValueError, "prefix must be"),
        ({"prefix": "a}b"}, ValueError, "prefix must be"),
        ({"prefix": 5}, TypeError, "prefix must be"),
        ({"timeout": 0}, ValueError, "timeout must be"),
        ({"refresh": 0}, ValueError, "refresh must be"),
        ({"listener": 5}, TypeError, "listener must be"),
        ({"clock": 5}, TypeError, "clock must be"),
    ],
)
async def test_bad_options_are_refused(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    """When the state is made."""
    with pytest.raises(error, match=message):
        RedisState(Client(ANSWER), **options)


async def test_what_is_no_asynchronous_client_is_refused() -> None:
    """The message has its class, and not its repr."""

    class Synchronous:
        def register_script(self, script: str) -> str:
            return script

        def __repr__(self) -> str:
            return "hunter2"

    for wrong in (Synchronous(), "redis://user:hunter2@localhost"):
        with pytest.raises(TypeError, match="client must be an asynchronous client") as refused:
            RedisState(wrong)  # type: ignore[arg-type]
        assert "hunter2" not in str(refused.value)


async def test_without_a_listener_a_loss_and_a_recovery_are_silent(clock: Clock) -> None:
    """The sharing works on after the recovery all the same."""
    shared = state(Client(ConnectionError(), ANSWER), clock)
    assert await shared.report("a", REPORT) is None
    clock.advance(30.0)
    assert await shared.report("a", REPORT) is not None
