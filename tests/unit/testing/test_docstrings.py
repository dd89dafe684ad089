"""The example in each class's docstring does what it says."""

import inspect
import re
import textwrap
from functools import partial
from typing import Any

import httpx
import pytest

from walltrack import RetryTransport, testing

pytestmark = pytest.mark.anyio

EXAMPLE = re.compile(r"\n\n(    .*?)\n\n(?=\S)", re.DOTALL)
KIT = {"FaultTransport", "ScriptedTransport", "VirtualTime"}


@pytest.mark.parametrize("name", sorted(KIT))
async def test_the_example_runs(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It runs unchanged, with a service that works, and without waiting."""
    found = EXAMPLE.search(inspect.getdoc(getattr(testing, name)) or "")
    assert found is not None
    example = textwrap.indent(textwrap.dedent(found.group(1)), "    ")
    clock = testing.VirtualTime()
    service = testing.ScriptedTransport([200], repeat_last=True)
    names: dict[str, Any] = {
        **vars(testing),
        "httpx": httpx,
        "RetryTransport": partial(RetryTransport, listener=None, sleep=clock.sleep),
        "FaultTransport": partial(testing.FaultTransport, service, sleep=clock.sleep),
    }
    exec(f"async def example():\n{example}", names)  # noqa: S102 - our own
    await names["example"]()
    assert ("FaultCounts(" in capsys.readouterr().out) == (name == "FaultTransport")


def test_every_name_of_the_kit_is_listed_once_and_in_order() -> None:
    """The names are sorted and unique, and each has a docstring."""
    assert testing.__all__ == sorted(set(testing.__all__))
    assert set(testing.__all__) >= KIT
    assert all(getattr(testing, name).__doc__ for name in testing.__all__)
