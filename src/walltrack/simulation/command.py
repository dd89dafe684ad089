"""The command line: how does this stack fare in that outage, next to others?"""

import argparse
import importlib
import math
import multiprocessing
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from walltrack.simulation.console import output, overview, progress_bar, table_of
from walltrack.simulation.quiet import silence
from walltrack.simulation.run import MakeTransport, sweep
from walltrack.simulation.scenario import Scenario
from walltrack.simulation.scenario_file import load_scenario
from walltrack.simulation.stacks import STANDARD_STACKS
from walltrack.simulation.standard import KINDS, STANDARD, scenario_named

_ALL: Final = "standard"
_CALLERS: Final = ("rate", "clients", "patience", "announced", "method")
_EPILOG: Final = f"""\
A scenario is a kind of outage ({", ".join(KINDS)}), one of the standard scenarios by its name
({", ".join(STANDARD)}), "{_ALL}" for all of these, or a TOML file.

A stack is a function that takes a transport, which leads to the simulated service, and returns a
transport or an httpx.AsyncClient: --stack mypackage.http:make_transport
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command.

    Args:
        arguments: Those of the command line. Default: those of this process.

    Raises:
        SystemExit: An argument makes no sense.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        scenarios = [
            _with_callers(scenario, options)
            for name in options.scenario
            for scenario in _scenarios(name, options.seconds)
        ]
        stacks = {} if options.alone else dict(STANDARD_STACKS)
        stacks |= {spec: _stack(spec) for spec in options.stack}
        if not stacks:
            parser.error("--alone leaves no stack: name one by --stack")
        _show(scenarios, stacks, options)
    except (ImportError, OSError, TypeError, ValueError) as error:
        parser.error(str(error))


def _parser() -> argparse.ArgumentParser:
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
    if name == _ALL:
        return list(STANDARD.values())
    if name.endswith(".toml"):
        return [load_scenario(Path(name))]
    return [scenario_named(name, seconds)]


def _with_callers(scenario: Scenario, options: argparse.Namespace) -> Scenario:
    given = {name: getattr(options, name) for name in _CALLERS}
    changes: dict[str, Any] = {
        name: None if name == "patience" and value == math.inf else value
        for name, value in given.items()
        if value is not None
    }
    return replace(scenario, callers=replace(scenario.callers, **changes))


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


def _show(
    scenarios: Sequence[Scenario],
    stacks: Mapping[str, MakeTransport],
    options: argparse.Namespace,
) -> None:
    console = output()
    # Before all the work: it may be missing, and would waste it.
    plot = None if options.plot is None else importlib.import_module("walltrack.simulation.plot")
    if options.processes == 1:  # others are silent anyway
        silence()
    with progress_bar(output(stderr=True), len(scenarios) * options.seeds) as advance:
        results = sweep(
            stacks,
            scenarios,
            seeds=options.seeds,
            processes=options.processes,
            progress=advance,
        )
    for scenario, reports in zip(scenarios, results, strict=True):
        console.print(table_of(scenario, reports))
        if plot is not None:
            file = options.plot
            if len(scenarios) > 1:
                file = file.with_stem(f"{file.stem}-{scenario.name}")
            plot.save(reports, file)
            console.print(f"drawn to {file}")
    if len(scenarios) > 1:
        console.print(overview(results))
