"""What layers ask of a store that several processes share, and what it answers.

Every method returns None while the store cannot be reached: the layer continues with the state of
its own process. No method raises, whatever happens to the store.
"""

import enum
from collections.abc import Mapping
from typing import NamedTuple, Protocol, runtime_checkable


class CircuitAct(enum.StrEnum):
    """What a process reports of its circuit breaker, or asks for it."""

    FAILED = "failed"
    """Calls failed, and its circuit is still closed."""

    OPENED = "opened"
    """Its circuit opened: by its own count, or because its probe failed."""

    CLOSED = "closed"
    """A call succeeded: failures in a row are over, or its probe was good."""

    ASKED = "asked"
    """Its cooldown is over: may it send the probe?"""

    RELEASED = "released"
    """Its probe ended without a verdict: another process may send one."""

    RESET = "reset"
    """The circuit was closed manually."""


class SharedCircuitState(enum.StrEnum):
    """The state of a circuit in the store."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class CircuitReport(NamedTuple):
    """One message of a process about a circuit.

    Args:
        act: What happened.
        generation: The last generation of the circuit that the process knows; 0 if none.
        lease: The generation in which it got the lease for the probe; 0 if it has none.
        failures: How many calls failed since its last report.
        threshold: How many failures in a row open the circuit of the fleet; 0: no number does.
        cooldown: Seconds for which the circuit is to stay open if it opens now.
        patience: Seconds for which a probe keeps its lease. A lease that follows one that expired
            is twice as long as that: the service may need more time to answer.
        memory: Seconds after which a failure in a row is forgotten. A report that does not know of
            a change is late for as long.
    """

    act: CircuitAct
    generation: int = 0
    lease: int = 0
    failures: int = 0
    threshold: int = 0
    cooldown: float = 0.0
    patience: float = 0.0
    memory: float = 0.0


class CircuitView(NamedTuple):
    """A circuit as the store has it after a report.

    Args:
        state: Its state.
        generation: A number that rises with each change of the state; 0 before the first one.
        seconds: Until the end of the cooldown, or of the lease for the probe; 0 if it is over.
        openings: How many times it opened since it was last closed.
        failures: How many calls failed in a row, in all processes.
        granted: Whether the process that reported has just got the lease for the probe.
    """

    state: SharedCircuitState
    generation: int
    seconds: float
    openings: int
    failures: int
    granted: bool


class ManualSetting(NamedTuple):
    """A manual setting of a circuit breaker.

    Args:
        mode: The mode that was set, as text.
        stamp: A number that rises with each setting.
    """

    mode: str
    stamp: int


class Pace(NamedTuple):
    """The rate of a fleet.

    Args:
        interval: Seconds between two tokens.
        burst: How many tokens there are after a pause.
    """

    interval: float
    burst: int


class TokenLease(NamedTuple):
    """Tokens of the fleet's rate that one process may use.

    Args:
        tokens: How many there are; 0 if the first one would come too late, or while requests are
            held back.
        first_in: Seconds until the first one may be used; below 0 if it has been there for a while.
            The others follow one interval after the other.
        held_for: Seconds for which all requests are held back; 0 if they are not.
    """

    tokens: int
    first_in: float
    held_for: float


@runtime_checkable
class SharedState(Protocol):
    """A store for the state that several processes share."""

    @property
    def refresh(self) -> float:
        """After how many seconds at most a process in use looks for manual settings."""
        ...

    async def report(self, name: str, report: CircuitReport, /) -> CircuitView | None:
        """Apply one report to the circuit `name`, atomically, and return the circuit."""
        ...

    async def set_mode(self, name: str, mode: str, /) -> int | None:
        """Keep the manual setting of the circuit `name`, and return its stamp."""
        ...

    async def modes(self) -> Mapping[str, ManualSetting] | None:
        """Return the last manual setting of each circuit that has one."""
        ...

    async def lease(
        self, name: str, pace: Pace, wanted: int, patience: float, /
    ) -> TokenLease | None:
        """Take up to `wanted` tokens of the rate `name`, if the first comes within `patience`."""
        ...

    async def hold_back(self, name: str, seconds: float, /) -> None:
        """Let no process send requests under the rate `name` for `seconds`."""
        ...
