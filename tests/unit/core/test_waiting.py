import subprocess
import sys
import time

import pytest

from walltrack.core.waiting import sleep


@pytest.mark.anyio
async def test_waiting_takes_its_time() -> None:
    """On both event loops it waits for the given number of seconds."""
    began = time.monotonic()
    await sleep(0.02)
    assert time.monotonic() - began >= 0.02


def test_without_waiting_nothing_that_waits_is_loaded() -> None:
    """The first wait loads the parts of anyio that it needs, if anyio allows it."""
    code = (
        "import sys, anyio; before = 'anyio._core._eventloop' in sys.modules; "
        "from walltrack import RetryTransport; "
        "assert ('anyio._core._eventloop' in sys.modules) is before"
    )
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603 - our own code
