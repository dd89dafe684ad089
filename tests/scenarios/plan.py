"""What a scenario is: drawn from a seed, so that the same seed gives the same scenario.

A scenario says which layers stand over a server, what the server does with each attempt, and what
the callers and the operator do meanwhile. Nothing here knows how it is run.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

BACKENDS: Final = ("asyncio", "trio")
FAMILIES: Final = ("httpx", "httpx2")

SIZES: Final = (0, 1, 10, 1000, 2**16 - 1, 2**16, 2**16 + 1, 100_000, 2**20 + 1)
DELAYS: Final = (0.0, 0.0, 0.0, 0.01, 0.3, 1.0, 4.0)

FAILURES: Final = {
    "refused": "ConnectError",
    "no connection": "ConnectTimeout",
    "no place in the pool": "PoolTimeout",
    "reset while sending": "WriteError",
    "reset": "ReadError",
    "closed": "RemoteProtocolError",
    "silent": "ReadTimeout",
}
"""How an attempt fails without an answer, and what httpx raises for it."""

BREAKS: Final = {"reset": "ReadError", "truncated": "RemoteProtocolError", "silent": "ReadTimeout"}
"""How the body of an answer breaks off, and what httpx raises for it."""

UPLOADS: Final = ("bytes", "json", "form", "multipart", "file")
"""Request bodies that can be sent again."""

ONE_SHOT: Final = ("generator", "own class", "own class of both kinds", "pipe")
"""Request bodies that cannot."""

HOOKS: Final = ("clock", "wall_clock", "key", "rng", "sleep", "new_key", "listener", "classify")
"""Functions of the caller's that layers call, and that may raise."""

