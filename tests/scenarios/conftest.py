"""Which scenarios are run: see the options in the conftest of all tests."""

import pytest

DEFAULT = 400
"""Scenarios in virtual time; they take some ten seconds on one core."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test once for each seed."""
    if "seed" in metafunc.fixturenames:
        only = metafunc.config.getoption("scenario_seed")
        count = metafunc.config.getoption("scenarios") or DEFAULT
        metafunc.parametrize("seed", range(count) if only is None else [only])
