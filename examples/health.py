"""A FastAPI endpoint that shows the state of all upstreams: open circuits, queues and budgets.

Run it with `uv run examples/health.py`; to serve it, run `uvicorn health:app`.
"""

import asyncio
import json
from typing import Any

import httpx
from fastapi import FastAPI, Response

from walltrack import resilient_transport, snapshot

UPSTREAMS = {
    "prices": resilient_transport(httpx.MockTransport(lambda _: httpx.Response(503)), retry=None),
    "users": resilient_transport(httpx.MockTransport(lambda _: httpx.Response(200))),
}
app = FastAPI()


@app.get("/health/upstreams")
async def upstreams(response: Response) -> dict[str, Any]:
    """Return the state of each upstream; 503 if a circuit is open."""
    shown = {name: snapshot(transport) for name, transport in UPSTREAMS.items()}
    layers = (layer for state in shown.values() for layer in state["layers"])
    if any(breaker["state"] == "open" for layer in layers for breaker in layer.get("breakers", [])):
        response.status_code = 503
    return shown


async def main() -> None:
    """Open a circuit, and ask for the state."""
    async with httpx.AsyncClient(transport=UPSTREAMS["prices"]) as client:
        for _ in range(5):
            await client.get("https://prices.example.com/sol")
    own = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=own, base_url="http://app.test") as client:
        answer = await client.get("/health/upstreams")
    breakers = [
        layer
        for layer in answer.json()["prices"]["layers"]
        if layer["layer"] == "CircuitBreakerTransport"
    ]
    print(answer.status_code, json.dumps(breakers[0]["breakers"], indent=2))


if __name__ == "__main__":
    asyncio.run(main())