Options = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Reply:
    """What the server does with one attempt; by default it answers at once, and well."""

    fails: str = ""  # one of FAILURES
    status: int = 200
    size: int = 10
    pieces: int = 1
    chunked: bool = False  # no Content-Length
    delay: float = 0.0  # before the headers, or the failure
    pause: float = 0.0  # before each piece of the body
    breaks: str = ""  # one of BREAKS
    after: float = 0.5  # the share of the body before that
    retry_after: int | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """What one caller does, and what the server does with the call's attempts, one by one."""

    at: float = 0.0
    method: str = "GET"
    origin: int = 0
    upload: str = ""  # one of UPLOADS or ONE_SHOT
    streams: bool = False
    closes_after: int | None = None  # that many chunks of a stream
    pause: float = 0.0  # between two reads of a stream
    whole_body: bool | None = None
    retry: Options | bool | None = None  # options of a policy of its own; False: one attempt
    deadline: float | None = None  # of the caller's own, in seconds
    cancel_after: float | None = None  # seconds
    cancel_at: int | None = None  # the step at the server
    natively: bool = False  # cancelled as a task of asyncio's
    replies: tuple[Reply, ...] = ()  # those that come after are good


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer, by name, and its options."""

    kind: str
    options: Options = field(default_factory=dict)

    def __getitem__(self, option: str) -> Any:  # noqa: ANN401 - of any type
        return self.options.get(option)


@dataclass(frozen=True, slots=True)
class Incident:
    """What the operator does: closes something, or changes all breakers."""

    at: float
    does: str  # "close transport", "close client", or a method of CircuitBreaker


@dataclass(frozen=True, slots=True)
class Scenario:
    """Layers from the outside in, calls, incidents; and perhaps a hook that raises."""

    seed: int
    backend: str = "asyncio"
    family: str = "httpx"
    layers: tuple[Layer, ...] = ()
    calls: tuple[Call, ...] = ()
    incidents: tuple[Incident, ...] = ()
    raises: tuple[str, int] | None = None  # which of HOOKS, and the number of the call that does
    foreign: bool = False  # the server's transport raises a CancelledError of its own

    def __str__(self) -> str:
        lines = [f"seed {self.seed}: {self.backend}, {self.family}"]
        lines += [f"  layer {_shown(layer)}" for layer in self.layers]
        for number, call in enumerate(self.calls):
            lines.append(f"  call {number} {_shown(call)}")
            lines += [f"    {_shown(reply)}" for reply in call.replies]
        lines += [f"  at {incident.at:g} s: {incident.does}" for incident in self.incidents]
        if self.foreign:
            lines.append("  cancellations are raised as others")
        if self.raises is not None:
            lines.append(f"  call {self.raises[1]} of {self.raises[0]} raises")
        return "\n".join(lines)


def _shown(part: Layer | Call | Reply) -> str:
    """Return a part with what is not as by default."""
    if isinstance(part, Layer):
        return f"{part.kind}({', '.join(f'{k}={v!r}' for k, v in part.options.items())})"
    plain = type(part)()
    changed = [f.name for f in fields(part) if getattr(part, f.name) != getattr(plain, f.name)]
    shown = (f"{name}={getattr(part, name)!r}" for name in changed if name != "replies")
    return f"{type(part).__name__}({', '.join(shown)})"


def draw(seed: int) -> Scenario:
    """Return the scenario of a seed."""
    rng = random.Random(seed)  # noqa: S311 - the same scenario every time
    backend = rng.choice(BACKENDS)
    calls = tuple(_call(rng, backend) for _ in range(rng.choice([1, 1, 2, 3, 4, 6, 10])))
    depth = rng.choices(range(7), [1, 4, 5, 4, 3, 2, 1])[0]
    return Scenario(
        seed,
        backend,
        rng.choice(FAMILIES),
        tuple(_layer(rng) for _ in range(depth)),
        calls,
        tuple(_incident(rng) for _ in range(rng.choice([0, 0, 0, 0, 1, 1, 2]))),
        (rng.choice(HOOKS), rng.randint(1, 12)) if rng.random() < 0.2 else None,
        foreign=backend == "asyncio" and rng.random() < 0.1,
    )


def _call(rng: random.Random, backend: str) -> Call:
    method = rng.choice(["GET", "GET", "GET", "HEAD", "PUT", "POST", "POST", "DELETE"])
    streams = rng.random() < 0.4
    cancelled = rng.random()
    return Call(
        at=rng.choice([0.0, 0.0, 0.0, 0.1, 0.5, 3.0, 40.0]),
        method=method,
        origin=rng.choice([0, 0, 0, 1]),
        upload=rng.choice([*UPLOADS, *ONE_SHOT]) if method in ("PUT", "POST") else "",
        streams=streams,
        closes_after=rng.choice([0, 1, 2]) if streams and rng.random() < 0.4 else None,
        pause=rng.choice([0.0, 0.0, 0.5, 6.0]) if streams else 0.0,
        whole_body=rng.choice([None, None, None, True, False]),
        retry=_retry_of_call(rng),
        deadline=rng.choice([0.0, 0.3, 2.0, 10.0]) if rng.random() < 0.15 else None,
        cancel_after=rng.choice([0.0, 0.005, 0.2, 0.6, 1.5, 5.0]) if cancelled < 0.15 else None,
        cancel_at=rng.randint(1, 30) if 0.15 <= cancelled < 0.3 else None,
        natively=backend == "asyncio" and rng.random() < 0.5,
        replies=tuple(_reply(rng) for _ in range(rng.choice([0, 1, 1, 2, 3, 5]))),
    )


def _retry_of_call(rng: random.Random) -> Options | bool | None:
    return rng.choices([None, False, _policy(rng)], [6, 1, 1])[0]


def _reply(rng: random.Random) -> Reply:
    if rng.random() < 0.3:
        return Reply(fails=rng.choice([*FAILURES]), delay=rng.choice(DELAYS))
    status = rng.choice([200, 200, 200, 201, 204, 302, 401, 404, 429, 500, 500, 503, 503, 504])
    asks_to_wait = status in (429, 503) and rng.random() < 0.5
    return Reply(
        status=status,
        size=0 if status == 204 else rng.choice(SIZES),
        pieces=rng.randint(1, 6),
        chunked=rng.random() < 0.3,
        delay=rng.choice(DELAYS),
        pause=rng.choice([0.0, 0.0, 0.0, 0.01, 0.2, 3.0]),
        breaks=rng.choice([*BREAKS]) if rng.random() < 0.2 else "",
        after=rng.choice([0.0, 0.1, 0.5, 0.99]),
        retry_after=rng.choice([0, 1, 5, 3600]) if asks_to_wait else None,
    )


def _incident(rng: random.Random) -> Incident:
    closes = ["close transport", "close transport", "close client"]
    changes = ["force_open", "disable", "observe_only", "reset"]
    return Incident(rng.choice([0.0, 0.05, 0.3, 1.2, 4.5, 41.0]), rng.choice(closes + changes))


# Layers


def _layer(rng: random.Random) -> Layer:
    kind = rng.choice([*LAYERS])
    return Layer(kind, LAYERS[kind](rng))


def _policy(rng: random.Random) -> Options:
    return {
        "max_retries": rng.choice([0, 1, 1, 2, 3]),
        "base": rng.choice([0.0, 0.5, 1.0]),
        "jitter": rng.choice(["none", "none", "full", "decorrelated"]),
        "non_idempotent": rng.choice(["keyed", "proven", "proven", "always", "never"]),
        "max_retry_after": rng.choice([2.0, 60.0]),
    }


def _retry(rng: random.Random) -> Options:
    return {
        **_policy(rng),
        "budget": rng.choice([None, None, 1, 3]),
        "body": rng.choice(["small", "small", "whole", "stream"]),
        "classify": rng.random() < 0.3,
        "max_response_bytes": rng.choice([10**8, 70_000]),
    }


def _breaker(rng: random.Random) -> Options:
    return {
        "failure_threshold": rng.choice([1, 2, 5]),
        "cooldown": rng.choice([0.5, 5.0, 30.0]),
        "grows": rng.random() < 0.3,
        "window": rng.choice([None, None, "count", "time"]),
        "probes": rng.choice([1, 1, 3]),
        "shared": rng.random() < 0.5,
        "classify": rng.random() < 0.3,
        "fleet": rng.random() < 0.15,
        "failing_seconds": rng.choice([0.0, 0.0, 0.5]),
    }


def _room(rng: random.Random) -> Options:
    """Return the options of a room, and of the breaker inside it."""
    breaker = _breaker(rng)
    return {
        **breaker,
        "failure_threshold": rng.choice([1, 1, 2]),
        "cooldown": rng.choice([0.5, 0.5, 5.0]),
        "max_waiting": rng.choice([1, 3, 100]),
        "max_wait": rng.choice([2.0, 10.0, 60.0]),
    }


def _rate(rng: random.Random) -> Options:
    return {
        "rate": rng.choice([None, 0.5, 5.0, 100.0]),
        "burst": rng.choice([1, 1, 3]),
        "wait": rng.random() < 0.8,
        "max_wait": rng.choice([1.0, 60.0]),
        "respect_headers": rng.random() < 0.8,
    }


def _limit(rng: random.Random) -> Options:
    return {
        "limit": rng.choice([1, 1, 2, 3]),
        "max_queue": rng.choice([None, None, 0, 1]),
        "queue_timeout": rng.choice([None, None, 0.5, 5.0]),
        "keyed": rng.random() < 0.5,
    }


def _adaptive(rng: random.Random) -> Options:
    return {**_limit(rng), "limit": None, "initial": rng.choice([1, 2, 4]), "maximum": 4}


def _hedge(rng: random.Random) -> Options:
    return {
        "delay": rng.choice([0.0, 0.005, 0.05, 0.5, "p95"]),
        "budget": rng.choice([None, 1, 5]),
        "classify": rng.random() < 0.3,
    }


def _timeout(rng: random.Random) -> Options:
    return {"seconds": rng.choice([0.1, 0.5, 2.0, 10.0])}


def _auth(rng: random.Random) -> Options:
    return {"flow": rng.choice(["sign", "body", "challenge", "challenge"])}


def _stack(rng: random.Random) -> Options:
    def maybe(value: Any) -> Any:  # noqa: ANN401 - of any type
        return value if rng.random() < 0.5 else None

    return {
        **_policy(rng),
        "deadline": maybe(rng.choice([0.5, 3.0, 20.0])),
        "hedge": maybe(rng.choice([0.0, 0.02, "p95"])),
        "rate_limit": maybe(rng.choice([0.5, 20.0])),
        "concurrency_limit": maybe(rng.choice([1, 2])),
        "waiting_room": maybe(rng.choice([2.0, 10.0])),
        "breaker": maybe(
            {
                "failure_threshold": rng.choice([1, 3]),
                "cooldown": 5.0,
                "failing_seconds": rng.choice([0.0, 0.5]),
            }
        ),
        "body": rng.choice(["small", "whole", "stream"]),
        "classify": rng.random() < 0.3,
        "attempt_timeout": maybe(rng.choice([0.2, 2.0])),
        "auth": maybe(rng.choice(["sign", "body", "challenge"])),
        "deadline_header": maybe("x-deadline"),
    }


LAYERS: Final = {
    "retry": _retry,
    "breaker": _breaker,
    "room": _room,
    "rate": _rate,
    "limit": _limit,
    "adaptive": _adaptive,
    "hedge": _hedge,
    "timeout": _timeout,
    "auth": _auth,
    "stack": _stack,
}
