import logging
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.support import Scripted
from walltrack import redact_httpx_logs

Lines = Callable[..., str]

URL = "https://me:hunter2@api.test/things?api-key=swordfish#perch"


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """The logger of httpx, as it was before afterwards."""
    logger = logging.getLogger("httpx")
    filters = list(logger.filters)
    yield logger
    logger.filters[:] = filters


@pytest.mark.anyio
@pytest.mark.parametrize("redacted", [True, False])
async def test_the_line_of_a_request_shows_no_secret(
    logger: logging.Logger, caplog: pytest.LogCaptureFixture, *, redacted: bool
) -> None:
    """Scheme, host and path stay readable; without the filter, httpx shows it all."""
    caplog.set_level(logging.INFO, logger=logger.name)
    if redacted:
        redact_httpx_logs()
    async with httpx.AsyncClient(transport=Scripted(200)) as client:
        await client.get(URL)
    assert "/things" in caplog.text
    assert [s in caplog.text for s in ("swordfish", "hunter2")] == [not redacted] * 2


def test_a_url_is_shown_without_userinfo_query_and_fragment(
    logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    """The other arguments of the line stay as they are."""
    redact_httpx_logs()
    logger.warning("%s %s %d", "GET", httpx.URL(URL), 200)
    assert caplog.messages == ["GET https://api.test/things 200"]


@pytest.mark.parametrize("arguments", [(), ({"status": 200},)])
def test_a_line_without_a_url_is_left_alone(
    logger: logging.Logger, caplog: pytest.LogCaptureFixture, arguments: tuple[object, ...]
) -> None:
    """It may have no arguments, or a mapping of them."""
    redact_httpx_logs()
    logger.warning("%(status)d" if arguments else "200", *arguments)
    assert caplog.messages == ["200"]


def test_asking_twice_changes_nothing(logger: logging.Logger) -> None:
    """One filter does it, wherever the application calls this from."""
    before = len(logger.filters)
    for _ in range(2):
        redact_httpx_logs()
    assert len(logger.filters) == before + 1


def test_paths_can_be_removed_as_well(
    logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    """An API with secrets in its paths leaves none in the log, whatever was called before."""
    redact_httpx_logs()
    redact_httpx_logs(paths=False)
    logger.warning("%s %s", "GET", httpx.URL(URL))
    assert caplog.messages == ["GET https://api.test/..."]


def test_paths_is_a_bool() -> None:
    """Another value is refused by name."""
    with pytest.raises(TypeError, match="paths"):
        redact_httpx_logs(paths="no")  # type: ignore[arg-type]
