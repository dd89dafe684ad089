"""Simulate outages in virtual time: how does a stack of transports, or any httpx client, behave?

Read `scenario` and `faults` first: the service, its callers, and what goes wrong when. `standard`
has the standard scenarios, and `run` simulates them. The modules below these:

- `arrivals` decides when calls start, and `clients` sends them through the stack.
- `clock` is the event loop with virtual time; `substitution` and `virtual_datetime` replace the
  clocks that code reads.
- `service` answers the requests with its `backend`s, using the responses in `messages`.
- `oracle` computes what was possible, and `measure` makes a `report` of the results.

`incident` reads a record (`observation`) of a real service, which `replay` repeats; `scenario_file`
reads a scenario. `python -m walltrack.simulation` is `command`: it compares a stack with those in
`stacks`, shows the results with `console`, draws them with `plot`, and suppresses log entries with
`quiet`.
"""

from walltrack.simulation.faults import Fault
from walltrack.simulation.incident import load_incident
from walltrack.simulation.report import Report, Run
from walltrack.simulation.run import compare, simulate, sweep
from walltrack.simulation.scenario import Callers, Latency, Quota, Scenario, Service
from walltrack.simulation.scenario_file import load_scenario
from walltrack.simulation.standard import KINDS, STANDARD, scenario_named

__docformat__ = "google"

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
