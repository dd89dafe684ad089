"""Read a record of a real incident, to replay it."""

import csv
from datetime import datetime
from pathlib import Path
from typing import Final

import httpx

from walltrack.core import validation
from walltrack.simulation.observation import Observation
from walltrack.simulation.scenario import Callers, Scenario

_COLUMNS: Final = ("time", "outcome", "latency")


def load_incident(
    path: Path, *, begins: float | None = None, ends: float | None = None
) -> Scenario:
    """Read a scenario from a CSV file with the results of requests to a real service.

            time,outcome,latency
            2026-03-01T12:00:00.250+00:00,200,0.12
            2026-03-01T12:00:00.310+00:00,ConnectError,0.003
            2026-03-01T12:00:00.990+00:00,503,0.02

    Calls start at the recorded times. Each request, including retries, has the result of a request
    that was recorded within a second of it, chosen at random. So a replay shows how a stack would
    have handled the service as it was, but not how the load of that stack would have changed the
    service. Requests that a retry layer or a circuit breaker prevented are not in the record: the
    more there were, the less reliable the record is.

    Args:
        path: The file, with these columns: `time`, in seconds or in ISO 8601; `outcome`, a status
            or the name of an exception of httpx; `latency`, the seconds until the outcome. Other
            columns are ignored.
        begins: When the outage began, in seconds after the first request.
        ends: When it ended; needed to measure recovery.

    Raises:
        ValueError: The file has no rows, lacks a column, or has an invalid value.
    """
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise ValueError(f"{path} has no column {missing[0]!r}")
        rows = [_row(row, f"{path}:{reader.line_num}") for row in reader]
    if not rows:
        raise ValueError(f"{path} has no rows")
    rows.sort(key=lambda row: row.at)
    start = rows[0].at
    record = tuple(Observation(row.at - start, row.outcome, row.seconds) for row in rows)
    seconds = record[-1].at or 1.0
    return Scenario(
        name=path.stem,
        title=f"{len(record)} requests in {seconds:g} s, replayed",
        seconds=seconds,
        callers=Callers(rate=len(record) / seconds),
        begins=begins,
        ends=ends,
        record=record,
    )


def _row(row: dict[str, str], where: str) -> Observation:
    try:
        seconds = float(row["latency"])
        validation.number("latency", seconds)
        return Observation(_moment(row["time"]), _outcome(row["outcome"]), seconds)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from error


def _moment(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return datetime.fromisoformat(text).timestamp()


def _outcome(text: str) -> int | str:
    if text.isdecimal():
        return int(text)
    kind = vars(httpx).get(text)
    known = isinstance(kind, type) and issubclass(kind, httpx.TransportError)
    if not known:
        raise ValueError(f"outcome must be a status or an exception of httpx's, got {text!r}")
    return text
