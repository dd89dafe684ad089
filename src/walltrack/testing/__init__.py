"""Tools to test code that calls APIs: scripted responses, injected faults and virtual time.

They work with any test framework, and the library itself does not depend on them.
"""

from walltrack.testing.fault_plan import FaultCounts
from walltrack.testing.faults import FaultTransport
from walltrack.testing.scripted import ScriptedTransport, UnexpectedRequestError
from walltrack.testing.virtual_time import VirtualTime

__docformat__ = "google"

__all__ = [
    "FaultCounts",
    "FaultTransport",
    "ScriptedTransport",
    "UnexpectedRequestError",
    "VirtualTime",
]
