"""The command line: how does a stack behave in an outage, compared with other stacks?"""

import argparse
import importlib
import math
import multiprocessing
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from walltrack.core import validation
from walltrack.simulation.console import output, overview, progress_bar, table_of
from walltrack.simulation.incident import load_incident
from walltrack.simulation.quiet import silence
from walltrack.simulation.run import MakeTransport, sweep
from walltrack.simulation.scenario import Scenario
from walltrack.simulation.scenario_file import load_scenario
from walltrack.simulation.stacks import STANDARD_STACKS
from walltrack.simulation.standard import KINDS, STANDARD, scenario_named

_ALL: Final = "standard"
_FILES: Final = {".csv": load_incident, ".toml": load_scenario}
_PLOT: Final = "walltrack.simulation.plot"
_CALLERS: Final = ("rate", "clients", "patience", "announced", "method")
_EPILOG: Final = f"""\
A scenario is a kind of outage ({", ".join(KINDS)}), one of the standard scenarios by its name
({", ".join(STANDARD)}), "{_ALL}" for all of these, a TOML file with your own
scenario, or a CSV file of an incident (time, outcome, latency), which is replayed.

A stack is a function that takes a transport, which leads to the simulated service, and returns a
transport or an httpx.AsyncClient: --stack mypackage.http:make_transport
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command.

    Args:
        arguments: The command-line arguments. Default: those of this process.

    Raises:
        SystemExit: An argument is invalid.
    """
    parser = argument_parser()
    options = parser.parse_args(arguments)
    try:
        validation.integer("--seeds", options.seeds, minimum=1)
        validation.integer("--processes", options.processes, minimum=1)
        scenarios = [
            _with_callers(scenario, options)
            for name in options.scenario
            for scenario in _scenarios(name, options.seconds)
        ]
        stacks = _stacks(options.stack, alone=options.alone)
        # First, because matplotlib may be missing, and all work would be lost.
        plot = None if options.plot is None else importlib.import_module(_PLOT)
    except (ImportError, OSError, TypeError, ValueError) as error:
        parser.error(str(error))
    if options.processes == 1:  # worker processes do this themselves
        silence()
    with progress_bar(output(stderr=True), len(scenarios) * options.seeds) as advance:
        results = sweep(
            stacks, scenarios, seeds=options.seeds, processes=options.processes, progress=advance
        )
    console = output()
    for scenario, reports in zip(scenarios, results, strict=True):
        console.print(table_of(scenario, reports))
        if plot is not None:
            single = len(scenarios) == 1
            stem = options.plot.stem if single else f"{options.plot.stem}-{scenario.name}"
            plot.save(reports, options.plot.with_stem(stem))
    if len(scenarios) > 1:
        console.print(overview(results))


def argument_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m walltrack.simulation",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("scenario", nargs="+", help="what happens; see below")
    parser.add_argument("--seconds", type=float, help="how long the outage lasts")
    parser.add_argument(
        "--stack", action="append", default=[], metavar="MODULE:FUNCTION", help="yours; see below"
    )
    parser.add_argument("--alone", action="store_true", help="leave out the stacks to compare with")
    parser.add_argument("--seeds", type=int, default=10, help="runs of each (default: 10)")
    parser.add_argument("--rate", type=float, help="calls a second (default: 20)")
    parser.add_argument("--clients", type=int, help="processes that call (default: 10)")
    parser.add_argument(
        "--patience", type=float, help="seconds until a caller gives up, or inf (default: 10)"
    )
    parser.add_argument(
        "--announced", action="store_true", default=None, help="the stack can know the patience"
    )
    parser.add_argument("--method", help="the method of the requests (default: GET)")
    parser.add_argument(
        "--plot", type=Path, metavar="FILE", help="draw success and load over time (.png, .svg)"
    )
    parser.add_argument(
        "--processes",
        type=int,
        default=multiprocessing.cpu_count(),
        help="how many to use (default: one for each core)",
    )
    return parser


def _scenarios(name: str, seconds: float | None) -> list[Scenario]:
    if name in KINDS or (name != _ALL and Path(name).suffix not in _FILES):
        return [scenario_named(name, seconds)]
    if seconds is not None:
        raise ValueError(f"--seconds is for a kind of outage ({', '.join(KINDS)}), not for {name}")
    if name == _ALL:
        return list(STANDARD.values())
    return [_FILES[Path(name).suffix](Path(name))]


def _with_callers(scenario: Scenario, options: argparse.Namespace) -> Scenario:
    given = {name: getattr(options, name) for name in _CALLERS}
    changes: dict[str, Any] = {
        name: None if name == "patience" and value == math.inf else value
        for name, value in given.items()
        if value is not None
    }
    return replace(scenario, callers=replace(scenario.callers, **changes))


def _stacks(specs: Sequence[str], *, alone: bool) -> dict[str, MakeTransport]:
    if alone and not specs:
        raise ValueError("--alone leaves no stack: name one by --stack")
    others = {} if alone else STANDARD_STACKS
    return others | {spec: _stack(spec) for spec in specs}


def _stack(spec: str) -> MakeTransport:
    module, _, path = spec.partition(":")
    if not module or not path:
        raise ValueError(f"--stack must be MODULE:FUNCTION, got {spec!r}")
    found: Any = importlib.import_module(module)
    for name in path.split("."):
        found = getattr(found, name, None)
    if not callable(found):
        raise TypeError(f"--stack {spec}: there is no such function in {module}")
    make: MakeTransport = found
    return make
