"""Which scenarios are run: see the options in the conftest of all tests."""

import pytest

DEFAULT = 200
"""Scenarios in virtual time; with `--all-pairs`, as in the run with coverage, twice that."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test once for each seed."""
    if "seed" in metafunc.fixturenames:
        only = metafunc.config.getoption("scenario_seed")
        usual = 2 * DEFAULT if metafunc.config.getoption("all_pairs") else DEFAULT
        count = metafunc.config.getoption("scenarios") or usual
        metafunc.parametrize("seed", range(count) if only is None else [only])
