"""Outages in virtual time: how a stack of transports, or any httpx client, would fare in them.

Read `scenario` and `faults` first: a service, those that call it, and what goes wrong when.
`standard` has the standard scenarios, and `run` simulates them. Below it:

- `arrivals` says when calls begin, and `clients` makes them through the stack.
- `clock` is the event loop on which it all runs; `substitution` and `virtual_datetime` have code
  that reads a clock read that loop's.
- `service` answers, with its `backend`s, by the responses in `messages`.
- `oracle` tells what was possible, and `measure` makes a `report` of it all.

`incident` reads a record (`observation`) of a real service, and `replay` answers as that did;
`scenario_file` reads a scenario. `python -m walltrack.simulation` is `command`: it compares a stack
with those in `stacks`, shows that by `console`, draws it by `plot`, and keeps logs `quiet`.
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
