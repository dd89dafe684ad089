"""The stack beneath real SDKs, over real sockets: `uv run --group sdk pytest` installs them."""

import asyncio
import importlib
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest

from tests.integration.fault_server import (
    Behaviour,
    Exchange,
    FaultServer,
    answer,
    cut,
    head,
    late,
    reset,
)
from tests.integration.layered import AT_ONCE, pool
from walltrack import CircuitBreaker, CircuitBreakerOpenError, resilient_transport

pytestmark = pytest.mark.anyio

CHAT = {
    "id": "c",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}
    ],
}
MESSAGE = {
    "id": "m",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [{"type": "text", "text": "hi"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 1, "output_tokens": 1},
}
ASK: list[dict[str, str]] = [{"role": "user", "content": "hello"}]


def chat_event(text: str) -> dict[str, Any]:
    """A piece of a streamed answer, as openai and groq read it."""
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return {**CHAT, "object": "chat.completion.chunk", "choices": [choice]}


def message_event(text: str) -> dict[str, Any]:
    """The same, as anthropic reads it."""
    return {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "text_delta", "text": text},
    }


@dataclass(frozen=True)
class SDK:
    """An SDK over clients of one family.

    Args:
        name: Its package.
        family: The package of the httpx clients that it is given.
    """

    name: str
    family: str

    @property
    def module(self) -> Any:  # noqa: ANN401 - typed only where it is installed
        """The package itself."""
        return pytest.importorskip(
            self.name, reason=f"{self.name} is in the group sdk: --group sdk"
        )

    @property
    def home(self) -> ModuleType:
        """The family itself."""
        return importlib.import_module(self.family)

    @property
    def whole(self) -> bytes:
        """An answer to a call that does not stream."""
        return json.dumps(MESSAGE if self.name == "anthropic" else CHAT).encode()

    def event(self, text: str) -> bytes:
        """An event of an answer that is streamed."""
        if self.name != "anthropic":
            return f"data: {json.dumps(chat_event(text))}\n\n".encode()
        return f"event: content_block_delta\ndata: {json.dumps(message_event(text))}\n\n".encode()

    async def call(self, client: Any, **options: Any) -> str:  # noqa: ANN401 - as above
        """Ask, and return the answer."""
        if self.name == "anthropic":
            answered = await client.messages.create(
                model="m", max_tokens=9, messages=ASK, **options
            )
            return str(answered.content[0].text)
        answered = await client.chat.completions.create(model="m", messages=ASK, **options)
        return str(answered.choices[0].message.content)

    async def pieces(self, client: Any) -> AsyncIterator[str]:  # noqa: ANN401 - as above
        """Ask, and yield the pieces of the answer as they come."""
        if self.name == "anthropic":
            create = client.messages.create
            async for event in await create(model="m", max_tokens=9, messages=ASK, stream=True):
                yield event.delta.text
            return
        create = client.chat.completions.create
        async for event in await create(model="m", messages=ASK, stream=True):
            yield event.choices[0].delta.content


SDKS = [
    SDK("openai", "httpx2"),
    SDK("openai", "httpx"),
    SDK("anthropic", "httpx2"),
    SDK("groq", "httpx"),
]

each_sdk = pytest.mark.parametrize("sdk", SDKS, ids=lambda sdk: f"{sdk.name} over {sdk.family}")


@asynccontextmanager
async def client_of(
    sdk: SDK,
    server: FaultServer,
    max_retries: int = 0,
    **options: Any,  # noqa: ANN401 - handed on
) -> AsyncIterator[Any]:
    """A client of the SDK over a stack, whose own retries are off by default."""
    make = getattr(
        sdk.module, {"openai": "AsyncOpenAI", "groq": "AsyncGroq"}.get(sdk.name, "AsyncAnthropic")
    )
    given = {"retry": AT_ONCE, "listener": None, "breaker": None, **options}
    home: Any = sdk.home
    stack = resilient_transport(pool(None, family=home), **given)
    async with home.AsyncClient(transport=stack) as http_client:
        yield make(
            api_key="k", base_url=server.url, http_client=http_client, max_retries=max_retries
        )


def json_of(sdk: SDK) -> Behaviour:
    """What the service answers when all is well."""
    return answer(200, sdk.whole, content_type="application/json")


