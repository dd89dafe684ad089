"""Fixtures for the tests of network code."""

from typing import Any

import httpcore2
import pytest

from tests.unit.http.fake_core import Core
from tests.unit.http.wires import Backend
from walltrack.http import network


@pytest.fixture
def core(monkeypatch: pytest.MonkeyPatch) -> type[Core]:
    """The pools that are made instead of httpcore2's, and the steps that they take."""
    monkeypatch.setattr(Core, "made", [], raising=False)
    monkeypatch.setattr(Core, "steps", [], raising=False)
    monkeypatch.setattr(httpcore2, "AsyncConnectionPool", Core)
    return Core


@pytest.fixture
def patched(monkeypatch: pytest.MonkeyPatch) -> Any:  # noqa: ANN401 - a function
    """Makes networks connect with a given backend."""

    def patch(backend: Backend) -> Backend:
        monkeypatch.setattr(network, "_backend", lambda: backend)
        return backend

    return patch
