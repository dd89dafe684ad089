"""What is simulated: a service, its callers, and what goes wrong when. Plain data."""

from dataclasses import dataclass
from random import Random

from walltrack.core import validation
from walltrack.simulation.faults import Fault
from walltrack.simulation.observation import Observation


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """How long a worker is busy with a request: at least `minimum`, plus a random tail.

    Args:
        minimum: Seconds that every request takes.
        tail: Mean of the additional seconds, which are distributed exponentially.
    """

    minimum: float = 0.1
    tail: float = 0.1

    def __post_init__(self) -> None:
        validation.number("minimum", self.minimum)
        validation.number("tail", self.tail)
        validation.positive("minimum + tail", self.mean)

    @property
    def mean(self) -> float:
        """The mean, in seconds."""
        return self.minimum + self.tail

    def draw(self, rng: Random) -> float:
        """Return the seconds that one request takes."""
        return self.minimum + rng.expovariate(1.0) * self.tail


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """How many requests the service accepts; it answers 429 to all others.

    Args:
        rate: Requests a second.
        burst: How many it accepts at once after a pause.
        per_client: Whether each client has its own quota; otherwise all share one.
        retry_after: Seconds in the header `Retry-After` of a 429; None: there is no such header.
    """

    rate: float
    burst: int = 1
    per_client: bool = False
    retry_after: int | None = 1

    def __post_init__(self) -> None:
        validation.positive("rate", self.rate)
        validation.integer("burst", self.burst, minimum=1)
        if self.retry_after is not None:
            validation.integer("retry_after", self.retry_after, minimum=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A service: for each host, as many backends behind a load balancer that picks one at random.

    A backend has workers and one queue, first in, first out. It processes every request that has
    reached its queue, even if its client is gone, as most servers do.

    Args:
        workers: How many requests a backend processes at a time.
        latency: How long a worker is busy with a request.
        queue: How many further requests may wait at a backend, which answers 503 to others; None:
            any number.
        backends: How many backends each host has.
        hosts: The hosts; each gets the same share of the calls.
        quota: Limit on the requests of all hosts together. Default: there is none.
        deadline_header: Name of a request header with the seconds for which the client still waits
            for the response. If that time has passed when its turn comes, a request is not
            processed, but answered with 504. Default: no header is read.
    """

    workers: int = 5
    latency: Latency = Latency()
    queue: int | None = 250
    backends: int = 1
    hosts: tuple[str, ...] = ("api.test",)
    quota: Quota | None = None
    deadline_header: str | None = None

    def __post_init__(self) -> None:
        validation.integer("workers", self.workers, minimum=1)
        validation.integer("backends", self.backends, minimum=1)
        if self.queue is not None:
            validation.integer("queue", self.queue, minimum=0)
        if not self.hosts:
            raise ValueError("hosts must name at least one host")

    @property
    def capacity(self) -> float:
        """How many requests per second it can process."""
        return len(self.hosts) * self.backends * self.workers / self.latency.mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Callers:
    """The callers of the service: they call at random times, whatever its state (an open loop).

    Args:
        rate: Calls per second, of all clients together.
        clients: How many processes call, each with its own transport.
        patience: Seconds after which a caller gives up and cancels its call; None: never.
        announced: Whether the call can read this time in advance: it runs in a cancel scope of
            anyio. Otherwise it is cancelled without notice, as when a user closes the page.
        timeout: Seconds for httpx's own timeouts (connect, read, write, pool); None: no timeouts.
        method: The method of the requests. Default: GET.
    """

    rate: float = 20.0
    clients: int = 10
    patience: float | None = 10.0
    announced: bool = False
    timeout: float | None = 5.0
    method: str = "GET"

    def __post_init__(self) -> None:
        validation.positive("rate", self.rate)
        validation.integer("clients", self.clients, minimum=1)
        for name in ("patience", "timeout"):
            if getattr(self, name) is not None:
                validation.positive(name, getattr(self, name))


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One outage, or an ordinary day.

    Args:
        name: A short name.
        title: What happens, in a few words.
        seconds: How long calls are started.
        service: The service that is called.
        callers: Its callers.
        faults: What goes wrong. If several affect the same request, the first one does.
        begins: When the outage begins. Default: when the first fault begins.
        ends: When the outage ends. Default: when the last fault ends, or the run.
        record: The results of a real service, in order of time: each request has the result of one
            that was made at about the same time, and calls start when those of the record did.
            Default: there is none, and the service is simulated.
    """

    name: str
    title: str = ""
    seconds: float
    service: Service = Service()
    callers: Callers = Callers()
    faults: tuple[Fault, ...] = ()
    begins: float | None = None
    ends: float | None = None
    record: tuple[Observation, ...] = ()

    def __post_init__(self) -> None:
        validation.positive("seconds", self.seconds)

    @property
    def outage(self) -> tuple[float, float]:
        """When the outage begins and ends, in seconds into the run."""
        begins = min((fault.begins for fault in self.faults), default=0.0)
        ends = max((fault.ends for fault in self.faults), default=self.seconds)
        return (
            begins if self.begins is None else self.begins,
            min(ends if self.ends is None else self.ends, self.seconds),
        )

    @property
    def recovers(self) -> bool:
        """Whether the outage ends before the run does, so that recovery can be measured."""
        known = bool(self.faults) or self.ends is not None
        return known and self.outage[1] < self.seconds

    def slowdown(self, now: float, host: str, backend: int) -> float:
        """Return the factor by which the work of a backend takes longer at this time."""
        factor = 1.0
        for fault in self.faults:
            if fault.kind == "slow" and fault.befalls(now, host, backend):
                factor *= fault.factor
        return factor

    def fault_of(self, now: float, host: str, backend: int, rng: Random) -> Fault | None:
        """Return the fault that affects a request, if any; `rng` decides about random faults."""
        for fault in self.faults:
            if (
                fault.kind != "slow"
                and fault.befalls(now, host, backend)
                and (fault.share == 1.0 or rng.random() < fault.share)
            ):
                return fault
        return None
