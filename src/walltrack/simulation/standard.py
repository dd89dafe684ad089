"""The standard scenarios, and the kinds of outages that they are examples of.

Unless a scenario states otherwise, 10 clients make 20 calls per second to a service with a capacity
of 25, so that excessive retries overload it; a caller gives up after 10 seconds.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from walltrack.simulation.faults import Fault
from walltrack.simulation.scenario import Callers, Latency, Quota, Scenario, Service

_BEGINS: Final = 10.0
_ROOMY: Final = Service(workers=3, queue=100, backends=4)


def blackout(seconds: float = 10.0) -> Scenario:
    """Every connection is refused for `seconds`."""
    ends = _BEGINS + seconds
    return Scenario(
        name="blackout",
        title=f"blackout of {seconds:g} s: connections are refused",
        seconds=ends + 70.0,
        faults=(Fault(kind="refuse", begins=_BEGINS, ends=ends),),
    )


def brownout(seconds: float = 10.0) -> Scenario:
    """The service has a fifth of its usual capacity for `seconds`."""
    ends = _BEGINS + seconds
    return Scenario(
        name="brownout",
        title=f"brownout of {seconds:g} s: capacity falls from 25/s to 5/s",
        seconds=ends + 80.0,
        faults=(Fault(kind="slow", factor=5.0, begins=_BEGINS, ends=ends),),
    )


def gray(seconds: float = 60.0) -> Scenario:
    """Half of the responses are errors for `seconds`."""
    ends = _BEGINS + seconds
    fault = Fault(kind="error", status=500, share=0.5, begins=_BEGINS, ends=ends)
    return Scenario(
        name="gray",
        title=f"gray failure of {seconds:g} s: half of the answers are 500",
        seconds=ends + 70.0,
        faults=(fault,),
    )


def flapping(seconds: float = 120.0) -> Scenario:
    """The service is down for 5 s and up for 5 s, in turn, for `seconds`."""
    ends = _BEGINS + seconds
    downs = (_BEGINS + 10.0 * number for number in range(int(-(-seconds // 10.0))))
    return Scenario(
        name="flapping",
        title=f"flapping for {seconds:g} s: 5 s down, 5 s up",
        seconds=ends + 60.0,
        faults=tuple(Fault(kind="refuse", begins=d, ends=min(d + 5.0, ends)) for d in downs),
        ends=ends,
    )


def quota(seconds: float = 75.0) -> Scenario:
    """The service accepts 12 of the 20 requests a second, and answers 429 to the others."""
    return Scenario(
        name="quota",
        title="quota of 12/s for 20/s: 429 with Retry-After: 1",
        seconds=seconds,
        service=Service(quota=Quota(rate=12.0, burst=12)),
    )


def deploy(seconds: float = 40.0) -> Scenario:
    """Each of 4 backends is down for a quarter of `seconds`, one after the other."""
    each, count = seconds / _ROOMY.backends, _ROOMY.backends
    return Scenario(
        name="deploy",
        title=f"rolling deploy of {seconds:g} s: 1 of {count} backends is down",
        seconds=_BEGINS + seconds + 50.0,
        service=_ROOMY,
        faults=tuple(
            Fault(
                kind="refuse",
                begins=_BEGINS + each * number,
                ends=_BEGINS + each * (number + 1),
                backend=number,
            )
            for number in range(count)
        ),
    )


def stragglers(seconds: float = 40.0) -> Scenario:
    """One response in a hundred takes a hundred times as long."""
    return Scenario(
        name="stragglers",
        title="1 % of the answers take 100 times as long",
        seconds=seconds,
        service=Service(latency=Latency(minimum=0.015, tail=0.015)),
        faults=(Fault(kind="late", factor=100.0, share=0.01),),
    )


def drip(seconds: float = 40.0) -> Scenario:
    """One body in a hundred never ends."""
    return Scenario(
        name="drip",
        title="1 % of the bodies never end",
        seconds=seconds,
        faults=(Fault(kind="drip", share=0.01),),
    )


KINDS: Final[dict[str, Callable[[float], Scenario]]] = {
    kind.__name__: kind
    for kind in (blackout, brownout, gray, flapping, quota, deploy, stragglers, drip)
}
"""Kinds of outages by name; each takes its length in seconds."""


def _scenarios() -> tuple[Scenario, ...]:
    roomy = replace(Service(), workers=20)
    unbounded = replace(Service(), queue=None)
    day = Scenario(name="A", title="steady and well", seconds=40.0)
    each = Quota(rate=1.2, burst=3, per_client=True)
    return (
        day,
        replace(day, name="B", title="1 % random 503", faults=(_some("status", 0.01),)),
        replace(
            day,
            name="C",
            title="10 % random resets",
            faults=(_some("reset", 0.05), _some("lost", 0.05)),
        ),
        replace(blackout(10.0), name="D10"),
        replace(blackout(60.0), name="D60"),
        replace(blackout(300.0), name="D300"),
        replace(
            blackout(10.0),
            name="D10r",
            title="blackout of 10 s, of a service that bears 100/s",
            seconds=70.0,
            service=roomy,
        ),
        replace(brownout(10.0), name="E10"),
        replace(brownout(60.0), name="E60"),
        replace(
            brownout(10.0),
            name="E10u",
            title="brownout of 10 s, with an unbounded queue",
            seconds=120.0,
            service=unbounded,
        ),
        replace(gray(), name="F"),
        Scenario(
            name="G",
            title="answers take 20 times as long for 30 s",
            seconds=90.0,
            service=Service(workers=3, latency=Latency(minimum=0.05, tail=0.05)),
            faults=(Fault(kind="late", factor=20.0, begins=10.0, ends=40.0),),
        ),
        replace(flapping(), name="H"),
        replace(stragglers(), name="I"),
        replace(quota(), name="J"),
        replace(
            quota(),
            name="Jc",
            title="quota of 1.2/s for each client: 429 with Retry-After: 1",
            service=Service(quota=each),
        ),
        replace(deploy(), name="K"),
        replace(drip(), name="L"),
        _one_of_three_dead(),
    )


def _some(kind: str, share: float) -> Fault:
    return Fault(kind=kind, share=share)  # type: ignore[arg-type]  # checked by Fault


def _one_of_three_dead() -> Scenario:
    dead = Fault(kind="blackhole", host="c.test", begins=10.0, ends=70.0)
    noise = Fault(kind="status", share=0.02, begins=10.0, ends=70.0)
    return Scenario(
        name="M",
        title="1 of 3 origins is a black hole, 2 % 503 from the others",
        seconds=100.0,
        service=Service(workers=3, hosts=("a.test", "b.test", "c.test")),
        faults=(dead, noise),
    )


STANDARD: Final[dict[str, Scenario]] = {scenario.name: scenario for scenario in _scenarios()}
"""The standard scenarios by name."""

HEEDS_DEADLINES: Final = replace(
    brownout(60.0),
    name="E60d",
    title="brownout of 60 s, of a service that respects deadlines",
    service=Service(deadline_header="x-deadline-left"),
)
"""E60 for stacks that send how long they still wait; not one of the standard scenarios."""


def scenario_named(
    name: str, seconds: float | None = None, callers: Callers | None = None
) -> Scenario:
    """Return a scenario by the name of a standard one (such as "D10") or a kind ("blackout").

    Args:
        name: The name.
        seconds: The length of the outage; only for a kind. Default: that of the kind.
        callers: Replace the callers of the scenario.

    Raises:
        ValueError: The scenario is unknown, or a standard one got another length.
    """
    if name in KINDS:
        found = KINDS[name]() if seconds is None else KINDS[name](seconds)  # type: ignore[call-arg]
    elif name in STANDARD:
        if seconds is not None:
            raise ValueError(
                f"{name} has a fixed length; a kind of outage takes one: {', '.join(KINDS)}"
            )
        found = STANDARD[name]
    else:
        raise ValueError(
            f"no scenario is named {name!r}; there are {', '.join((*KINDS, *STANDARD))}"
        )
    return found if callers is None else replace(found, callers=callers)
