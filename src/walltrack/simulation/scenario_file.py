"""Read a scenario from a TOML file."""

import math
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from walltrack.core import validation
from walltrack.simulation.faults import Fault
from walltrack.simulation.scenario import Callers, Latency, Quota, Scenario, Service

_T = TypeVar("_T")

_UNLIMITED: Final = frozenset({"patience", "queue", "timeout"})
"""Fields that may be `inf` in the file, which is None in the classes."""


def load_scenario(path: Path) -> Scenario:
    """Read a scenario from a TOML file.

        title = "a deploy that goes wrong"
        seconds = 120

        [service]            # the fields of `Service`
        workers = 20
        latency = {minimum = 0.02, tail = 0.03}
        queue = inf

        [callers]            # the fields of `Callers`
        rate = 200
        patience = 5

        [[fault]]            # the fields of `Fault`, as often as needed
        kind = "refuse"
        begins = 20
        ends = 25
        times = 4            # and again, every 10 seconds
        every = 10

    Args:
        path: The file. Its name is the name of the scenario, unless the file contains another.

    Raises:
        ValueError: The file is not TOML, or a name is unknown or a value out of range.
        TypeError: A value has another type.
    """
    with path.open("rb") as file:
        table = tomllib.load(file)
    service = dict(table.pop("service", {}))
    parts: dict[str, Any] = {
        "name": path.stem,
        "callers": _built(Callers, "callers", table.pop("callers", {})),
        "faults": tuple(fault for entry in table.pop("fault", ()) for fault in _faults(entry)),
    }
    for name, kind in (("latency", Latency), ("quota", Quota)):
        if name in service:
            service[name] = _built(kind, f"service.{name}", service[name])
    if "hosts" in service:
        service["hosts"] = tuple(service["hosts"])
    parts["service"] = _built(Service, "service", service)
    return _built(Scenario, path.name, parts | table)


def _faults(entry: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield a fault as often as its entry states."""
    values = dict(entry)
    times, every = values.pop("times", 1), values.pop("every", 0.0)
    validation.integer("fault.times", times, minimum=1)
    validation.number("fault.every", every)
    fault = _built(Fault, "fault", values)
    for number in range(times):
        later = number * every
        yield replace(fault, begins=fault.begins + later, ends=fault.ends + later)


def _built(kind: type[_T], where: str, values: Mapping[str, Any]) -> _T:
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]  # all are dataclasses
    unknown = sorted(set(values) - known)
    if unknown:
        raise ValueError(f"{where} has no {unknown[0]!r}; it has {', '.join(sorted(known))}")
    given = {
        name: None if name in _UNLIMITED and value == math.inf else value
        for name, value in values.items()
    }
    try:
        return kind(**given)
    except TypeError as error:
        raise TypeError(f"{where}: {error}") from error
