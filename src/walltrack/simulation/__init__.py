"""Outages in virtual time: how a stack of transports, or any httpx client, would fare in them.

Read `scenario` first: a service, those that call it, and what goes wrong when. `standard` has the
standard scenarios, and `run` simulates them. Below it, `arrivals` says when calls begin; `clients`
makes them through the stack, on the event loop of `clock` and `substitution`; `service` answers,
with its `backend`s and `bodies`; `oracle` tells what was possible; `measure` makes a `report`.

`python -m walltrack.simulation` is `command`, which compares a stack with those of `stacks`, and
shows the results by `console`. `scenario_file` reads scenarios.
"""

from walltrack.simulation.faults import Fault
from walltrack.simulation.incident import load_incident
from walltrack.simulation.report import Report, Run
from walltrack.simulation.run import compare, simulate, sweep
from walltrack.simulation.scenario import Callers, Latency, Quota, Scenario, Service
from walltrack.simulation.scenario_file import load_scenario
from walltrack.simulation.standard import KINDS, STANDARD, scenario_named

__all__ = [
    "KINDS",
    "STANDARD",
    "Callers",
    "Fault",
    "Latency",
    "Quota",
    "Report",
    "Run",
    "Scenario",
    "Service",
    "compare",
    "load_incident",
    "load_scenario",
    "scenario_named",
    "simulate",
    "sweep",
]
