"""What it takes to test code that calls other people's APIs: answers, faults and time at will.

Nothing here belongs to one test framework, and nothing of the library itself depends on it.
"""

from walltrack.testing.fault_plan import FaultCounts
from walltrack.testing.faults import FaultTransport
from walltrack.testing.scripted import ScriptedTransport, UnexpectedRequestError
from walltrack.testing.virtual_time import VirtualTime

__all__ = [
    "FaultCounts",
    "FaultTransport",
    "ScriptedTransport",
    "UnexpectedRequestError",
    "VirtualTime",
]
