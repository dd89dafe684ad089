"""Fixtures for every test. `anyio_backend` runs each async test on asyncio and on trio."""

import gc
import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from types import ModuleType

import pytest
import trustme
from hypothesis import settings

from tests.support import Clock, ConnectionBody, Events

# Collecting the tests makes many objects that stay; each look at all of them finds nothing.
gc.disable()

# A deadline of real time is missed on a busy machine. `--hypothesis-profile random` draws others.
settings.register_profile("random", deadline=None, database=None)
settings.register_profile("repeatable", settings.get_profile("random"), derandomize=True)
settings.load_profile("repeatable")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option for all pairs of event loop and family, and those of tests/scenarios."""
    parser.addoption(
        "--all-pairs",
        action="store_true",
        help="run a test of both event loops and both families on each pair of them; by default "
        "httpx runs on asyncio and httpx2 on trio",
    )
    group = parser.getgroup("scenarios")
    group.addoption("--scenarios", type=int, help="how many random scenarios to run")
    group.addoption("--scenario-seed", type=int, help="run the scenario of this seed only")


def pytest_xdist_auto_num_workers() -> int:
    """Run one process more than there are cores: many tests wait for a short timeout."""
    return min((os.cpu_count() or 1) + 1, 4)


def pytest_collection(session: pytest.Session) -> None:
    """Import a share of the tests first in each worker: what one compiled, the others only load."""
    config = session.config
    worker = getattr(config, "workerinput", None)
    if worker is None or config.args != config.getini("testpaths"):
        return
    number = int(worker["workerid"].removeprefix("gw"))
    paths = sorted(config.rootpath.glob("tests/**/test_*.py"))
    for path in paths[number :: worker["workercount"]]:
        with suppress(Exception, pytest.skip.Exception):  # collecting the tests tells of it
            import_module(".".join(path.relative_to(config.rootpath).with_suffix("").parts))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run each test on both event loops and for both families, but not on each pair of them."""
    if config.getoption("all_pairs"):
        return
    families = defaultdict[str, set[str]](set)
    for item in items:
        families[_function_of(item)] |= _families_of(item)
    crossed = [item for item in items if len(families[_function_of(item)]) > 1 and _crosses(item)]
    config.hook.pytest_deselected(items=crossed)
    dropped = set(crossed)
    items[:] = [item for item in items if item not in dropped]


def _function_of(item: pytest.Item) -> str:
    return item.nodeid.partition("[")[0]


def _params_of(item: pytest.Item) -> dict[str, object]:
    callspec = getattr(item, "callspec", None)  # only a parametrized test has one
    return {} if callspec is None else callspec.params


def _families_of(item: pytest.Item) -> set[str]:
    return {value.__name__ for value in _params_of(item).values() if isinstance(value, ModuleType)}


def _crosses(item: pytest.Item) -> bool:
    params = _params_of(item)
    loop = params.get("anyio_backend", params.get("backend"))
    return loop is not None and (loop == "trio") != ("httpx2" in _families_of(item))


@pytest.fixture(scope="session", autouse=True)
def _short_collections() -> None:
    """Keep what was imported out of the garbage collector's way, until the process ends.

    It would stop every thread for longer than the shortest timeouts are.
    """
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def _no_proxies() -> Iterator[None]:
    """Ignore the proxies of the environment, since all servers of the tests are on loopback."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
            patch.delenv(name, raising=False)
            patch.delenv(name.upper(), raising=False)
        yield


@pytest.fixture(scope="session", autouse=True)
def _few_authorities(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Trust one authority of the tests: loading all of certifi's takes longer than most tests."""
    path = tmp_path_factory.mktemp("authorities") / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(path))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(path))
        yield


@pytest.fixture(autouse=True)
def _bodies_are_read_as_on_a_connection() -> Iterator[None]:
    """Fail a test in which a body was misread, also where a layer discarded what that raised."""
    ConnectionBody.misreads.clear()
    yield
    misreads = list(ConnectionBody.misreads)
    ConnectionBody.misreads.clear()
    assert misreads == []


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still until the test moves it."""
    return Clock()


@pytest.fixture
def events() -> Events:
    """A listener that records the events."""
    return Events()
