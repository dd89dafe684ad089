"""State that processes share in Redis or Valkey.

Awaits: the commands are sent here.
"""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeVar

import anyio

from walltrack.circuit_breaker.breaker import CircuitBreaker
from walltrack.circuit_breaker.state import CircuitState
from walltrack.core import validation
from walltrack.core.backoff import Backoff
from walltrack.core.events import Listener, SharedStateLost, SharedStateRecovered
from walltrack.core.exceptions import CircuitBreakerOpenError
from walltrack.core.named import shows_defaults_by_name
from walltrack.core.shared_state import CircuitReport, CircuitView, ManualSetting, Pace, TokenLease
from walltrack.fleet import replies, scripts
from walltrack.telemetry.emit import emit
from walltrack.telemetry.log import log_event

_BETWEEN_ATTEMPTS: Final = Backoff(base=1.0, cap=30.0, jitter="equal")
"""How long a store that failed is left alone, in seconds."""

_Answer = TypeVar("_Answer")


class Script(Protocol):
    """A Lua script that a client has registered."""

    def __call__(self, keys: Any, args: Any) -> Awaitable[Any]:  # noqa: ANN401 - as in the clients
        """Run the script in the server."""
        ...


class Client(Protocol):
    """An asynchronous client of Redis, as far as a `RedisState` needs it."""

    def register_script(self, script: Any, /) -> Any:  # noqa: ANN401 - as in the clients
        """Return a function that runs `script`, and loads it where it is not known."""
        ...

    async def __aenter__(self) -> Any:  # noqa: ANN401 - as in the clients
        """Open the client."""
        ...


