import math
from typing import Any

import pytest

from walltrack.simulation.faults import Fault


@pytest.mark.parametrize(
    ("fault", "at", "host", "backend", "expected"),
    [
        (Fault(kind="refuse", begins=1, ends=2), 1.0, "a", 0, True),
        (Fault(kind="refuse", begins=1, ends=2), 0.9, "a", 0, False),
        (Fault(kind="refuse", begins=1, ends=2), 2.0, "a", 0, False),
        (Fault(kind="refuse", begins=1), 1e9, "a", 0, True),
        (Fault(kind="refuse", host="a"), 0.0, "a", 3, True),
        (Fault(kind="refuse", host="a"), 0.0, "b", 3, False),
        (Fault(kind="refuse", backend=3), 0.0, "b", 3, True),
        (Fault(kind="refuse", backend=3), 0.0, "b", 0, False),
    ],
)
def test_a_fault_has_its_time_and_its_place(
    fault: Fault, at: float, host: str, backend: int, *, expected: bool
) -> None:
    """It affects requests from its beginning until before its end, at its host and backend."""
    assert fault.befalls(at, host, backend) is expected


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"kind": "explode"}, ValueError),
        ({"kind": "slow", "begins": -1.0}, ValueError),
        ({"kind": "slow", "begins": 2.0, "ends": 1.0}, ValueError),
        ({"kind": "slow", "share": 0.0}, ValueError),
        ({"kind": "slow", "factor": math.inf}, ValueError),
        ({"kind": "slow", "begins": "now"}, TypeError),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(
    wrong: dict[str, Any], error: type[Exception]
) -> None:
    """The error names the wrong argument."""
    with pytest.raises(error, match=list(wrong)[-1]):
        Fault(**wrong)
