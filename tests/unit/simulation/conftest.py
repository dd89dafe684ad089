import logging
from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture
def _logging_as_before() -> Iterator[None]:
    """Have this process log again after a test that silenced it."""
    configured, configuration = structlog.is_configured(), structlog.get_config()
    yield
    structlog.reset_defaults()
    if configured:
        structlog.configure(**configuration)
    logging.disable(logging.NOTSET)
