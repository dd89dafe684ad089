"""Interleaved rounds: every contender in every round, in another order each time."""

import gc
import json
import random
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

Run = Callable[[int], Awaitable[None]]
Table = dict[str, dict[str, Any]]


async def interleaved(runs: Mapping[str, Run], rounds: int, times: int) -> dict[str, list[float]]:
    """Nanoseconds that each run takes for one of `times` operations, round by round."""
    for run in runs.values():
        await run(times)
    took: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        gc.collect()
        gc.disable()
        for name in random.sample(list(runs), len(runs)):
            began = time.perf_counter_ns()
            await runs[name](times)
            took[name].append((time.perf_counter_ns() - began) / times)
        gc.enable()
    return took


def added(took: Mapping[str, list[float]], floor: str, reference: str) -> Table:
    """What each adds to the floor of its round: the median, and in multiples of a reference."""
    over = {
        name: statistics.median(mine - bare for mine, bare in zip(rounds, took[floor], strict=True))
        for name, rounds in took.items()
        if name != floor
    }
    return {
        name: {"added ns": round(ns), f"x {reference}": round(ns / over[reference], 2)}
        for name, ns in over.items()
    }


def show(title: str, table: Table) -> None:
    """Print a table, a row for each contender."""
    columns = list(dict.fromkeys(column for row in table.values() for column in row))
    print(f"\n{title}")
    print(f"{'':34}" + "".join(f"{column:>20}" for column in columns))
    for name, row in table.items():
        print(f"{name:34}" + "".join(f"{row.get(column, '')!s:>20}" for column in columns))


def keep(path: Path, tables: Mapping[str, Table]) -> None:
    """Write all tables to a JSON file."""
    path.write_text(json.dumps(tables, indent=2) + "\n", encoding="utf-8")
    print(f"\nKept in {path}.")