class RedisState:
    """Share circuits and rates with the other processes that use the same Redis and prefix.

        client = redis.asyncio.Redis.from_url("redis://localhost")
        shared = RedisState(client)
        transport = resilient_transport(rate_limit=200, shared=shared)

    Each operation is one Lua script, which is atomic and uses the clock of the server. Every key
    expires. A key has the name of its origin in braces, so that in a cluster all keys of one origin
    are in one slot.

    If the server is slow, down, failing over or full, or answers what it should not, a call waits
    for `timeout` at most. Then no further command is sent for one second, and after each further
    failure for twice as long, up to 30 seconds; meanwhile, every process uses its own state. No
    error of Redis reaches a caller, and no text of one is logged.

    Args:
        client: A `redis.asyncio.Redis` or `RedisCluster`, also one of a Sentinel, or a client of
            `coredis`, which serves trio as well. You open and close it.
        prefix: The first part of every key. Programs with the same prefix share their state.
        timeout: The longest wait for an answer, in seconds; above 0.
        refresh: After how many seconds a process in use looks for manual settings of other
            processes, in seconds; above 0.
        listener: Called with `SharedStateLost` and `SharedStateRecovered`; None: no events.
            Default: log entries.
        clock: Monotonic seconds.

    Raises:
        TypeError: An argument has another type, or the client is not asynchronous.
        ValueError: A number is not above 0, or `prefix` is empty or contains a brace.
    """

    @shows_defaults_by_name
    def __init__(
        self,
        client: Client,
        prefix: str = "walltrack",
        timeout: float = 0.1,
        *,
        refresh: float = 10.0,
        listener: Listener | None = log_event,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not (hasattr(client, "register_script") and hasattr(client, "__aenter__")):
            kind = type(client)  # not its repr, which can show a password
            raise TypeError(
                "client must be an asynchronous client of Redis, such as redis.asyncio.Redis, got "
                f"a {kind.__module__}.{kind.__qualname__}"
            )
        validation.instance("prefix", prefix, str)
        if not prefix or {"{", "}"} & set(prefix):
            raise ValueError(f"prefix must be a text without braces, got {prefix!r}")
        validation.positive("timeout", timeout)
        validation.positive("refresh", refresh)
        validation.listener("listener", listener)
        validation.function("clock", clock)
        self._circuit: Script = client.register_script(scripts.CIRCUIT)
        self._lease: Script = client.register_script(scripts.LEASE)
        self._hold_back: Script = client.register_script(scripts.HOLD_BACK)
        self._set_mode: Script = client.register_script(scripts.SET_MODE)
        self._modes: Script = client.register_script(scripts.MODES)
        self._prefix = prefix
        self._timeout = timeout
        self._refresh = refresh
        self._listener = listener
        self._breaker = CircuitBreaker(1, _BETWEEN_ATTEMPTS, clock=clock)
        self._is_lost = False

    def __repr__(self) -> str:
        lost = ", <lost>" if self._is_lost else ""
        return f"{type(self).__name__}(prefix={self._prefix!r}, timeout={self._timeout!r}{lost})"

    @property
    def refresh(self) -> float:
        """After how many seconds at most a process in use looks for manual settings."""
        return self._refresh

    async def report(self, name: str, report: CircuitReport, /) -> CircuitView | None:
        """Apply one report to the circuit `name`, and return the circuit."""
        arguments = (
            report.act.value,
            report.generation,
            report.lease,
            report.failures,
            report.threshold,
            _microseconds(report.cooldown),
            _microseconds(report.patience),
            _microseconds(report.memory),
        )
        return await self._run(self._circuit, f"{{{name}}}:circuit", arguments, replies.circuit)

    async def set_mode(self, name: str, mode: str, /) -> int | None:
        """Keep the manual setting of the circuit `name`, and return its stamp."""
        return await self._run(self._set_mode, "{settings}", (name, mode), replies.number)

    async def modes(self) -> Mapping[str, ManualSetting] | None:
        """Return the last manual setting of each circuit that has one."""
        return await self._run(self._modes, "{settings}", (), replies.settings)

    async def lease(
        self, name: str, pace: Pace, wanted: int, patience: float, /
    ) -> TokenLease | None:
        """Take up to `wanted` tokens of the rate `name`, if the first comes within `patience`."""
        arguments = (
            pace.interval * 1e6,
            pace.burst,
            wanted,
            _microseconds(patience),
        )
        return await self._run(self._lease, f"{{{name}}}:rate", arguments, replies.lease)

    async def hold_back(self, name: str, seconds: float, /) -> None:
        """Let no process send requests under the rate `name` for `seconds`."""
        arguments = (_microseconds(seconds),)
        await self._run(self._hold_back, f"{{{name}}}:rate", arguments, replies.number)

    async def _run(
        self,
        script: Script,
        key: str,
        arguments: Sequence[object],
        read: Callable[[object], _Answer],
    ) -> _Answer | None:
        try:
            permit = self._breaker.acquire()
        except CircuitBreakerOpenError:
            return None
        failure = "TimeoutError"
        with permit:
            try:
                # Shielded: the wait is short, and a command that is cancelled costs its connection.
                with anyio.move_on_after(self._timeout, shield=True):
                    answer = read(await script([f"{self._prefix}:{key}"], arguments))
                    permit.success()
                    self._note_recovery()
                    return answer
            except Exception as error:  # noqa: BLE001 - whatever a client raises
                failure = type(error).__name__
            permit.failure()
        self._note_loss(failure)
        return None

    def _note_loss(self, failure: str) -> None:
        # While the breaker is closed, this ends a command from before a recovery.
        if not self._is_lost and self._breaker.state is not CircuitState.CLOSED:
            self._is_lost = True
            if self._listener is not None:
                emit(self._listener, SharedStateLost(self._prefix, failure))

    def _note_recovery(self) -> None:
        # While the breaker is open, this answers a command from before the loss.
        if self._is_lost and self._breaker.state is CircuitState.CLOSED:
            self._is_lost = False
            if self._listener is not None:
                emit(self._listener, SharedStateRecovered(self._prefix))


def _microseconds(seconds: float) -> int:
    return round(min(max(seconds, 0.0), _LONGEST) * 1e6)


_LONGEST: Final = 30 * 86400.0
