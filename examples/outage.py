"""An outage, and how three clients fare in it: bare httpx, a naive loop, the recommended stack.

Run it with `uv run --extra simulation examples/outage.py blackout`, or `brownout`. It prints a
report and draws a picture. Hours take seconds, and everything is real but the service and time: put
a stack of yours beside the others.
"""

import argparse
import asyncio
from pathlib import Path

import httpx

from walltrack import resilient_transport
from walltrack.simulation import compare, scenario_named
from walltrack.simulation.plot import save


class NaiveLoop(httpx.AsyncBaseTransport):
    """What is often written: three retries of whatever failed, after 1, 2 and 4 seconds."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self.inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send `request`, up to four times."""
        for delay in (1, 2, 4):
            try:
                response = await self.inner.handle_async_request(request)
            except httpx.TransportError:
                pass
            else:
                if response.status_code < 500:
                    return response
                await response.aclose()
            await asyncio.sleep(delay)
        return await self.inner.handle_async_request(request)


def bare(inner: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
    """Return httpx as it is."""
    return inner


def recommended(inner: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
    """Return the recommended stack; in your program, it takes no argument."""
    return resilient_transport(inner, listener=None)


STACKS = {"bare httpx": bare, "naive retry loop": NaiveLoop, "resilient_transport()": recommended}


def main() -> None:
    """Simulate, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("outage", choices=["blackout", "brownout"], nargs="?", default="blackout")
    parser.add_argument("--seconds", type=float, default=10, help="how long it lasts")
    parser.add_argument("--seeds", type=int, default=10, help="runs of each")
    parser.add_argument("--picture", type=Path, help="default: OUTAGE.svg")
    options = parser.parse_args()

    scenario = scenario_named(options.outage, options.seconds)
    print(scenario.title)
    reports = compare(STACKS, scenario, seeds=options.seeds)
    for name, report in reports.items():
        print(f"- {name}: {report.success:.1%} of the calls succeeded, in the outage ", end="")
        print(f"{report.during:.1%}; {report.load:.2f} requests a call")
    print(f"With perfect knowledge of the future, {report.oracle:.1%} could have.")

    picture = options.picture or Path(f"{options.outage}.svg")
    save(reports, picture)
    print(f"The picture is {picture}.")


if __name__ == "__main__":
    main()
