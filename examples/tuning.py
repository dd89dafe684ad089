"""Which threshold and cooldown suit a service whose deploys take two minutes? Ask a simulation.

Run it with `uv run examples/tuning.py`. In a rolling deploy one of four backends refuses every
connection, so that a quarter of the attempts fail; in the other kind all of them do. `success` is
the share of calls that succeeded, `load` the requests for each call.

The answer: in a rolling deploy the circuit should not open at all, as three backends answer. Five
failures in a row come about by chance, and each time a cooldown of 30 seconds refuses calls that
would have succeeded; 20 do not. Where everything is down, the higher threshold
costs next to nothing, and a short cooldown finds out sooner that the service is back.
"""

from functools import partial

import httpx

from walltrack import CircuitBreakerTransport, resilient_transport
from walltrack.simulation import Report, scenario_named, simulate

DEPLOYS = {"rolling": "deploy", "all at once": "blackout"}
SETTINGS = [(5, 30), (5, 2), (20, 2)]


def stack(
    inner: httpx.AsyncBaseTransport, *, threshold: int, cooldown: float
) -> httpx.AsyncBaseTransport:
    """Return the recommended stack with these settings."""
    breaker = partial(
        CircuitBreakerTransport, failure_threshold=threshold, cooldown=cooldown, listener=None
    )
    return resilient_transport(inner, breaker=breaker, listener=None)


def report(kind: str, threshold: int, cooldown: float) -> Report:
    """Simulate a deploy of two minutes."""
    make = partial(stack, threshold=threshold, cooldown=cooldown)
    return simulate(make, scenario_named(kind, 120), seeds=1)


def main() -> None:
    """Print a line for each kind of deploy and each setting."""
    success = {}
    for name, kind in DEPLOYS.items():
        for threshold, cooldown in SETTINGS:
            told = report(kind, threshold, cooldown)
            success[name, threshold, cooldown] = told.success
            print(
                f"{name:>11}, threshold {threshold:2}, cooldown {cooldown:2} s: "
                f"success {told.success:.1%}, load {told.load:.2f}"
            )
    best = all(
        success[name, 20, 2] == max(success[name, *rest] for rest in SETTINGS) for name in DEPLOYS
    )
    print("Choose threshold 20, cooldown 2 s." if best else "The answer above is out of date.")


if __name__ == "__main__":
    main()
