"""Clients that neither wait nor log, and how their calls fail."""

import traceback
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from tests.support import Body
from walltrack import (
    BaseAPIClient,
    ExternalServiceError,
)

URL = "https://api.test/v1"

HEADERS = {"X-Key": SecretStr("hunter2"), "X-Mode": "plain"}

PARAMS = {"key": SecretStr("swordfish"), "page": 1}


Make = Callable[..., BaseAPIClient]


class Things(BaseAPIClient):
    """A client as a user writes one."""


def shown(error: BaseException) -> str:
    """All that a log would show of `error` and of what stands behind it."""
    return "".join(traceback.format_exception(error)) + repr(error) + repr(error.__cause__)


async def failure_of(client: BaseAPIClient, *args: Any, **options: Any) -> ExternalServiceError:  # noqa: ANN401 - handed on
    """The error that a request ends with."""
    with pytest.raises(ExternalServiceError) as raised:
        await client.request(*(args or ("GET", "/a")), **options)
    return raised.value


def broken_body() -> httpx.Response:
    """A good answer whose body breaks off."""
    return httpx.Response(200, stream=Body(b"so", httpx.ReadError("reset")))
