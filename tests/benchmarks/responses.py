"""What random failures cost under an adaptive limit, and how callers with one Retry-After spread.

Run it with `uv run python -m tests.benchmarks.responses`; it takes about ten seconds. Both are
simulations in virtual time against the real layers, and print the same figures each time.
"""

import random
from typing import get_args

from tests.simulation.test_limits import WORK, Run, Server
from tests.simulation.test_spread import CALLERS, WINDOW, most_at_once, returns_of
from walltrack.core.backoff import Jitter

SHARES = (0.0, 0.001, 0.01, 0.05, 0.1)
SECONDS = 6
WARM_UP = 2
CLIENTS = 120


def good_answers(share: float) -> tuple[float, int]:
    """Good answers per second of a server that drops `share` of all requests; the lowest limit."""
    server = Server(1000, flaky=share, work=WORK / 2)
    server.rng = random.Random(11)
    run = Run(server, callers=CLIENTS).until(SECONDS)
    return run.answers_per_second(WARM_UP, SECONDS), run.limit_within(WARM_UP, SECONDS)[0]


def main() -> None:
    """Print both tables."""
    print(f"A server that is not overloaded, {CLIENTS} callers, AdaptiveLimit():")
    print("503s     good answers/s   of the run without   lowest limit")
    without, _ = good_answers(0.0)
    for share in SHARES:
        good, lowest = good_answers(share)
        print(f"{share:6.1%} {good:13.0f} {good / without:18.1%} {lowest:15d}")
    print()
    print(f"{CALLERS} callers with Retry-After: 5; how many come back within {WINDOW * 1000:g} ms:")
    print("jitter          directly   through a RateLimitTransport   first   last")
    for jitter in get_args(Jitter):
        direct, limited = (returns_of(jitter, limited=limited) for limited in (False, True))
        most = f"{most_at_once(direct):8d} {most_at_once(limited):30d}"
        print(f"{jitter:15} {most} {limited[0]:7.3f} s {limited[-1]:.3f} s")


if __name__ == "__main__":
    main()