def keys(server: FaultServer) -> list[str | None]:
    """The Idempotency-Key of each request."""
    return [seen.headers.get("idempotency-key") for seen in server.seen]


@each_sdk
@pytest.mark.parametrize(
    "fault",
    [answer(503), reset, answer(429, retry_after_ms="1"), cut(b'{"id":')],
    ids=["503", "reset", "429", "truncated body"],
)
async def test_a_fault_is_mended_beneath_the_sdk(
    server: FaultServer, sdk: SDK, fault: Behaviour
) -> None:
    """The SDK gets its answer, by two requests under one key."""
    server.will(fault, json_of(sdk))
    async with client_of(sdk, server) as client:
        assert await sdk.call(client) == "hi"
    assert len(server.seen) == 2
    assert len(set(keys(server))) == 1
    assert None not in keys(server)


@each_sdk
async def test_a_lasting_fault_is_an_exception_of_the_sdk(server: FaultServer, sdk: SDK) -> None:
    """After the retries here, and none of the SDK's: the one that it raises without the stack."""
    faults: list[tuple[str, Behaviour, dict[str, Any]]] = [
        ("InternalServerError", answer(503), {}),
        ("RateLimitError", answer(429, retry_after_ms="1"), {}),
        ("APIConnectionError", reset, {}),
        ("APITimeoutError", late(5.0), {"attempt_timeout": 0.03}),
    ]
    for error, server.default, options in faults:
        server.seen.clear()
        async with client_of(sdk, server, **options) as client:
            with pytest.raises(getattr(sdk.module, error)):
                await sdk.call(client)
        assert len(server.seen) == 4 or options


@each_sdk
async def test_events_come_one_by_one(server: FaultServer, sdk: SDK) -> None:
    """A piece is read while the server still waits to send the next one."""
    taken = [threading.Event() for _ in range(3)]

    async def streams(exchange: Exchange) -> None:
        event_stream = {"content-type": "text/event-stream", "transfer-encoding": "chunked"}
        await exchange.send(head(200, event_stream))
        for number, event in enumerate(taken):
            piece = sdk.event(str(number))
            await exchange.send(b"%x\r\n%s\r\n" % (len(piece), piece))
            while not event.is_set():  # noqa: ASYNC110 - the test sets it in another thread
                await asyncio.sleep(0.001)
        await exchange.send(b"0\r\n\r\n")

    server.will(answer(503), streams)
    pieces: list[str] = []
    async with client_of(sdk, server) as client:
        async for piece in sdk.pieces(client):
            pieces.append(piece)
            taken[int(piece)].set()
    assert pieces == ["0", "1", "2"]
    assert len(server.seen) == 2


@each_sdk
async def test_an_open_circuit_is_a_connection_error_of_the_sdk(
    server: FaultServer, sdk: SDK
) -> None:
    """Its cause says why, and for how long; nothing is sent."""
    breaker = CircuitBreaker(1, 30)
    breaker.record_failure()
    async with client_of(sdk, server, breaker=breaker) as client:
        with pytest.raises(sdk.module.APIConnectionError) as raised:
            await sdk.call(client)
    assert isinstance(raised.value.__cause__, CircuitBreakerOpenError)
    assert raised.value.__cause__.retry_after > 0
    assert server.seen == []


@each_sdk
@pytest.mark.parametrize(
    ("max_retries", "options", "requests", "keyed"),
    [(2, {}, 8, 3), (0, {}, 4, 1), (2, {"sole_retrier": True}, 4, 1)],
    ids=["both retry", "max_retries=0", "sole_retrier=True"],
)
async def test_retries_of_the_sdk_multiply_unless_one_is_off(
    *,
    server: FaultServer,
    sdk: SDK,
    max_retries: int,
    options: dict[str, Any],
    requests: int,
    keyed: int,
) -> None:
    """Each of the SDK's retries is a call of its own here, with a key of its own."""
    server.default = answer(503, retry_after_ms="1")  # how long the SDK waits, too
    async with client_of(sdk, server, max_retries, **options) as client:
        with pytest.raises(sdk.module.InternalServerError):
            await sdk.call(client)
    assert (len(server.seen), len(set(keys(server)))) == (requests, keyed)
