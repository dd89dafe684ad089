"""Runs a scenario in virtual time."""

import asyncio
import gc
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from tests.scenarios.callers import Report, Run
from tests.scenarios.layers import current
from tests.scenarios.plan import Scenario
from tests.scenarios.world import World
from tests.support import ConnectionBody
from walltrack.testing import VirtualTime


def run(scenario: Scenario) -> Report:
    """Run `scenario` on its backend, and each time in the same order of events."""
    with pytest.MonkeyPatch.context() as patch:
        # trio shuffles what it runs; this is how pytest-trio has it do so by a seed.
        patch.setattr("trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING", True)
        patch.setattr("trio._core._run._r", random.Random(scenario.seed))  # noqa: S311 - as above
        before = random.getstate()  # from which a stack takes its jitter
        random.seed(scenario.seed)
        with _own_garbage():
            report: Report = anyio.run(_main, scenario, backend=scenario.backend)
        random.setstate(before)
    return report


@contextmanager
def _own_garbage() -> Iterator[None]:
    """Keep what a scenario makes in the youngest generation, so that collecting it is cheap."""
    enabled = gc.isenabled()
    gc.collect(1)  # what the scenario before has left, with all its bodies
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


async def _main(scenario: Scenario) -> Report:
    ConnectionBody.misreads.clear()
    complaints: list[str] = []
    with complaining(complaints):
        async with VirtualTime() as time:
            with _virtual_scopes(time):
                report = await Run(
                    scenario,
                    time,
                    lambda reply_for, on_step: World(
                        time, reply_for, on_step, current, foreign=scenario.foreign
                    ),
                ).all()
        gc.collect(0)  # all that the scenario made
        await anyio.lowlevel.checkpoint()
    report.complaints += complaints
    report.misreads = [*ConnectionBody.misreads]
    ConnectionBody.misreads.clear()
    return report


@contextmanager
def _virtual_scopes(time: VirtualTime) -> Iterator[None]:
    """Have the library's own time limits, which take no timer, run by virtual time as well."""
    virtual = SimpleNamespace(**{**vars(anyio), "move_on_after": time.move_on_after})
    virtual.fail_after = None  # not used so far
    patched = []
    for name, module in [*sys.modules.items()]:
        if name.startswith("walltrack.http") and getattr(module, "anyio", None) is anyio:
            module.anyio = virtual  # type: ignore[attr-defined]  # what it imported
            patched.append(module)
    try:
        yield
    finally:
        for module in patched:
            module.anyio = anyio  # type: ignore[attr-defined]


@contextmanager
def complaining(complaints: list[str]) -> Iterator[None]:
    """Collect what the event loop complains of, and async generators left to the collector."""
    if sys.modules["sniffio"].current_async_library() == "asyncio":
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: complaints.append(str(context)))
    hooks = sys.get_asyncgen_hooks()
    # Generators keep what finalizes them, where the collector does not see it: that must not keep
    # the event loop, and with it a whole run.
    onward = [hooks.finalizer]

    def finalize(generator: Any) -> None:  # noqa: ANN401 - of any kind
        if generator.ag_frame.f_globals["__name__"].startswith("walltrack."):
            complaints.append(f"{generator!r} was left to the collector")
        for finalizer in filter(None, onward):
            finalizer(generator)

    sys.set_asyncgen_hooks(hooks.firstiter, finalize)
    try:
        yield
    finally:
        sys.set_asyncgen_hooks(*hooks)
        onward.clear()
