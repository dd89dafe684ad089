"""Request bodies of every kind: those that can be sent again, and those that can be read once."""

import io
from collections.abc import AsyncGenerator, Iterator
from types import ModuleType
from typing import Any, Final

import anyio.lowlevel
import httpx
import httpx2

from tests.support import ConnectionBody

SIZE: Final = 1000
PIECES: Final = 4
_FORM: Final = {"content-type": "multipart/form-data; boundary=line"}


def content(number: int) -> bytes:
    """Return what call `number` uploads."""
    return (f"<upload {number}>" * SIZE)[:SIZE].encode()


class Upload(ConnectionBody, httpx2.AsyncByteStream):
    """A class of the caller's own, which can be read once."""

    def __init__(self, payload: bytes) -> None:
        super().__init__()
        self._payload = payload

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        async for piece in pieces(self._payload):
            yield piece


class UploadOfBothKinds(Upload, httpx.SyncByteStream, httpx2.SyncByteStream):
    """The same, and a stream for synchronous clients as well, as httpx's own in memory are."""

    def __iter__(self) -> Iterator[bytes]:
        self.begin()
        yield self._payload


async def pieces(payload: bytes) -> AsyncGenerator[bytes, None]:
    """Generate `payload` in a few pieces."""
    size = len(payload) // PIECES
    for start in range(0, len(payload), size):
        await anyio.lowlevel.checkpoint()
        yield payload[start : start + size]


class _Unseekable(io.BytesIO):
    """A file that cannot be rewound, as a pipe."""

    def seekable(self) -> bool:
        return False

    def seek(self, *_: int) -> int:
        raise io.UnsupportedOperation("seek")


def build(home: ModuleType, method: str, url: str, kind: str, number: int) -> httpx.Request:
    """Build the request of call `number`, whose body is of a kind."""
    payload = content(number)
    options: dict[str, Any] = {"headers": {"x-call": str(number)}}
    if kind == "bytes":
        options["content"] = payload
    elif kind == "json":
        options["json"] = payload.decode()
    elif kind == "form":
        options["data"] = {"a": payload.decode()}
    elif kind in ("multipart", "file", "pipe"):
        files = {"multipart": payload, "file": io.BytesIO(payload), "pipe": _Unseekable(payload)}
        options["files"] = {"a": files[kind]}
        options["headers"] |= _FORM
    elif kind == "generator":
        options["content"] = pieces(payload)
    elif kind:
        own = Upload if kind == "own class" else UploadOfBothKinds
        options["stream"] = own(payload)
        options["headers"]["transfer-encoding"] = "chunked"
    request: httpx.Request = home.Request(method, url, **options)
    return request


def expected(kind: str, number: int) -> bytes:
    """Return what the server has to receive of such a body: all of it, or no attempt is whole."""
    alike = {"generator": "bytes", "own class": "bytes", "own class of both kinds": "bytes"}
    kind = {**alike, "pipe": "multipart", "file": "multipart"}.get(kind, kind)
    return build(httpx, "PUT", "https://any.test", kind, number).read()
